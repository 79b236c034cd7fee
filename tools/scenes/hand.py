"""A hand with forearm and sleeve that grips a product: bones as capsules, skin over them."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from cutline.tools.scenes.light import Lamps
from cutline.tools.scenes.person import Looks, draw_looks
from cutline.tools.scenes.relief import Capsule, Relief, normals
from cutline.tools.scenes.shot import F32, f32
from cutline.tools.scenes.sprite import MARGIN, Sprite, cropped
from cutline.tools.scenes.textures import cloud

__all__ = ["GRIPS", "Grip", "Hand", "draw_hand"]

Grip = Literal["palm behind", "fingers before", "from above", "from below"]
GRIPS: tuple[Grip, ...] = ("palm behind", "fingers before", "from above", "from below")

_LENGTHS = (0.86, 0.96, 0.88, 0.68)  # index to little finger, palm widths
_THICK = (0.118, 0.122, 0.114, 0.098)
_ARM = 4.5  # length of the forearm, palm widths: mostly longer than the frame

Point = tuple[float, float]


@dataclass(frozen=True, slots=True)
class Hand:
    """Owns the two halves of a hand: what is behind the product and what is before it.

    anchor is the grip's origin in the pixels of back; unit is the palm's width there.
    """

    back: Sprite
    front: Sprite
    offset: tuple[int, int]  # of front's corner in the pixels of back
    anchor: tuple[float, float]
    unit: float
    half_width: float
    grip: Grip


@dataclass(slots=True)
class _Bones:
    """Collects capsules in palm widths; a finger's last joint gets a nail if its back shows."""

    back: list[Capsule]
    front: list[Capsule]
    nails: list[tuple[Point, Point, float]]
    creases: list[tuple[Point, Point, float]]
    arm: tuple[Point, Point]

    def finger(self, points: list[Point], thick: float, *, front: bool, nail: bool, depth: float) -> None:
        """Add a finger through its joints, tapering to the tip."""
        part = self.front if front else self.back
        radii = np.linspace(thick * 1.08, thick * 0.86, len(points))
        for i in range(len(points) - 1):
            part.append(Capsule(*points[i], radii[i], *points[i + 1], radii[i + 1], depth, depth + 0.02))
            if i:
                self.creases.append((points[i], points[i + 1], float(radii[i])))
        if nail:
            self.nails.append((points[-2], points[-1], float(radii[-1])))


def _curled(start: Point, angle: float, length: float, curl: float) -> list[Point]:
    """Three bones from `start` in direction `angle`, each turned by `curl` from the one before."""
    points = [start]
    for share in (0.42, 0.32, 0.26):
        x, y = points[-1]
        points.append((x + float(np.cos(angle)) * length * share, y + float(np.sin(angle)) * length * share))
        angle += curl
    return points


def _palm(bones: list[Capsule], wrist: Point, knuckles: list[Point], depth: float) -> None:
    for i, knuckle in enumerate(knuckles):
        spread = (i - 1.5) * 0.09
        root = (wrist[0] + spread * 0.6, wrist[1] + spread * 0.4)
        bones.append(Capsule(*root, 0.2, *knuckle, 0.145, depth - 0.03, depth))


def _palm_behind(rng: np.random.Generator, half: float) -> _Bones:
    """The palm lies behind, the thumb before; finger ends come round the far side of narrow goods."""
    wrist = (half + 0.62 + rng.normal(0, 0.05), 0.95 + rng.normal(0, 0.08))
    bones = _Bones([], [], [], [], (wrist, (wrist[0] + rng.uniform(0.15, 0.9), wrist[1] + 1.0)))
    knuckles = [(half + x, y) for x, y in ((0.02, -0.5), (-0.08, -0.27), (-0.08, -0.03), (0.0, 0.2))]
    _palm(bones.back, wrist, knuckles, 0.0)
    for i, (knuckle, length, thick) in enumerate(zip(knuckles, _LENGTHS, _THICK, strict=True)):
        over = length - 2 * half + 0.02
        y = knuckle[1] - 0.05 + rng.normal(0, 0.02)
        bones.finger([knuckle, (0.0, y - 0.04), (-half - 0.02, y)], thick, front=False, nail=False, depth=-0.05)
        if over > 0.02:
            tip = min(over, 0.3)
            bones.finger(
                [(-half - 0.02, y), (-half + tip * 0.55, y + 0.015 * i)], thick, front=True, nail=True, depth=0.15
            )
    base = (half + 0.2, 0.22)
    bones.back.append(Capsule(wrist[0] - 0.05, wrist[1] - 0.15, 0.24, *base, 0.2, 0.05, 0.1))
    angle = -np.pi / 2 - rng.uniform(0.3, 0.75)
    joints = [base]
    for share, turn in ((0.34, 0.0), (0.3, rng.uniform(-0.35, 0.1))):
        angle += turn
        joints.append((joints[-1][0] + float(np.cos(angle)) * share, joints[-1][1] + float(np.sin(angle)) * share))
    bones.finger(joints, 0.15, front=True, nail=True, depth=0.2)
    return bones


