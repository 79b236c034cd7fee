"""pre against its float64 twin, and what it promises beyond the numbers."""

from __future__ import annotations

import numpy as np
import pytest
from draws import as_float, close, empty_tensor, images
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pictures import colours, draw_frame, formats, seeds, windows

from cutline.runtime.contract import Image
from cutline.runtime.errors import ContractError
from cutline.runtime.frame import Colour, FrameFormat, Matrix, Planes
from cutline.runtime.kernels import Pre, place, reference, tolerances

each_isa = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.usefixtures("isa")
@each_isa
@given(data=st.data(), form=formats(), interleaved=st.booleans(), seed=seeds)
def test_pre_agrees_with_its_twin(data: st.DataObject, form: FrameFormat, interleaved: bool, seed: int) -> None:
    window = data.draw(windows(form))
    image = data.draw(images(window.width, window.height))
    frame = draw_frame(form, np.random.default_rng(seed), interleaved=interleaved)
    tensor, guide = empty_tensor(image), np.zeros((3, window.height, window.width), np.uint8)
    Pre(form, image, window).run(frame.planes, tensor, guide)
    wanted_tensor, wanted_guide = reference.pre(frame.planes, form, image, window)
    assert (abs(guide - wanted_guide) <= tolerances.HALF + tolerances.GUIDE).all()
    assert close(as_float(tensor, image), wanted_tensor, image)
    assert frame.intact()


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("size", [(16, 16), (1366, 769), (7680, 4320)])
def test_pre_takes_frames_of_any_size(size: tuple[int, int]) -> None:
    form = FrameFormat(width=size[0], height=size[1])
    frame = Planes(*(np.full(s, c, np.uint8) for s, c in zip(shapes(form), (180, 90, 200), strict=True)))
    image = Image(tensor="x", width=320, height=200)
    tensor, guide = empty_tensor(image), np.zeros((3, 200, 320), np.uint8)
    Pre(form, image, place(*size, 320, 200)).run(frame, tensor, guide)
    assert [set(np.unique(plane)) for plane in guide] == [{180}, {90}, {200}]
    assert np.ptp(tensor[0].reshape(3, -1), axis=1).max() <= tolerances.TONE


def shapes(form: FrameFormat) -> tuple[tuple[int, int], ...]:
    chroma = (form.chroma_height, form.chroma_width)
    return (form.height, form.width), chroma, chroma


@settings(deadline=None, max_examples=30)
@given(colour=colours, rgb=st.tuples(*[st.integers(0, 255)] * 3))
def test_a_colour_chart_survives_every_matrix_and_range(colour: Colour, rgb: tuple[int, int, int]) -> None:
    form = FrameFormat(width=32, height=20, colour=colour)
    tones = np.array(rgb, np.float64) / 255
    codes = np.floor(reference.to_yuv(tones, colour) + 0.5).astype(np.uint8)
    frame = Planes(*(np.full(s, c, np.uint8) for s, c in zip(shapes(form), codes, strict=True)))
    image = Image(tensor="x", width=8, height=5)
    tensor = np.zeros(image.shape, np.float32)
    Pre(form, image, place(32, 20, 8, 5)).run(frame, tensor, None)
    step = 0.5 * (1 + 2.2) / (255 if colour.full_range else 219)  # what rounding to codes costs
    assert (abs(tensor[0].reshape(3, -1) - tones[:, None]) <= step).all()


def test_known_colours_of_bt709_narrow_range_are_right() -> None:
    # ITU-R BT.709: 100 % white, black, red and blue in 8-bit narrow range
    chart = {
        (235, 128, 128): (1, 1, 1),
        (16, 128, 128): (0, 0, 0),
        (63, 102, 240): (1, 0, 0),
        (32, 240, 118): (0, 0, 1),
    }
    form = FrameFormat(width=4, height=4, colour=Colour(Matrix.BT709))
    for codes, rgb in chart.items():
        frame = Planes(*(np.full(s, c, np.uint8) for s, c in zip(shapes(form), codes, strict=True)))
        tensor = np.zeros((1, 3, 2, 2), np.float32)
        Pre(form, Image(tensor="x", width=2, height=2), place(4, 4, 2, 2)).run(frame, tensor, None)
        assert abs(tensor[0, :, 0, 0] - rgb).max() < 0.01


def test_shrinking_averages_and_does_not_alias() -> None:
    form = FrameFormat(width=256, height=144)
    frame = Planes(*(np.full(s, 128, np.uint8) for s in shapes(form)))
    frame.y[:, 0::2], frame.y[:, 1::2] = 0, 200  # the finest stripes there are
    guide, tensor = np.zeros((3, 24, 43), np.uint8), np.zeros((1, 3, 24, 43), np.float32)
    Pre(form, Image(tensor="x", width=43, height=24), place(256, 144, 43, 24, mode="stretch")).run(frame, tensor, guide)
    assert abs(guide[0, :, 1:-1].astype(int) - 100).max() <= 4


def test_bars_of_a_fitted_window_repeat_the_edge() -> None:
    form = FrameFormat(width=40, height=40)
    frame = Planes(*(np.full(s, 128, np.uint8) for s in shapes(form)))
    frame.y[:, :20], frame.y[:, 20:] = 50, 150
    guide, tensor = np.zeros((3, 20, 60), np.uint8), np.zeros((1, 3, 20, 60), np.float32)
    Pre(form, Image(tensor="x", width=60, height=20), place(40, 40, 60, 20)).run(frame, tensor, guide)
    assert set(guide[0, :, :28].ravel()) == {50}
    assert set(guide[0, :, 32:].ravel()) == {150}


def test_a_window_for_another_size_is_refused() -> None:
    form = FrameFormat(width=40, height=40)
    with pytest.raises(ContractError, match="another network input"):
        Pre(form, Image(tensor="x", width=8, height=8), place(40, 40, 9, 8))


def wrong_arrays() -> dict[str, tuple[object, object]]:
    good = np.zeros((1, 3, 8, 8), np.float32)
    return {
        "shape": (np.zeros((1, 3, 8, 9), np.float32), None),
        "data type": (np.zeros((1, 3, 8, 8), np.float64), None),
        "dimensions": (np.zeros((3, 8, 8), np.float32), None),
        "C-contiguous": (np.zeros((1, 3, 8, 16), np.float32)[..., ::2], None),
        "writable": (np.broadcast_to(np.float32(0), (1, 3, 8, 8)), None),
        "not a writable array": (good, "guide"),
    }


@pytest.mark.parametrize("fault", wrong_arrays())
def test_an_array_that_does_not_fit_is_refused(fault: str) -> None:
    form = FrameFormat(width=16, height=16)
    frame = Planes(*(np.zeros(s, np.uint8) for s in shapes(form)))
    plan = Pre(form, Image(tensor="x", width=8, height=8), place(16, 16, 8, 8))
    tensor, guide = wrong_arrays()[fault]
    with pytest.raises(ContractError, match=fault):
        plan.run(frame, tensor, guide)  # type: ignore[arg-type]


def test_a_frame_of_another_size_is_refused() -> None:
    form = FrameFormat(width=18, height=16)
    frame = Planes(*(np.zeros(s, np.uint8) for s in shapes(form)))
    plan = Pre(FrameFormat(width=16, height=16), Image(tensor="x", width=8, height=8), place(16, 16, 8, 8))
    with pytest.raises(ContractError, match="frame: has the wrong size"):
        plan.run(frame, np.zeros((1, 3, 8, 8), np.float32), None)
