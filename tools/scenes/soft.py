"""Soft packages: bags of crisps, pouches, tubes, clear bags. A flat outline that swells, with creases that shine."""

from __future__ import annotations

import colorsys
from collections.abc import Callable, Sequence
from typing import final

import cv2
import numpy as np

from cutline.tools.scenes.labels import draw_design
from cutline.tools.scenes.light import Lamps
from cutline.tools.scenes.relief import normals
from cutline.tools.scenes.seeds import Split
from cutline.tools.scenes.shot import F32, U8, f32
from cutline.tools.scenes.sprite import Sprite
from cutline.tools.scenes.textures import cloud, speckle

__all__ = ["PACKS", "Pack"]

_FINE = 256  # rows of the outline and of the creases


@final
class Pack:
    """Owns one soft package. Lengths in its own height."""

    def __init__(
        self,
        outline: F32,
        picture: U8,
        creases: F32,
        *,
        swell: F32,
        gloss: float,
        metal: float,
        tags: Sequence[str],
        alpha: F32 | None = None,
        hole: tuple[float, float, float, float] | None = None,
    ) -> None:
        """Describe it.

        Args:
            outline: half width from top to bottom, float32[n].
            picture: uint8[h, w, 3], what is printed on it.
            creases: float32[h, w], their height.
            swell: thickness from top to bottom, float32[n].
            alpha: float32[h, w] where one can see through; None for none.
            hole: centre and radii of a grip hole.
        """
        self.tags = frozenset(tags)
        self._outline, self._picture, self._creases, self._swell = outline, picture, creases, swell
        self._gloss, self._metal, self._alpha, self._hole = gloss, metal, alpha, hole
        self.width = 2 * float(outline.max())

    def view(self, yaw: float, height: float, lamps: Lamps) -> Sprite:
        """Draw it turned by `yaw` radians: a flat thing, so it gets narrower, but never thinner than it is swollen."""
        facing = float(np.cos(yaw))
        thick = 0.6 * float(self._swell.max()) / max(self.width, 1e-3)
        squeeze = np.sqrt(facing**2 + (1 - facing**2) * thick**2)
        half, rows = int(np.ceil(self.width / 2 * height * squeeze)) + 2, int(np.ceil(height)) + 1
        x = (np.arange(2 * half + 1, dtype=np.float32)[None] - half) / np.float32(height * squeeze)
        y = np.arange(rows, dtype=np.float32)[:, None] / np.float32(height)
        at = np.linspace(0, 1, len(self._outline))
        edge = np.interp(y[:, 0], at, self._outline).astype(np.float32)[:, None]
        swell = np.interp(y[:, 0], at, self._swell).astype(np.float32)[:, None]
        cover = np.clip((edge - np.abs(x)) * height * squeeze + 0.5, 0, 1) * np.clip((1 - y) * height + 0.5, 0, 1)
        across = np.clip(np.abs(x) / np.maximum(edge, 1e-3), 0, 1)
        u = np.clip(x / self.width * (1 if facing >= 0 else -1) + 0.5, 0, 1) + 0 * y
        v = y + 0 * x
        relief = (swell * np.sqrt(np.maximum(1 - across**2.5, 0)) + self._look(self._creases, u, v)) * np.float32(
            height
        )
        nx, ny, nz = normals(relief.astype(np.float32), max(0.7, height / 220))
        nx = np.clip(nx + float(np.sin(yaw)) * 0.6, -1, 1)
        base = self._look(self._picture, u, v).astype(np.float32) * np.float32(1 / 255)
        diffuse, mirrored = lamps.diffuse(nx, ny, nz), lamps.mirrored(nx, ny)
        foil = (self._metal * (lamps.room(nx, ny) - 0.5))[..., None]
        glint = (self._gloss * mirrored)[..., None]
        rgb = np.clip((base * diffuse[..., None] * (1 + foil)) * (1 - glint) + glint, 0, 1)
        optics = None
        if self._alpha is not None:
            film = self._look(self._alpha, u, v)
            fold = np.clip(np.hypot(nx, ny) * 1.2 - 0.35, 0, 1) * 0.6
            body = film + (1 - film) * np.maximum(glint[..., 0], fold * (1 - film))
            cover = cover * body
            optics = np.zeros((*body.shape, 3), np.float32)
            optics[..., 0] = 0.4 * (1 - film)
            optics[..., 1], optics[..., 2] = nx * 0.02 * height, ny * 0.02 * height
        if self._hole is not None:
            hole_x, hole_y, wide, high = self._hole
            reach = np.hypot((x - hole_x) / wide, (y - hole_y) / high)
            cover = cover * np.clip((reach - 1) * min(wide * squeeze, high) * height + 0.5, 0, 1)
        return Sprite.from_straight(rgb.astype(np.float32), cover.astype(np.float32), sorted(self.tags), optics)

    @staticmethod
    def _look(picture: F32 | U8, u: F32, v: F32) -> F32:
        high, wide = picture.shape[:2]
        seen: F32 = cv2.remap(
            picture, (u * (wide - 1)).astype(np.float32), (v * (high - 1)).astype(np.float32), cv2.INTER_LINEAR
        )
        return seen


