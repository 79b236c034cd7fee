"""A hand and what it holds, as one rigid group of layers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from cutline.tools.scenes.canvas import Canvas
from cutline.tools.scenes.hand import Grip, Hand
from cutline.tools.scenes.shot import F32
from cutline.tools.scenes.sprite import MARGIN, Sprite

__all__ = ["Layer", "alone", "chained", "fitting", "grip_of", "group_tags", "hold", "lay"]

_PALM = 0.36  # a palm's width, in heights of a product of common size
_GRIP_ROW: dict[Grip, float] = {"palm behind": 0.55, "fingers before": 0.55, "from above": 0.07, "from below": 0.97}


@dataclass(frozen=True, slots=True)
class Layer:
    """One sprite of a group and where it is, as a matrix from its pixels to those of the group's product."""

    sprite: Sprite
    matrix: F32  # [2, 3]
    is_hand: bool


def chained(outer: F32, inner: F32) -> F32:
    """Return the 2x3 matrix that does `inner` first, then `outer`."""
    matrix = np.empty((2, 3), np.float32)
    matrix[:, :2] = outer[:, :2] @ inner[:, :2]
    matrix[:, 2] = outer[:, :2] @ inner[:, 2] + outer[:, 2]
    return matrix


def grip_of(sprite: Sprite, grip: Grip) -> tuple[int, float, float]:
    """Return where a hand would grip a product: the row, and there the middle and half the width, in its pixels."""
    row = int(MARGIN + _GRIP_ROW[grip] * (sprite.height - 2 * MARGIN - 1))
    seen = np.flatnonzero(sprite.rgba[row, :, 3] > 60)
    if seen.size == 0:  # nothing there, as in a ring: by its middle
        return row, (sprite.width - 1) / 2, 1.0
    return row, float(seen[0] + seen[-1]) / 2, max(float(seen[-1] - seen[0]) / 2, 1.0)


def fitting(sprite: Sprite, hands: Sequence[Hand]) -> Hand:
    """Return the hand that can hold the product with the least change of its natural size."""

    def misfit(hand: Hand) -> float:
        half = grip_of(sprite, hand.grip)[2]
        return abs(float(np.log(half / hand.half_width / (_PALM * sprite.height))))

    return min(hands, key=misfit)


def hold(sprite: Sprite, hand: Hand, *, left: bool = False) -> list[Layer]:
    """Put a product into a hand: the hand grows or shrinks until its grip fits the product.

    Args:
        left: mirror the hand.
    Returns:
        the layers from back to front, in the product's pixels.
    """
    row, middle, half = grip_of(sprite, hand.grip)
    palm = float(
        np.clip(half / hand.half_width, 0.22 * sprite.height, 0.8 * sprite.height)
    )  # no giants, no small children
    scale = palm / hand.unit
    side = -scale if left else scale
    matrix = np.array([[side, 0, middle - side * hand.anchor[0]], [0, scale, row - scale * hand.anchor[1]]], np.float32)
    own = np.array([[1, 0, 0], [0, 1, 0]], np.float32)
    part = np.array([[1, 0, hand.offset[0]], [0, 1, hand.offset[1]]], np.float32)
    return [Layer(hand.back, matrix, True), Layer(sprite, own, False), Layer(hand.front, chained(matrix, part), True)]


def alone(sprite: Sprite) -> list[Layer]:
    """Return the group of a product that nobody holds."""
    return [Layer(sprite, np.array([[1, 0, 0], [0, 1, 0]], np.float32), False)]


def lay(
    canvas: Canvas,
    layers: Sequence[Layer],
    matrix: F32,
    item: int,
    *,
    light: F32 | None = None,
    motion: tuple[float, float] = (0.0, 0.0),
    defocus: float = 0.0,
) -> None:
    """Put a group onto the canvas, by a matrix from its product's pixels to the frame's; a hand gets the next id."""
    product = next(layer.sprite for layer in layers if not layer.is_hand)
    reach = float(np.hypot(matrix[0, 1], matrix[1, 1])) * product.height * 0.02
    for number, layer in enumerate(layers):
        whole = chained(matrix, layer.matrix)
        if layer.is_hand and number > 0:  # fingers shade what they touch
            touch = whole.copy()
            touch[1, 2] += reach
            canvas.shade(layer.sprite, touch, 0.5, reach, on_item=item)
        own = item + 1 if layer.is_hand else item
        canvas.put(layer.sprite, whole, own, light=light, motion=motion, defocus=defocus)


def group_tags(layers: Sequence[Layer], item: int) -> dict[int, frozenset[str]]:
    """Return the tags of a group's ids."""
    product = next(layer.sprite for layer in layers if not layer.is_hand)
    if not any(layer.is_hand for layer in layers):
        return {item: product.tags}
    held = frozenset({"hand-held"} if product.tags else ())  # an empty hand holds nothing
    return {item: product.tags | held, item + 1: frozenset({"opaque", "hand"}) | held}
