"""What post promises beyond its twin: exact ends, identity, time, isolation, refusals."""

from __future__ import annotations

import threading
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pictures import Canvas, blobs, draw_frame, formats, seeds

from cutline.runtime.contract import Image, Output
from cutline.runtime.errors import ContractError, InternalError, UsageError
from cutline.runtime.frame import FrameFormat, Planes, allocate_planes
from cutline.runtime.kernels import Background, Post, PostOptions, Pre, Rect, Window, place

KINDS = ("colour", "picture", "blur", "original", "transparent")
SIZE = (48, 27)  # network
FRAME = FrameFormat(width=192, height=108)
each_isa = settings(deadline=None, max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]


class Rig:
    """One stream: plans, arrays and a frame of blobs."""

    def __init__(
        self,
        form: FrameFormat = FRAME,
        window: Window | None = None,
        options: PostOptions = PostOptions(temporal=0),  # noqa: B008  frozen
        meaning: Any = "alpha",
        seed: int = 1,
    ) -> None:
        self.form = form
        self.window = window or place(form.width, form.height, *SIZE)
        w, h = self.window.width, self.window.height
        rng = np.random.default_rng(seed)
        self.frame = draw_frame(form, rng)
        self.behind = draw_frame(form, rng)
        self.guide = np.zeros((3, h, w), np.uint8)
        Pre(form, Image(tensor="x", width=w, height=h), self.window).run(
            self.frame.planes, np.zeros((1, 3, h, w), np.float32), self.guide
        )
        self.plan = Post(form, Output(tensor="a", meaning=meaning, width=w, height=h), self.window, options)
        self.out = Canvas(form, rng, interleaved=False)
        self.matte, self.alpha = np.zeros((h, w), np.float32), np.zeros((form.height, form.width), np.uint8)

    def run(self, raw: NDArray[Any] | float, kind: Any = "colour", **extra: Any) -> None:
        shape = (1, 1, self.window.height, self.window.width)
        self.plan.run(
            extra.pop("planes", self.frame.planes),
            np.ascontiguousarray(np.broadcast_to(np.asarray(raw, np.float32), shape)),
            extra.pop("guide", self.guide),
            background=Background(kind=kind, colour=(90, 60, 200), planes=self.behind.planes),
            out=self.out.planes,
            matte=self.matte,
            alpha=extra.pop("alpha", self.alpha),
            **extra,
        )


def same(one: tuple[U8, ...], other: tuple[U8, ...]) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one, other, strict=True))


@pytest.mark.usefixtures("isa")
@each_isa
@given(form=formats(), seed=seeds)
def test_the_original_background_returns_the_source_exactly(form: FrameFormat, seed: int) -> None:
    rig = Rig(form, seed=seed)
    raw = blobs(np.random.default_rng(seed), rig.window.height, rig.window.width)
    for alpha in (None, rig.alpha):
        rig.run(raw, "original", alpha=alpha)
        assert same(rig.out.arrays, rig.frame.arrays)


@pytest.mark.usefixtures("isa")
@pytest.mark.parametrize("kind", KINDS)
@each_isa
@given(form=formats(), seed=seeds)
def test_opacity_1_returns_the_source_exactly(kind: str, form: FrameFormat, seed: int) -> None:
    rig = Rig(form, seed=seed)
    rig.run(0.99, kind)
    assert same(rig.out.arrays, rig.frame.arrays)
    assert (rig.alpha == 255).all()
    assert (rig.matte == 1).all()


@pytest.mark.usefixtures("isa")
@each_isa
@given(form=formats(), seed=seeds)
def test_opacity_0_returns_the_background_exactly(form: FrameFormat, seed: int) -> None:
    rig = Rig(form, seed=seed)
    rig.run(0.01, "picture")
    assert same(rig.out.arrays, rig.behind.arrays)
    assert (rig.alpha == 0).all()
    assert (rig.matte == 0).all()
    rig.run(0.01, "colour")
    assert [set(np.unique(plane)) for plane in rig.out.arrays] == [{90}, {60}, {200}]


