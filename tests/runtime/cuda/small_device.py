"""A small network and stand-in kernels whose results tell which frame, plate and state they saw.

The kernels move one number instead of pictures, so that tests of order are fast: pre puts the frame's first luma code
into the tensor; post writes the network's answer over the composite's first row.
"""

from __future__ import annotations

import ctypes
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cutline.runtime.contract import Image, ModelContract, Output, State
from cutline.runtime.cuda import params
from cutline.runtime.cuda.driver import Grid, Stream
from cutline.runtime.cuda.fake import FakeDriver

WIDTH, HEIGHT = 16, 8  # of the network


def contract(*, plate: bool = False, states: bool = False, style: bool = False) -> ModelContract:
    """image [, plate] [, before] -> alpha [, after]; or a style network with a strength."""
    primary = Output(tensor="picture", meaning="picture", width=WIDTH, height=HEIGHT, channels=3)
    if not style:
        primary = Output(tensor="alpha", meaning="alpha", width=WIDTH, height=HEIGHT)
    return ModelContract(
        task="style" if style else "matte",
        frame=Image(tensor="image", width=WIDTH, height=HEIGHT),
        plate=Image(tensor="plate", width=WIDTH, height=HEIGHT) if plate else None,
        outputs=(primary,),
        states=(State(input="before", output="after", shape=(1,)),) if states else (),
        strength="strength" if style else None,
    )


def floats(address: int, count: int) -> NDArray[np.float32]:
    """Memory as float32."""
    return np.ctypeslib.as_array((ctypes.c_float * count).from_address(address))


def octets(address: int, count: int) -> NDArray[np.uint8]:
    """Memory as uint8."""
    return np.ctypeslib.as_array((ctypes.c_uint8 * count).from_address(address))


class SmallNetwork:
    """alpha = image + 1000 plate + 100000 * (frames seen before); every value of a tensor is alike."""

    scratch_bytes = 512

    def __init__(self, driver: FakeDriver, contract: ModelContract, *, refuses: str | None = None) -> None:
        self.driver, self.contract, self.refuses = driver, contract, refuses
        self.live = 0
        pixels = WIDTH * HEIGHT
        self.tensors: dict[str, int] = {"image": 12 * pixels}
        self.tensors[contract.primary.tensor] = 4 * pixels * contract.primary.channels
        if contract.plate:
            self.tensors["plate"] = 12 * pixels
        if contract.states:
            self.tensors |= {"before": 4, "after": 4}
        if contract.strength:
            self.tensors["strength"] = 4

    def inference(self, addresses: Mapping[str, int], scratch: int) -> SmallInference:
        assert scratch % 256 == 0
        assert all(address % 256 == 0 and address for address in addresses.values())
        self.live += 1
        return SmallInference(self, dict(addresses), scratch)

    def close(self) -> None:
        pass


class SmallInference:
    """One context."""

    def __init__(self, network: SmallNetwork, addresses: dict[str, int], scratch: int) -> None:
        self.network, self.at, self.scratch = network, addresses, scratch
        self._open = True

    def queue(self, stream: Stream) -> None:
        self.network.driver.host_work(stream, "network", self._run)

    def _run(self) -> None:
        value = float(floats(self.at["image"], 1)[0])
        octets(self.scratch, self.network.scratch_bytes)[:] = 0xEE  # shared: a frame beside this one would be hurt
        if "plate" in self.at:
            value += 1000 * float(floats(self.at["plate"], 1)[0])
        if "before" in self.at:
            seen = float(floats(self.at["before"], 1)[0])
            value += 100000 * seen
            floats(self.at["after"], 1)[0] = seen + 1
        if "strength" in self.at:
            value = float(floats(self.at["strength"], 1)[0])
        primary = self.network.contract.primary.tensor
        floats(self.at[primary], self.network.tensors[primary] // 4)[:] = value

    def not_captured(self, stream: Stream) -> str | None:  # noqa: ARG002
        return self.network.refuses

    def close(self) -> None:
        if self._open:
            self._open = False
            self.network.live -= 1


def pre(grid: Grid, block: Grid, given: bytes) -> None:  # noqa: ARG001
    """cutline_pre."""
    p = params.Pre.from_buffer_copy(given)
    if p.tensor:
        floats(p.tensor, 3 * p.width * p.height)[:] = octets(p.frame.y, 1)[0]


def post(grid: Grid, block: Grid, given: bytes) -> None:  # noqa: ARG001
    """cutline_post: first row of the composite = raw, strengths, first code of the background."""
    p = params.Compose.from_buffer_copy(given)
    row = octets(p.out.y, 64)
    found = STEADY[p.line]
    row[:4] = np.frombuffer(np.float32(found), np.uint8)
    if p.strengths:
        row[4:12] = octets(p.strengths, 8)
    row[12] = octets(p.background.y, 1)[0] if p.background.y else 0
    if p.alpha:
        octets(p.alpha, 1)[0] = 77


STEADY: dict[int, float] = {}  # by an address that each stream has its own of


def steady(grid: Grid, block: Grid, given: bytes) -> None:  # noqa: ARG001
    """cutline_steady: takes the raw value on, and puts it into the matte."""
    p = params.Matte.from_buffer_copy(given)
    STEADY[p.line] = float(floats(p.raw, 1)[0])
    floats(p.matte, 1)[0] = STEADY[p.line]
    past = octets(p.past_alpha, 1)
    octets(p.matte + 4, 1)[0] = past[0]  # the matte's second value: what state the frame found
    past[0] = 1


def nothing(grid: Grid, block: Grid, given: bytes) -> None:
    """A kernel that is not looked at."""


class Kernels(dict[str, Any]):
    """Every kernel of ours by its name; those that are not looked at do nothing."""

    def __contains__(self, name: object) -> bool:
        return str(name).startswith("cutline_")

    def get(self, name: str, default: Any = None) -> Any:  # noqa: ARG002 - there is one for every name
        known = {"cutline_pre": pre, "cutline_steady": steady}
        return post if name.startswith("cutline_post") else known.get(name, nothing)


KERNELS = Kernels()
