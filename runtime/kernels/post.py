"""From the network's output to the composite."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, Literal, final

import numpy as np
from numpy.typing import NDArray

from cutline.runtime.contract import Image, Output
from cutline.runtime.errors import ContractError, UsageError
from cutline.runtime.frame import U8, FrameFormat, Planes
from cutline.runtime.kernels._kernels import PostPlan
from cutline.runtime.kernels.pre import placement
from cutline.runtime.kernels.window import Window

__all__ = ["Background", "BackgroundKind", "Post", "PostOptions", "StyleOn", "demand_matte", "demand_picture"]

BackgroundKind = Literal["colour", "picture", "blur", "original", "transparent"]
StyleOn = Literal["product", "background", "all"]
KINDS: dict[str, int] = {"colour": 0, "picture": 1, "blur": 2, "original": 3, "transparent": 4}  # as in plan.h
STYLE_ON: dict[str, int] = {"product": 0, "background": 1, "all": 2}
READINGS = {"alpha": 0, "logits": 1, "classes": 2}
SOFTMAX = 3
MAX_RADIUS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class PostOptions:
    """How a matte is refined and composed."""

    refine: bool = True  # follow the frame's own luma edges (fast guided filter)
    radius: int = 2  # of that filter, in network pixels, 1..5
    epsilon: float = 2e-3  # its smoothing, in squared luma of 0..1: luma steps well below sqrt(epsilon) are not edges
    decontaminate: bool = True  # take the scene's colour out of mixed pixels
    temporal: float = 0.7  # share of the past kept where nothing moves, 0 (off) to below 1
    alpha_floor: float = 0.02  # opacity at or below it is 0 exactly
    alpha_ceiling: float = 0.98  # opacity at or above it is 1 exactly

    def __post_init__(self) -> None:
        sound = 1 <= self.radius <= MAX_RADIUS and 1e-4 <= self.epsilon <= 1 and 0 <= self.temporal < 1
        if not sound or not 0 <= self.alpha_floor < self.alpha_ceiling <= 1:
            raise UsageError(
                "an option of the matte is out of range",
                remedy=f"Use radius 1..{MAX_RADIUS}, epsilon 1e-4..1, temporal 0..<1, 0 <= floor < ceiling <= 1.",
                options=self,
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class Background:
    """What lies behind the product.

    colour       one colour, as Y, Cb, Cr codes in the frame's matrix and range
    picture      `planes`, of the frame's size and colour
    blur         the frame itself, the product's colours excluded, under a Gaussian of `radius` frame pixels (one sigma)
    original     the frame itself
    transparent  nothing: the composite holds the product's straight colour, extended outwards, and alpha is required
    """

    kind: BackgroundKind
    colour: tuple[int, int, int] = (16, 128, 128)
    planes: Planes | None = None
    radius: float = 12.0

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UsageError("unknown kind of background", remedy=f"Use one of {', '.join(KINDS)}.", kind=self.kind)
        if not all(0 <= code <= 255 for code in self.colour):
            raise UsageError("a colour code is out of range", remedy="Use 0..255.", colour=self.colour)
        if not (math.isfinite(self.radius) and self.radius > 0):
            raise UsageError("a blur needs a positive radius", remedy="Give it in pixels.", radius=self.radius)
        if self.kind == "picture" and self.planes is None:
            raise UsageError("a picture background needs planes", remedy="Give planes of the frame's size.")


@final
class Post:
    """Owns one stream's temporal state and low-resolution scratch; frames must come in order.

    `run` allocates nothing and releases the GIL. One thread at a time: a second one gets an InternalError.

    Raises:
        ContractError: the output is no matte, or the style output no picture.
    """

    __slots__ = ("_plan", "_run", "_styled")

    def __init__(
        self,
        frame: FrameFormat,
        output: Output,
        window: Window,
        options: PostOptions,
        *,
        style: tuple[Output, Image] | None = None,
    ) -> None:
        demand_matte(output)
        softmax = output.meaning == "classes" and output.softmax
        raw = (
            output.width,
            output.height,
            output.channels,
            output.layout == "NCHW",
            SOFTMAX if softmax else READINGS[output.meaning],
            output.foreground_channels,
        )
        matte = (
            options.refine,
            options.radius,
            options.epsilon,
            options.decontaminate,
            options.temporal,
            options.alpha_floor,
            options.alpha_ceiling,
        )
        self._styled = style is not None
        self._plan = PostPlan(*placement(frame, window), raw, matte, _style_shape(style))
        self._run = self._plan.run

    def run(
        self,
        planes: Planes,
        raw: NDArray[np.float32],
        guide: U8,
        *,
        background: Background,
        out: Planes,
        matte: NDArray[np.float32],
        alpha: U8 | None = None,
        style: NDArray[np.float32] | None = None,
        style_strength: float = 1.0,
        style_on: StyleOn = "all",
    ) -> None:
        """Compose one frame.

        Args:
            planes: the frame. It must not share memory with `out`.
            raw: the network's primary output, output.shape. A NaN counts as 0 (see `nans`).
            guide: uint8[3, h, w] as Pre.run left it.
            out: receives the composite.
            matte: float32[h, w], receives the opacity at the network's size after temporal filter and snapping.
            alpha: uint8[H, W], receives the full-size opacity.
            style: the style network's picture, style output's shape. It is added as a difference from the guide, so the
                frame keeps its full-size detail. A background that does not come from the frame stays as it is.
            style_strength: 0 (off) to 1.
        Raises:
            ContractError: an array has another shape, type or layout.
            UsageError: transparent without alpha, a style without a network for it, or on a background that has none.
            InternalError: another thread is running the same plan.
        Twin: reference.post
        """
        if background.kind == "transparent" and alpha is None:
            raise UsageError("a transparent background needs an alpha plane", remedy="Pass alpha.")
        if style is not None:
            self._check_style(background, style_on)
        back = background.planes if background.planes is not None else _NOTHING
        self._run(
            planes.y,
            planes.u,
            planes.v,
            raw,
            guide,
            matte,
            out.y,
            out.u,
            out.v,
            (KINDS[background.kind], *background.colour, background.radius),
            back.y,
            back.u,
            back.v,
            alpha,
            style,
            (style_strength, STYLE_ON[style_on]),
        )

    def _check_style(self, background: Background, style_on: StyleOn) -> None:
        if not self._styled:
            raise UsageError("a style picture came, but no style network was named", remedy="Make Post with style=.")
        if style_on == "background" and background.kind not in ("blur", "original"):
            raise UsageError(
                "only the frame's own background can be styled",
                remedy="Use a blurred or the original background, or style the product.",
                background=background.kind,
            )

    @property
    def nans(self) -> int:
        """Values of the network's output so far that were not a number; each was taken as 0."""
        return self._plan.nans

    def reset(self) -> None:
        """Forget the past: scene cut, reconnect."""
        self._plan.reset()


class _Nothing:
    y = u = v = None


_NOTHING = _Nothing()


def _style_shape(style: tuple[Output, Image] | None) -> tuple[Any, ...]:
    if style is None:
        return (0, 0, False, False, (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))
    output, image = style
    demand_picture(output)
    return (output.width, output.height, output.layout == "NCHW", image.order == "BGR", image.mean, image.std)


def demand_matte(output: Output) -> None:
    """Raise ContractError when this output is no matte."""
    if output.meaning not in READINGS:
        raise ContractError(
            "this output is no matte",
            remedy="Pass the contract's primary output.",
            tensor=output.tensor,
            meaning=output.meaning,
        )


def demand_picture(output: Output) -> None:
    """Raise ContractError when this output is no picture."""
    if output.meaning != "picture":
        raise ContractError(
            "this output is no picture",
            remedy="Pass the style contract's primary output.",
            tensor=output.tensor,
            meaning=output.meaning,
        )