def _fingers_before(rng: np.random.Generator, half: float) -> _Bones:
    """The back of the hand is to the camera, the fingers lie across the product."""
    wrist = (half + 0.7 + rng.normal(0, 0.06), 0.9 + rng.normal(0, 0.1))
    bones = _Bones([], [], [], [], (wrist, (wrist[0] + rng.uniform(0.15, 0.9), wrist[1] + 1.0)))
    knuckles = [(half + x, y) for x, y in ((0.1, -0.42), (0.06, -0.17), (0.1, 0.08), (0.18, 0.31))]
    _palm(bones.front, wrist, knuckles, 0.08)
    for i, (knuckle, length, thick) in enumerate(zip(knuckles, _LENGTHS, _THICK, strict=True)):
        reach = min(length, 2 * half + 0.35)
        points = _curled(knuckle, np.pi + 0.1 - 0.05 * i + rng.normal(0, 0.03), reach, rng.uniform(-0.12, 0.0))
        bones.finger(points, thick, front=True, nail=True, depth=0.12 - 0.01 * i)
    base = (half + 0.28, 0.1)
    bones.back.append(Capsule(wrist[0] - 0.05, wrist[1] - 0.2, 0.2, *base, 0.17, -0.1, -0.1))
    tip = (half - 0.1 + rng.normal(0, 0.08), -0.62 + rng.normal(0, 0.05))
    bones.finger([base, (half + 0.2, -0.3), tip], 0.14, front=False, nail=False, depth=-0.15)
    return bones


def _from_above(rng: np.random.Generator, half: float) -> _Bones:
    """The hand hangs down from above and pinches the top between fingers and thumb."""
    wrist = (0.5 + rng.normal(0, 0.08), -1.35 + rng.normal(0, 0.08))
    bones = _Bones([], [], [], [], (wrist, (wrist[0] + rng.uniform(0.2, 1.6), wrist[1] - 1.0)))
    knuckles = [
        (0.02 + half * 0.3, -0.72),
        (0.2 + half * 0.4, -0.68),
        (0.36 + half * 0.5, -0.66),
        (0.5 + half * 0.5, -0.68),
    ]
    _palm(bones.front, wrist, knuckles, 0.05)
    for i, (knuckle, length, thick) in enumerate(zip(knuckles, _LENGTHS, _THICK, strict=True)):
        lean = np.pi / 2 + 0.12 + 0.1 * i - 0.1 * half
        points = _curled(knuckle, lean - 0.45 + rng.normal(0, 0.04), length * 0.95, rng.uniform(0.25, 0.4))
        bones.finger(points, thick, front=i < 3, nail=True, depth=0.12 - 0.03 * i)
    base = (-0.1, -0.75)
    bones.front.append(Capsule(wrist[0] - 0.1, wrist[1] + 0.15, 0.2, *base, 0.16, 0.0, 0.02))
    bones.finger(
        [base, (-half - 0.14, -0.38), (-half - 0.02, 0.02 + rng.normal(0, 0.04))],
        0.14,
        front=False,
        nail=False,
        depth=-0.05,
    )
    return bones


def _from_below(rng: np.random.Generator, half: float) -> _Bones:
    """The product rests on the palm; fingers and thumb come up before it."""
    wrist = (0.75 + half * 0.4 + rng.normal(0, 0.06), 1.0 + rng.normal(0, 0.06))
    bones = _Bones([], [], [], [], (wrist, (wrist[0] + rng.uniform(0.3, 1.2), wrist[1] + 1.0)))
    knuckles = [(-0.32 - half * 0.3 + 0.235 * i, 0.26 + 0.03 * i) for i in range(4)]
    _palm(bones.front, wrist, knuckles, 0.0)
    for i, (knuckle, length, thick) in enumerate(zip(knuckles, _LENGTHS, _THICK, strict=True)):
        points = _curled(
            knuckle, -np.pi / 2 - 0.5 + 0.13 * i + rng.normal(0, 0.05), length * 0.66, rng.uniform(0.15, 0.35)
        )
        bones.finger(points, thick, front=True, nail=False, depth=0.08)
    base = (half * 0.7 + 0.4, 0.34)
    bones.front.append(Capsule(wrist[0], wrist[1] - 0.2, 0.24, *base, 0.2, 0.05, 0.08))
    bones.finger(
        [base, (half + 0.3, 0.02), (half + 0.02, -0.3 + rng.normal(0, 0.06))], 0.145, front=True, nail=True, depth=0.16
    )
    return bones


