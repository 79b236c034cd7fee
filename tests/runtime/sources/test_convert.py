"""Conversion: colours of a known chart survive every pixel format, matrix and range; sizes and fields come right."""

from __future__ import annotations

import itertools
from fractions import Fraction

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from cutline.runtime.errors import BadInputError
from cutline.runtime.frame import Colour, FrameFormat, Matrix, allocate_planes
from cutline.runtime.sources.convert import Converter, copy_planes

CODES = {Matrix.BT601: 6, Matrix.BT709: 1, Matrix.BT2020: 9}  # AVColorSpace
LEVELS = 2.0  # of 8 bits: what a conversion may be off
CHART = np.array(
    [
        *((0, 0, 0), (255, 255, 255), (255, 0, 0), (0, 255, 0), (0, 0, 255), (255, 255, 0), (0, 255, 255)),
        *((255, 0, 255), (128, 128, 128), (64, 32, 16), (200, 150, 100), (30, 90, 200), (10, 10, 10)),
        *((245, 245, 240), (16, 235, 128), (77, 99, 33)),
    ],
    float,
)
CHART /= 255  # 4 x 4 patches, R'G'B' in 0..1
PATCH = 32  # pixels a side


def codes(rgb: NDArray[np.float64], colour: Colour, bits: int = 8) -> NDArray[np.float64]:
    """Y, Cb, Cr codes of R'G'B', in float64. Source: ITU-R BT.709-6, items 3 and 4; full range as in JFIF and H.273."""
    kr, kb = colour.matrix.kr_kb
    red, green, blue = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    luma = kr * red + (1 - kr - kb) * green + kb * blue
    cb, cr = (blue - luma) / (2 * (1 - kb)), (red - luma) / (2 * (1 - kr))
    half, top = 1 << (bits - 1), (1 << bits) - 1
    if colour.full_range:
        out = np.stack([top * luma, half + top * cb, half + top * cr], -1)
    else:
        scale = 1 << (bits - 8)
        out = np.stack([(16 + 219 * luma) * scale, half + 224 * cb * scale, half + 224 * cr * scale], -1)
    return np.clip(out, 0, top)


