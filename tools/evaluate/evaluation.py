"""Run a network over cases and gather the figures."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Protocol, final

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from cutline.runtime.errors import BadInputError
from cutline.runtime.kernels.post import PostOptions
from cutline.runtime.kernels.reference import steady
from cutline.tools.evaluate import metrics
from cutline.tools.evaluate.cases import CATEGORIES, Case, category_mask
from cutline.tools.scenes import Shot

__all__ = ["Evaluation", "FrameFigures", "Judge", "Mattes", "evaluate", "moving_dtssd", "static_flicker"]

F32 = NDArray[np.float32]
_BACKDROP = np.array([0.16, 0.55, 0.35], np.float32)  # R, G, B of the composite that PSNR and SSIM are taken of
_STATIC_CASES = 12
_STATIC_FRAMES = 10
_SETTLED = 5  # frames after which the temporal filter has forgotten that it had a first frame
_STATIC_NOISE = 3.0  # levels of 255
_LUMA = np.array([0.2126, 0.7152, 0.0722])  # of R'G'B', BT.709


class Mattes(Protocol):
    """Anything that cuts out: float32[h, w] from uint8[H, W, 3] and its plate."""

    name: str

    def matte(self, frame: NDArray[np.uint8], plate: NDArray[np.uint8] | None = None) -> F32: ...


class FrameFigures(msgspec.Struct, frozen=True, kw_only=True):
    """The figures of one shot; `categories` holds those of its kinds of goods."""

    name: str
    iou: float
    f1: float
    sad: float
    mse: float
    mad: float
    grad: float
    conn: float
    band_mad: float | None
    psnr: float
    ssim: float
    categories: dict[str, dict[str, float]]


class Evaluation(msgspec.Struct, frozen=True, kw_only=True):
    """The figures of one network: means over shots.

    `flicker` is dtSSD x 100 of still goods under noise behind the runtime's temporal filter at its default strength,
    `raw_flicker` the same of the network alone. `dtssd` and `raw_dtssd` are the same measure of held-out video in
    which goods and hands move. None: no shot had what is measured.
    """

    model: str
    shots: int
    overall: dict[str, float]
    categories: dict[str, dict[str, float]]
    flicker: float | None = None
    raw_flicker: float | None = None
    dtssd: float | None = None
    raw_dtssd: float | None = None
    frames: tuple[FrameFigures, ...]


@final
class Judge:
    """Turns a matte and its case into figures."""

    def figures(self, case: Case, alpha: F32) -> FrameFigures:
        """Measure one matte, float32[H, W] at the size of the shot."""
        shot, truth = case.shot, case.shot.alpha
        straight = np.where(truth[..., None] > 0, shot.foreground, shot.rgb).astype(np.float32) / np.float32(255)
        composite = metrics.compose(straight, alpha, _BACKDROP)
        wanted = metrics.compose(straight, truth, _BACKDROP)
        return FrameFigures(
            name=case.name,
            iou=metrics.iou(alpha, truth),
            f1=metrics.f1(alpha, truth),
            sad=metrics.sad(alpha, truth),
            mse=metrics.mse(alpha, truth),
            mad=metrics.mad(alpha, truth),
            grad=metrics.grad(alpha, truth),
            conn=metrics.conn(alpha, truth),
            band_mad=metrics.band_mad(alpha, truth),
            psnr=metrics.psnr(composite, wanted),
            ssim=metrics.ssim(composite, wanted),
            categories=dict(self._categories(case, alpha)),
        )

    def _categories(self, case: Case, alpha: F32) -> Iterator[tuple[str, dict[str, float]]]:
        shot, truth = case.shot, case.shot.alpha
        for category in CATEGORIES:
            where = category_mask(shot, category)
            if where is None:
                continue
            inside = where & (shot.items > 0)
            found = {
                "mad": metrics.mad(alpha, truth, where),
                "inside_mad": metrics.mad(alpha, truth, inside),
            }
            if (truth[inside] >= 0.5).any():
                found["iou"] = metrics.iou(alpha, truth, where)
                found["f1"] = metrics.f1(alpha, truth, where)
            band = metrics.band_mad(alpha, truth, where)
            if band is not None:
                found["band_mad"] = band
            yield category, found


def evaluate(
    matter: Mattes,
    cases: Iterable[Case],
    clips: Iterable[list[Shot]] = (),
    *,
    seen: Callable[[Case, F32, FrameFigures], None] | None = None,
) -> Evaluation:
    """Measure a network.

    Args:
        clips: video, shot by shot, for dtSSD.
        seen: called with every case, its matte and its figures.
    Raises:
        BadInputError: there are no cases, or the network gives NaN.
    """
    judge, frames, flickers = Judge(), list[FrameFigures](), list[tuple[float, float]]()
    for case in cases:
        alpha = _fitting(matter.matte(case.shot.rgb, case.shot.plate), case)
        frames.append(judge.figures(case, alpha))
        if seen:
            seen(case, alpha, frames[-1])
        if len(flickers) < _STATIC_CASES and case.shot.item_tags:
            flickers.append(static_flicker(matter, case, seed=len(flickers)))
    if not frames:
        raise BadInputError("there are no shots to measure", remedy="Ask for at least one.")
    moving = [moving_dtssd(matter, clip) for clip in clips]
    overall = _means([{k: v for k in _OVERALL if (v := getattr(f, k)) is not None} for f in frames])
    categories = {c: _means([f.categories[c] for f in frames if c in f.categories]) for c in CATEGORIES}
    return Evaluation(
        model=matter.name,
        shots=len(frames),
        overall=overall,
        categories={c: figures for c, figures in categories.items() if figures},
        flicker=float(np.mean([filtered for _, filtered in flickers])) if flickers else None,
        raw_flicker=float(np.mean([raw for raw, _ in flickers])) if flickers else None,
        dtssd=float(np.mean([filtered for _, filtered in moving])) if moving else None,
        raw_dtssd=float(np.mean([raw for raw, _ in moving])) if moving else None,
        frames=tuple(frames),
    )


def static_flicker(matter: Mattes, case: Case, *, seed: int) -> tuple[float, float]:
    """DtSSD x 100 of a shot that stands still, under fresh noise of three levels in every frame.

    Returns:
        that of the network alone, and that behind the runtime's temporal filter.
    """
    random = np.random.default_rng([seed, 77])

    def noisy() -> NDArray[np.uint8]:
        noise = random.standard_normal(case.shot.rgb.shape, np.float32) * np.float32(_STATIC_NOISE)
        return np.clip(np.rint(case.shot.rgb + noise), 0, 255).astype(np.uint8)

    mattes = _in_turn(matter, [replace(case.shot, rgb=noisy()) for _ in range(_STATIC_FRAMES)])
    raw, filtered = (100 * metrics.dtssd(s[_SETTLED:], np.zeros_like(s[_SETTLED:])) for s in mattes)
    return raw, filtered


def moving_dtssd(matter: Mattes, clip: list[Shot]) -> tuple[float, float]:
    """DtSSD x 100 of video against its truth: of the network alone, and behind the runtime's temporal filter."""
    truth = np.stack([shot.alpha for shot in clip])
    raw, filtered = (100 * metrics.dtssd(mattes, truth) for mattes in _in_turn(matter, clip))
    return raw, filtered