_POSES = {
    "palm behind": _palm_behind,
    "fingers before": _fingers_before,
    "from above": _from_above,
    "from below": _from_below,
}


def draw_hand(
    rng: np.random.Generator, grip: Grip, half_width: float, unit: float, lamps: Lamps, looks: Looks | None = None
) -> Hand:
    """Draw a right hand around something.

    Args:
        half_width: of the thing where it is held, palm widths.
        unit: pixels of a palm's width.
        looks: whose hand it is; drawn when None.
    """
    looks = looks or draw_looks(rng)
    half_width = float(np.clip(half_width, 0.12, 0.75))
    bones = _POSES[grip](rng, half_width)
    wrist, toward = bones.arm
    way = np.array(toward) - wrist
    end = np.array(wrist) + way / np.linalg.norm(way) * _ARM
    arm = Capsule(*wrist, 0.27, float(end[0]), float(end[1]), 0.42, -0.08, -0.1)
    hand_parts = bones.back + bones.front
    xs = [v for p in hand_parts for v in (p.x0 - p.r0, p.x1 - p.r1, p.x0 + p.r0, p.x1 + p.r1)] + [end[0]]
    ys = [v for p in hand_parts for v in (p.y0 - p.r0, p.y1 - p.r1, p.y0 + p.r0, p.y1 + p.r1)] + [end[1]]
    left, top = min(xs) - 0.1, min(ys) - 0.1
    columns, rows = int((max(xs) + 0.1 - left) * unit), int((max(ys) + 0.1 - top) * unit)

    def moved(p: Capsule) -> Capsule:
        return Capsule(
            (p.x0 - left) * unit, (p.y0 - top) * unit, p.r0 * unit,
            (p.x1 - left) * unit, (p.y1 - top) * unit, p.r1 * unit, p.z0 * unit, p.z1 * unit,
        )  # fmt: skip

    relief = Relief(columns, rows)
    relief.add([moved(arm)], 0.0)
    relief.add([moved(part) for part in bones.back], 0.05 * unit)
    before = np.zeros((rows, columns), np.float32)
    shell = Relief(columns, rows)
    if bones.front:
        relief.add([moved(part) for part in bones.front], 0.05 * unit)
        shell.add([moved(part) for part in bones.front], 0.05 * unit)
        before = shell.coverage
    skin = _skin(rng, looks.skin, relief.heights, lamps, unit)

    def pixel(point: Point) -> Point:
        return (point[0] - left) * unit, (point[1] - top) * unit

    _details(skin, bones, pixel, unit)
    whole = relief.coverage
    if looks.cloth is not None:
        _sleeve(rng, looks.cloth, skin, whole, relief.heights, moved(arm), lamps, unit)
    tags = ("opaque", "hand-held")
    anchor = (-left * unit + MARGIN, -top * unit + MARGIN)
    front, offset = cropped(Sprite.from_straight(skin, before, tags))
    return Hand(
        back=Sprite.from_straight(skin, whole, tags),
        front=front,
        offset=offset,
        anchor=anchor,
        unit=unit,
        half_width=half_width,
        grip=grip,
    )


def _skin(rng: np.random.Generator, tone: F32, heights: F32, lamps: Lamps, unit: float) -> F32:
    """Skin over a height map: uneven tone, redder where it is thin, soft shadow in the folds."""
    rows, columns = heights.shape
    solid = np.maximum(heights, -0.3 * unit)
    nx, ny, nz = normals(solid, max(0.8, unit / 45))
    patchy = cloud(rng, columns, rows, unit * 0.35, 3) - 0.5
    pores = cloud(rng, columns, rows, max(2.0, unit / 30), 2) - 0.5
    diffuse = lamps.diffuse(nx, ny, nz)
    soft = np.clip(diffuse, 0, 1.1)[..., None] ** np.array(
        [0.75, 1.0, 1.1], np.float32
    )  # light bleeds red at the terminator
    folds = np.clip(1 - 3.2 * (cv2.GaussianBlur(solid, (0, 0), unit * 0.09) - solid) / unit, 0.45, 1.06)[..., None]
    base = tone * (1 + 0.10 * patchy + 0.07 * pores)[..., None]
    base[..., 0] *= 1 + 0.05 * patchy
    skin: F32 = base * soft * folds ** np.array([0.8, 1.0, 1.0], np.float32)
    glint = (0.05 * lamps.mirrored(0.8 * nx, 0.8 * ny))[..., None]
    return f32(np.clip(skin * (1 - glint) + glint, 0, 1))