def chart_frame(pixels: str, colour: Colour, *, tag: bool = True) -> av.VideoFrame:
    """The chart in a planar YUV or grey format."""
    frame = av.VideoFrame(4 * PATCH, 4 * PATCH, pixels)
    bits = frame.format.components[0].bits
    dtype = np.uint16 if bits > 8 else np.uint8
    values = np.round(codes(CHART, colour, bits)).astype(dtype)
    for index, plane in enumerate(frame.planes[:3]):
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size).view(dtype)
        block = np.ones((plane.height // 4, plane.width // 4), dtype)
        rows[: plane.height, : plane.width] = np.kron(values[:, index].reshape(4, 4), block)
    if tag:
        frame.colorspace = CODES[colour.matrix]
        frame.color_range = 2 if colour.full_range else 1
    frame.pts, frame.time_base = 0, Fraction(1, 25)
    return frame


def rgb_frame(pixels: str = "rgb24") -> av.VideoFrame:
    rgb = np.kron(np.round(CHART.reshape(4, 4, 3) * 255).astype(np.uint8), np.ones((PATCH, PATCH, 1), np.uint8))
    frame = av.VideoFrame.from_ndarray(rgb, "rgb24").reformat(format=pixels)
    frame.pts, frame.time_base = 0, Fraction(1, 25)
    return frame


def converter(**options: object) -> tuple[Converter, list[str]]:
    said: list[str] = []
    made = Converter(**{"decoder": "ffv1", "report": lambda kind, text: said.append(kind), **options})  # type: ignore[arg-type]
    return made, said


def convert(frame: av.VideoFrame, **options: object) -> tuple[list[NDArray[np.uint8]], FrameFormat]:
    """Convert one frame; returns its three planes and the format."""
    made, _ = converter(**options)
    ready = [*made.push(frame), *made.flush()]
    assert len(ready) == 1
    planes = allocate_planes(made.format.width, made.format.height)
    copy_planes(ready[0], planes)
    return [planes.y, planes.u, planes.v], made.format


def patches(planes: list[NDArray[np.uint8]]) -> NDArray[np.float64]:
    """Y, Cb, Cr in the middle of each patch."""
    middles = []
    for plane in planes:
        down, across = plane.shape[0] // 4, plane.shape[1] // 4
        middles.append(plane[down // 2 :: down, across // 2 :: across].reshape(-1))
    return np.stack(middles, -1).astype(float)


def assert_chart(planes: list[NDArray[np.uint8]], colour: Colour) -> None:
    off = np.abs(patches(planes) - codes(CHART, colour)).max()
    assert off <= LEVELS, off


COLOURS = [Colour(matrix, full) for matrix, full in itertools.product(Matrix, (False, True))]
YUV = [
    *("yuv420p", "yuv422p", "yuv444p", "yuv440p", "yuv411p", "yuva420p"),
    *("yuv420p10le", "yuv422p10le", "yuv444p10le", "yuv420p12le", "yuv444p16le"),
]


@pytest.mark.parametrize("colour", COLOURS, ids=lambda c: f"{c.matrix.value}-{'full' if c.full_range else 'limited'}")
@pytest.mark.parametrize("pixels", YUV)
def test_yuv_keeps_its_matrix_and_range(pixels: str, colour: Colour) -> None:
    planes, form = convert(chart_frame(pixels, colour))
    assert form.colour == colour
    assert_chart(planes, colour)


@pytest.mark.parametrize("pixels", ["yuvj420p", "yuvj422p", "yuvj444p"])
def test_jpeg_formats_are_full_range_without_saying_so(pixels: str) -> None:
    colour = Colour(Matrix.BT601, full_range=True)
    planes, form = convert(chart_frame(pixels, colour, tag=False))
    assert form.colour == colour
    assert_chart(planes, colour)


@pytest.mark.parametrize("full_range", [False, True])
def test_8_bit_420_is_not_touched(full_range: bool) -> None:
    colour = Colour(Matrix.BT709, full_range)
    frame = chart_frame("yuv420p", colour)
    made, _ = converter()
    assert made.push(frame) == [frame]


@pytest.mark.parametrize("pixels", ["rgb24", "bgr24", "rgba", "gbrp", "gbrp10le", "rgb48le"])
def test_rgb_becomes_bt709_limited(pixels: str) -> None:
    planes, form = convert(rgb_frame(pixels))
    assert form.colour == Colour(Matrix.BT709, full_range=False)
    assert_chart(planes, form.colour)


@pytest.mark.parametrize("source", COLOURS, ids=str)
@pytest.mark.parametrize("target", COLOURS, ids=str)
def test_any_colour_reaches_any_other(source: Colour, target: Colour) -> None:
    wanted = FrameFormat(width=4 * PATCH, height=4 * PATCH, colour=target)
    planes, form = convert(chart_frame("yuv444p", source), target=wanted)
    assert form == wanted
    assert_chart(planes, target)


@pytest.mark.parametrize("full_range", [False, True])
@pytest.mark.parametrize("pixels", ["gray", "gray10le", "gray16le"])
def test_grey_keeps_its_range_and_gets_neutral_chroma(pixels: str, full_range: bool) -> None:
    colour = Colour(Matrix.BT709, full_range)
    planes, form = convert(chart_frame(pixels, colour))
    assert form.colour.full_range is full_range
    assert np.abs(patches(planes)[:, 0] - codes(CHART, colour)[:, 0]).max() <= LEVELS
    assert (planes[1] == 128).all()
    assert (planes[2] == 128).all()


@pytest.mark.parametrize(("full_range", "target_full"), [(False, True), (True, False)])
def test_grey_changes_its_range_where_the_target_has_another(full_range: bool, target_full: bool) -> None:
    target = FrameFormat(width=4 * PATCH, height=4 * PATCH, colour=Colour(Matrix.BT709, target_full))
    planes, _ = convert(chart_frame("gray", Colour(Matrix.BT709, full_range)), target=target)
    assert np.abs(patches(planes)[:, 0] - codes(CHART, target.colour)[:, 0]).max() <= LEVELS


@pytest.mark.parametrize(("decoder", "full_range"), [("h264", False), ("png", True)])
def test_untagged_grey_is_limited_in_video_and_full_in_pictures(decoder: str, full_range: bool) -> None:
    _, form = convert(chart_frame("gray", Colour(), tag=False), decoder=decoder)
    assert form.colour.full_range is full_range


@pytest.mark.parametrize(("height", "matrix"), [(576, Matrix.BT601), (718, Matrix.BT601), (720, Matrix.BT709)])
def test_an_untold_matrix_is_guessed_by_the_height(height: int, matrix: Matrix) -> None:
    _, form = convert(av.VideoFrame(64, height, "yuv420p"))
    assert form.colour == Colour(matrix, full_range=False)


@pytest.mark.parametrize("space", [4, 7])
def test_rare_matrices_are_converted_to_bt709(space: int) -> None:
    kr, kb = {4: (0.30, 0.11), 7: (0.212, 0.087)}[space]
    frame = av.VideoFrame(64, 64, "yuv420p")
    red, green, blue = 0.8, 0.4, 0.2
    luma = kr * red + (1 - kr - kb) * green + kb * blue
    values = (16 + 219 * luma, 128 + 224 * (blue - luma) / (2 * (1 - kb)), 128 + 224 * (red - luma) / (2 * (1 - kr)))
    for plane, value in zip(frame.planes, values, strict=True):
        np.frombuffer(memoryview(plane), np.uint8)[:] = round(value)
    frame.colorspace, frame.color_range, frame.pts, frame.time_base = space, 1, 0, Fraction(1, 25)
    planes, form = convert(frame)
    assert form.colour == Colour(Matrix.BT709, full_range=False)
    got = np.array([plane[32 // 2, 32 // 2] for plane in planes], float)
    assert np.abs(got - codes(np.array([red, green, blue]), form.colour)).max() <= LEVELS


def test_a_matrix_that_cannot_be_converted_is_refused() -> None:
    frame = av.VideoFrame(64, 64, "yuv420p")
    frame.colorspace = 14  # ICtCp
    with pytest.raises(BadInputError, match="matrix"):
        convert(frame)


def test_chroma_is_sited_left() -> None:
    frame = av.VideoFrame(256, 64, "yuv444p")
    for index, plane in enumerate(frame.planes):
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
        rows[:, :256] = 128 if index == 0 else np.arange(256)
    frame.pts, frame.time_base = 0, Fraction(1, 25)
    (_, u, _), _ = convert(frame)
    middle = u[16, 16:112].astype(int)
    assert (
        np.abs(middle - 2 * np.arange(16, 112)).max() <= 0.5
    )  # the column of every second luma sample; between them: +0.5


@pytest.mark.parametrize("size", [(16, 16), (17, 33), (641, 361), (2, 2)])
@pytest.mark.parametrize("pixels", ["yuv420p", "yuv422p10le", "rgb24", "nv12", "yuyv422"])
def test_any_size_stays_as_it_is(size: tuple[int, int], pixels: str) -> None:
    if pixels == "yuyv422" and size[0] % 2:
        pytest.skip("the format has pairs of columns")
    frame = av.VideoFrame(*size, pixels)
    for plane in frame.planes:
        plane.update(bytes([100]) * plane.buffer_size)
    frame.pts, frame.time_base = 0, Fraction(1, 25)
    planes, form = convert(frame)
    assert (form.width, form.height) == size
    assert planes[0].min() == planes[0].max()


@pytest.mark.parametrize("size", [(1, 64), (64, 1), (16385, 2)])
def test_sizes_out_of_range_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(BadInputError, match="size"):
        convert(av.VideoFrame(*size, "yuv420p"))


@pytest.mark.parametrize(
    ("aspect", "size"),
    [
        (Fraction(64, 45), (1024, 576)),
        (Fraction(8, 9), (720, 648)),
        (Fraction(1), (720, 576)),
        (Fraction(100), (720, 576)),
    ],
)
def test_pixels_become_square_and_none_is_lost(aspect: Fraction, size: tuple[int, int]) -> None:
    made, said = converter(pixel_aspect=aspect)
    made.push(av.VideoFrame(720, 576, "yuv420p"))
    assert (made.format.width, made.format.height) == size
    assert said == (["square"] if size != (720, 576) else [])


def test_another_size_is_scaled_to_the_first_and_told() -> None:
    made, said = converter()
    out = []
    for width, height in ((64, 48), (32, 24), (128, 96), (64, 48)):
        frame = av.VideoFrame(width, height, "yuv420p")
        for plane in frame.planes:
            plane.update(bytes([90]) * plane.buffer_size)
        frame.pts, frame.time_base = len(out), Fraction(1, 25)
        out += made.push(frame)
    out += made.flush()
    assert [(frame.width, frame.height) for frame in out] == [(64, 48)] * 4
    assert [frame.pts for frame in out] == [0, 1, 2, 3]
    assert said == ["resized", "resized"]


def test_a_background_is_cut_evenly_to_the_shape_asked_for() -> None:
    frame = av.VideoFrame(400, 100, "yuv444p")
    for index, plane in enumerate(frame.planes):
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
        rows[:, :400] = 128 if index else np.repeat([20, 60, 180, 220], 100)
    frame.pts, frame.time_base = 0, Fraction(1, 25)
    target = FrameFormat(width=200, height=100)
    planes, form = convert(frame, target=target, crop=True)
    assert form == target
    assert {int(value) for value in planes[0][50, [5, 95, 105, 195]]} == {60, 180}


def woven_frames(count: int) -> list[av.VideoFrame]:
    """Interlaced frames of a bar that moves on by 6 pixels from field to field, so that its edges are combs."""
    graph = av.filter.Graph()
    chain = [
        graph.add_buffer(width=128, height=64, format=av.VideoFormat("yuv420p"), time_base=Fraction(1, 25)),
        graph.add("setfield", "tff"),
        graph.add("buffersink"),
    ]
    graph.link_nodes(*chain).configure()
    frames = []
    for number in range(count):
        frame = av.VideoFrame(128, 64, "yuv420p")
        for plane in frame.planes:
            rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
            rows[:] = 60 if plane.width == 128 else 128
            for field in (0, 1):
                left = 6 * (2 * number + field)
                rows[field::2, left : left + 40] += 100 if plane.width == 128 else 0
        frame.pts, frame.time_base = number, Fraction(1, 25)
        graph.vpush(frame)
        frames.append(graph.vpull())
    return frames


def combing(frame: av.VideoFrame) -> float:
    """Mean difference of neighbouring rows, away from the upper and lower edge."""
    rows = np.frombuffer(memoryview(frame.planes[0]), np.uint8).reshape(64, -1)[8:-8, :128].astype(int)
    return float(np.abs(np.diff(rows, axis=0)).mean())


def test_interlaced_frames_are_deinterlaced_one_for_one() -> None:
    made, _ = converter()
    woven = woven_frames(6)
    assert all(frame.interlaced_frame for frame in woven)
    out = [ready for frame in woven for ready in made.push(frame)] + made.flush()
    assert [frame.pts for frame in out] == list(range(6))
    assert min(map(combing, woven)) > 8
    assert max(map(combing, out[1:-1])) < 1


def test_whole_frames_among_interlaced_ones_keep_their_place() -> None:
    made, _ = converter()
    frames = woven_frames(2)
    for number in (2, 3):
        whole = av.VideoFrame(128, 64, "yuv420p")
        for plane in whole.planes:
            plane.update(bytes([90]) * plane.buffer_size)
        whole.pts, whole.time_base = number, Fraction(1, 25)
        frames.append(whole)
    out = [ready for frame in frames for ready in made.push(frame)] + made.flush()
    assert [frame.pts for frame in out] == [0, 1, 2, 3]
    assert combing(out[3]) == 0
