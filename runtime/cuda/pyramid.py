"""Colours of product and scene at low resolution, and the blurred scene: memory and launches on one grid."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

from cutline.runtime.cuda import params
from cutline.runtime.cuda.launch import Launch, Layout, blocks, launch

__all__ = ["Pyramid"]

SPLIT: Final = 4  # levels that one block reduces by itself, as in cuda_plan.cuh
SQUARE: Final = (16, 16, 1)
PIXEL, PAIR, CELL = 4, 8, 16  # bytes of a float, a float2, a float4


@dataclass(frozen=True, slots=True, kw_only=True)
class _Places:
    """Offsets into scratch."""

    front: tuple[int, ...]
    behind: tuple[int, ...]
    tone_luma: int
    tone_chroma: int
    scene: int
    blurred: int
    blur_luma: int
    blur_chroma: int


class Pyramid:
    """Levels of half the guide's size and coarser, down to two cells; level 0 is the finest."""

    def __init__(self, layout: Layout, width: int, height: int) -> None:
        self.base = (width, height)
        self.sizes: list[tuple[int, int]] = []
        while not self.sizes or (max(width, height) > 2 and len(self.sizes) < params.LEVELS):
            width, height = (width + 1) // 2, (height + 1) // 2
            self.sizes.append((width, height))
        self.split = min(SPLIT, len(self.sizes) - 1)
        cells = [w * h for w, h in self.sizes]
        self.places = _Places(
            front=tuple(layout.take(CELL * n) for n in cells),
            behind=tuple(layout.take(CELL * n) for n in cells),
            tone_luma=layout.take(PAIR * cells[0]),
            tone_chroma=layout.take(CELL * cells[0]),
            scene=layout.take(CELL * cells[0]),
            blurred=layout.take(CELL * cells[0]),
            blur_luma=layout.take(PIXEL * cells[0]),
            blur_chroma=layout.take(PAIR * cells[0]),
        )

    def fill(self, scratch: int, guide: int, matte: int, *, scene_level: int | None, tones: bool) -> list[Launch]:
        """Colours defined everywhere: the finest level's when `tones`, the scene's at `scene_level` for the blur."""
        places, split = self.places, self.split
        record = params.Colours(
            guide=guide,
            matte=matte,
            tone_luma=scratch + places.tone_luma if tones else 0,
            tone_chroma=scratch + places.tone_chroma if tones else 0,
            scene=scratch + places.scene if scene_level is not None and scene_level < split else 0,
            base_width=self.base[0],
            base_height=self.base[1],
            levels=len(self.sizes),
            split=split,
            scene_level=-1 if scene_level is None else scene_level,
        )
        for level, (width, height) in enumerate(self.sizes):
            record.front[level] = scratch + places.front[level]
            record.behind[level] = scratch + places.behind[level]
            record.width[level], record.height[level] = width, height
        grid, cells = blocks(*self.sizes[0], SQUARE), self.sizes[0][0] * self.sizes[0][1]
        guided = self.base[0] * self.base[1]
        found = [launch("cutline_push", grid, SQUARE, record, 7 * guided + 2 * CELL * cells)]
        found.append(launch("cutline_top", (1, 1, 1), (256, 1, 1), record, 4 * CELL * cells >> 2 * split))
        if tones or record.scene:
            written = (PAIR + CELL if tones else 0) + (CELL if record.scene else 0)
            found.append(launch("cutline_pull", grid, SQUARE, record, (2 * CELL + written) * cells))
        return found

    def blur_level(self, sigma: float) -> tuple[int, float]:
        """The coarsest level that still resolves a Gaussian of `sigma` finest cells, and its sigma there."""
        level = 0
        while sigma >= 4.0 and level + 1 < len(self.sizes):
            sigma, level = sigma / 2, level + 1
        return level, min(max(sigma, 1e-3), 4.0)

    def blur(self, scratch: int, level: int, sigma: float) -> list[Launch]:
        """The scene's finest level under a Gaussian of `sigma` cells of `level`."""
        places = self.places
        taps = min(params.BLUR_TAPS, math.ceil(3 * sigma) + 1)
        weights = [math.exp(-0.5 * k * k / (sigma * sigma)) for k in range(taps)]
        total = weights[0] + 2 * sum(weights[1:])
        record = params.Blur(
            scene=scratch + (places.scene if level < self.split else places.behind[level]),
            blurred=scratch + places.blurred,
            luma=scratch + places.blur_luma,
            chroma=scratch + places.blur_chroma,
            level=level,
            taps=taps,
        )
        record.weight[:taps] = [w / total for w in weights]
        for at, (width, height) in enumerate(self.sizes):
            record.width[at], record.height[at] = width, height
        coarse, fine = self.sizes[level], self.sizes[0]
        moved = 2 * CELL * coarse[0] * coarse[1]
        found = [launch("cutline_blur", blocks(*coarse, SQUARE), SQUARE, record, moved)]
        moved = CELL * coarse[0] * coarse[1] + (PIXEL + PAIR) * fine[0] * fine[1]
        found.append(launch("cutline_enlarge", blocks(*fine, SQUARE), SQUARE, record, moved))
        return found