def _details(skin: F32, bones: _Bones, pixel: Callable[[Point], Point], unit: float) -> None:
    """Draw nails and the folds over the finger joints, in place."""
    for (x0, y0), (x1, y1), radius in bones.creases:
        (px, py), (qx, qy) = pixel((x0, y0)), pixel((x1, y1))
        length = max(np.hypot(qx - px, qy - py), 1e-3)
        across = np.array([-(qy - py), qx - px]) / length * radius * unit * 0.55
        mask = np.zeros(skin.shape[:2], np.float32)
        for offset in (-0.05, 0.04):
            cx, cy = px + (qx - px) / length * offset * unit, py + (qy - py) / length * offset * unit
            ends = [tuple(int(v * 8) for v in (cx + s * across[0], cy + s * across[1])) for s in (-1, 1)]
            cv2.line(mask, ends[0], ends[1], 1.0, max(1, int(unit / 60)), cv2.LINE_AA, 3)
        skin *= 1 - 0.16 * cv2.GaussianBlur(mask, (0, 0), max(0.5, unit / 90))[..., None]
    for (x0, y0), (x1, y1), radius in bones.nails:
        (px, py), (qx, qy) = pixel((x0, y0)), pixel((x1, y1))
        angle = float(np.degrees(np.arctan2(qy - py, qx - px)))
        length = max(float(np.hypot(qx - px, qy - py)), 1e-3)
        centre = (qx + (qx - px) / length * radius * unit * 0.25, qy + (qy - py) / length * radius * unit * 0.25)
        axes = (int(radius * unit * 0.62 * 16), int(radius * unit * 0.52 * 16))
        mask = np.zeros(skin.shape[:2], np.float32)
        cv2.ellipse(mask, (int(centre[0] * 16), int(centre[1] * 16)), axes, angle, 0, 360, 1.0, -1, cv2.LINE_AA, 4)
        soft = cv2.GaussianBlur(mask, (0, 0), max(0.4, unit / 120))[..., None]
        rim = np.clip(cv2.dilate(soft[..., 0], np.ones((3, 3), np.uint8))[..., None] - soft, 0, 1)
        pink = np.clip(skin * np.array([1.06, 1.0, 1.0], np.float32) + 0.07, 0, 1)
        skin += (pink - skin) * soft
        skin *= 1 - 0.25 * rim


def _sleeve(
    rng: np.random.Generator,
    tone: F32,
    skin: F32,
    whole: F32,
    heights: F32,
    arm: Capsule,
    lamps: Lamps,
    unit: float,
) -> None:
    """Put a sleeve over the forearm from some way behind the wrist, wider than the arm; in place."""
    rows, columns = heights.shape
    start = rng.uniform(0.06, 0.45)
    x, y = arm.x0 + (arm.x1 - arm.x0) * start, arm.y0 + (arm.y1 - arm.y0) * start
    radius = (arm.r0 + (arm.r1 - arm.r0) * start) * rng.uniform(1.08, 1.3)
    cloth = Relief(columns, rows)
    cloth.add([Capsule(x, y, radius, arm.x1, arm.y1, radius * 1.25)], 0.0)
    way = np.array([arm.x1 - arm.x0, arm.y1 - arm.y0]) / max(np.hypot(arm.x1 - arm.x0, arm.y1 - arm.y0), 1e-3)
    along = (np.arange(columns)[None] - x) * way[0] + (np.arange(rows)[:, None] - y) * way[1]
    across = (np.arange(columns)[None] - x) * way[1] - (np.arange(rows)[:, None] - y) * way[0]
    cuff = along + 0.06 * (across**2) / max(radius, 1)  # the opening is seen as an arc
    cover = (cloth.coverage * np.clip(cuff + 0.5, 0, 1)).astype(np.float32)
    folds = (cloud(rng, columns, rows, unit * 0.5, 3) - 0.5) * 0.16 * unit
    nx, ny, nz = normals((np.maximum(cloth.heights, -0.2 * unit) + folds).astype(np.float32), max(0.8, unit / 40))
    threads = cloud(rng, columns, rows, 2.0, 1) - 0.5
    drawn = np.clip(tone * (lamps.diffuse(nx, ny, nz) * (1 + 0.12 * threads))[..., None], 0, 1)
    seam = np.exp(-(((cuff - 0.12 * unit) / (0.02 * unit + 0.5)) ** 2))[..., None]
    drawn = drawn * (1 - 0.25 * seam)
    shadow = np.clip(1 - 0.5 * np.exp(-np.maximum(-cuff, 0) / (0.08 * unit)) * cloth.coverage, 0, 1)[..., None]
    skin *= shadow
    skin += (drawn - skin) * cover[..., None]
    np.maximum(whole, cover, out=whole)
