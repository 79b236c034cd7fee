"""Walls, floors and papers with a pattern: what has lines and spots everywhere and is background all the same.

For training alone; the bricks and dots of the test are none of these (backdrops.py).
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from cutline.tools.scenes import textures
from cutline.tools.scenes.shot import F32, f32
from cutline.tools.scenes.textures import cloud, colour, lerp

__all__ = ["pattern"]

_MOST_CELLS = 4000


def pattern(rng: np.random.Generator, width: int, height: int) -> F32:
    """Draw a patterned surface, from before or aslant, float32[height, width, 3], about 0..1."""
    painters = (paving, masonry, mesh, panels, chequers, motifs, chips, patches)
    surface = painters[int(rng.integers(len(painters)))](rng, width, height)
    if rng.random() < 0.4:
        surface = _aslant(rng, surface)
    if rng.random() < 0.4:
        surface = cv2.GaussianBlur(surface, (0, 0), height * float(rng.uniform(0.001, 0.012)) + 0.2)
    return f32(surface)


def paving(rng: np.random.Generator, width: int, height: int) -> F32:
    """Cobbles, hexagons, scales, crazy paving: cells round points, each of its own tone, and joints between them."""
    size = height * rng.uniform(0.04, 0.25)
    size = max(size, 4.0, float(np.sqrt(4 * width * height / _MOST_CELLS)))
    wild = float(rng.choice([0.0, 0.1, 0.35]))  # how far points stray from an even lattice
    slope, shape = rng.uniform(0.3, 0.7), rng.uniform(0.6, 1.6)
    rows, columns = int(height / (size * shape)) + 3, int(width / size) + 3
    y, x = np.mgrid[0:rows, 0:columns].astype(np.float32)
    points = np.stack([x + (y * slope) % 1 - 1, (y - 1) * shape], -1) + rng.normal(0, wild, (rows, columns, 2)) * 0.5
    spots = np.rint(points.reshape(-1, 2) * size).astype(int)
    inside = ((spots >= 0) & (spots < (width, height))).all(1)
    free = np.full((height, width), 255, np.uint8)
    free[spots[inside, 1], spots[inside, 0]] = 0
    free[0, 0] = 0  # never without a point
    cells = cv2.distanceTransformWithLabels(free, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_CCOMP)[1]
    return _jointed(rng, _stones(rng, cells, size), cells, int(size * rng.uniform(0.02, 0.14)))


def masonry(rng: np.random.Generator, width: int, height: int) -> F32:
    """Hewn stones of uneven sizes in uneven rows, parquet, a wall of drawers: rectangles, no two rows alike."""
    cells = np.zeros((height, width), np.int32)
    high, long = height * rng.uniform(0.05, 0.25), rng.uniform(1.0, 5.0)
    top, number = -int(rng.uniform(0, high)), 0
    while top < height:
        row = max(4, int(high * rng.uniform(0.5, 1.5)))
        left = -int(rng.uniform(0, row * long))
        while left < width:
            wide = max(4, int(row * long * rng.uniform(0.4, 1.6)))
            number += 1
            cells[max(0, top) : max(0, top + row), max(0, left) : max(0, left + wide)] = number
            left += wide
        top += row
    return _jointed(rng, _stones(rng, cells, high), cells, int(high * rng.uniform(0.02, 0.14)))


def mesh(rng: np.random.Generator, width: int, height: int) -> F32:
    """Straight lines at one or two angles over something: a fence, ruled paper, wire, window bars."""
    picture = textures.paint(rng, width, height) if rng.random() < 0.7 else textures.stone(rng, width, height)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    tone, angle = colour(rng, saturation=(0, 0.5)), rng.uniform(0, np.pi) if rng.random() < 0.5 else 0.0
    for turn in (0.0, np.pi / 2 + rng.normal(0, 0.2))[: int(rng.integers(1, 3))]:
        period = height * rng.uniform(0.03, 0.25)
        thick = max(0.8, period * rng.uniform(0.02, 0.2))
        across = (x * np.cos(angle + turn) + y * np.sin(angle + turn)) % period
        line = np.clip(thick / 2 + 0.5 - np.abs(across - period / 2), 0, 1)
        picture = picture + (tone - picture) * line[..., None].astype(np.float32)
    return f32(picture)


def panels(rng: np.random.Generator, width: int, height: int) -> F32:
    """Boards side by side, of one wood or paint, with a dark groove between them."""
    wide = max(4, int(width * rng.uniform(0.02, 0.15)))
    count = width // wide + 1
    if rng.random() < 0.5:
        surface = np.ascontiguousarray(textures.wood(rng, height, width).transpose(1, 0, 2))
    else:
        surface = textures.paint(rng, width, height)
    tones = np.repeat(1 + rng.normal(0, rng.uniform(0, 0.12), count), wide)[:width]
    groove = np.arange(width) % wide < max(1, int(wide * rng.uniform(0.02, 0.1)))
    light = tones * np.where(groove, rng.uniform(0.3, 0.8), 1.0)
    picture = f32(surface * light[None, :, None].astype(np.float32))
    return picture if rng.random() < 0.6 else f32(cv2.resize(picture.transpose(1, 0, 2), (width, height)))


def chequers(rng: np.random.Generator, width: int, height: int) -> F32:
    """Squares, lozenges or triangles in two or three colours, without joints."""
    size = height * rng.uniform(0.04, 0.25)
    y, x = np.mgrid[0:height, 0:width].astype(np.float32) / np.float32(size)
    angle = float(rng.choice([0.0, np.pi / 4, rng.uniform(0, np.pi)]))
    u, v = x * np.cos(angle) + y * np.sin(angle), y * np.cos(angle) - x * np.sin(angle)
    number = np.floor(u) + np.floor(v * rng.uniform(0.5, 1.5))
    if rng.random() < 0.3:
        number = number + (u % 1 > v % 1)
    count = int(rng.integers(2, 4))
    tones = np.stack([colour(rng) for _ in range(count)])
    return f32(cv2.GaussianBlur(tones[(number % count).astype(int)], (0, 0), 0.6))


def motifs(rng: np.random.Generator, width: int, height: int) -> F32:
    """A printed paper: one small figure again and again, in rows or strewn."""
    size = max(5.0, height * rng.uniform(0.02, 0.1))
    gap = size * rng.uniform(1.3, 3.0)
    y, x = np.mgrid[0 : height + gap : gap, 0 : width + gap : gap]
    x = x + (np.arange(x.shape[0]) % 2)[:, None] * gap / 2 * int(rng.integers(0, 2))
    stray = float(rng.choice([0.0, 0.1, 0.7])) * gap
    places = np.stack([x.ravel(), y.ravel()], 1) + rng.normal(0, 1, (x.size, 2)) * stray
    rays, deep = int(rng.integers(3, 9)), rng.uniform(0.25, 0.9)
    angles = np.arange(2 * rays) * np.pi / rays
    reach = np.where(np.arange(2 * rays) % 2, deep, 1.0) * size / 2
    figure = np.stack([reach * np.cos(angles), reach * np.sin(angles)], 1)
    ink = np.zeros((height, width), np.uint8)
    outlined, thick = rng.random() < 0.4, max(1, int(size / 10))
    for place in places[:_MOST_CELLS]:
        turn = rng.uniform(0, 2 * np.pi) if stray > 0 else 0.0
        matrix = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        points = [((figure @ matrix.T + place) * 16).astype(np.int32)]
        if outlined:
            cv2.polylines(ink, points, True, 255, thick, cv2.LINE_AA, 4)
        else:
            cv2.fillPoly(ink, points, 255, cv2.LINE_AA, 4)
    return lerp(colour(rng), colour(rng), ink.astype(np.float32) / np.float32(255))


def chips(rng: np.random.Generator, width: int, height: int) -> F32:
    """Terrazzo, confetti, gravel: chips of several colours and sizes strewn over a ground."""
    ground = colour(rng, saturation=(0, 0.6))
    picture = np.empty((height, width, 3), np.float32)
    picture[:] = ground
    tones = [colour(rng, saturation=(0, 0.8)).tolist() for _ in range(int(rng.integers(1, 5)))]
    largest = height * rng.uniform(0.01, 0.07)
    for _ in range(int(rng.integers(60, 700))):
        centre, corners = rng.uniform(0, 1, 2) * (width, height), int(rng.integers(3, 8))
        angles = np.sort(rng.uniform(0, 2 * np.pi, corners))
        reach = largest * rng.uniform(0.3, 1.0) * rng.uniform(0.6, 1, (corners, 1))
        points = centre + reach * np.stack([np.cos(angles), np.sin(angles)], 1)
        cv2.fillPoly(picture, [(points * 16).astype(np.int32)], tones[int(rng.integers(len(tones)))], cv2.LINE_AA, 4)
    return picture


def patches(rng: np.random.Generator, width: int, height: int) -> F32:
    """Cloudy patches with hard or soft borders: camouflage, worn paint, clouds, hides."""
    picture = np.empty((height, width, 3), np.float32)
    picture[:] = colour(rng)
    for _ in range(int(rng.integers(1, 4))):
        field = cloud(rng, width, height, height * rng.uniform(0.06, 0.5), int(rng.integers(2, 6)), rng.uniform(0.5, 2))
        amount = np.clip((field - rng.uniform(0.4, 0.6)) * rng.uniform(3, 60) + 0.5, 0, 1)
        picture += (colour(rng) - picture) * amount[..., None]
    return picture


def _stones(rng: np.random.Generator, cells: NDArray[np.int32], size: float) -> F32:
    """One colour, in every cell a little lighter or darker, and cloudy at the size of a cell."""
    height, width = cells.shape
    base = colour(rng, saturation=(0, 0.7), value=(0.2, 0.95))
    tones = 1 + rng.normal(0, rng.uniform(0.02, 0.18), int(cells.max()) + 1)
    light = tones[cells] * (0.9 + 0.2 * cloud(rng, width, height, size, 3))
    return f32(base * light[..., None].astype(np.float32))


def _jointed(rng: np.random.Generator, picture: F32, cells: NDArray[np.int32], thick: int) -> F32:
    """Draw the borders of cells, `thick` pixels on both sides."""
    border = np.zeros(cells.shape, np.uint8)
    border[:, 1:] |= (cells[:, 1:] != cells[:, :-1]).astype(np.uint8) * 255
    border[1:] |= (cells[1:] != cells[:-1]).astype(np.uint8) * 255
    if thick > 1:
        border = cv2.dilate(border, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (thick, thick)))
    soft = cv2.GaussianBlur(border, (0, 0), 0.6).astype(np.float32)[..., None] / np.float32(255)
    return f32(picture + (colour(rng, saturation=(0, 0.3)) - picture) * soft)


def _aslant(rng: np.random.Generator, picture: F32) -> F32:
    """The picture as seen from one side, or from above."""
    height, width = picture.shape[:2]
    corners = np.array([[0, 0], [width, 0], [width, height], [0, height]], np.float32)
    moved = corners + (rng.uniform(-0.35, 0.35, (4, 2)) * (width, height)).astype(np.float32)
    matrix = cv2.getPerspectiveTransform(corners, moved)
    return f32(cv2.warpPerspective(picture, matrix, (width, height), borderMode=cv2.BORDER_REFLECT))
