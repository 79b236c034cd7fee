"""Figures of a style network on held-out pictures: how much of the picture and of the style is in it, how calm it is.

python -m cutline.tools.train.style_report ink [--scenes FOLDER] [--json]
"""

from __future__ import annotations

import argparse
import json
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
import onnxruntime
import torch
from numpy.typing import NDArray

from cutline.runtime.bundle import open_bundle
from cutline.runtime.contract import ModelContract
from cutline.runtime.errors import BadInputError, ContractError, CutlineError
from cutline.tools.evaluate.metrics import ssim
from cutline.tools.scenes import Sampler
from cutline.tools.scenes.packshots import load_photographs
from cutline.tools.train.style_features import RandomBank, gram_distance
from cutline.tools.train.style_frames import filling

__all__ = ["STYLE_MEMBER", "StyleFigures", "StyleReportOptions", "as_tensor", "main", "measure_bundle", "measure_style"]

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]

STYLE_MEMBER = "style.png"  # the member of a bundle that holds the style image
_SEED = 900_000  # of the first held-out picture
_JUDGE = 101  # seed of the filters that judge: not those that taught
_STILL = 4  # pictures of which flicker is measured
_REPEATS = 6  # of each, under fresh noise


@dataclass(frozen=True, slots=True, kw_only=True)
class StyleReportOptions:
    """On what is measured."""

    pictures: int = 24
    scenes: Path | None = None  # photographs; their held-out fifth makes up half of the pictures
    noise: float = 0.012  # standard deviation of the sensor noise, of a full range of 1


@dataclass(frozen=True, slots=True, kw_only=True)
class StyleFigures:
    """At full strength. The style is that of all pictures together, the other figures are means over them."""

    content_ssim: float  # of luma, output against input
    style_before: float  # Gram distance of the pictures from the style image; 0 is the style itself
    style_after: float  # the same of the output
    flicker: (
        float  # change from frame to frame (RMS) of the output for one of 1 in the input: a still scene under noise
    )
    pictures: int


def measure_style(model: bytes, contract: ModelContract, style: U8, options: StyleReportOptions) -> StyleFigures:
    """Run an ONNX style network over held-out pictures and measure.

    Args:
        model: serialised ONNX.
        style: uint8[H, W, 3], the style image.
    Raises:
        ContractError: the network is no style network.
        NoInputError, BadInputError: `scenes` is missing or has nothing usable.
    """
    if contract.task != "style":
        raise ContractError("this is no style network", remedy="Name a style bundle.", task=contract.task)
    session = onnxruntime.InferenceSession(model, providers=["CPUExecutionProvider"])
    image = contract.frame
    mean, std = (np.array(v, np.float32)[:, None, None] for v in (image.mean, image.std))

    def restyle(picture: F32) -> F32:
        (out,) = session.run([contract.primary.tensor], {image.tensor: ((picture - mean) / std)[None]})
        return np.clip(np.asarray(out[0], np.float32) * std + mean, 0, 1)

    pictures = _held_out(image.width, image.height, options)
    styled = [restyle(p) for p in pictures]
    goal = as_tensor(style)
    with torch.no_grad():
        judge = RandomBank(goal, seed=_JUDGE)
        before, after = (
            gram_distance(judge, (torch.from_numpy(p)[None] for p in some), goal) for some in (pictures, styled)
        )
    kept = [ssim(_last(a), _last(b)) for a, b in zip(styled, pictures, strict=True)]
    random = np.random.default_rng(_SEED)
    ratios = []
    for picture in pictures[:: max(1, len(pictures) // _STILL)][:_STILL]:
        noise = random.normal(0, options.noise, (_REPEATS, *picture.shape))
        seen = [np.clip(picture + n, 0, 1).astype(np.float32) for n in noise]
        ratios.append(_change([restyle(p) for p in seen]) / _change(seen))
    return StyleFigures(
        content_ssim=float(np.mean(kept)),
        style_before=before,
        style_after=after,
        flicker=float(np.mean(ratios)),
        pictures=len(pictures),
    )


def measure_bundle(name: str, options: StyleReportOptions) -> StyleFigures:
    """Measure the source network of a style bundle against the style image that it carries.

    Raises:
        NoInputError, BundleError, TrustError: as open_bundle does.
        ContractError, BadInputError: it is no bundle of a style.
    """
    with open_bundle(name) as bundle:
        names = {member.name for member in bundle.manifest.members}
        if STYLE_MEMBER not in names or "source.onnx" not in names:
            raise BadInputError(
                "the bundle carries no style image", remedy="Name one that `cutline train style` made.", bundle=name
            )
        style = cv2.imdecode(np.frombuffer(bundle.read(STYLE_MEMBER), np.uint8), cv2.IMREAD_COLOR)
        if style is None:
            raise BadInputError("the bundle's style image cannot be read", remedy="Make it again.", bundle=name)
        return measure_style(bundle.read("source.onnx"), bundle.manifest.contract, style[..., ::-1].copy(), options)


def as_tensor(picture: U8) -> torch.Tensor:
    """float32[1, 3, H, W] in 0..1 from uint8[H, W, 3]."""
    return torch.from_numpy(np.ascontiguousarray(picture)).permute(2, 0, 1)[None].float() / 255


def main(arguments: list[str] | None = None) -> int:
    """The command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m cutline.tools.train.style_report", description=__doc__)
    parser.add_argument("bundle", help="name of a shipped style, or a .cutline file")
    parser.add_argument("--scenes", type=Path, help="folder of photographs to measure on, beside generated scenes")
    parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
    asked = parser.parse_args(arguments)
    try:
        figures = measure_bundle(asked.bundle, StyleReportOptions(scenes=asked.scenes))
    except CutlineError as error:
        sys.stderr.write(f"style_report: {error}\n")
        return error.exit_code
    if asked.json:
        sys.stdout.write(json.dumps(asdict(figures), indent=2) + "\n")
        return 0
    sys.stdout.write(
        f"content: SSIM of luma to the input {figures.content_ssim:.3f}\n"
        f"style: Gram distance {figures.style_before:.3f} before, {figures.style_after:.3f} after\n"
        f"flicker: {figures.flicker:.2f} of the input's own\n"
    )
    return 0


def _held_out(width: int, height: int, options: StyleReportOptions) -> list[F32]:
    """Pictures float32[3, height, width] in 0..1 that no training saw."""
    photographs = load_photographs(options.scenes, "test") if options.scenes else ()
    taken = options.pictures // 2 if photographs else 0
    sampler, rng = Sampler(width, height, "test"), np.random.default_rng(_SEED)
    found = [sampler.shot(_SEED + k).rgb for k in range(options.pictures - taken)]
    found += [filling(rng, photographs[k * len(photographs) // taken], width, height) for k in range(taken)]
    return [np.ascontiguousarray((p / np.float32(255)).transpose(2, 0, 1)) for p in found]


def _change(frames: list[F32]) -> float:
    return float(np.sqrt(np.square(np.diff(np.stack(frames), axis=0), dtype=np.float64).mean()))


def _last(picture: F32) -> F32:
    return np.ascontiguousarray(picture.transpose(1, 2, 0))


if __name__ == "__main__":
    sys.exit(main())
