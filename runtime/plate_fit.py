"""Whether a plate still fits what the camera sees: another light can be followed, another view can only be told.

All pictures are at the network's size. What is looked at is what the matte calls empty, so goods do not matter; where
it calls hardly anything empty, the matte itself may be wrong, and the whole picture is looked at.
"""

from __future__ import annotations

from dataclasses import dataclass
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
SATURATED: Final = 3  # codes below the brightest luma from which a pixel tells nothing of how bright the light is
REACH: Final = 0.25  # of the picture: a camera that moved by more shows another scene
ONE_PLACE: Final = 0.2  # correlation of coarse detail from which two pictures show one place in whatever light
WORTH: Final = 1.0  # codes of misfit that what was adapted to since the plate was given is worth
EVERY: Final = 4  # pixels, of which one is looked at
STEP: Final = 2  # movement is looked for at half size, in steps of this


def empty_part(matte: F32) -> Mask:
    """What to judge by: bool[h, w]."""
    empty = matte < 0.5
    return empty if empty.mean() >= FEW else np.ones_like(empty)


def relit(plates: tuple[F32, F32], picture: NDArray[np.uint8], empty: Mask, *, black: float) -> F32 | None:
    """The plate in the light of the picture, if another light is all that differs between them; else None.

    Args:
        plates: float32[3, h, w], codes of Y, Cb, Cr: as it is by now, and as it was given. The second one counts where
            the first has lost the scene: in the dark, or where a light drowned it.
        picture: uint8[3, h, w], the same.
        black: code of black.
    """
    some = empty[::EVERY, ::EVERY]  # medians need no more
    seen, *known = (codes[:, ::EVERY, ::EVERY][:, some].astype(np.float32) for codes in (picture, *plates))
    if not seen.size:
        return None
    before = _misfit(seen, known[0])
    if before < MISFIT:
        return None
    lights = [_Light.between(codes, seen, black) for codes in known]
    now, given = (_misfit(seen, light.on(codes, seen[0].max())) for light, codes in zip(lights, known, strict=True))
    best = 0 if now <= given + WORTH else 1
    plate, light = plates[best], lights[best]
    if (now, given)[best] > before / 2 or (empty.all() and not _is_one_place(plate[0], picture[0])):
        return None
    return light.on(plate, 255.0)


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


@dataclass(frozen=True, slots=True)
class _Light:
    """What another light does to codes: luma and chroma are multiplied, and chroma is shifted."""

    gain: float
    tint: tuple[float, float]
    black: float

    @classmethod
    def between(cls, known: F32, seen: F32, black: float) -> _Light:
        """The light that makes float32[3, n] of known codes those that are seen."""
        free = seen[0] < seen[0].max() - SATURATED
        free = free if free.mean() >= FEW else np.ones_like(free)
        lumas = np.maximum(seen[0, free] - black + 1, 0) / np.maximum(known[0, free] - black + 1, 1)
        gain = float(np.median(lumas))
        blue, red = np.median(seen[1:] - 128 - (known[1:] - 128) * np.float32(gain), axis=1)
        return cls(gain, (float(blue), float(red)), black)

    def on(self, codes: F32, white: float) -> F32:
        """The codes of float32[3, ...] in this light; luma ends at `white`."""
        y, *chroma = codes
        luma = np.clip(self.black + (y - self.black) * np.float32(self.gain), 0, white)
        tinted = [128 + (c - 128) * np.float32(self.gain) + t for c, t in zip(chroma, self.tint, strict=True)]
        return np.asarray(np.stack([luma, *(np.clip(c, 0, 255) for c in tinted)]), np.float32)


def _misfit(seen: F32, known: F32) -> float:
    """Largest median difference of a channel, codes."""
    return float(np.median(np.abs(seen - known), axis=1).max())


def _halved(picture: NDArray[Any]) -> F32:
    parts = [picture[a::STEP, b::STEP].astype(np.float32) for a in range(STEP) for b in range(STEP)]
    return np.asarray(sum(parts) / len(parts), np.float32)


def _is_one_place(known: F32, seen: NDArray[np.uint8]) -> bool:
    """Whether two lumas show one place, goods in it or not: their detail agrees, once small enough to be free of noise.

    Of photographs of 20 places no two agree by more than 0.04, a bottle clip and its plate by 0.34 at least.
    """
    height, width = (side // EVERY * EVERY for side in known.shape)
    small, other = (_detail(_halved(_halved(luma[:height, :width]))) for luma in (known, seen))
    return _alike(small, other, 0, 0) >= ONE_PLACE


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
