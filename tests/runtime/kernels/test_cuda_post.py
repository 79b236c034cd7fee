"""The CUDA kernels of post, through the grid emulator, against their float64 twin and the CPU's loops."""

from __future__ import annotations

import struct
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from draws import Seen, cases, twin_agrees
from emulated import FILLER, PAGE, Emulator, Guarded, Surface, rounded, uploaded
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pictures import blobs, draw_frame, formats, seeds, windows

from cutline.runtime.contract import Image, Output
from cutline.runtime.cuda.launches import RESET_BYTE, Behind, Launch, PostLaunches, strengths
from cutline.runtime.errors import ContractError, UsageError
from cutline.runtime.frame import FrameFormat, allocate_planes
from cutline.runtime.kernels import Background, Post, PostOptions, Pre, Rect, Window, place

often = settings(deadline=None, max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])


class Rig:
    """One stream's post on the emulator, every plane in guarded memory."""

    def __init__(
        self,
        emulator: Emulator,
        form: FrameFormat,
        output: Output,
        window: Window,
        option: PostOptions,
        *,
        style: tuple[Output, Image] | None = None,
        seed: int = 1,
    ) -> None:
        rng = np.random.default_rng(seed)
        self._emulator = emulator
        self.plan = PostLaunches(form, output, window, option, style=style)
        self._tables = uploaded(np.frombuffer(self.plan.tables, np.uint8))
        self._scratch = Guarded(self.plan.scratch_bytes, align=256)  # all NaN: what was not written shows
        self._state = Guarded(self.plan.state_bytes, fill=RESET_BYTE, align=256)
        self._nans = Guarded(8, fill=0, align=8)
        self._matte = Guarded(4 * window.width * window.height, align=4)
        self.matte = self._matte.view(np.float32, (window.height, window.width))
        self._pitch = rounded(form.width) + 16 * int(rng.integers(2))
        self._alpha = Guarded(self._pitch * form.height, fill=FILLER)
        whole = self._alpha.view(np.uint8, (form.height, self._pitch))
        self.alpha, self._beside = whole[:, : form.width], whole[:, rounded(form.width) :]
        self.out = Surface(form, rng, interleaved=bool(rng.integers(2)))
        self.frame = Surface(form, rng, interleaved=bool(rng.integers(2)))
        self.behind = Surface(form, rng, interleaved=bool(rng.integers(2)))

    @property
    def nans(self) -> int:
        return int(self._nans.view(np.uint64, (1,))[0])

    def run(
        self,
        raw: NDArray[np.float32],
        guide: NDArray[np.uint8],
        background: Background,
        *,
        style: NDArray[Any] | None = None,
        knobs: bytes = b"",
        alpha: bool = True,
    ) -> tuple[Launch, ...]:
        memory = [uploaded(raw), uploaded(guide)]
        picture, turned = (
            (uploaded(style), uploaded(np.frombuffer(knobs, np.float32))) if style is not None else (None, None)
        )
        if background.planes is not None:
            self.behind.draw(background.planes)
        launches = self.plan.launches(
            tables=self._tables.address,
            scratch=self._scratch.address,
            state=self._state.address,
            frame=self.frame.device,
            raw=memory[0].address,
            guide=memory[1].address,
            behind=Behind(
                kind=background.kind, colour=background.colour, planes=self.behind.device, radius=background.radius
            ),
            out=self.out.device,
            matte=self._matte.address,
            nans=self._nans.address,
            alpha=self._alpha.address if alpha else 0,
            alpha_pitch=self._pitch if alpha else 0,
            style=picture.address if picture else 0,
            strengths=turned.address if turned else 0,
        )
        self._scratch.bytes[:] = 0xFF
        self._emulator.run(launches)
        return launches

    def reset(self) -> None:
        """Forget the past."""
        self._state.bytes[:] = RESET_BYTE

    def intact(self) -> bool:
        return self.out.intact() and self.frame.intact() and bool((self._beside == FILLER).all())


@often
@given(data=st.data(), form=formats(), seed=seeds)
def test_post_agrees_with_its_twin(emulator: Emulator, data: st.DataObject, form: FrameFormat, seed: int) -> None:
    compare_with_twin(emulator, data, form, data.draw(windows(form)), seed)


@settings(often, max_examples=12)
@given(data=st.data(), form=formats(), seed=seeds)
def test_post_agrees_on_networks_whose_pyramid_is_deep(
    emulator: Emulator, data: st.DataObject, form: FrameFormat, seed: int
) -> None:
    """More levels than one block reduces by itself: more than 64 pixels a side."""
    width, height = data.draw(st.integers(65, 200)), data.draw(st.integers(2, 160))
    compare_with_twin(emulator, data, form, place(form.width, form.height, width, height, mode="stretch"), seed)


