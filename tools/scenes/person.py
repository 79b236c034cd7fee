"""Somebody in the background: from the chin down, out of focus."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from cutline.tools.scenes.relief import Capsule, Relief, normals
from cutline.tools.scenes.shot import F32, f32
from cutline.tools.scenes.textures import cloud, colour

__all__ = ["SKINS", "Looks", "draw_looks", "with_person"]

_STEP = 3  # drawn this much smaller, since it is blurred anyway


SKINS = (
    (0.96, 0.80, 0.69),
    (0.93, 0.73, 0.60),
    (0.84, 0.62, 0.47),
    (0.70, 0.49, 0.35),
    (0.52, 0.35, 0.25),
    (0.36, 0.24, 0.18),
)  # pale to dark, R'G'B'


@dataclass(frozen=True, slots=True)
class Looks:
    """Colours of one person: skin, and the cloth of shirt and sleeve (None: bare arms)."""

    skin: F32
    cloth: F32 | None


def draw_looks(rng: np.random.Generator) -> Looks:
    """Draw a person."""
    skin = np.array(SKINS[int(rng.integers(len(SKINS)))], np.float32) * np.float32(rng.uniform(0.9, 1.05))
    return Looks(skin, colour(rng, saturation=(0, 0.7), value=(0.08, 0.9)) if rng.random() < 0.75 else None)


def with_person(rng: np.random.Generator, scene: F32, looks: Looks) -> F32:
    """Return the scene with somebody standing in it, float32[H, W, 3], 0..1."""
    height, width = scene.shape[:2]
    columns, rows = -(-width // _STEP), -(-height // _STEP)
    unit, x = float(rows), columns * rng.uniform(0.4, 0.6)
    wide, top = rng.uniform(0.25, 0.31) * unit, rng.uniform(-0.02, 0.12) * unit
    shirt = _shirt(x, unit, wide, top, columns, rows)
    folds = (cloud(rng, columns, rows, unit * 0.3, 2, 0.4) - 0.5) * 0.05 * unit
    nx, ny, nz = normals((np.maximum(shirt.heights, -0.3 * unit) + folds).astype(np.float32), 3.0)
    side = rng.choice([-1, 1])
    shade = np.clip(0.42 + 0.62 * np.clip(0.45 * side * nx - 0.5 * ny + 0.75 * nz, 0, 1), 0, 1.1)[..., None]
    cloth = colour(rng, saturation=(0.05, 0.6), value=(0.15, 0.85)) if looks.cloth is None else looks.cloth
    stripes = f32(1.0)
    if rng.random() < 0.4:
        period = unit * rng.uniform(0.02, 0.05)
        stripes = f32(1 - 0.3 * (np.sin(2 * np.pi * np.arange(columns) / period) > 0.3)[None, :, None])
    drawn = np.clip(cloth * shade * stripes, 0, 1).astype(np.float32)
    skin = looks.skin
    neck = Relief(columns, rows)
    neck.add([Capsule(x, -0.4 * unit, 0.085 * unit, x, top + 0.08 * unit, 0.095 * unit)], 0)
    neck.add(
        [Capsule(x, top - 0.16 * unit, 0.15 * unit, x, top - 0.1 * unit, 0.12 * unit, 0.2 * unit, 0.2 * unit)],
        0.03 * unit,
    )
    mx, my, mz = normals(np.maximum(neck.heights, -0.1 * unit), 2.0)
    lit = np.clip(0.5 + 0.55 * np.clip(0.45 * side * mx - 0.4 * my + 0.75 * mz, 0, 1), 0, 1)[..., None]
    bare = neck.coverage[..., None]
    drawn = skin * lit * bare + drawn * (1 - bare)
    _collar(drawn, cloth * 0.9, x, unit, top)
    alpha = np.maximum(shirt.coverage[..., None], bare)[..., 0]
    return _blended(scene, drawn * alpha[..., None], alpha, unit * rng.uniform(0.008, 0.02))


def _shirt(x: float, unit: float, wide: float, top: float, columns: int, rows: int) -> Relief:
    """Shoulders, chest and both upper arms."""
    shirt = Relief(columns, rows)
    for side in (-1, 1):
        shoulder, elbow = (x + side * wide, top + 0.24 * unit), (x + side * wide * 1.3, 1.05 * unit)
        shirt.add([Capsule(*shoulder, 0.11 * unit, *elbow, 0.1 * unit)], 0.05 * unit)
        neck = (x + side * 0.08 * unit, top + 0.14 * unit)
        shirt.add([Capsule(*neck, 0.07 * unit, *shoulder, 0.1 * unit)], 0.12 * unit)
        chest = (x + side * wide * 0.45, top + 0.4 * unit)
        shirt.add(
            [Capsule(*chest, 0.2 * unit, x + side * wide * 0.42, 1.3 * unit, 0.21 * unit, 0.04 * unit, 0)], 0.2 * unit
        )
    return shirt


def _collar(drawn: F32, tone: F32, x: float, unit: float, top: float) -> None:
    """Draw an open collar and a row of buttons, in place."""
    for side in (-1, 1):
        points = np.array([(0.11, 0.05), (0.15, 0.12), (0.07, 0.26), (0.005, 0.17)]) * unit
        corners = np.stack([x + side * points[:, 0], top + points[:, 1]], 1)
        cv2.fillPoly(drawn, [(corners * 8).astype(np.int32)], tone.tolist(), cv2.LINE_AA, 3)
    seam = (int(x), int(top + 0.2 * unit)), (int(x), int(1.1 * unit))
    cv2.line(drawn, *seam, (tone * 0.75).tolist(), max(1, int(unit / 120)), cv2.LINE_AA)
    for y in np.arange(top + 0.3 * unit, unit, 0.15 * unit):
        cv2.circle(drawn, (int(x + 0.012 * unit), int(y)), max(1, int(unit / 90)), (0.9, 0.9, 0.88), -1, cv2.LINE_AA)


def _blended(scene: F32, drawn: F32, alpha: F32, sigma: float) -> F32:
    """Lay a small, premultiplied picture over the scene, blurred by `sigma` of its pixels."""
    height, width = scene.shape[:2]
    size = (drawn.shape[1] * _STEP, drawn.shape[0] * _STEP)
    big, soft = (
        cv2.resize(cv2.GaussianBlur(plane, (0, 0), sigma), size, interpolation=cv2.INTER_CUBIC)[:height, :width]
        for plane in (drawn.astype(np.float32), alpha.astype(np.float32))
    )
    covered = np.clip(soft, 0, 1)[..., None]
    return f32(np.clip(big + (1 - covered) * scene, 0, 1))
