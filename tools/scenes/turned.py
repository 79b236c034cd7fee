"""Round goods: cans, bottles, jars, glasses, cups. A profile turned about its axis, in zones of different material."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import final

import cv2
import numpy as np

from cutline.tools.scenes.light import Lamps
from cutline.tools.scenes.shot import F32, U8, f32
from cutline.tools.scenes.sprite import Sprite

__all__ = ["Clear", "Skin", "Turned", "held_back"]

_LUMA = f32([0.2126, 0.7152, 0.0722])


@dataclass(frozen=True, slots=True, kw_only=True)
class Clear:
    """Transparent material: how much it holds back, of which colour, and how it bends light."""

    tint: F32  # colour that white light has behind it
    density: float  # alpha in the middle, where one looks straight through
    filtering: float = 0.85  # share of the tint that is a filter and not haze
    bend: float = 0.25  # how far the edges shift what is behind, in radii
    lens: float = 0.0  # 0: hollow; 1: full of liquid, which turns what is behind left to right


def held_back(tint: F32) -> float:
    """Return the alpha of clear material by its tint: the darker it makes what is behind, the more of it is there.

    One rule for all clear material, so that alpha can be told from what is seen. Even the clearest glass keeps 0.28:
    a bottle that was cut out and put before something else would vanish, but for its edges.
    """
    return float(0.28 + 0.7 * (1 - _LUMA @ tint))


@dataclass(frozen=True, slots=True, kw_only=True)
class Skin:
    """Material of one zone."""

    colour: F32
    gloss: float = 0.5  # strength of mirrored lamps
    metal: float = 0.0  # share of the colour that mirrors the room
    print: U8 | None = None  # label all the way round, [h, w, 3]
    clear: Clear | None = None
    ribs: int = 0  # vertical ribs round the axis, as on caps


@final
class Turned:
    """Owns one round good. Lengths in its own height; y runs down from 0 to 1."""

    def __init__(
        self,
        profile: Sequence[tuple[float, float]],
        zones: Sequence[tuple[float, Skin]],
        *,
        tags: Sequence[str],
        tilt: float,
        lid: Skin | None = None,
        smooth: float = 0.01,
    ) -> None:
        """Describe it.

        Args:
            profile: (y, radius) from top to bottom.
            zones: (y of the zone's end, its material) from top to bottom.
            tilt: sine of the angle from which one looks down on it.
            lid: material of the flat top.
            smooth: sigma of the rounding of the profile's corners.
        """
        self.tags, self.tilt, self._lid = frozenset(tags), tilt, lid
        self._zones = tuple(zones)
        ys, rs = np.array(profile, np.float64).T
        fine = np.interp(np.linspace(0, 1, 512), ys, rs).astype(np.float32)
        sigma = max(smooth * 512, 0.3)
        self._radii: F32 = cv2.GaussianBlur(fine[None], (0, 0), sigma, borderType=cv2.BORDER_REPLICATE)[0]
        self.width = 2 * float(self._radii.max())

    def scale(self, height: float) -> tuple[float, float]:
        """Return the pixels of its own height, and of its axis' top end, in a view `height` pixels high."""
        unit = height / (1 + self.tilt * float(self._radii[-1] + self._radii[0]))
        return unit, unit * self.tilt * float(self._radii[0])

    def view(self, yaw: float, height: float, lamps: Lamps) -> Sprite:
        """Draw it turned by `yaw` radians, `height` pixels high."""
        unit, _ = self.scale(height)
        half = int(np.ceil(self.width / 2 * unit)) + 1
        x = np.arange(-half, half + 1, dtype=np.float32)[None] / np.float32(unit)
        rows = int(np.ceil(height)) + 1
        screen = np.arange(rows, dtype=np.float32)[:, None] / np.float32(unit) - np.float32(self.tilt * self._radii[0])
        y = f32(screen + np.zeros_like(x))
        radius = self._radius(y)
        for _ in range(2):  # the front of a wide part hangs lower on the screen than its axis
            y = f32(screen - self.tilt * np.sqrt(np.maximum(radius * radius - x * x, 0)))
            radius = self._radius(y)
        side = np.clip((radius - np.abs(x)) * unit + 0.5, 0, 1)
        front = side * np.clip(y * unit + 0.5, 0, 1) * np.clip((1 - y) * unit + 0.5, 0, 1)
        u = f32(np.clip(x / np.maximum(radius, 1e-3), -1, 1))
        colour, alpha, optics = self._skin(u, y, radius, yaw, lamps, unit)
        alpha = alpha * front
        if self._lid is not None:
            colour, alpha, optics = self._cover(colour, alpha, optics, x, screen, unit, lamps)
        return Sprite.from_straight(colour, alpha, sorted(self.tags), optics)

    def _radius(self, y: F32) -> F32:
        index = np.clip(y * 511, 0, 511).astype(np.int32)
        looked_up: F32 = self._radii[index]
        return looked_up

    def _skin(self, u: F32, y: F32, radius: F32, yaw: float, lamps: Lamps, unit: float) -> tuple[F32, F32, F32 | None]:
        """Colour, alpha and optics of the whole side surface."""
        slope = cv2.blur(np.gradient(self._radii)[None].astype(np.float32) * 511, (9, 1))[0]
        index = np.clip(y * 511, 0, 511).astype(np.int32)
        ny = -slope[index]
        nz = np.sqrt(np.maximum(1 - u * u, 0))
        length = np.sqrt(1 + ny * ny)
        nx, ny, nz = u / length, ny / length, nz / length
        diffuse, mirrored = lamps.diffuse(nx, ny, nz), lamps.mirrored(nx, ny)
        room = lamps.room(nx, ny)
        colour = np.zeros((*y.shape, 3), np.float32)
        alpha = np.ones(y.shape, np.float32)
        any_clear = any(skin.clear for _, skin in self._zones)
        optics = np.zeros((*y.shape, 3), np.float32) if any_clear else None
        begin = -1.0
        for end, skin in self._zones:
            mask = (y >= begin) & (y < end) if end < 1 else y >= begin
            rows = np.flatnonzero(mask.any(axis=1))
            if rows.size:
                part = slice(rows[0], rows[-1] + 1)
                where = mask[part]
                if skin.clear is not None and optics is not None:
                    own, own_alpha, own_optics = _see_through(
                        skin, skin.clear, u[part], radius[part] * unit, mirrored[part], room[part]
                    )
                    optics[part][where] = own_optics[where]
                    alpha[part][where] = own_alpha[where]
                else:
                    own = _opaque(
                        skin, u[part], (y[part] - begin) / (end - begin), yaw, diffuse[part], mirrored[part], room[part]
                    )
                colour[part][where] = own[where]
            begin = end
        return np.clip(colour, 0, 1), alpha, optics

    def _cover(
        self, colour: F32, alpha: F32, optics: F32 | None, x: F32, screen: F32, unit: float, lamps: Lamps
    ) -> tuple[F32, F32, F32 | None]:
        """Lay the flat top over the rest: an ellipse, with a rim."""
        top, lid = float(self._radii[0]), self._lid
        if lid is None or self.tilt * top * unit < 0.7:
            return colour, alpha, optics
        reach = np.sqrt((x / top) ** 2 + (screen / (self.tilt * top)) ** 2)
        cover = np.clip((1 - reach) * self.tilt * top * unit + 0.5, 0, 1).astype(np.float32)
        ring = np.clip((reach - 0.9) * 20, 0, 1)
        if lid.clear is not None:  # an open glass: one looks onto its far wall, and the rim shines
            tone = lid.clear.tint * (0.8 + 0.4 * ring)[..., None]
            cover = f32(cover * (lid.clear.density * (1 - ring) + (0.75 - 0.25 * np.abs(x) / top) * ring))
        else:
            shine = np.where(reach > 0.86, 1.15, 0.9 + 0.12 * lid.gloss * np.sin(6 * x / top))
            tone = lid.colour * (shine * (lamps.ambient + 0.6))[..., None]
        rest = 1 - cover
        total = np.maximum(cover + rest * alpha, 1e-4)
        mixed = (np.clip(tone, 0, 1) * cover[..., None] + colour * (rest * alpha)[..., None]) / total[..., None]
        if optics is not None:
            optics[..., 0] *= 1 - cover / total
            if lid.clear is not None:
                optics[..., 0] += lid.clear.filtering * (1 - ring) * cover / total
        return f32(np.clip(mixed, 0, 1)), f32(cover + rest * alpha), optics


def _opaque(skin: Skin, u: F32, v: F32, yaw: float, diffuse: F32, mirrored: F32, room: F32) -> F32:
    """Colour of a zone one cannot see through."""
    base: F32 | np.ndarray = skin.colour
    angle = np.arcsin(u)
    if skin.print is not None:
        high, wide = skin.print.shape[:2]
        columns = np.mod(angle / (2 * np.pi) + yaw / (2 * np.pi) + 0.165, 1).astype(np.float32) * (wide - 1)
        lines = np.clip(v, 0, 1).astype(np.float32) * (high - 1)
        base = cv2.remap(skin.print, columns, lines, cv2.INTER_LINEAR).astype(np.float32) * np.float32(1 / 255)
    if skin.ribs:
        diffuse = diffuse * (0.85 + 0.25 * np.sin((angle + yaw) * skin.ribs)).astype(np.float32)
    dull = base * (diffuse * (1 - skin.metal))[..., None]
    shiny = base * (skin.metal * (0.25 + 1.0 * room) * (0.6 + 0.5 * diffuse))[..., None]
    glint = (skin.gloss * mirrored)[..., None]
    coloured: F32 = (dull + shiny) * (1 - glint) + glint
    return coloured


def _see_through(skin: Skin, clear: Clear, u: F32, radius: F32, mirrored: F32, room: F32) -> tuple[F32, F32, F32]:
    """Colour, alpha and optics of a transparent zone; `radius` in pixels."""
    slant = np.sqrt(np.maximum(1 - u * u, 0.02))
    wall = 1 - (1 - np.float32(clear.density)) ** (1 / slant)  # the way through the wall grows towards the edge
    inside = 1 - (1 - np.float32(clear.density)) ** (0.3 + 0.7 * slant)
    body = np.where(clear.lens > 0, np.maximum(inside, wall * 0.9), wall)
    edge = np.clip((np.abs(u) - 0.86) / 0.14, 0, 1) ** 2
    body = np.clip(body + (1 - body) * 0.75 * edge, 0, 1)
    tone = clear.tint * (1 - 0.55 * edge + 0.25 * edge * room)[..., None]
    glint = skin.gloss * mirrored
    alpha = glint + (1 - glint) * body
    share = ((1 - glint) * body / np.maximum(alpha, 1e-4))[..., None]
    colour = tone * share + (1 - share)
    optics = np.zeros((*u.shape, 3), np.float32)
    optics[..., 0] = clear.filtering * share[..., 0] * (1 - 0.5 * edge)
    turned = -u * (1 + 0.55 * np.abs(u)) * clear.lens
    optics[..., 1] = radius * (turned - np.sign(u) * clear.bend * np.abs(u) ** 5)
    return colour.astype(np.float32), alpha.astype(np.float32), optics