def _in_turn(matter: Mattes, clip: list[Shot]) -> tuple[F32, F32]:
    """Mattes float32[T, H, W] of consecutive shots: of the network alone, and behind the temporal filter."""
    strength, raw, filtered = PostOptions().temporal, list[F32](), list[F32]()
    past: tuple[NDArray[np.float64], NDArray[np.float64]] | None = None
    for number, shot in enumerate(clip):
        raw.append(_fitting(matter.matte(shot.rgb, shot.plate), Case(f"frame {number}", shot)))
        past = steady(raw[-1].astype(np.float64), shot.rgb @ _LUMA, past, strength)
        filtered.append(past[0].astype(np.float32))
    return np.stack(raw), np.stack(filtered)


_OVERALL = ("iou", "f1", "sad", "mse", "mad", "grad", "conn", "band_mad", "psnr", "ssim")


def _fitting(alpha: F32, case: Case) -> F32:
    """The matte at the size of the shot."""
    if not np.isfinite(alpha).all():
        raise BadInputError("the network gives NaN or infinity", remedy="Train or export it again.", shot=case.name)
    if alpha.shape == case.shot.alpha.shape:
        return alpha
    size = (case.shot.alpha.shape[1], case.shot.alpha.shape[0])
    return np.asarray(cv2.resize(alpha, size, interpolation=cv2.INTER_LINEAR), np.float32)


def _means(rows: list[dict[str, float]]) -> dict[str, float]:
    """Mean of each figure over the rows that have it, and `shots`: how many rows there are."""
    gathered: defaultdict[str, list[float]] = defaultdict(list)
    for row in rows:
        for name, value in row.items():
            gathered[name].append(value)
    means = {name: float(np.mean(values)) for name, values in gathered.items()}
    return {**means, "shots": float(len(rows))} if rows else {}