def compare_with_twin(emulator: Emulator, data: st.DataObject, form: FrameFormat, window: Window, seed: int) -> None:
    """Two frames of a stream drawn at random."""
    rng = np.random.default_rng(seed)
    case = data.draw(cases(form, window, rng))
    rig = Rig(emulator, form, case.output, window, case.option, style=case.style_plan, seed=seed)
    emulator.backwards = data.draw(st.booleans())
    rig.frame.draw(draw_frame(form, rng).planes)

    def run(raw: NDArray[np.float32], guide: NDArray[np.uint8], background: Background) -> Seen:
        knobs = strengths(case.strength, case.on, background.kind)
        rig.run(raw, guide, background, style=case.style_picture, knobs=knobs)
        return rig.matte, rig.alpha, rig.out.arrays

    nans = twin_agrees(case, rig.frame.planes, rng, run)
    assert rig.nans == nans
    assert rig.intact()


def stream(
    emulator: Emulator,
    form: FrameFormat,
    window: Window | None = None,
    option: PostOptions = PostOptions(temporal=0),  # noqa: B008  frozen
    seed: int = 1,
) -> tuple[Rig, NDArray[np.uint8]]:
    """A stream over a frame and a background of blobs, and its guide."""
    window = window or place(form.width, form.height, 48, 27)
    rng = np.random.default_rng(seed)
    output = Output(tensor="a", meaning="alpha", width=window.width, height=window.height)
    rig = Rig(emulator, form, output, window, option, seed=seed)
    rig.frame.draw(draw_frame(form, rng).planes)
    guide = np.zeros((3, window.height, window.width), np.uint8)
    image = Image(tensor="x", width=window.width, height=window.height)
    Pre(form, image, window).run(rig.frame.planes, np.zeros(image.shape, np.float32), guide)
    return rig, guide


def matte(rig: Rig, value: float | NDArray[Any]) -> NDArray[np.float32]:
    return np.ascontiguousarray(np.broadcast_to(np.asarray(value, np.float32), (1, 1, *rig.matte.shape)))


def behind(kind: Any, form: FrameFormat, seed: int = 2) -> Background:
    planes = draw_frame(form, np.random.default_rng(seed)).planes
    return Background(kind=kind, colour=(90, 60, 200), planes=planes)


ALL_KINDS = ("colour", "picture", "blur", "original", "transparent")
seldom = settings(often, max_examples=15)


@pytest.mark.parametrize("kind", ALL_KINDS)
@seldom
@given(form=formats(400), seed=seeds)
def test_the_composite_is_the_cpu_s_within_a_code(emulator: Emulator, kind: str, form: FrameFormat, seed: int) -> None:
    """Frames of several tiles, with products that leave some of them untouched."""
    window = place(form.width, form.height, 80, 45)
    option = PostOptions()
    rig, guide = stream(emulator, form, window, option, seed)
    cpu = Post(form, Output(tensor="a", meaning="alpha", width=80, height=45), window, option)
    out = allocate_planes(form.width, form.height)
    low, alpha = np.zeros((45, 80), np.float32), np.zeros((form.height, form.width), np.uint8)
    y, x = np.mgrid[0:45, 0:80]
    background = behind(kind, form)
    for step in range(3):
        inside = np.minimum(12 - abs(x - 30 - 2 * step), 9 - abs(y - 25))
        raw = matte(rig, np.clip(inside / 3 + 0.5, 0, 1))
        rig.run(raw, guide, background)
        cpu.run(rig.frame.planes, raw, guide, background=background, out=out, matte=low, alpha=alpha)
        np.testing.assert_allclose(rig.matte, low, atol=2e-6)
        assert abs(rig.alpha.astype(int) - alpha).max() <= 1
        for mine, theirs in zip(rig.out.arrays, (out.y, out.u, out.v), strict=True):
            assert abs(mine.astype(int) - theirs).max() <= 1


@seldom
@given(form=formats(200), seed=seeds)
def test_the_original_background_returns_the_source_exactly(emulator: Emulator, form: FrameFormat, seed: int) -> None:
    rig, guide = stream(emulator, form, seed=seed)
    raw = matte(rig, blobs(np.random.default_rng(seed), *rig.matte.shape))
    for alpha in (False, True):
        launches = rig.run(raw, guide, behind("original", form), alpha=alpha)
        assert same(rig.out, rig.frame)
        assert (len(launches) == 2) is not alpha  # nothing is refined for nobody


