"""post against its float64 twin: every reading, background, window, layout, style and instruction set."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pictures import Canvas, blobs, draw_frame, formats, seeds, windows

from cutline.runtime.contract import Image, Output
from cutline.runtime.frame import FrameFormat
from cutline.runtime.kernels import Background, Post, PostOptions, Window, reference_post, tolerances

each_isa = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
KINDS = st.sampled_from(["colour", "picture", "blur", "original", "transparent"])
LAYOUTS = st.sampled_from(["NCHW", "NHWC"])


@st.composite
def outputs(draw: st.DrawFn, window: Window) -> Output:
    meaning = draw(st.sampled_from(["alpha", "logits", "classes"]))
    channels = draw(st.integers(1, 4))
    same = draw(st.booleans())
    side = st.integers(1, 40)
    return Output(
        tensor="a",
        meaning=meaning,
        width=window.width if same else draw(side),
        height=window.height if same else draw(side),
        channels=channels,
        layout=draw(LAYOUTS),
        foreground_channels=tuple(draw(st.sets(st.integers(0, channels - 1), min_size=1))),
        softmax=draw(st.booleans()),
    )


options = st.builds(
    PostOptions,
    refine=st.booleans(),
    radius=st.integers(1, 5),
    epsilon=st.floats(1e-4, 0.1),
    decontaminate=st.booleans(),
    temporal=st.floats(0, 0.95),
    alpha_floor=st.floats(0, 0.1),
    alpha_ceiling=st.floats(0.9, 1),
)


def answer(output: Output, rng: np.random.Generator) -> NDArray[np.float32]:
    """A network output with blobs in every channel, and a few values that are not numbers."""
    planes = np.stack([blobs(rng, output.height, output.width) for _ in range(output.channels)])
    if output.meaning == "logits" or output.softmax:
        planes = planes * 12 - 6
    if rng.random() < 0.3:
        planes[rng.integers(0, output.channels), rng.integers(0, output.height), rng.integers(0, output.width)] = np.nan
    if output.layout == "NHWC":
        planes = planes.transpose(1, 2, 0)
    return np.ascontiguousarray(planes[None], np.float32)


@st.composite
def styles(draw: st.DrawFn, rng: np.random.Generator) -> tuple[NDArray[Any], Output, Image]:
    width, height, layout = draw(st.integers(1, 40)), draw(st.integers(1, 40)), draw(LAYOUTS)
    output = Output(tensor="s", meaning="picture", width=width, height=height, channels=3, layout=layout)
    level = st.floats(0, 1)
    image = Image(
        tensor="x",
        width=width,
        height=height,
        order=draw(st.sampled_from(["RGB", "BGR"])),
        mean=draw(st.tuples(level, level, level)),
        std=draw(st.tuples(*[st.floats(0.1, 2)] * 3)),
    )
    picture = np.stack([blobs(rng, height, width) for _ in range(3)]).astype(np.float32) * 2 - 0.5
    return np.ascontiguousarray(picture[None] if layout == "NCHW" else picture.transpose(1, 2, 0)[None]), output, image


def backgrounds(kind: Any, form: FrameFormat, rng: np.random.Generator) -> Background:
    colour = (int(rng.integers(256)), int(rng.integers(256)), int(rng.integers(256)))
    planes = draw_frame(form, rng, interleaved=bool(rng.integers(2))).planes
    return Background(kind=kind, colour=colour, planes=planes, radius=float(rng.uniform(0.5, 60)))


def agree(name: str, value: NDArray[Any], twin: NDArray[np.float64], slack: float) -> None:
    difference = abs(value.astype(np.float64) - twin)
    assert (difference <= slack).all(), f"{name} differs by {difference.max():.4f}, allowed is {slack:.4f}"


@pytest.mark.usefixtures("isa")
@each_isa
@given(data=st.data(), form=formats(), kind=KINDS, option=options, seed=seeds)
def test_post_agrees_with_its_twin(
    data: st.DataObject, form: FrameFormat, kind: str, option: PostOptions, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    window = data.draw(windows(form))
    output = data.draw(outputs(window))
    style = data.draw(st.none() | styles(rng))
    on = data.draw(
        st.sampled_from(["product", "background", "all"] if kind in ("blur", "original") else ["product", "all"])
    )
    strength = data.draw(st.floats(0, 1))
    size = (window.height, window.width)
    plan = Post(form, output, window, option, style=style[1:] if style else None)
    out = Canvas(form, rng, interleaved=bool(rng.integers(2)))
    alpha, matte, state, nans = np.zeros((form.height, form.width), np.uint8), np.zeros(size, np.float32), None, 0
    frame = draw_frame(form, rng, interleaved=bool(rng.integers(2)))
    guide = np.stack([np.round(blobs(rng, *size) * 255) for _ in range(3)]).astype(np.uint8)
    for _ in range(2):
        raw = answer(output, rng)
        guide[0] = np.clip(guide[0] + rng.integers(-8, 9, size), 0, 255)
        background = backgrounds(kind, form, rng)
        plan.run(
            frame.planes,
            raw,
            guide,
            background=background,
            out=out.planes,
            matte=matte,
            alpha=alpha,
            style=style[0] if style else None,
            style_strength=strength,
            style_on=on,
        )
        twin = reference_post.post(
            frame.planes,
            raw,
            guide,
            frame=form,
            output=output,
            window=window,
            options=option,
            background=background,
            state=state,
            style=style,
            style_strength=strength,
            style_on=on,
        )
        state, nans = twin.state, nans + twin.nans
        agree("matte", matte, twin.matte, tolerances.MATTE)
        agree("alpha", alpha, twin.alpha * 255, tolerances.HALF + tolerances.ALPHA * 255)
        for name, plane, wanted in zip("yuv", out.arrays, twin.planes, strict=True):
            agree(name, plane, np.clip(wanted, 0, 255), tolerances.HALF + tolerances.COMPOSITE)
    assert plan.nans == nans
    assert out.intact()
    assert frame.intact()
