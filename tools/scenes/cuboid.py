"""Boxes, cartons and books: six printed faces in true perspective, turned about the vertical."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import final

import cv2
import numpy as np

from cutline.tools.scenes.labels import draw_design
from cutline.tools.scenes.light import Lamps
from cutline.tools.scenes.seeds import Split
from cutline.tools.scenes.shot import F32, U8, f32
from cutline.tools.scenes.sprite import Sprite
from cutline.tools.scenes.textures import cloud

__all__ = ["BOXES", "Cuboid", "coverage"]

_FACES = {  # name: corners (top left, top right, bottom right, bottom left) in units of (x, y, z); z towards the camera
    "front": ((-1, -1, 1), (1, -1, 1), (1, 1, 1), (-1, 1, 1)),
    "back": ((1, -1, -1), (-1, -1, -1), (-1, 1, -1), (1, 1, -1)),
    "left": ((-1, -1, -1), (-1, -1, 1), (-1, 1, 1), (-1, 1, -1)),
    "right": ((1, -1, 1), (1, -1, -1), (1, 1, -1), (1, 1, 1)),
    "top": ((-1, -1, -1), (1, -1, -1), (1, -1, 1), (-1, -1, 1)),
    "bottom": ((-1, 1, 1), (1, 1, 1), (1, 1, -1), (-1, 1, -1)),
}


def coverage(corners: F32, width: int, height: int) -> F32:
    """Return every pixel's share inside a convex polygon, float32[height, width]; corners float32[n, 2], clockwise."""
    x = np.arange(width, dtype=np.float32)
    y = np.arange(height, dtype=np.float32)[:, None]
    inside = np.ones((height, width), np.float32)
    for (x0, y0), (x1, y1) in zip(corners, np.roll(corners, -1, axis=0), strict=True):
        length = float(np.hypot(x1 - x0, y1 - y0))
        if length > 1e-3:
            distance = ((y - y0) * (x1 - x0) - (x - x0) * (y1 - y0)) / length
            inside *= np.clip(distance + 0.5, 0, 1)
    return inside


