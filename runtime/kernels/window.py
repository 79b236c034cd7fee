"""Where the network's input lies in the frame."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from cutline.runtime.errors import ContractError, UsageError

__all__ = ["Rect", "Window", "place"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rect:
    """A rectangle in pixels; pixel (0, 0) covers 0..1, so fractions are edges inside a pixel."""

    x: float
    y: float
    width: float
    height: float

    def __post_init__(self) -> None:
        numbers = (self.x, self.y, self.width, self.height)
        if not all(math.isfinite(n) for n in numbers) or self.width <= 0 or self.height <= 0:
            raise ContractError("a rectangle needs a positive, finite size", remedy="Correct it.", rect=numbers)


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """`source`, in luma pixels of the frame, is shown at `target`, in pixels of a network input of width x height.

    What lies in the input outside `target` repeats the nearest pixel of `source`; outside `source` alpha is 0.
    """

    source: Rect
    target: Rect
    width: int
    height: int

    def __post_init__(self) -> None:
        t = self.target
        slack = 1e-6 * max(self.width, self.height)
        fits = t.x >= -slack and t.y >= -slack and t.x + t.width <= self.width + slack
        if not fits or t.y + t.height > self.height + slack:
            raise ContractError(
                "the window's target lies outside the network input", remedy="Use place().", window=self
            )


def place(
    frame_width: int,
    frame_height: int,
    width: int,
    height: int,
    *,
    mode: Literal["fit", "fill", "stretch"] = "fit",
    crop: Rect | None = None,
) -> Window:
    """Lay a frame, or a crop of it, into a network input of width x height.

    fit: all of it, centred, its shape kept, bars beside it. fill: its centre, its shape kept, no bars.
    stretch: all of it, its shape changed.

    Raises:
        UsageError: the crop reaches outside the frame, or the mode is unknown.
    """
    area = crop or Rect(x=0, y=0, width=frame_width, height=frame_height)
    if area.x < 0 or area.y < 0 or area.x + area.width > frame_width or area.y + area.height > frame_height:
        raise UsageError(
            "the crop reaches outside the frame",
            remedy=f"Keep it within {frame_width}x{frame_height}.",
            crop=(area.x, area.y, area.width, area.height),
        )
    whole = Rect(x=0, y=0, width=width, height=height)
    if mode == "stretch":
        return Window(source=area, target=whole, width=width, height=height)
    if mode == "fit":
        scale = min(width / area.width, height / area.height)
        target = _centred(whole, area.width * scale, area.height * scale)
        return Window(source=area, target=target, width=width, height=height)
    if mode == "fill":
        scale = max(width / area.width, height / area.height)
        source = _centred(area, width / scale, height / scale)
        return Window(source=source, target=whole, width=width, height=height)
    raise UsageError("unknown way to place a frame", remedy="Use fit, fill or stretch.", mode=mode)


def _centred(area: Rect, width: float, height: float) -> Rect:
    width, height = min(width, area.width), min(height, area.height)
    return Rect(x=area.x + (area.width - width) / 2, y=area.y + (area.height - height) / 2, width=width, height=height)
