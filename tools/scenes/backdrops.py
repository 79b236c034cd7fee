"""Places: empty scenes to put goods into, made from numbers."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from cutline.tools.scenes import textures
from cutline.tools.scenes.labels import draw_design
from cutline.tools.scenes.patterns import pattern
from cutline.tools.scenes.seeds import Split
from cutline.tools.scenes.shot import F32, U8, f32
from cutline.tools.scenes.textures import cloud, colour, lerp

__all__ = ["PLACES", "Painter", "draw_backdrop", "from_photograph", "lit"]

Painter = Callable[[np.random.Generator, int, int], F32]


def lit(rng: np.random.Generator, picture: F32) -> F32:
    """Let light fall unevenly on a picture: a gradient and a spot."""
    height, width = picture.shape[:2]
    x, y = np.linspace(-1, 1, width, dtype=np.float32), np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    slope = rng.normal(0, 0.12, 2)
    spot_x, spot_y = rng.uniform(-1, 1, 2)
    spot = np.exp(-((x - spot_x) ** 2 + (y - spot_y) ** 2) / rng.uniform(0.5, 3))
    light = 1 + slope[0] * x + slope[1] * y + rng.uniform(0, 0.3) * (spot - 0.4)
    bright: F32 = np.clip(picture * light[..., None].astype(np.float32), 0, 1)
    return bright


def _surface(rng: np.random.Generator, width: int, height: int) -> F32:
    kind = rng.integers(0, 7)
    if kind > 4:
        return pattern(rng, width, height)
    if kind == 0:
        return textures.wood(rng, width, height, planks=int(rng.integers(0, 6)))
    if kind == 1:
        return textures.stone(rng, width, height)
    if kind == 2:
        return textures.weave(rng, width, height)
    return textures.paint(rng, width, height)


def table_and_wall(
    rng: np.random.Generator, width: int, height: int, top: Painter = _surface, wall: Painter = _surface
) -> F32:
    """A table top before a wall, the edge between them soft by defocus."""
    horizon = int(height * rng.uniform(0.35, 0.85))
    picture = np.empty((height, width, 3), np.float32)
    picture[:horizon] = textures.paint(rng, width, horizon) if rng.random() < 0.7 else wall(rng, width, horizon)
    board = top(rng, width, height - horizon)
    fall = np.linspace(rng.uniform(0.7, 1.0), 1.0, height - horizon, dtype=np.float32)[:, None, None]
    picture[horizon:] = board * fall
    picture = cv2.GaussianBlur(picture, (0, 0), height / 300 + 0.3)
    tilt = rng.normal(0, 0.03)
    matrix = np.array([[1, 0, 0], [tilt, 1, -tilt * width / 2]], np.float32)
    return f32(cv2.warpAffine(picture, matrix, (width, height), borderMode=cv2.BORDER_REPLICATE))


def flat_surface(rng: np.random.Generator, width: int, height: int) -> F32:
    """A surface seen from above."""
    return _surface(rng, width, height)


def sweep(rng: np.random.Generator, width: int, height: int) -> F32:
    """A studio sweep: one colour that runs from wall to floor."""
    base = colour(rng, saturation=(0, 0.7), value=(0.15, 1))
    y = np.linspace(0, 1, height, dtype=np.float32)[:, None] + np.zeros((1, width), np.float32)
    bend = rng.uniform(0.4, 0.8)
    shade = 1 - rng.uniform(0.05, 0.35) * np.exp(-(((y - bend) / rng.uniform(0.08, 0.3)) ** 2))
    return f32(base * shade[..., None].astype(np.float32))


def room(rng: np.random.Generator, width: int, height: int) -> F32:
    """A room far out of focus: furniture, windows, lamps as soft boxes and discs."""
    picture = textures.paint(rng, width, height)
    for _ in range(int(rng.integers(6, 22))):
        tone = colour(rng, saturation=(0, 0.5), value=(0.08, 0.9))
        x, y = int(rng.uniform(-0.1, 1) * width), int(rng.uniform(-0.1, 1) * height)
        w, h = int(rng.uniform(0.03, 0.5) * width), int(rng.uniform(0.05, 0.9) * height)
        cv2.rectangle(picture, (x, y), (x + w, y + h), tone.tolist(), -1)
    for _ in range(int(rng.integers(0, 12))):
        centre = (int(rng.uniform(0, 1) * width), int(rng.uniform(0, 0.6) * height))
        cv2.circle(picture, centre, int(height * rng.uniform(0.01, 0.06)), (1.0, 0.97, rng.uniform(0.7, 1)), -1)
    return f32(cv2.GaussianBlur(picture, (0, 0), height * rng.uniform(0.004, 0.04)))


def clutter(rng: np.random.Generator, width: int, height: int) -> F32:
    """Sharp shapes of every kind over a surface: what a network must not take for goods only because it has edges."""
    picture = np.ascontiguousarray(_surface(rng, width, height))
    for _ in range(int(rng.integers(4, 30))):
        tone = colour(rng).tolist()
        centre = np.array([rng.uniform(0, width), rng.uniform(0, height)])
        count = int(rng.integers(3, 8))
        angles = np.sort(rng.uniform(0, 2 * np.pi, count))
        reach = height * rng.uniform(0.02, 0.3)
        points = centre + reach * rng.uniform(0.5, 1, (count, 1)) * np.stack([np.cos(angles), np.sin(angles)], 1)
        if rng.random() < 0.3:
            end = (centre + rng.normal(0, height / 2, 2)).astype(int)
            cv2.line(
                picture,
                centre.astype(int).tolist(),
                end.tolist(),
                tone,
                int(rng.integers(1, 2 + height // 40)),
                cv2.LINE_AA,
            )
        else:
            cv2.fillPoly(picture, [(points * 16).astype(np.int32)], tone, cv2.LINE_AA, 4)
    return picture


def bars(rng: np.random.Generator, width: int, height: int) -> F32:
    """Long straight parts: rollers, slats, racks, radiators."""
    period = max(4, int(height * rng.uniform(0.03, 0.3)))
    profile = np.abs(np.sin(np.pi * np.arange(height, dtype=np.float32) / period)) ** rng.uniform(0.3, 2)
    low, high = colour(rng, saturation=(0, 0.4)), colour(rng, saturation=(0, 0.4))
    picture = (
        lerp(low, high, np.repeat(profile[:, None], width, axis=1))
        + textures.grain(rng, width, height, 0.02)[..., None]
    )
    if rng.random() < 0.5:
        picture = cv2.resize(np.ascontiguousarray(picture.transpose(1, 0, 2)), (width, height))
    return picture


def rack(rng: np.random.Generator, width: int, height: int) -> F32:
    """Shelves full of packages, out of focus, as behind a kiosk in a shop."""
    board = colour(rng, saturation=(0, 0.2), value=(0.45, 0.9))
    picture = np.empty((height, width, 3), np.float32)
    picture[:] = board * 0.35
    rows = int(rng.integers(2, 5))
    grey = rng.uniform(0.15, 0.5)  # of the colours: what is far away in a shop is never as bright as what is held up
    for row in range(rows):
        floor, room = int(height * (row + 1) / rows), height / rows
        x = -rng.uniform(0, 0.1) * width
        while x < width:
            w, h = max(3, int(width * rng.uniform(0.03, 0.11))), max(4, int(room * rng.uniform(0.5, 0.88)))
            face = textures.muted(f32(draw_design(rng, "train").face(w, h) / 255), grey)
            side = 1 - 0.35 * np.abs(np.linspace(-1, 1, w)) ** 3  # round or dark at the sides
            face = f32(face * side[None, :, None])
            for _ in range(int(rng.integers(1, 6))):
                left, right = max(0, int(x)), min(width, int(x) + w)
                if right > left:
                    picture[floor - h : floor, left:right] = face[:, left - int(x) : right - int(x)]
                x += w * 1.06
        thick = max(1, height // 36)
        picture[floor - thick : floor] = board
        cv2.rectangle(picture, (0, floor), (width, floor + thick), (board * 0.25).tolist(), -1)
    return f32(cv2.GaussianBlur(picture, (0, 0), height * rng.uniform(0.004, 0.025)))


def gradient(rng: np.random.Generator, width: int, height: int) -> F32:
    """Colours that run into each other."""
    corners = rng.random((int(rng.integers(2, 5)), int(rng.integers(2, 5)), 3), np.float32)
    return f32(np.clip(cv2.resize(corners, (width, height), interpolation=cv2.INTER_CUBIC), 0, 1))


def bricks(rng: np.random.Generator, width: int, height: int) -> F32:
    """A wall of bricks or tiles with joints."""
    high = max(6, int(height * rng.uniform(0.05, 0.2)))
    wide = int(high * rng.choice([1.0, 2.0, 3.0]))
    joint = max(1, high // 10)
    base = colour(rng, saturation=(0, 0.6), value=(0.3, 0.95))
    tone = cloud(rng, width // wide + 3, height // high + 3, 1.5, 1)
    y, x = np.mgrid[0:height, 0:width]
    row = y // high
    shift = (row % 2) * (wide // 2) * int(wide != high)
    column = (x + shift) // wide
    picture: F32 = base * (0.75 + 0.5 * tone[row, column])[..., None].astype(np.float32)
    picture *= (0.9 + 0.2 * cloud(rng, width, height, high / 2, 3))[..., None]
    picture[((y % high) < joint) | (((x + shift) % wide) < joint)] = colour(rng, saturation=(0, 0.15), value=(0.3, 0.9))
    return picture


def dots(rng: np.random.Generator, width: int, height: int) -> F32:
    """A printed cloth or paper with dots."""
    spots = textures.speckle(rng, width, height, int(rng.integers(30, 300)), height * rng.uniform(0.01, 0.06))
    return lerp(colour(rng), colour(rng), spots)


def counter(rng: np.random.Generator, width: int, height: int) -> F32:
    """A tiled or spotted counter before a wall: the table of the test."""
    return table_and_wall(rng, width, height, bricks if rng.random() < 0.5 else dots, bricks)


def foliage(rng: np.random.Generator, width: int, height: int) -> F32:
    """Leaves and sky, out of focus."""
    green = np.array([0.2, 0.4, 0.12], np.float32) * rng.uniform(0.5, 1.5)
    light = np.clip(0.5 + 3 * (cloud(rng, width, height, height / 4, 5) - 0.5), 0, 1)
    picture = lerp(green.astype(np.float32), np.array([0.75, 0.85, 0.75], np.float32), light)
    return f32(cv2.GaussianBlur(picture, (0, 0), height * rng.uniform(0.002, 0.02)))


PLACES: dict[Split, dict[str, Painter]] = {
    "train": {
        "table": table_and_wall,
        "surface": flat_surface,
        "sweep": sweep,
        "room": room,
        "clutter": clutter,
        "bars": bars,
        "rack": rack,
        "gradient": gradient,
        "pattern": pattern,
    },
    "test": {"bricks": bricks, "dots": dots, "foliage": foliage, "counter": counter},
}
_WEIGHTS = {"table": 3.0, "room": 2.0, "sweep": 1.5, "surface": 1.5, "rack": 1.5, "pattern": 4.0, "counter": 2.0}


def draw_backdrop(rng: np.random.Generator, width: int, height: int, split: Split) -> F32:
    """Draw one empty place of this split, float32[height, width, 3], 0..1."""
    places = PLACES[split]
    weights = np.array([_WEIGHTS.get(name, 1.0) for name in places])
    painter = list(places.values())[int(rng.choice(len(places), p=weights / weights.sum()))]
    return lit(rng, painter(rng, width, height).astype(np.float32))


def from_photograph(rng: np.random.Generator, picture: U8, width: int, height: int) -> F32:
    """Cut a backdrop out of a photograph: another part, size, side and sharpness every time."""
    rows, columns = picture.shape[:2]
    shape = width / height
    high = min(rows, columns / shape) * rng.uniform(0.5, 1.0)
    wide = high * shape
    left, top = rng.uniform(0, columns - wide), rng.uniform(0, rows - high)
    part = picture[int(top) : int(top + high), int(left) : int(left + wide)]
    if rng.random() < 0.5:
        part = part[:, ::-1]
    if rng.random() < 0.15:
        part = part[::-1]
    flags = cv2.INTER_AREA if part.shape[0] > height else cv2.INTER_CUBIC
    backdrop = cv2.resize(np.ascontiguousarray(part), (width, height), interpolation=flags).astype(np.float32) / 255
    if rng.random() < 0.5:
        backdrop = cv2.GaussianBlur(backdrop, (0, 0), height * rng.uniform(0.002, 0.03))
    level = rng.uniform(0.55, 1.1)
    return f32(np.clip(backdrop * level, 0, 1))
