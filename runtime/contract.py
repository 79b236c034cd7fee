"""The model contract: everything that the runtime must know about a network to feed it and to read it.

The contract travels in the bundle's manifest. Calibration and run time use the same object, so that they cannot drift
apart.
"""

from __future__ import annotations

import math
from typing import Literal

import msgspec

from cutline.runtime.errors import ContractError

__all__ = ["Image", "ModelContract", "Output", "State", "contract_from_json", "contract_to_json"]

Layout = Literal["NCHW", "NHWC"]
DType = Literal["float32", "float16", "bfloat16", "int8", "uint8"]
Meaning = Literal["alpha", "logits", "classes", "foreground", "picture"]

MAX_NETWORK_SIDE = 4096


class Image(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One picture input: a tensor of batch 1 and three channels.

    A channel's tensor value is (c - mean) / std with c in 0..1; for int8 and uint8 the value is then divided by
    `scale`, rounded half to even, shifted by `zero_point` and saturated.
    """

    tensor: str
    width: int
    height: int
    layout: Layout = "NCHW"
    order: Literal["RGB", "BGR"] = "RGB"
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)  # per channel in R, G, B order, in 0..1
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)  # the same order and unit, all > 0
    dtype: DType = "float32"
    scale: float = 1.0
    zero_point: int = 0

    def __post_init__(self) -> None:
        _demand(
            1 <= self.width <= MAX_NETWORK_SIDE and 1 <= self.height <= MAX_NETWORK_SIDE,
            "network input size is out of range",
            f"Use 1 to {MAX_NETWORK_SIDE} pixels a side.",
            width=self.width,
            height=self.height,
        )
        finite = all(math.isfinite(x) for x in (*self.mean, *self.std, self.scale))
        _demand(
            finite and min(self.std) > 0 and self.scale > 0,
            "std and scale must be positive and finite",
            "Copy mean and std from the training code.",
            mean=self.mean,
            std=self.std,
            scale=self.scale,
        )

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Tensor shape, batch 1."""
        if self.layout == "NCHW":
            return (1, 3, self.height, self.width)
        return (1, self.height, self.width, 3)


class Output(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One output tensor and what it means.

    alpha       opacity in 0..1
    logits      alpha = sigmoid(value)
    classes     `foreground_channels` are summed after a softmax over channels (`softmax` true), or as they are
    foreground  straight foreground colour, three channels, in the frame input's own normalisation
    picture     a whole new picture, three channels, in the frame input's own normalisation (style networks)
    """

    tensor: str
    meaning: Meaning
    width: int
    height: int
    channels: int = 1
    layout: Layout = "NCHW"
    foreground_channels: tuple[int, ...] = (0,)
    softmax: bool = False

    def __post_init__(self) -> None:
        wanted = 3 if self.meaning in ("foreground", "picture") else None
        _demand(
            wanted is None or self.channels == wanted,
            "a colour output needs three channels",
            "Correct the output's meaning or its channels.",
            tensor=self.tensor,
            channels=self.channels,
        )
        _demand(
            bool(self.foreground_channels) and all(0 <= c < self.channels for c in self.foreground_channels),
            "foreground_channels name channels that the output does not have",
            "Name channels from 0 to channels - 1.",
            tensor=self.tensor,
            foreground_channels=self.foreground_channels,
            channels=self.channels,
        )

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """Tensor shape, batch 1."""
        if self.layout == "NCHW":
            return (1, self.channels, self.height, self.width)
        return (1, self.height, self.width, self.channels)


class State(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A recurrent pair: `output` of one frame is `input` of the next; the first frame gets zeros."""

    input: str
    output: str
    shape: tuple[int, ...]
    dtype: Literal["float32", "float16"] = "float32"


class ModelContract(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All inputs and outputs of one network. Inputs not named here are not allowed."""

    task: Literal["matte", "style"]
    frame: Image
    plate: Image | None = None  # the empty scene, same size and normalisation rules
    outputs: tuple[Output, ...]
    states: tuple[State, ...] = ()
    constants: dict[str, tuple[float, ...]] = {}  # inputs with a fixed float32 vector, such as downsample_ratio
    strength: str | None = None  # a float32[1] input in 0..1 that the user turns (style networks)

    def __post_init__(self) -> None:
        names = self.input_names
        _demand(len(set(names)) == len(names), "two inputs share a tensor", "Name each tensor once.", inputs=names)
        outs = self.output_names
        _demand(len(set(outs)) == len(outs), "two outputs share a tensor", "Name each tensor once.", outputs=outs)
        primary = {"matte": ("alpha", "logits", "classes"), "style": ("picture",)}[self.task]
        found = [o for o in self.outputs if o.meaning in primary]
        _demand(
            len(found) == 1,
            f"a {self.task} network needs exactly one output that means one of {', '.join(primary)}",
            "Correct the outputs of the contract.",
            found=len(found),
        )

    @property
    def primary(self) -> Output:
        """The output that holds the matte, or the picture of a style network."""
        secondary = {"foreground"}
        return next(o for o in self.outputs if o.meaning not in secondary)

    @property
    def input_names(self) -> tuple[str, ...]:
        """Every input tensor: frame, plate, states, constants, strength."""
        plate = (self.plate.tensor,) if self.plate else ()
        strength = (self.strength,) if self.strength else ()
        return (self.frame.tensor, *plate, *(s.input for s in self.states), *self.constants, *strength)

    @property
    def output_names(self) -> tuple[str, ...]:
        """Every output tensor that is read."""
        return (*(o.tensor for o in self.outputs), *(s.output for s in self.states))


def contract_to_json(contract: ModelContract) -> bytes:
    """Canonical JSON: keys sorted, defaults included."""
    return msgspec.json.encode(contract, order="sorted")


def contract_from_json(data: bytes) -> ModelContract:
    """Read a contract.

    Raises:
        ContractError: the text is not JSON, a field is missing, unknown or out of range.
    """
    try:
        return msgspec.json.decode(data, type=ModelContract)
    except msgspec.DecodeError as error:
        raise ContractError(f"model contract cannot be read: {error}", remedy="Correct that field.") from error


def _demand(truth: bool, what: str, remedy: str, **facts: object) -> None:
    if not truth:
        raise ContractError(what, remedy=remedy, **facts)
