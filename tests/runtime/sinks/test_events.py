"""One line per frame, with the geometry of every item."""

from __future__ import annotations

import json
import math
import os
import threading
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from msgspec.structs import replace
from numpy.typing import NDArray

from cutline.runtime.sinks import open_sink
from cutline.runtime.sinks.shapes import Item, Shapes

U8 = NDArray[np.uint8]


def find(alpha: U8, *, min_alpha: int = 128, min_area: float = 0.0) -> list[Item]:
    return Shapes(alpha.shape[1], alpha.shape[0], min_alpha=min_alpha, min_area=min_area).find(alpha)


def rotated(width: float, height: float, angle: float, centre: tuple[float, float] = (320.5, 240.5)) -> U8:
    """uint8[480, 640]: a filled rectangle, clockwise by `angle` degrees on the screen; sub-pixel edges are soft."""
    y, x = np.mgrid[:480, :640].astype(float)
    cos, sin = math.cos(math.radians(angle)), math.sin(math.radians(angle))
    along = (x - centre[0]) * cos + (y - centre[1]) * sin
    across = (y - centre[1]) * cos - (x - centre[0]) * sin
    inside = np.minimum(width / 2 - np.abs(along), height / 2 - np.abs(across))
    return (np.clip(inside + 0.5, 0, 1) * 255).round().astype(np.uint8)


@pytest.mark.parametrize("angle", [0, 1, 15, 30, 45, 60, 89, 90, 120, 135, 179])
def test_a_rotated_rectangle_is_measured(angle: int) -> None:
    (item,) = find(rotated(200, 80, angle))
    assert item.area == pytest.approx(200 * 80, rel=0.01)
    assert item.rotated.centre == pytest.approx((320.5, 240.5), abs=0.7)
    assert item.rotated.size == pytest.approx((200, 80), abs=1.6)
    off = abs(item.rotated.angle - angle)
    assert min(off, 180 - off) < 0.8
    assert 0 <= item.rotated.angle < 180
    outline = np.array(item.outline)
    corners = np.array([(100, 40), (100, -40), (-100, -40), (-100, 40)])
    turn = math.radians(angle)
    corners = (
        corners @ [[math.cos(turn), math.sin(turn)], [-math.sin(turn), math.cos(turn)]] + 320.5 - np.array([0, 80])
    )
    assert max(np.abs(outline - corner).sum(axis=1).min() for corner in corners) < 4
    assert len(outline) < 14


def test_an_upright_rectangle_is_exact() -> None:
    alpha = np.zeros((100, 160), np.uint8)
    alpha[20:60, 30:130] = 255
    (item,) = find(alpha)
    assert item.box == (30, 20, 100, 40)
    assert item.area == 4000
    assert item.rotated.size == (100.0, 40.0)
    assert item.rotated.angle == 0.0
    assert item.rotated.centre == (79.5, 39.5)
    assert sorted(item.outline) == [(30, 20), (30, 59), (129, 20), (129, 59)]


def test_areas_are_counts_of_pixels() -> None:
    random = np.random.default_rng(5)
    noise = cv2.GaussianBlur(random.integers(0, 256, (240, 320)).astype(np.float32), (0, 0), 4)
    alpha = ((noise > noise.mean()) * 255).astype(np.uint8)
    count, _, statistics, _ = cv2.connectedComponentsWithStats(alpha, connectivity=8)
    expected = sorted((int(area) for area in statistics[1:count, cv2.CC_STAT_AREA]), reverse=True)
    assert [item.area for item in find(alpha)] == expected


def test_holes_do_not_count_and_what_lies_in_them_is_an_item() -> None:
    alpha = np.zeros((200, 200), np.uint8)
    alpha[20:180, 20:180] = 255
    alpha[60:140, 60:140] = 0
    alpha[90:110, 90:110] = 255
    ring, core = find(alpha)
    assert ring.area == 160 * 160 - 80 * 80
    assert core.area == 400
    assert core.box == (90, 90, 20, 20)


@pytest.mark.parametrize(("width", "height"), [(1, 1), (7, 1), (1, 9), (2, 2)])
def test_the_smallest_items_are_measured(width: int, height: int) -> None:
    alpha = np.zeros((20, 20), np.uint8)
    alpha[5 : 5 + height, 5 : 5 + width] = 255
    (item,) = find(alpha)
    assert item.area == width * height
    assert item.box == (5, 5, width, height)
    assert item.rotated.size == (max(width, height), min(width, height))