def test_copied_blocks_and_blended_blocks_agree() -> None:
    """Deep inside and far outside the product the source and the background come through untouched."""
    rig = Rig(FrameFormat(width=640, height=360), place(640, 360, 160, 90))
    y, x = np.mgrid[0:90, 0:160]
    inside = np.minimum(40 - abs(x - 80), 25 - abs(y - 45))
    rig.run(np.clip(inside / 4 + 0.5, 0, 1), "picture")
    full = np.repeat(np.repeat(inside, 4, 0), 4, 1)
    for plane, source, behind in zip(rig.out.arrays, rig.frame.arrays, rig.behind.arrays, strict=True):
        at = full[:: 360 // plane.shape[0], :: 640 // plane.shape[1]]
        assert np.array_equal(plane[at > 8], source[at > 8])
        assert np.array_equal(plane[at < -8], behind[at < -8])
    assert set(np.unique(rig.alpha[full > 8])) == {255}
    assert set(np.unique(rig.alpha[full < -8])) == {0}


@pytest.mark.parametrize("size", [(2, 2), (16, 16), (33, 17), (7680, 4320)])
def test_post_takes_frames_of_any_size(size: tuple[int, int]) -> None:
    form = FrameFormat(width=size[0], height=size[1])
    frame, out = allocate_planes(*size), allocate_planes(*size)
    for plane, code in zip((frame.y, frame.u, frame.v), (120, 90, 160), strict=True):
        plane[:] = code
    plan = Post(form, Output(tensor="a", meaning="alpha", width=64, height=36), place(*size, 64, 36), PostOptions())
    raw, guide, matte = (
        np.full((1, 1, 36, 64), 0.5, np.float32),
        np.full((3, 36, 64), 120, np.uint8),
        np.zeros((36, 64)),
    )
    plan.run(frame, raw, guide, background=Background(kind="blur"), out=out, matte=matte.astype(np.float32))
    assert abs(out.y.astype(int) - 120).max() <= 1


def test_nothing_outside_the_window_is_kept() -> None:
    crop = Rect(x=50.5, y=20, width=80, height=60)
    rig = Rig(window=place(192, 108, 40, 30, crop=crop))
    rig.run(1.0, "picture")
    y, x = np.mgrid[0:108, 0:192] + 0.5
    inside = (x >= 50.5) & (x < 130.5) & (y >= 20) & (y < 80)
    assert np.array_equal(rig.alpha, np.where(inside, 255, 0))
    assert np.array_equal(rig.out.planes.y[~inside], rig.behind.planes.y[~inside])
    assert np.array_equal(rig.out.planes.y[inside], rig.frame.planes.y[inside])


def test_blur_keeps_the_product_out_of_the_background() -> None:
    form = FrameFormat(width=320, height=180)
    rig = Rig(form, place(320, 180, 160, 90), PostOptions(temporal=0, decontaminate=False))
    for plane, code in zip(rig.frame.arrays, (60, 128, 128), strict=True):
        plane[:] = code
    rig.frame.planes.y[60:120, 100:220] = 230
    rig.guide[:], rig.guide[0, 30:60, 50:110] = np.array([60, 128, 128], np.uint8)[:, None, None], 230
    raw = np.zeros((90, 160))
    raw[30:60, 50:110] = 1
    rig.run(raw, "blur")
    assert rig.out.planes.y[:50].max() <= 62  # a plain blur would let the bright product glow into its surroundings


def test_decontamination_takes_the_scene_out_of_the_edge() -> None:
    """A dark product before a bright scene, on black: without it, the edge glows."""
    form, window = FrameFormat(width=320, height=180), place(320, 180, 80, 45)
    glow = {}
    for clean in (True, False):
        rig = Rig(form, window, PostOptions(temporal=0, refine=False, decontaminate=clean))
        raw = np.broadcast_to(np.clip((15 - abs(np.arange(80) - 40)) / 4 + 0.5, 0, 1), (45, 80))
        full = np.clip((15 - abs((np.arange(320) + 0.5) / 4 - 40.5)) / 4 + 0.5, 0, 1)
        rig.frame.planes.y[:] = np.round(40 * full + 235 * (1 - full))
        rig.guide[0] = np.round(40 * raw + 235 * (1 - raw))
        rig.frame.planes.u[:], rig.frame.planes.v[:], rig.guide[1:] = 128, 128, 128
        rig.plan.run(
            rig.frame.planes,
            np.ascontiguousarray(raw[None, None], np.float32),
            rig.guide,
            background=Background(kind="colour", colour=(16, 128, 128)),
            out=rig.out.planes,
            matte=rig.matte,
        )
        glow[clean] = float(rig.out.planes.y.max())
    assert glow[False] > 70
    assert glow[True] < 50


def test_a_transparent_composite_needs_alpha_and_holds_straight_colour() -> None:
    rig = Rig()
    with pytest.raises(UsageError, match="alpha plane"):
        rig.run(0.5, "transparent", alpha=None)
    rig.run(1.0, "transparent")
    assert same(rig.out.arrays, rig.frame.arrays)


# Time


def test_a_noisy_still_product_comes_to_rest() -> None:
    rig = Rig(options=PostOptions(temporal=0.8))
    rng = np.random.default_rng(0)
    steady = np.clip(blobs(rng, SIZE[1], SIZE[0]), 0.2, 0.8)
    mattes = []
    for _ in range(60):
        noisy_guide = np.clip(rig.guide + rng.normal(0, 1, rig.guide.shape), 0, 255).astype(np.uint8)
        rig.run(steady + rng.normal(0, 0.03, steady.shape), guide=noisy_guide)
        mattes.append(rig.matte.copy())
    flicker = np.std(mattes[20:], axis=0).mean()
    assert (
        flicker < 0.6 * 0.03 / 0.96
    )  # what (1 - k) / (1 + k) leaves of the noise, with slack; levels stretch by 1 / 0.96


def test_a_moving_edge_does_not_lag() -> None:
    rig = Rig(options=PostOptions(temporal=0.8, alpha_floor=0, alpha_ceiling=1))
    x = np.arange(SIZE[0])
    for step in range(20):
        edge = np.clip((x - 5 - 1.5 * step) / 2 + 0.5, 0, 1)
        rig.guide[0] = 40 + 150 * edge
        rig.run(np.broadcast_to(edge, SIZE[::-1]))
        assert abs(rig.matte - edge).max() < 0.12


def test_reset_forgets_the_past() -> None:
    rig, fresh = Rig(options=PostOptions(temporal=0.9)), Rig(options=PostOptions(temporal=0.9))
    rig.run(0.5)
    rig.plan.reset()
    rig.run(0.58)
    fresh.run(0.58)
    assert np.array_equal(rig.matte, fresh.matte)


def test_a_network_that_answers_nonsense_is_transparent_and_counted() -> None:
    rig = Rig(meaning="logits", options=PostOptions(temporal=0.9))
    rig.run(np.nan, "picture")
    assert rig.plan.nans == SIZE[0] * SIZE[1]
    assert same(rig.out.arrays, rig.behind.arrays)
    for _ in range(3):
        rig.run(20.0, "picture")
    assert (rig.matte == 1).all()
    assert rig.plan.nans == SIZE[0] * SIZE[1]
    rig.run(np.inf, "picture")
    assert (rig.matte == 1).all()


# Isolation


@pytest.mark.parametrize("kind", KINDS)
def test_run_allocates_nothing(kind: str) -> None:
    rig = Rig()
    style = (
        Output(tensor="s", meaning="picture", width=48, height=27, channels=3),
        Image(tensor="x", width=48, height=27),
    )
    plan = Post(FRAME, Output(tensor="a", meaning="alpha", width=48, height=27), rig.window, PostOptions(), style=style)
    raw, picture = np.full((1, 1, 27, 48), 0.5, np.float32), np.zeros((1, 3, 27, 48), np.float32)
    background = Background(kind=kind, planes=rig.behind.planes)  # type: ignore[arg-type]
    image = Image(tensor="x", width=48, height=27)
    pre, tensor = Pre(FRAME, image, rig.window), np.zeros(image.shape, np.float32)

    def frame() -> None:
        pre.run(rig.frame.planes, tensor, rig.guide)
        plan.run(
            rig.frame.planes,
            raw,
            rig.guide,
            background=background,
            out=rig.out.planes,
            matte=rig.matte,
            alpha=rig.alpha,
            style=picture,
        )

    for _ in range(5):
        frame()
    peaks = []
    tracemalloc.start()
    try:
        for _ in range(3):  # CPython 3.10 gives a function a cache after 1024 calls: once, so not in every round
            tracemalloc.reset_peak()
            before, _ = tracemalloc.get_traced_memory()
            for _ in range(100):
                frame()
            peaks.append(tracemalloc.get_traced_memory()[1] - before)
    finally:
        tracemalloc.stop()
    assert min(peaks) < 512  # bytes: less than the smallest array, or than one kept object per frame


def test_two_threads_in_one_plan_are_refused_and_do_no_harm() -> None:
    rig = Rig(FrameFormat(width=1280, height=720), place(1280, 720, 320, 180))
    raw = np.full((180, 320), 0.5, np.float32)
    refused: list[InternalError] = []

    def work() -> None:
        for _ in range(12):
            try:
                rig.run(raw)
            except InternalError as error:
                refused.append(error)

    threads = [threading.Thread(target=work) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert refused  # three threads of 12 frames cannot all have missed each other
    rig.run(raw)


# Refusals


def style_pair() -> tuple[Output, Image]:
    output = Output(tensor="s", meaning="picture", width=48, height=27, channels=3)
    return output, Image(tensor="x", width=48, height=27)


def test_a_style_needs_a_network_and_a_background_of_the_frames_own() -> None:
    rig, picture = Rig(), np.zeros((1, 3, 27, 48), np.float32)
    with pytest.raises(UsageError, match="no style network"):
        rig.run(0.5, style=picture)
    output = Output(tensor="a", meaning="alpha", width=48, height=27)
    rig.plan = Post(FRAME, output, rig.window, PostOptions(), style=style_pair())
    with pytest.raises(UsageError, match="own background"):
        rig.run(0.5, style=picture, style_on="background")
    with pytest.raises(ContractError, match="style: has the wrong shape"):
        rig.run(0.5, style=np.zeros((1, 3, 27, 47), np.float32))


def test_a_style_of_strength_0_changes_nothing() -> None:
    plain, styled = Rig(), Rig()
    output = Output(tensor="a", meaning="alpha", width=48, height=27)
    styled.plan = Post(FRAME, output, styled.window, PostOptions(temporal=0), style=style_pair())
    plain.run(0.5, "blur")
    styled.run(0.5, "blur", style=np.ones((1, 3, 27, 48), np.float32), style_strength=0.0)
    assert same(plain.out.arrays, styled.out.arrays)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("raw", np.zeros((1, 1, 27, 49), np.float32)),
        ("guide", np.zeros((3, 27, 48), np.int16)),
        ("matte", np.zeros((27, 48), np.float64)),
        ("alpha", np.zeros((108, 190), np.uint8)),
    ],
)
def test_an_array_that_does_not_fit_is_refused(name: str, value: NDArray[Any]) -> None:
    rig = Rig()
    arrays: dict[str, Any] = {
        "raw": np.zeros((1, 1, 27, 48), np.float32),
        "guide": rig.guide,
        "matte": rig.matte,
        "alpha": rig.alpha,
        name: value,
    }
    background = Background(kind="colour")
    with pytest.raises(ContractError, match=name):
        rig.plan.run(rig.frame.planes, background=background, out=rig.out.planes, **arrays)


