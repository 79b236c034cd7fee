"""place: how a frame lies in the network's input."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cutline.runtime.errors import ContractError, UsageError
from cutline.runtime.kernels import Rect, Window, place

sides = st.integers(2, 8000)


def test_fit_shows_all_and_keeps_the_shape() -> None:
    window = place(1920, 1080, 320, 320)
    assert window.source == Rect(x=0, y=0, width=1920, height=1080)
    assert window.target == Rect(x=0, y=70, width=320, height=180)


def test_fill_shows_the_centre_and_no_bars() -> None:
    window = place(1920, 1080, 320, 320, mode="fill")
    assert window.source == Rect(x=420, y=0, width=1080, height=1080)
    assert window.target == Rect(x=0, y=0, width=320, height=320)


def test_stretch_shows_all_and_changes_the_shape() -> None:
    window = place(1920, 1080, 320, 320, mode="stretch", crop=Rect(x=10, y=20, width=500, height=100))
    assert window.source == Rect(x=10, y=20, width=500, height=100)
    assert window.target == Rect(x=0, y=0, width=320, height=320)


@given(sides, sides, sides, sides, st.sampled_from(["fit", "fill"]))
def test_the_shape_is_kept_and_nothing_reaches_outside(fw: int, fh: int, w: int, h: int, mode: str) -> None:
    window = place(fw, fh, w, h, mode=mode)  # type: ignore[arg-type]
    s, t = window.source, window.target
    assert s.width / t.width == pytest.approx(s.height / t.height)
    assert s.x >= 0
    assert s.y >= 0
    assert s.x + s.width <= fw + 1e-6
    assert s.y + s.height <= fh + 1e-6
    assert t.x + t.width <= w + 1e-6
    assert t.y + t.height <= h + 1e-6


@pytest.mark.parametrize("crop", [(-1, 0, 5, 5), (0, 0, 101, 5), (60, 10, 41, 5), (0, 46, 5, 5)])
def test_a_crop_outside_the_frame_is_refused(crop: tuple[float, float, float, float]) -> None:
    x, y, width, height = crop
    with pytest.raises(UsageError, match="outside the frame"):
        place(100, 50, 10, 10, crop=Rect(x=x, y=y, width=width, height=height))


def test_an_unknown_mode_is_refused() -> None:
    with pytest.raises(UsageError, match="fit, fill or stretch"):
        place(100, 50, 10, 10, mode="zoom")  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [(0.0, 5.0), (5.0, -1.0), (float("nan"), 5.0), (float("inf"), 5.0)])
def test_a_rectangle_without_size_is_refused(size: tuple[float, float]) -> None:
    with pytest.raises(ContractError, match="positive, finite"):
        Rect(x=0, y=0, width=size[0], height=size[1])


def test_a_target_outside_the_network_is_refused() -> None:
    area = Rect(x=0, y=0, width=10, height=10)
    with pytest.raises(ContractError, match="outside the network"):
        Window(source=area, target=Rect(x=4, y=0, width=10, height=10), width=12, height=12)