@pytest.mark.parametrize("kind", ALL_KINDS)
@seldom
@given(form=formats(200), seed=seeds)
def test_opacity_1_returns_the_source_exactly(emulator: Emulator, kind: str, form: FrameFormat, seed: int) -> None:
    rig, guide = stream(emulator, form, seed=seed)
    rig.run(matte(rig, 0.99), guide, behind(kind, form))
    assert same(rig.out, rig.frame)
    assert (rig.alpha == 255).all()
    assert (rig.matte == 1).all()


@seldom
@given(form=formats(200), seed=seeds)
def test_opacity_0_returns_the_background_exactly(emulator: Emulator, form: FrameFormat, seed: int) -> None:
    rig, guide = stream(emulator, form, seed=seed)
    rig.run(matte(rig, 0.01), guide, behind("picture", form))
    assert same(rig.out, rig.behind)
    assert (rig.alpha == 0).all()
    rig.run(matte(rig, 0.01), guide, behind("colour", form))
    assert [set(np.unique(plane)) for plane in rig.out.arrays] == [{90}, {60}, {200}]


def same(one: Surface, other: Surface) -> bool:
    return all(np.array_equal(a, b) for a, b in zip(one.arrays, other.arrays, strict=True))


@pytest.mark.parametrize(("kind", "opacity", "hidden"), [("colour", 0.0, "frame"), ("picture", 1.0, "behind")])
def test_a_tile_does_not_touch_what_it_does_not_show(
    emulator: Emulator, kind: Any, opacity: float, hidden: str
) -> None:
    """The hidden picture lies where every access is a fault."""
    form = FrameFormat(width=300, height=60)
    rig, guide = stream(emulator, form)
    wall = Guarded(PAGE)
    nowhere = wall.address + PAGE
    surface = getattr(rig, hidden)
    surface.device = replace(surface.device, y=nowhere, u=nowhere, v=nowhere + int(surface.device.interleaved))
    rig.run(matte(rig, opacity), guide, Background(kind=kind, colour=(90, 60, 200), planes=rig.behind.planes))
    with pytest.raises(AssertionError, match="not its own"):
        rig.run(matte(rig, 0.5), guide, Background(kind=kind, colour=(90, 60, 200), planes=rig.behind.planes))


@pytest.mark.parametrize("decontaminate", [False, True])
def test_a_window_that_ends_where_tiles_do_ends_there(emulator: Emulator, decontaminate: bool) -> None:
    """Chroma on its left border takes a quarter of its opacity from a pixel that lies outside."""
    form = FrameFormat(width=384, height=48)
    option = PostOptions(temporal=0, refine=False, decontaminate=decontaminate)
    window = place(384, 48, 64, 8, mode="stretch", crop=Rect(x=128, y=16, width=128, height=16))
    rig, guide = stream(emulator, form, window, option)
    rig.run(matte(rig, 0.6), guide, behind("colour", form))
    cpu = Post(form, Output(tensor="a", meaning="alpha", width=64, height=8), window, option)
    out = allocate_planes(form.width, form.height)
    low, alpha = np.zeros((8, 64), np.float32), np.zeros((48, 384), np.uint8)
    cpu.run(
        rig.frame.planes, matte(rig, 0.6), guide, background=behind("colour", form), out=out, matte=low, alpha=alpha
    )
    inside = np.zeros((48, 384), bool)
    inside[16:32, 128:256] = True
    assert (rig.alpha[inside] > 0).all()
    assert not rig.alpha[~inside].any()
    for mine, theirs in zip(rig.out.arrays, (out.y, out.u, out.v), strict=True):
        assert abs(mine.astype(int) - theirs).max() <= 1


def test_a_tile_that_shows_the_scene_still_sees_the_product_beside_it(emulator: Emulator) -> None:
    """Left-sited chroma takes a quarter of its opacity from the luma pixel to its left, which is the next tile's."""
    form = FrameFormat(width=384, height=32)
    option = PostOptions(temporal=0, refine=False, decontaminate=False)
    rig, guide = stream(emulator, form, place(384, 32, 384, 32), option)
    for plane, code in zip(rig.frame.arrays, (120, 200, 40), strict=True):
        plane[:] = code
    opacity = np.zeros((32, 384))
    opacity[:, 64:128] = 1  # the whole right half of the first tile; nothing of the second
    rig.run(matte(rig, opacity), guide, Background(kind="colour", colour=(20, 100, 100)))
    assert (rig.out.planes.u[:, 64] == 125).all()
    assert (rig.out.planes.u[:, 65:] == 100).all()
    opacity = np.ones((32, 384))
    opacity[:, 127] = 0  # and the other way round
    rig.run(matte(rig, opacity), guide, Background(kind="colour", colour=(20, 100, 100)))
    assert (rig.out.planes.u[:, 64] == 175).all()
    assert (rig.out.planes.u[:, 65:] == 200).all()


