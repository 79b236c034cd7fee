"""A contact sheet: the worst mattes, beside what they should have been."""

from __future__ import annotations

from typing import final

import cv2
import numpy as np
from numpy.typing import NDArray

from cutline.tools.evaluate.cases import Case
from cutline.tools.evaluate.evaluation import FrameFigures

__all__ = ["WorstSheet"]

U8 = NDArray[np.uint8]
_TILE = (256, 144)  # width, height of one picture
_COLUMNS = 4  # cases side by side
_GREEN = np.array([60, 180, 90], np.float32)  # R, G, B behind the composite


@final
class WorstSheet:
    """Owns the tiles of the worst cases so far, by mean absolute difference."""

    def __init__(self, keep: int = 24) -> None:
        self._keep = keep
        self._tiles: list[tuple[float, str, U8]] = []

    def add(self, case: Case, alpha: NDArray[np.float32], figures: FrameFigures) -> None:
        """Keep this case if it is among the worst."""
        if len(self._tiles) == self._keep and figures.mad <= self._tiles[-1][0]:
            return
        self._tiles.append((figures.mad, case.name, _tile(case, alpha, figures)))
        self._tiles.sort(key=lambda tile: (-tile[0], tile[1]))
        del self._tiles[self._keep :]

    def picture(self) -> U8:
        """uint8[H, W, 3], R'G'B': frame, truth, matte and composite of each case, the worst first."""
        if not self._tiles:
            return np.zeros((_TILE[1], _TILE[0], 3), np.uint8)
        tiles = [tile for _, _, tile in self._tiles]
        tiles += [np.zeros_like(tiles[0])] * (-len(tiles) % _COLUMNS)
        rows = [np.hstack(tiles[k : k + _COLUMNS]) for k in range(0, len(tiles), _COLUMNS)]
        return np.vstack(rows)


def _tile(case: Case, alpha: NDArray[np.float32], figures: FrameFigures) -> U8:
    frame = cv2.resize(case.shot.rgb, _TILE, interpolation=cv2.INTER_AREA)
    truth = cv2.resize(case.shot.alpha, _TILE, interpolation=cv2.INTER_AREA)
    found = cv2.resize(alpha, _TILE, interpolation=cv2.INTER_AREA)
    composite = frame * found[..., None] + _GREEN * (1 - found[..., None])
    parts = [frame, *(np.repeat(m[..., None] * 255, 3, 2) for m in (truth, found)), composite]
    tile = np.vstack([np.hstack(parts[:2]), np.hstack(parts[2:])]).astype(np.uint8)
    text = f"{case.name}  MAD {figures.mad:.3f}  IoU {figures.iou:.2f}"
    cv2.putText(tile, text, (4, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (0, 0, 0), 3, cv2.LINE_AA)
    cv2.putText(tile, text, (4, 12), cv2.FONT_HERSHEY_SIMPLEX, 0.4, (255, 255, 255), 1, cv2.LINE_AA)
    tile[-2:] = tile[:, -2:] = 32
    return tile
