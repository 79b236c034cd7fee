"""A trained style's card and bundle."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from cutline.engine import keys
from cutline.engine.pack import write_bundle
from cutline.runtime.manifest import Target
from cutline.tools.train.style_network import style_contract
from cutline.tools.train.style_report import STYLE_MEMBER, StyleFigures

__all__ = ["StyleFacts", "pack_style", "style_card"]

_LICENCE = "Apache-2.0"
_LOOKS = {
    "ink": "Ink and wash: greyed colours and dark outlines on pale paper; magentas and purples stay coloured.",
    "poster": "Screen print: flat reds, teals, blues and creams, tones on a screen at 45 degrees.",
    "oil": "Oil paint: blue shadows, ochre lights, brush strokes that lie still.",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class StyleFacts:
    """What the figures do not say."""

    name: str
    image: str | None  # file name of the style image; None: drawn here
    weights: int
    gflop: float
    width: int
    height: int
    features: str | None  # file name of VGG-19's weights; None: the random filters
    steps: int
    seed: int
    photographs: bool
    start: str | None


def style_card(facts: StyleFacts, figures: StyleFigures) -> str:
    """Write the model card, as Markdown. Every figure comes from `figures` and `facts`."""
    look = _LOOKS[facts.name] if facts.image is None else f"A style learned from `{facts.image}`."
    source = "drawn by this program (`tools/train/style_images.py`)" if facts.image is None else f"`{facts.image}`"
    bank = (
        f"VGG-19 features (`{facts.features}`)"
        if facts.features
        else "Gram statistics of a fixed bank of random filters at four scales; no pretrained weights"
    )
    frames = "generated product scenes" + (" and photographs, half of each" if facts.photographs else "")
    begun = f", started from {facts.start}" if facts.start else ""
    measured = facts.name if facts.image is None else f"{facts.name}.cutline"
    folder = " --scenes FOLDER" if facts.photographs else ""
    rows = (
        ("content: SSIM of luma, output to input", f"{figures.content_ssim:.3f}"),
        ("style: Gram distance of all pictures to the style image, before", f"{figures.style_before:.3f}"),
        ("style: the same, after", f"{figures.style_after:.3f}"),
        ("flicker: change between frames of a still scene under noise, output / input", f"{figures.flicker:.2f}"),
    )
    lines = [
        f"# {facts.name}",
        "",
        look,
        "",
        f"{facts.weights / 1e6:.2f} M weights, {facts.gflop:.2f} GFLOP (two per multiply-add) at "
        f"{facts.width}x{facts.height}. Licence: {_LICENCE}.",
        "",
        "## Data and training",
        "",
        f"- Style image: {source}; it is a member of the bundle (`{STYLE_MEMBER}`).",
        f"- Learned on {frames}, {facts.steps} steps, seed {facts.seed}{begun}.",
        f"- Style loss: {bank}.",
        "- Other losses: local correlation of luma, mean colour of areas, total variation, and equality of the output "
        "on the same picture under noise or moved by some pixels.",
        "",
        "## Figures",
        "",
        f"{figures.pictures} held-out pictures, full strength "
        f"(`python -m cutline.tools.train.style_report {measured}{folder}`); "
        "it judges with other filters than those that taught.",
        "",
        "| figure | |",
        "|---|---:|",
        *(f"| {title} | {value} |" for title, value in rows),
        "",
        "## Limits",
        "",
        f"- The picture is restyled at {facts.width}x{facts.height} and added to the frame as a difference, so the "
        "frame's own finer detail stays, its noise included.",
        "- Grain and screen dots stand still on the picture while goods move under them.",
        "- Colours follow the style, not the brand: logos change colour. Use a lower strength, or style the background "
        "only.",
        "",
    ]
    return "\n".join(lines)


def pack_style(
    path: Path,
    facts: StyleFacts,
    figures: StyleFigures,
    model: bytes,
    style: NDArray[np.uint8],
    card: str,
    *,
    created: str,
) -> None:
    """Write the bundle, signed with the publisher's key where there is one, else with this machine's.

    Args:
        model: serialised ONNX.
        style: uint8[H, W, 3], the style image.
        created: UTC time such as 2026-11-21T09:30:00Z.
    Raises:
        BundleError, UsageError, OutputError, StorageError: see `pack.write_bundle`.
        TrustError: the key is not to be trusted.
    """
    small = style[..., ::-1]
    _, png = cv2.imencode(".png", small, [cv2.IMWRITE_PNG_COMPRESSION, 9])
    write_bundle(
        path,
        name=facts.name,
        version=1,
        created=created,
        licence=_LICENCE,
        contract=style_contract(facts.width, facts.height),
        members={"source.onnx": model, "card.md": card.encode(), STYLE_MEMBER: png.tobytes()},
        targets=[Target(kind="openvino", precision=p, member="source.onnx") for p in ("bf16", "fp32")],
        key=keys.publisher_key() or keys.machine_key(),
        provenance={"task": "style", **asdict(facts)},
        accuracy={"style": asdict(figures)},
        card="card.md",
    )