def test_small_regions_and_faint_alpha_are_no_items() -> None:
    alpha = np.zeros((100, 100), np.uint8)
    alpha[10:50, 10:50] = 255
    alpha[80:83, 80:83] = 255
    alpha[60:80, 10:40] = 127
    assert [item.area for item in find(alpha, min_area=0.001)] == [1600]
    assert [item.area for item in find(alpha, min_area=0.0009)] == [1600, 9]
    assert [item.area for item in find(alpha, min_area=0.001, min_alpha=127)] == [1600, 600]


def test_an_empty_and_a_full_frame() -> None:
    assert find(np.zeros((48, 64), np.uint8)) == []
    (item,) = find(np.full((48, 64), 255, np.uint8))
    assert item.box == (0, 0, 64, 48)
    assert item.area == 64 * 48


def test_the_outline_follows_the_matte() -> None:
    y, x = np.mgrid[:1080, :1920]
    turn = np.arctan2(y - 500, x - 900)
    shape = (np.hypot(y - 500, x - 900) < 300 + 60 * np.sin(5 * turn)).astype(np.uint8) * 255
    (item,) = find(shape)
    redrawn = np.zeros_like(shape)
    cv2.fillPoly(redrawn, [np.array(item.outline, np.int32)], 255)
    both, either = np.count_nonzero(redrawn & shape), np.count_nonzero(redrawn | shape)
    assert both / either > 0.99
    assert len(item.outline) < 120


def test_a_line_says_what_is_in_its_frame(clip: Any, store: Any, tmp_path: Path) -> None:
    made = clip(count=3, times=(900, 3900, 90_000))
    report = store(made, tmp_path / "events.jsonl")
    lines = [json.loads(line) for line in (tmp_path / "events.jsonl").read_text().splitlines()]
    assert [line["index"] for line in lines] == [0, 1, 2]
    assert [line["time_s"] for line in lines] == [0.01, 0.043333, 1.0]
    assert {line["stream"] for line in lines} == {"test"}
    assert lines[0]["area"] == pytest.approx(made.alpha().mean() / 255, abs=1e-4)
    (item,) = lines[0]["items"]
    assert item["area"] == np.count_nonzero(made.alpha() >= 128)
    assert set(item) == {"outline", "box", "rotated", "area"}
    assert set(item["rotated"]) == {"centre", "size", "angle"}
    assert report["items"] == 3
    assert report["frames"] == 3


def test_lines_of_a_live_source_are_there_at_once_and_after_those_of_earlier_runs(clip: Any, tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('{"index": "yesterday"}\n{"index": "cut o')
    made = clip(count=2, changes={"live": True})
    sink = open_sink(str(path), made.info)
    sink.write(made.frame(0))
    lines = path.read_text().splitlines()
    assert lines[:2] == ['{"index": "yesterday"}', '{"index": "cut o']
    assert json.loads(lines[2])["index"] == 0
    sink.write(made.frame(1))
    sink.close(complete=False)
    assert len(path.read_text().splitlines()) == 4
    assert list(tmp_path.iterdir()) == [path]


def test_a_named_pipe_is_written_to(clip: Any, store: Any, tmp_path: Path) -> None:
    path = tmp_path / "pipe.jsonl"
    os.mkfifo(path)
    got: list[str] = []
    reader = threading.Thread(target=lambda: got.extend(path.read_text().splitlines()))
    reader.start()
    store(clip(count=3), path)
    reader.join(20)
    assert len(got) == 3
    assert path.is_fifo()


def test_alpha_that_fades_is_counted_in_part(clip: Any, tmp_path: Path) -> None:
    made = clip(count=1)
    sink = open_sink(str(tmp_path / "events.jsonl"), made.info)
    sink.write(replace(made.frame(0), alpha=np.full((64, 96), 51, np.uint8)))
    sink.close(complete=True)
    line = json.loads((tmp_path / "events.jsonl").read_text())
    assert line["area"] == pytest.approx(0.2)
    assert line["items"] == []