@final
class Cuboid:
    """Owns one box. Lengths in its own height."""

    def __init__(
        self,
        size: tuple[float, float],
        faces: dict[str, U8],
        *,
        tags: Sequence[str],
        tilt: float,
        gloss: float,
        gable: float = 0.0,
    ) -> None:
        """Describe it.

        Args:
            size: width and depth.
            faces: picture of each side, uint8[h, w, 3], by the names front, back, left, right, top, bottom.
            tilt: angle from which one looks down on it, radians.
            gloss: strength of the mirrored lamp.
            gable: height of a folded roof, as milk cartons have it; 0 for a flat top.
        """
        self.tags, self.tilt = frozenset(tags), tilt
        self._size, self._faces, self._gloss, self._gable = size, faces, gloss, gable
        self._distance = 5.0  # of the camera, box heights
        self.width = float(np.hypot(*size))

    def view(self, yaw: float, height: float, lamps: Lamps) -> Sprite:
        """Draw it turned by `yaw` radians, `height` pixels high."""
        quads = []
        for name, picture, corners in self._quads():
            seen, normal = self._project(corners, yaw)
            area = float(cv2.contourArea(seen.astype(np.float32), oriented=True))
            if area > 1e-5:
                quads.append((name, picture, seen, normal))
        every = np.concatenate([seen for _, _, seen, _ in quads])
        low, high = every.min(axis=0), every.max(axis=0)
        scale = height / (high[1] - low[1])
        columns, rows = int(np.ceil((high[0] - low[0]) * scale)) + 1, int(np.ceil(height)) + 1
        rgb = np.zeros((rows, columns, 3), np.float32)
        alpha = np.zeros((rows, columns), np.float32)
        for _, picture, seen, normal in quads:
            points = ((seen - low) * scale).astype(np.float32)
            self._face(rgb, alpha, picture, points, normal, lamps)
        spread, weight = cv2.blur(rgb, (3, 3)), cv2.blur(alpha, (3, 3))[..., None]
        thin = (alpha < 0.5)[..., None]  # too little of its own colour: take the neighbours'
        straight = np.where(thin, spread / np.maximum(weight, 1e-4), rgb / np.maximum(alpha, 1e-4)[..., None])
        closed = cv2.morphologyEx(
            np.minimum(alpha, 1), cv2.MORPH_CLOSE, np.ones((3, 3), np.uint8)
        )  # where corners meet
        return Sprite.from_straight(straight, closed, sorted(self.tags))

    def _quads(self) -> list[tuple[str, U8, F32]]:
        """Every face's name, picture and corners in space, float32[4, 3], box heights, centre at the origin."""
        width, depth = self._size
        half = np.array([width / 2, 0.5, depth / 2], np.float32)
        quads = [(name, self._faces[name], np.array(unit, np.float32) * half) for name, unit in _FACES.items()]
        if self._gable == 0:
            return quads
        eaves = -0.5 + self._gable
        ridge, fin = -0.5 + 0.25 * self._gable, -0.5
        folded = []
        for name, picture, corners in quads:
            if name == "top":
                continue
            lowered = corners.copy()
            lowered[lowered[:, 1] < 0, 1] = eaves
            folded.append((name, picture, lowered))
        w, d = half[0], half[2]
        roof = self._faces["top"]
        for side in (1, -1):
            slope = [
                (-w * side, ridge, 0),
                (w * side, ridge, 0),
                (w * side, eaves, d * side),
                (-w * side, eaves, d * side),
            ]
            folded.append(("roof", roof, np.array(slope, np.float32)))
            end = [
                (w * side, ridge, 0),
                (w * side, ridge, 0),
                (w * side, eaves, -d * side),
                (w * side, eaves, d * side),
            ]
            folded.append(("roof", roof, np.array(end, np.float32)[[0, 1, 2, 3]]))
            seam = [
                (-w * side, fin, 0.002 * side),
                (w * side, fin, 0.002 * side),
                (w * side, ridge, 0),
                (-w * side, ridge, 0),
            ]
            folded.append(("roof", roof, np.array(seam, np.float32)))
        return folded

    def _project(self, corners: F32, yaw: float) -> tuple[F32, F32]:
        """Return the corners as seen, float32[4, 2], and the face's normal as seen."""
        cos, sin, up, down = np.cos(yaw), np.sin(yaw), np.cos(self.tilt), np.sin(self.tilt)
        about_y = np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])
        about_x = np.array([[1, 0, 0], [0, up, down], [0, -down, up]])
        turned = corners @ (about_x @ about_y).T
        seen = turned[:, :2] * (self._distance / (self._distance - turned[:, 2:]))
        normal = np.cross(turned[1] - turned[2], turned[3] - turned[2])
        normal = -normal / max(float(np.linalg.norm(normal)), 1e-9)
        return seen.astype(np.float32), (normal * np.sign(normal[2] + 1e-9)).astype(np.float32)

    def _face(self, rgb: F32, alpha: F32, picture: U8, points: F32, normal: F32, lamps: Lamps) -> None:
        """Add one face: premultiplied colour and coverage, so that faces that meet add up to a closed surface."""
        high, wide = picture.shape[:2]
        corners = np.array([(0, 0), (wide - 1, 0), (wide - 1, high - 1), (0, high - 1)], np.float32)
        left, top = np.maximum(np.floor(points.min(axis=0)).astype(int) - 1, 0)
        right, bottom = np.ceil(points.max(axis=0)).astype(int) + 2
        window = (slice(top, min(bottom, rgb.shape[0])), slice(left, min(right, rgb.shape[1])))
        rows, columns = rgb[window].shape[:2]
        if rows == 0 or columns == 0:
            return
        local = points - np.array([left, top], np.float32)
        matrix = cv2.getPerspectiveTransform(corners, local.astype(np.float32))
        shrink = max(1, int(np.sqrt(high * wide / max(cv2.contourArea(local), 1.0))))
        if shrink > 1:  # keep small print from aliasing
            picture = cv2.blur(picture, (shrink, shrink))
        flat = cv2.warpPerspective(
            picture, matrix, (columns, rows), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
        )
        nx, ny, nz = (f32(v) for v in normal)
        x = np.linspace(-1, 1, columns, dtype=np.float32)
        y = np.linspace(-1, 1, rows, dtype=np.float32)[:, None]
        diffuse = float(lamps.diffuse(nx, ny, nz)) * (1 + 0.05 * (lamps.direction[0] * x + lamps.direction[1] * y))
        glint = self._gloss * lamps.mirrored(nx + 0.25 * x, ny + 0.35 * y)
        face = flat.astype(np.float32) * np.float32(1 / 255) * np.asarray(diffuse, np.float32)[..., None]
        face = np.clip(face * (1 - glint[..., None]) + glint[..., None], 0, 1)
        cover = coverage(local, columns, rows)
        share = np.minimum(cover, 1 - np.minimum(alpha[window], 1)) if np.any(alpha[window]) else cover
        rgb[window] += face * share[..., None]
        alpha[window] += share