def _outline(rng: np.random.Generator, points: Sequence[tuple[float, float]], uneven: float = 0.002) -> F32:
    """Half widths from (y, half width) points, a little uneven."""
    ys, ws = np.array(points).T
    line = np.interp(np.linspace(0, 1, _FINE), ys, ws)
    wave = cloud(rng, _FINE, 1, 24.0, 3)[0] - 0.5
    return f32(np.maximum(line + uneven * 6 * wave, 0.0))


def _printed(rng: np.random.Generator, split: Split, pixels: int, width: float) -> U8:
    design = draw_design(rng, split)
    high = max(24, pixels)
    return design.face(max(16, int(high * width)), high)


def crisps_bag(rng: np.random.Generator, split: Split, pixels: int) -> Pack:
    """A pillow bag of foil, crimped at both ends."""
    half = rng.uniform(0.28, 0.4)
    edge = half * rng.uniform(0.96, 1.02)
    outline = _outline(rng, [(0, edge), (0.06, edge), (0.2, half * 0.92), (0.8, half * 0.93), (0.94, edge), (1, edge)])
    y = np.linspace(0, 1, _FINE, dtype=np.float32)
    swell = 0.16 * np.clip(np.sin(np.pi * np.clip((y - 0.06) / 0.88, 0, 1)), 0, 1) ** 0.6
    creases = 0.02 * (cloud(rng, 192, _FINE, 60.0, 3, 0.4) - 0.5)
    near_end = np.exp(-np.minimum(y, 1 - y) / 0.12)[:, None]
    creases += near_end * 0.018 * (cloud(rng, 192, _FINE, 40.0, 2, 0.12) - 0.5) * 2
    crimp = (np.minimum(y, 1 - y) < 0.05)[:, None] * 0.004 * np.sin(y * 700)[:, None]
    creases = creases + crimp.astype(np.float32)
    return Pack(
        outline,
        _printed(rng, split, pixels, 2 * half),
        creases.astype(np.float32),
        swell=swell.astype(np.float32),
        gloss=float(rng.uniform(0.3, 0.8)),
        metal=float(rng.uniform(0.2, 0.8)),
        tags=("opaque",),
    )


def toothpaste(rng: np.random.Generator, split: Split, pixels: int) -> Pack:
    """A tube standing on its cap: crimped at the top, round below."""
    half = rng.uniform(0.13, 0.18)
    cap = half * rng.uniform(0.5, 0.75)
    outline = _outline(
        rng, [(0, half), (0.05, half), (0.72, half * 0.86), (0.8, cap * 1.1), (0.801, cap), (1, cap * 0.95)], 0.001
    )
    y = np.linspace(0, 1, _FINE, dtype=np.float32)
    swell = half * np.clip((y - 0.02) / 0.6, 0, 1) ** 0.7 * np.where(y > 0.8, cap / half, 1)
    picture = _printed(rng, split, pixels, 2 * half)
    tone = np.array(colorsys.hsv_to_rgb(rng.random(), rng.uniform(0, 0.9), rng.uniform(0.5, 1))) * 255
    picture[int(picture.shape[0] * 0.8) :] = tone.astype(np.uint8)
    creases = 0.002 * (cloud(rng, 96, _FINE, 60.0, 2) - 0.5)
    return Pack(
        outline,
        picture,
        creases,
        swell=swell.astype(np.float32),
        gloss=float(rng.uniform(0.3, 0.7)),
        metal=0.1,
        tags=("opaque",),
    )


