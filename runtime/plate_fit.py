"""Whether a plate still fits what the camera sees: another light can be followed, another view can only be told.

All pictures are at the network's size. What is looked at is what the matte calls empty, so goods do not matter; where
it calls hardly anything empty, the matte itself may be wrong, and the whole picture is looked at.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["empty_part", "relit", "shift_of"]

F32 = NDArray[np.float32]
Mask = NDArray[np.bool_]

FEW: Final = 0.25  # share of the picture under which what is empty is too little to judge by
MISFIT: Final = 6.0  # codes of luma or chroma that plate and picture may differ by: noise, and what adapting follows
LIKE: Final = 0.5  # correlation of fine detail from which two pictures show one scene
BETTER: Final = 0.25  # by how much they must correlate better when one is moved
REACH: Final = 0.25  # of the picture: a camera that moved by more shows another scene
EVERY: Final = 4  # pixels, of which one is looked at
STEP: Final = 2  # movement is looked for at half size, in steps of this


def empty_part(matte: F32) -> Mask:
    """What to judge by: bool[h, w]."""
    empty = matte < 0.5
    return empty if empty.mean() >= FEW else np.ones_like(empty)


def relit(plate: F32, picture: NDArray[np.uint8], empty: Mask, *, black: float) -> F32 | None:
    """The plate in the light of the picture, if another light is all that differs between them; else None.

    Args:
        plate: float32[3, h, w], codes of Y, Cb, Cr; picture: uint8[3, h, w], the same.
        black: code of black.
    """
    some = empty[::EVERY, ::EVERY]  # medians need no more
    seen, known = (codes[:, ::EVERY, ::EVERY][:, some].astype(np.float32) for codes in (picture, plate))
    if not seen.size:
        return None
    before = _misfit(seen, known)
    if before < MISFIT:
        return None
    gain = float(np.median((seen[0] - black + 1) / np.maximum(known[0] - black + 1, 1)))
    level = np.array([black, 128, 128], np.float32)[:, None]
    scaled = level + (known - level) * np.float32(gain)
    tint = np.median(seen[1:] - scaled[1:], axis=1)
    scaled[1:] += tint[:, None]
    detail = empty.all() and _alike(_detail(plate[0]), _detail(picture[0].astype(np.float32)), 0, 0) < LIKE
    if _misfit(seen, scaled) > before / 2 or detail:
        return None
    shift = np.array([0, *tint], np.float32)[:, None, None]
    return np.clip(level[..., None] + (plate - level[..., None]) * np.float32(gain) + shift, 0, 255)


def shift_of(plate: F32, picture: NDArray[np.uint8], empty: Mask) -> tuple[int, int] | None:
    """By how many pixels (right, down) the scene lies elsewhere than on the plate; None: nowhere else.

    Fine detail is correlated; a movement counts when the detail agrees, and much better than without it.
    """
    height, width = (side // STEP * STEP for side in plate.shape[1:])
    known, seen = (_detail(_halved(codes[0, :height, :width])) for codes in (plate, picture))
    seen *= _halved(empty[:height, :width]) > 0.99
    product = np.fft.irfft2(np.conj(np.fft.rfft2(known)) * np.fft.rfft2(seen), seen.shape)
    down, right = (int(k) for k in np.unravel_index(int(product.argmax()), product.shape))
    down, right = (k - side if k > side // 2 else k for k, side in zip((down, right), seen.shape, strict=True))
    if (down, right) == (0, 0) or any(abs(k) > REACH * s for k, s in zip((down, right), seen.shape, strict=True)):
        return None
    moved, unmoved = _alike(known, seen, down, right), _alike(known, seen, 0, 0)
    return (right * STEP, down * STEP) if moved >= max(LIKE, unmoved + BETTER) else None


def _misfit(seen: F32, known: F32) -> float:
    """Largest median difference of a channel, codes."""
    return float(np.median(np.abs(seen - known), axis=1).max())


def _halved(picture: NDArray[Any]) -> F32:
    parts = [picture[a::STEP, b::STEP].astype(np.float32) for a in range(STEP) for b in range(STEP)]
    return np.asarray(sum(parts) / len(parts), np.float32)


def _detail(luma: F32) -> F32:
    """What differs from its neighbours: float32[h, w], nothing at the border."""
    found = np.zeros_like(luma)
    around = luma[:-2, 1:-1] + luma[2:, 1:-1] + luma[1:-1, :-2] + luma[1:-1, 2:]
    found[1:-1, 1:-1] = 4 * luma[1:-1, 1:-1] - around
    return found


def _alike(known: F32, seen: F32, down: int, right: int) -> float:
    """Correlation of two details where `seen` has any, with `known` moved; 0 where nothing is to be compared."""
    height, width = seen.shape
    there = seen[max(0, down) : height + min(0, down), max(0, right) : width + min(0, right)]
    here = known[max(0, -down) : height + min(0, -down), max(0, -right) : width + min(0, -right)]
    here = np.where(there == 0, np.float32(0), here)
    power = float(np.sqrt(np.square(here).sum() * np.square(there).sum()))
    return float((here * there).sum()) / power if power else 0.0
