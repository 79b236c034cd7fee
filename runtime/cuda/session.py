"""The network alone on the GPU, from host tensor to host tensor: for verification and for measuring."""

from __future__ import annotations

import mmap
from collections.abc import Sequence
from contextlib import ExitStack, suppress
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from cutline.runtime.contract import ModelContract
from cutline.runtime.cuda.driver import Driver, Event, Stream
from cutline.runtime.cuda.memory import Arena
from cutline.runtime.cuda.network import STARTING, Inference, Network, TensorPlaces
from cutline.runtime.cuda.upload import Upload, tensor_bytes
from cutline.runtime.errors import DeviceError
from cutline.runtime.sessions import DeviceTimes
from cutline.runtime.slots import Slot

__all__ = ["CudaSession"]

LOWER = "End other programs on this GPU (see nvidia-smi)."


@final
class CudaSession:
    """Owns one context, stream and pair of pinned buffers per slot; borrows the network and the slots."""

    def __init__(
        self, driver: Driver, contract: ModelContract, network: Network, slots: Sequence[Slot], prefix: str
    ) -> None:
        driver.attach()
        self._driver, self._contract, self._network, self._prefix = driver, contract, network, prefix
        self._turn = 0
        image, primary = contract.frame, contract.primary
        self._input_bytes, self._output_bytes = network.tensors[image.tensor], network.tensors[primary.tensor]
        places = TensorPlaces(contract, network, "")
        parts = {**places.parts(), "scratch": network.scratch_bytes}
        for slot in slots:
            parts |= {f"{slot.index} in": self._input_bytes, f"{slot.index} out": self._output_bytes}
        with STARTING, ExitStack() as undo:
            self._arena = Arena(driver, parts, lower=LOWER)
            undo.callback(self._arena.close)
            self._order = self._event(undo, waited=False)
            self._lanes = [self._lane(undo, slot, places) for slot in slots]
            self._uploads = {name: self._upload(undo, name) for name in self._changing()}
            self._undo = undo.pop_all()
        try:
            self._fill_in()
        except BaseException:
            self.close()
            raise

    def start(self, slot: Slot) -> None:
        """Begin inference on the slot's input tensor and return at once."""
        self._driver.attach()
        lane, stream = self._lanes[slot.index], self._lanes[slot.index].stream
        lane.incoming[:] = slot.arrays[f"{self._prefix}input"].reshape(-1).view(np.uint8)
        begun, copied, computed, ended = lane.marks
        self._driver.record(begun, stream=stream)
        self._driver.copy(self._arena[f"{slot.index} in"], lane.at, self._input_bytes, stream=stream)
        self._driver.hold(self._order, stream=stream)
        self._driver.record(copied, stream=stream)
        lane.inferences[self._turn % len(lane.inferences)].queue(stream)
        self._driver.record(self._order, stream=stream)
        self._driver.record(computed, stream=stream)
        back = lane.at + self._input_bytes
        self._driver.copy(back, self._arena[f"{slot.index} out"], self._output_bytes, stream=stream)
        self._driver.record(ended, stream=stream)
        self._turn += 1

    def wait(self, slot: Slot) -> None:
        """Block until the slot's output is written."""
        self._driver.attach()
        lane = self._lanes[slot.index]
        self._driver.synchronise(lane.marks[3])
        slot.arrays[f"{self._prefix}output"].reshape(-1).view(np.uint8)[:] = lane.outgoing

    def device_times(self, slot: Slot) -> DeviceTimes:
        """Times of the slot's last frame. Waiting for the frame before it counts as copying in."""
        self._driver.attach()
        begun, copied, computed, ended = self._lanes[slot.index].marks
        between = self._driver.elapsed_ms
        return DeviceTimes(
            h2d_ms=between(begun, copied),
            pre_ms=0.0,
            compute_ms=between(copied, computed),
            post_ms=0.0,
            d2h_ms=between(computed, ended),
        )

    def set_plate(self, tensor: NDArray[Any]) -> None:
        """Copy a plate in, for every frame started from now on."""
        if self._contract.plate is None:
            raise DeviceError("this network takes no clean plate", remedy="Use --model cutout-plate.")
        self._put(self._contract.plate.tensor, tensor_bytes(tensor, self._contract.plate))

    def set_strength(self, strength: float) -> None:
        """Set the style strength, for every frame started from now on."""
        if self._contract.strength:
            self._put(self._contract.strength, np.array([strength], np.float32).view(np.uint8))

    def reset(self) -> None:
        """Forget recurrent state."""
        self._driver.attach()
        stream = self._lanes[0].stream
        self._driver.hold(self._order, stream=stream)
        for state in self._contract.states:
            for name in (state.input, f"{state.input}'"):
                self._driver.fill(self._arena[name], 0, self._network.tensors[state.input], stream=stream)
        self._driver.record(self._order, stream=stream)

    def close(self) -> None:
        """Wait for what is running, then free everything. Works twice."""
        self._driver.attach()
        lanes, self._lanes = self._lanes, []
        for lane in lanes:
            with suppress(DeviceError):  # the device was lost: then nothing runs any more
                self._driver.record(lane.marks[3], stream=lane.stream)
                self._driver.synchronise(lane.marks[3])
        with STARTING:
            self._undo.close()

    def _changing(self) -> list[str]:
        """Inputs that change while frames run, and constants, which are set once."""
        plate = [self._contract.plate.tensor] if self._contract.plate else []
        strength = [self._contract.strength] if self._contract.strength else []
        return [*plate, *strength, *self._contract.constants]

    def _fill_in(self) -> None:
        stream = self._lanes[0].stream
        for name in self._changing():
            self._driver.fill(self._arena[name], 0, self._network.tensors[name], stream=stream)
        self._driver.record(self._order, stream=stream)
        for name, values in self._contract.constants.items():
            self._put(name, np.asarray(values, np.float32).view(np.uint8))
        self.reset()

    def _put(self, name: str, data: NDArray[np.uint8]) -> None:
        self._driver.attach()
        self._uploads[name].put(data, stream=self._lanes[0].stream, order=self._order)

    def _upload(self, undo: ExitStack, name: str) -> Upload:
        upload = Upload(self._driver, self._arena[name], self._network.tensors[name])
        undo.callback(upload.close)
        return upload

    def _event(self, undo: ExitStack, *, timing: bool = False, waited: bool = True) -> Event:
        event = self._driver.event(timing=timing, waited=waited)
        undo.callback(self._driver.release, event)
        return event

    def _lane(self, undo: ExitStack, slot: Slot, places: TensorPlaces) -> _Lane:
        stream = self._driver.stream(urgent=True)
        undo.callback(self._driver.release, stream)
        own = {
            self._contract.frame.tensor: self._arena[f"{slot.index} in"],
            self._contract.primary.tensor: self._arena[f"{slot.index} out"],
        }
        inferences = []
        for parity in range(2 if self._contract.states else 1):
            addresses = {**places.addresses(self._arena, parity), **own}
            inferences.append(self._network.inference(addresses, self._arena["scratch"]))
            undo.callback(inferences[-1].close)
        memory = np.frombuffer(mmap.mmap(-1, self._input_bytes + self._output_bytes), np.uint8)
        pinned = self._driver.pin(memory.ctypes.data, memory.nbytes)
        undo.callback(self._driver.release, pinned)
        marks = [self._event(undo, timing=True) for _ in range(4)]
        return _Lane(stream, inferences, memory, self._input_bytes, pinned.device_address, marks)


@final
class _Lane:
    """What one slot has of its own."""

    def __init__(
        self, stream: Stream, inferences: list[Inference], memory: NDArray[np.uint8], split: int, at: int,
        marks: list[Event],
    ) -> None:  # fmt: skip
        self.stream, self.inferences, self.at, self.marks = stream, inferences, at, marks
        self.incoming, self.outgoing = memory[:split], memory[split:]
