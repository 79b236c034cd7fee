"""The loss over the steps, as a PNG."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from cutline.tools.results import write_whole

__all__ = ["draw_curve"]

_WIDTH, _HEIGHT, _MARGIN = 960, 480, 56  # pixels
_INK, _LINE, _SOFT = (40, 40, 40), (180, 90, 20), (235, 215, 195)  # B, G, R


def draw_curve(losses: tuple[float, ...], path: Path) -> None:
    """Draw every step's loss (light) and its running mean (dark) on a logarithmic scale.

    Raises:
        StorageError: the file cannot be written.
    """
    picture = np.full((_HEIGHT, _WIDTH, 3), 255, np.uint8)
    values = np.log10(np.maximum(np.array(losses, np.float64), 1e-6)) if losses else np.zeros(1)
    window = max(1, len(values) // 50)
    sums = np.cumsum(np.concatenate([np.zeros(1), values]))
    ends = np.arange(1, len(values) + 1)
    starts = np.maximum(0, ends - window)
    smooth = (sums[ends] - sums[starts]) / (ends - starts)
    low, high = np.percentile(values, [0.5, 99.5])
    low, high = float(low) - 0.05, float(high) + 0.05
    for curve, colour, thick in ((values, _SOFT, 1), (smooth, _LINE, 2)):
        x = np.linspace(_MARGIN, _WIDTH - 16, len(curve))
        y = _MARGIN / 2 + (1 - np.clip((curve - low) / (high - low), 0, 1)) * (_HEIGHT - 1.5 * _MARGIN)
        points = (np.stack([x, y], -1) * 16).astype(np.int32)
        cv2.polylines(picture, [points], False, colour, thick, cv2.LINE_AA, 4)
    cv2.rectangle(picture, (_MARGIN, _MARGIN // 2), (_WIDTH - 16, _HEIGHT - _MARGIN), _INK, 1)
    for share in (0.0, 0.5, 1.0):
        label = f"{10 ** (low + share * (high - low)):.3g}"
        row = int(_MARGIN / 2 + (1 - share) * (_HEIGHT - 1.5 * _MARGIN)) + 5
        cv2.putText(picture, label, (4, row), cv2.FONT_HERSHEY_SIMPLEX, 0.45, _INK, 1, cv2.LINE_AA)
        at = (int(_MARGIN + share * (_WIDTH - _MARGIN - 64)), _HEIGHT - _MARGIN + 20)
        cv2.putText(picture, f"{share * len(losses):.0f}", at, cv2.FONT_HERSHEY_SIMPLEX, 0.45, _INK, 1, cv2.LINE_AA)
    cv2.putText(picture, "loss by step", (_MARGIN, _HEIGHT - 12), cv2.FONT_HERSHEY_SIMPLEX, 0.5, _INK, 1, cv2.LINE_AA)
    write_whole(path, cv2.imencode(".png", picture)[1].tobytes())