def test_a_background_of_another_size_is_refused() -> None:
    rig = Rig()
    small = Planes(*(np.zeros(s, np.uint8) for s in ((20, 30), (10, 15), (10, 15))))
    background = Background(kind="picture", planes=small)
    with pytest.raises(ContractError, match="background"):
        rig.plan.run(
            rig.frame.planes,
            np.zeros((1, 1, 27, 48), np.float32),
            rig.guide,
            background=background,
            out=rig.out.planes,
            matte=rig.matte,
        )


def test_outputs_of_another_meaning_are_refused() -> None:
    picture, _ = style_pair()
    with pytest.raises(ContractError, match="no matte"):
        Post(FRAME, picture, place(192, 108, 48, 27), PostOptions())
    matte = Output(tensor="a", meaning="alpha", width=48, height=27)
    with pytest.raises(ContractError, match="no picture"):
        Post(FRAME, matte, place(192, 108, 48, 27), PostOptions(), style=(matte, style_pair()[1]))


@given(
    radius=st.integers(-2, 9), epsilon=st.floats(allow_nan=True), temporal=st.floats(-1, 2), floor=st.floats(-0.5, 1.5)
)
def test_options_are_sound_or_refused(radius: int, epsilon: float, temporal: float, floor: float) -> None:
    sound = 1 <= radius <= 5 and 1e-4 <= epsilon <= 1 and 0 <= temporal < 1 and 0 <= floor < 0.98
    try:
        PostOptions(radius=radius, epsilon=epsilon, temporal=temporal, alpha_floor=floor)
    except UsageError:
        assert not sound
    else:
        assert sound


@pytest.mark.parametrize("wrong", [{"kind": "video"}, {"colour": (0, 256, 0)}, {"radius": 0.0}, {"kind": "picture"}])
def test_a_background_that_makes_no_sense_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        Background(**{"kind": "colour", **wrong})