def _box(
    rng: np.random.Generator,
    split: Split,
    pixels: int,
    size: tuple[float, float],
    *,
    gable: float = 0.0,
    tilt: float = 0.5,
) -> Cuboid:
    """A printed box of one brand."""
    design = draw_design(rng, split)
    width, depth = size
    high = max(16, pixels)
    wide, deep = max(8, int(high * width)), max(8, int(high * depth))
    side = design.face(deep, high, side=True)
    front = design.face(wide, high)
    lid = cv2.resize(front[: max(2, high // 6)], (wide, deep))
    faces = {"front": front, "back": front, "left": side, "right": side, "top": lid, "bottom": lid}
    return Cuboid(
        size, faces, tags=("opaque",), tilt=float(rng.uniform(0, tilt)), gloss=float(rng.uniform(0, 0.35)), gable=gable
    )


def cereal_box(rng: np.random.Generator, split: Split, pixels: int) -> Cuboid:
    """A flat upright box."""
    return _box(rng, split, pixels, (rng.uniform(0.55, 0.8), rng.uniform(0.12, 0.3)))


def brick_carton(rng: np.random.Generator, split: Split, pixels: int) -> Cuboid:
    """A tall carton with a flat top."""
    return _box(rng, split, pixels, (rng.uniform(0.3, 0.5), rng.uniform(0.25, 0.4)))


def parcel(rng: np.random.Generator, split: Split, pixels: int) -> Cuboid:
    """A low box of brown board with a strip of tape and a white label."""
    size = (rng.uniform(0.9, 1.8), rng.uniform(0.6, 1.4))
    box = _box(rng, split, pixels, size, tilt=0.7)
    board = np.array([rng.uniform(0.6, 0.8), rng.uniform(0.45, 0.6), rng.uniform(0.3, 0.42)], np.float32)
    for name, face in list(box._faces.items()):
        high, wide = face.shape[:2]
        paper = board * (0.96 + 0.08 * cloud(rng, wide, high, 12.0, 3, 4.0))[..., None]
        code = cv2.convertScaleAbs(paper.astype(np.float32), alpha=255.0)
        if name in ("front", "top"):
            cv2.rectangle(code, (0, int(high * 0.45)), (wide, int(high * 0.55)), (200, 180, 140), -1)
            small = cv2.resize(face, (max(2, wide // 3), max(2, high // 3)), interpolation=cv2.INTER_AREA)
            code[high // 10 : high // 10 + small.shape[0], wide // 10 : wide // 10 + small.shape[1]] = small
        box._faces[name] = code
    return box


def milk_carton(rng: np.random.Generator, split: Split, pixels: int) -> Cuboid:
    """A carton with a folded roof."""
    size = rng.uniform(0.32, 0.42)
    return _box(rng, split, pixels, (size, size), gable=float(rng.uniform(0.18, 0.26)), tilt=0.25)


def book(rng: np.random.Generator, split: Split, pixels: int) -> Cuboid:
    """A book: printed covers and spine, cut pages on the other sides."""
    size = (rng.uniform(0.62, 0.75), rng.uniform(0.05, 0.2))
    box = _box(rng, split, pixels, size, tilt=0.4)
    for name in ("right", "top", "bottom"):
        high, wide = box._faces[name].shape[:2]
        leaves = f32(rng.uniform(0.75, 0.95, wide if name == "right" else high))
        sheet = np.tile(leaves[None], (high, 1)) if name == "right" else np.tile(leaves[:, None], (1, wide))
        paper = sheet[..., None] * np.array([1.0, 0.97, 0.88], np.float32)
        box._faces[name] = cv2.convertScaleAbs(paper.astype(np.float32), alpha=255.0)
    return box


Maker = Callable[[np.random.Generator, Split, int], Cuboid]

BOXES: dict[Split, dict[str, Maker]] = {
    "train": {"cereal box": cereal_box, "brick carton": brick_carton, "book": book},
    "test": {"milk carton": milk_carton, "parcel": parcel},
}
