"""How a surface looks under the lamps of a scene: diffuse light, soft boxes mirrored in gloss, and metal."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from cutline.tools.scenes.shot import F32

__all__ = ["Lamps", "draw_lamps"]


@dataclass(frozen=True, slots=True)
class Lamps:
    """The light of one scene: one main lamp, light from all around, and soft boxes that show in glossy surfaces."""

    direction: tuple[float, float, float]  # towards the main lamp: x right, y down, z to the camera; length 1
    ambient: float
    boxes: tuple[
        tuple[float, float, float, float], ...
    ]  # nx, half width, ny, half height of each box, as normals see it
    phase: float  # of the room as metal mirrors it

    def diffuse(self, nx: F32, ny: F32, nz: F32) -> F32:
        """Factor of a matt surface's colour, about 1 where it faces the lamp."""
        x, y, z = self.direction
        facing = np.clip(nx * x + ny * y + nz * z, 0, None)
        factor: F32 = np.float32(self.ambient) + np.float32(1.05 - self.ambient) * facing
        return factor

    def mirrored(self, nx: F32, ny: F32, rough: float = 0.35) -> F32:
        """Share of white that a glossy surface adds: the soft boxes, the softer the rougher it is."""
        total = np.zeros(np.broadcast(nx, ny).shape, np.float32)
        for x, wide, y, high in self.boxes:
            across = np.clip((wide - np.abs(nx - x)) / (rough * wide) + 0.5, 0, 1)
            along = np.clip((high - np.abs(ny - y)) / (rough * high) + 0.5, 0, 1)
            total += across * along
        return np.minimum(total, 1)

    def room(self, nx: F32, ny: F32) -> F32:
        """Brightness that bare metal mirrors: bright and dark stripes of a room, 0..1."""
        wave = np.sin(nx * 5 + self.phase) + 0.6 * np.sin(nx * 11 + 2 * self.phase) + 0.5 * np.sin(ny * 3)
        bright: F32 = np.clip(0.55 + 0.25 * wave, 0.05, 1).astype(np.float32)
        return bright


def draw_lamps(rng: np.random.Generator) -> Lamps:
    """Draw the lamps of a scene."""
    towards = np.array([rng.normal(0, 0.5), rng.uniform(-0.9, -0.1), rng.uniform(0.5, 1.2)])
    towards /= np.linalg.norm(towards)
    boxes = []
    for _ in range(int(rng.integers(1, 4))):
        side = rng.choice([-1, 1])
        boxes.append(
            (
                float(side * rng.uniform(0.25, 0.8)),
                float(rng.uniform(0.03, 0.14)),
                float(rng.uniform(-0.3, 0.1)),
                float(rng.uniform(0.2, 0.8)),
            )
        )
    return Lamps(
        (float(towards[0]), float(towards[1]), float(towards[2])),
        float(rng.uniform(0.3, 0.65)),
        tuple(boxes),
        float(rng.uniform(0, 6.28)),
    )