def test_a_tile_that_shows_the_scene_still_sees_the_edge_that_reaches_into_it(emulator: Emulator) -> None:
    """At a quarter of the size, pixel 127 lies between network columns 31 and 32; the second is the next tile's."""
    form = FrameFormat(width=384, height=32)
    option = PostOptions(temporal=0, refine=False, decontaminate=False)
    rig, guide = stream(emulator, form, place(384, 32, 96, 8), option)
    rig.frame.planes.y[:] = 120
    opacity = np.zeros((8, 96))
    opacity[:, 32:] = 1
    rig.run(matte(rig, opacity), guide, Background(kind="colour", colour=(20, 100, 100)))
    assert (rig.out.planes.y[:, :126] == 20).all()
    assert (abs(rig.out.planes.y[:, 127] - (20 + 0.375 * 100)) <= 0.5).all()


def test_a_state_that_was_reset_remembers_nothing(emulator: Emulator) -> None:
    form = FrameFormat(width=64, height=40)
    rig, guide = stream(emulator, form, option=PostOptions(temporal=0.9))
    raw = matte(rig, blobs(np.random.default_rng(1), *rig.matte.shape))
    rig.run(raw, guide, behind("colour", form))
    first = rig.matte.copy()
    rig.run(np.ascontiguousarray(np.clip(raw + 0.08, 0, 1)), guide, behind("colour", form))
    rig.run(raw, guide, behind("colour", form))
    assert not np.array_equal(rig.matte, first)
    rig.reset()
    rig.run(raw, guide, behind("colour", form))
    assert np.array_equal(rig.matte, first)


def test_every_kernel_is_launched_by_somebody_and_every_launch_has_a_kernel(emulator: Emulator) -> None:
    form, window = FrameFormat(width=64, height=40), place(64, 40, 40, 40)
    output = Output(tensor="a", meaning="alpha", width=20, height=20)
    image = Image(tensor="x", width=10, height=10)
    style = (Output(tensor="s", meaning="picture", width=10, height=10, channels=3), image)
    picture, knobs = np.zeros(style[0].shape, np.float32), strengths(1.0, "all", "colour")
    seen: set[str] = set()
    for area in (window, place(64, 40, 40, 40, mode="fill")):
        rig = Rig(emulator, form, output, area, PostOptions(), style=style)
        raw, guide = np.zeros(output.shape, np.float32), np.zeros((3, 40, 40), np.uint8)
        for kind in ("colour", "blur"):
            for drawn in (None, picture):
                launches = rig.run(raw, guide, behind(kind, form), style=drawn, knobs=knobs)
                seen |= {launch.kernel for launch in launches}
    assert seen == emulator.kernels


def test_strength_goes_where_the_style_is_wanted() -> None:
    def of(*what: Any) -> tuple[float, ...]:
        return struct.unpack("<2f", strengths(*what))

    assert of(0.5, "all", "blur") == (0.5, 0.5)
    assert of(0.5, "product", "original") == (0.5, 0.0)
    assert of(0.5, "background", "blur") == (0.0, 0.5)
    assert of(0.5, "all", "picture") == (0.5, 0.0)  # only the frame's own scene is styled


def test_what_makes_no_sense_is_refused(emulator: Emulator) -> None:
    form, window = FrameFormat(width=64, height=40), place(64, 40, 48, 27)
    rig, guide = stream(emulator, form, window)
    with pytest.raises(UsageError, match="needs an alpha plane"):
        rig.run(matte(rig, 0.5), guide, behind("transparent", form), alpha=False)
    with pytest.raises(UsageError, match="no style network"):
        rig.run(matte(rig, 0.5), guide, behind("colour", form), style=np.zeros(3, np.float32), knobs=bytes(8))
    with pytest.raises(UsageError, match="needs planes"):
        Behind(kind="picture")
    with pytest.raises(UsageError, match="unknown kind"):
        Behind(kind="plaid")  # type: ignore[arg-type]
    picture = Output(tensor="s", meaning="picture", width=8, height=8, channels=3)
    with pytest.raises(ContractError, match="no matte"):
        PostLaunches(form, picture, window, PostOptions())
    alpha = Output(tensor="a", meaning="alpha", width=8, height=8)
    with pytest.raises(ContractError, match="no picture"):
        PostLaunches(form, alpha, window, PostOptions(), style=(alpha, Image(tensor="x", width=8, height=8)))


def test_launches_need_no_cuda_package() -> None:
    code = "import sys, cutline.runtime.cuda.launches; print({m.partition('.')[0] for m in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert "cutline" in done.stdout
    assert not {"'cuda'", "'pycuda'"} & set(done.stdout.strip("{}\n").split(", "))
