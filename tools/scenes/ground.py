"""What goods leave on the ground they stand on: a cast shadow, a contact shadow, a reflection. All of it background."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cutline.tools.scenes.canvas import Canvas
from cutline.tools.scenes.shot import F32
from cutline.tools.scenes.sprite import Sprite

__all__ = ["Ground", "draw_ground", "stand"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Ground:
    """How the ground takes light: strengths 0..1, lean in heights of the good, softness in heights."""

    shadow: float
    lean: float
    softness: float
    glossy: float

    @property
    def contact(self) -> float:
        """Strength of the dark line where something touches the ground."""
        return 0.35 + 0.5 * self.shadow


def draw_ground(rng: np.random.Generator) -> Ground:
    """Draw the ground of a scene."""
    return Ground(
        shadow=float(rng.uniform(0.1, 0.6)),
        lean=float(rng.uniform(-0.8, 0.8)),
        softness=float(rng.uniform(0.02, 0.15)),
        glossy=float(rng.uniform(0.05, 0.4)) if rng.random() < 0.25 else 0.0,
    )


def stand(canvas: Canvas, sprite: Sprite, matrix: F32, ground: Ground) -> None:
    """Draw shadow and reflection of an upright sprite before it is put there with the same `matrix`."""
    foot = sprite.height - 2.5
    high = float(matrix[1, 1]) * sprite.height
    for squash, lean, strength, softness in (
        (0.35, ground.lean, ground.shadow, ground.softness),
        (0.05, 0.0, ground.contact, 0.015),
    ):
        flat = matrix.copy()
        flat[0, 1] -= lean * matrix[1, 1]
        flat[1, 1] *= squash
        flat[:, 2] += (matrix[:, 1] - flat[:, 1]) * foot
        canvas.shade(sprite, flat, strength, softness * high)
    if sprite.optics is not None:  # clear goods gather light in the middle of their shadow
        bright = matrix.copy()
        bright[0, 1] -= 0.6 * ground.lean * matrix[1, 1]
        bright[1, 1] *= 0.2
        bright[:, 2] += (matrix[:, 1] - bright[:, 1]) * foot
        canvas.shade(sprite, bright, -0.4 * ground.shadow, 0.03 * high)
    if ground.glossy:
        upside = matrix.copy()
        upside[1, 1] *= -1
        upside[1, 2] += 2 * matrix[1, 1] * foot
        canvas.mirror(sprite, upside, ground.glossy, 0.01 * high, 0.5 * high)