def carrier_bag(rng: np.random.Generator, split: Split, pixels: int) -> Pack:
    """A paper or plastic bag with a grip hole."""
    half = rng.uniform(0.32, 0.45)
    outline = _outline(rng, [(0, half * 0.98), (0.3, half), (1, half * rng.uniform(0.9, 1.02))])
    y = np.linspace(0, 1, _FINE, dtype=np.float32)
    creases = 0.05 * (cloud(rng, 192, _FINE, 110.0, 3, 0.5) - 0.5)
    return Pack(
        outline,
        _printed(rng, split, pixels, 2 * half),
        creases,
        swell=(0.1 * y).astype(np.float32),
        gloss=float(rng.uniform(0, 0.4)),
        metal=0.05,
        tags=("opaque",),
        hole=(0.0, 0.09, half * 0.35, 0.03),
    )


def clear_bag(rng: np.random.Generator, split: Split, pixels: int) -> Pack:
    """A bag of clear film with something in it: sweets, nuts, screws; a paper label at the top."""
    half = rng.uniform(0.27, 0.42)
    outline = _outline(rng, [(0, half), (0.2, half), (0.75, half * 1.02), (0.95, half * 0.95), (1, half * 0.85)])
    wide, high = int(_FINE * 2 * half), _FINE
    level = int(high * rng.uniform(0.35, 0.75))
    lumps = speckle(rng, wide, high, int(rng.integers(60, 250)), high * rng.uniform(0.02, 0.06))
    lumps[:level] *= np.clip(1 - (level - np.arange(level)) / 12.0, 0, 1)[:, None].astype(np.float32)
    tone = np.array(colorsys.hsv_to_rgb(rng.random(), rng.uniform(0.2, 0.9), rng.uniform(0.4, 0.9)), np.float32)
    body = tone * (0.6 + 0.7 * cloud(rng, wide, high, 14.0, 2))[..., None]
    film = np.array([0.85, 0.88, 0.9], np.float32)
    picture = film + (body - film) * lumps[..., None]
    alpha = 0.12 + 0.1 * cloud(rng, wide, high, 60.0, 2) + 0.8 * lumps
    label = int(high * rng.uniform(0.12, 0.22))
    code = cv2.convertScaleAbs(np.clip(picture, 0, 1), alpha=255.0)
    if rng.random() < 0.7:
        code[:label] = cv2.resize(_printed(rng, split, pixels, 2 * half)[: max(4, pixels // 3)], (wide, label))
        alpha[:label] = 1
    y = np.linspace(0, 1, _FINE, dtype=np.float32)
    creases = 0.06 * (cloud(rng, wide, high, 90.0, 3, 0.6) - 0.5)
    swell = 0.14 * np.clip(y - 0.15, 0, 1) ** 0.5
    return Pack(
        outline,
        code,
        creases,
        swell=swell.astype(np.float32),
        gloss=0.8,
        metal=0.0,
        tags=("transparent",),
        alpha=np.clip(alpha, 0, 1).astype(np.float32),
    )


def sleeve(rng: np.random.Generator, split: Split, pixels: int) -> Pack:
    """Clear film round something thin, or round nothing: a sleeve, a bread bag, with print or a seam."""
    half = rng.uniform(0.25, 0.5)
    outline = _outline(rng, [(0, half * rng.uniform(0.6, 1)), (0.25, half), (1, half * 0.97)], 0.004)
    wide, high = int(_FINE * 2 * half), _FINE
    picture = np.empty((high, wide, 3), np.float32)
    picture[:] = np.array(colorsys.hsv_to_rgb(rng.random(), rng.uniform(0, 0.3), rng.uniform(0.75, 1)))
    alpha = np.full((high, wide), rng.uniform(0.1, 0.35), np.float32)
    for _ in range(int(rng.integers(0, 4))):  # seams, bands, stripes
        top, thick = int(rng.uniform(0, 0.95) * high), int(rng.uniform(0.01, 0.12) * high) + 1
        picture[top : top + thick] = np.array(colorsys.hsv_to_rgb(rng.random(), rng.uniform(0, 0.9), 0.9))
        alpha[top : top + thick] = rng.uniform(0.4, 1)
    if rng.random() < 0.5:  # what is in it
        body = np.clip((cloud(rng, wide, high, high / 2, 3) - rng.uniform(0.4, 0.6)) * 9, 0, 1)
        picture += (_printed(rng, split, pixels, 2 * half).mean((0, 1)) / 255 - picture) * body[..., None]
        alpha = alpha + (rng.uniform(0.5, 1) - alpha) * body
    creases = rng.uniform(0.03, 0.12) * (cloud(rng, wide, high, rng.uniform(60, 160), 3, 0.7) - 0.5)
    return Pack(
        outline,
        cv2.convertScaleAbs(picture.astype(np.float32), alpha=255.0),
        creases.astype(np.float32),
        swell=np.full(_FINE, rng.uniform(0.02, 0.12), np.float32),
        gloss=float(rng.uniform(0.5, 0.9)),
        metal=0.0,
        tags=("transparent",),
        alpha=np.clip(alpha, 0, 1).astype(np.float32),
    )


def blister(rng: np.random.Generator, split: Split, pixels: int) -> Pack:
    """A printed card or tray under a clear dome."""
    half = rng.uniform(0.25, 0.45)
    outline = _outline(rng, [(0, half), (1, half)], 0.001)
    wide, high = int(_FINE * 2 * half), _FINE
    picture = cv2.resize(_printed(rng, split, pixels, 2 * half), (wide, high))
    alpha = np.ones((high, wide), np.float32)
    top, left = int(high * rng.uniform(0.15, 0.4)), int(wide * rng.uniform(0.06, 0.2))
    window = (slice(top, high - left), slice(left, wide - left))
    alpha[window] = rng.uniform(0.15, 0.4)
    tone = np.array(colorsys.hsv_to_rgb(rng.random(), rng.uniform(0, 0.2), 0.9)) * 255
    picture[window] = tone.astype(np.uint8)
    dome = np.zeros((high, wide), np.float32)
    dome[window] = rng.uniform(0.02, 0.08)
    creases = cv2.GaussianBlur(dome, (0, 0), 4) + 0.02 * (cloud(rng, wide, high, 90.0, 2) - 0.5)
    return Pack(
        outline,
        picture,
        creases.astype(np.float32),
        swell=np.full(_FINE, 0.02, np.float32),
        gloss=float(rng.uniform(0.5, 0.9)),
        metal=0.0,
        tags=("transparent",),
        alpha=alpha,
    )


def pouch(rng: np.random.Generator, split: Split, pixels: int) -> Pack:
    """A standing pouch with a spout or zip, wider at the foot."""
    half = rng.uniform(0.24, 0.36)
    outline = _outline(
        rng, [(0, half * 0.92), (0.05, half * 0.93), (0.6, half * 0.97), (0.93, half * 1.04), (1, half * 0.96)], 0.001
    )
    y = np.linspace(0, 1, _FINE, dtype=np.float32)
    swell = 0.2 * np.clip((y - 0.08) / 0.9, 0, 1) ** 0.8
    creases = (
        0.03 * (cloud(rng, 192, _FINE, 120.0, 3, 0.5) - 0.5) + 0.006 * np.exp(-(((y - 0.09) / 0.008) ** 2))[:, None]
    )
    return Pack(
        outline,
        _printed(rng, split, pixels, 2 * half),
        creases.astype(np.float32),
        swell=swell.astype(np.float32),
        gloss=float(rng.uniform(0.2, 0.6)),
        metal=0.2,
        tags=("opaque",),
    )


def zip_bag(rng: np.random.Generator, split: Split, pixels: int) -> Pack:
    """A nearly empty bag of clear film with a coloured zip."""
    del split, pixels
    half = rng.uniform(0.35, 0.48)
    outline = _outline(rng, [(0, half), (0.1, half), (0.9, half), (1, half * 0.98)], 0.006)
    wide, high = int(_FINE * 2 * half), _FINE
    tone = np.array(colorsys.hsv_to_rgb(rng.random(), rng.uniform(0, 0.2), 0.9), np.float32)
    picture = np.empty((high, wide, 3), np.float32)
    picture[:] = tone
    alpha = np.full((high, wide), rng.uniform(0.1, 0.3), np.float32)
    band = slice(int(high * 0.08), int(high * 0.12))
    picture[band] = np.array(colorsys.hsv_to_rgb(rng.random(), 0.9, 0.8))
    alpha[band] = 0.9
    creases = 0.09 * (cloud(rng, wide, high, 130.0, 3, 0.7) - 0.5)
    return Pack(
        outline,
        cv2.convertScaleAbs(picture, alpha=255.0),
        creases,
        swell=np.full(_FINE, 0.05, np.float32),
        gloss=0.85,
        metal=0.0,
        tags=("transparent",),
        alpha=alpha,
    )


Maker = Callable[[np.random.Generator, Split, int], Pack]

PACKS: dict[Split, dict[str, Maker]] = {
    "train": {
        "crisps bag": crisps_bag,
        "toothpaste": toothpaste,
        "carrier bag": carrier_bag,
        "clear bag": clear_bag,
        "sleeve": sleeve,
        "blister": blister,
    },
    "test": {"pouch": pouch, "zip bag": zip_bag},
}
