"""What the kernels' tests draw at random beside pictures: contracts, answers, options; and how results compare."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st
from numpy.typing import NDArray
from pictures import blobs, draw_frame

from cutline.runtime.contract import Image, Output
from cutline.runtime.frame import FrameFormat, Planes
from cutline.runtime.kernels import Background, PostOptions, StyleOn, Window, reference_post, tolerances

DTYPES = ("float32", "float16", "bfloat16", "int8", "uint8")
KINDS = st.sampled_from(["colour", "picture", "blur", "original", "transparent"])
LAYOUTS = st.sampled_from(["NCHW", "NHWC"])


def empty_tensor(image: Image) -> NDArray[np.generic]:
    return np.zeros(image.shape, np.uint16 if image.dtype == "bfloat16" else image.dtype)


def as_float(tensor: NDArray[np.generic], image: Image) -> NDArray[np.float64]:
    if image.dtype == "bfloat16":
        return (tensor.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    return tensor.astype(np.float64)


@st.composite
def images(draw: st.DrawFn, width: int, height: int) -> Image:
    level = st.floats(0, 1)
    return Image(
        tensor="x",
        width=width,
        height=height,
        layout=draw(st.sampled_from(["NCHW", "NHWC"])),
        order=draw(st.sampled_from(["RGB", "BGR"])),
        mean=draw(st.tuples(level, level, level)),
        std=draw(st.tuples(*[st.floats(0.1, 2)] * 3)),
        dtype=draw(st.sampled_from(DTYPES)),
        scale=draw(st.floats(0.005, 0.1)),
        zero_point=draw(st.integers(-128, 127)),
    )


def close(value: NDArray[np.float64], twin: NDArray[np.float64], image: Image) -> bool:
    absolute, relative = tolerances.NUMBERS[image.dtype]
    quantum = image.scale if image.dtype in ("int8", "uint8") else 1.0
    slack = absolute + tolerances.TONE / (min(image.std) * quantum) + relative * abs(twin)
    low, high = {"int8": (-128, 127), "uint8": (0, 255)}.get(image.dtype, (-np.inf, np.inf))
    return bool((abs(value - np.clip(twin, low, high)) <= slack).all())


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


@dataclass(frozen=True)
class Case:
    """What post is asked for one stream."""

    form: FrameFormat
    window: Window
    output: Output
    option: PostOptions
    kind: str
    style: tuple[NDArray[Any], Output, Image] | None
    strength: float
    on: StyleOn

    @property
    def style_plan(self) -> tuple[Output, Image] | None:
        """The style network's output and input."""
        return self.style[1:] if self.style else None

    @property
    def style_picture(self) -> NDArray[Any] | None:
        """What the style network made."""
        return self.style[0] if self.style else None


@st.composite
def cases(draw: st.DrawFn, form: FrameFormat, window: Window, rng: np.random.Generator) -> Case:
    kind = draw(KINDS)
    reaches: list[StyleOn] = ["product", "background", "all"] if kind in ("blur", "original") else ["product", "all"]
    return Case(
        form=form, window=window, output=draw(outputs(window)), option=draw(options), kind=kind,
        style=draw(st.none() | styles(rng)), strength=draw(st.floats(0, 1)), on=draw(st.sampled_from(reaches)),
    )  # fmt: skip


Seen = tuple[NDArray[np.float32], NDArray[np.uint8], Sequence[NDArray[np.uint8]]]


def twin_agrees(
    case: Case,
    frame: Planes,
    rng: np.random.Generator,
    run: Callable[[NDArray[np.float32], NDArray[np.uint8], Background], Seen],
) -> int:
    """Compare two frames of a stream with the float64 twin. Returns how many values it found not to be numbers.

    Args:
        run: does a frame with a raw answer, a guide and a background; gives matte, alpha, and the composite's planes.
    """
    state, nans = None, 0
    size = (case.window.height, case.window.width)
    guide = np.stack([np.round(blobs(rng, *size) * 255) for _ in range(3)]).astype(np.uint8)
    for _ in range(2):
        raw, background = answer(case.output, rng), backgrounds(case.kind, case.form, rng)
        guide[0] = np.clip(guide[0] + rng.integers(-8, 9, size), 0, 255)
        matte, alpha, planes = run(raw, guide, background)
        twin = reference_post.post(
            frame, raw, guide, frame=case.form, output=case.output, window=case.window, options=case.option,
            background=background, state=state, style=case.style, style_strength=case.strength, style_on=case.on,
        )  # fmt: skip
        state, nans = twin.state, nans + twin.nans
        agree("matte", matte, twin.matte, tolerances.MATTE)
        agree("alpha", alpha, twin.alpha * 255, tolerances.HALF + tolerances.ALPHA * 255)
        for name, plane, wanted in zip("yuv", planes, twin.planes, strict=True):
            agree(name, plane, np.clip(wanted, 0, 255), tolerances.HALF + tolerances.COMPOSITE)
    return nans
