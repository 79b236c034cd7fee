"""Small things that change while frames run: copied to the device between two frames, never within one."""

from __future__ import annotations

import mmap
from contextlib import ExitStack
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from cutline.runtime.contract import Image
from cutline.runtime.cuda.driver import Driver, Event, Stream

__all__ = ["Upload", "tensor_bytes"]


@final
class Upload:
    """Owns a pinned staging buffer as large as its target on the device."""

    def __init__(self, driver: Driver, target: int, nbytes: int) -> None:
        self._driver, self._target, self._nbytes = driver, target, nbytes
        self._memory = mmap.mmap(-1, max(nbytes, 1))
        self.staging: NDArray[np.uint8] = np.frombuffer(self._memory, np.uint8)
        with ExitStack() as undo:
            self._pinned = driver.pin(self.staging.ctypes.data, self.staging.nbytes)
            undo.callback(driver.release, self._pinned)
            self._copied = driver.event()
            undo.callback(driver.release, self._copied)
            self._undo = undo.pop_all()

    def put(self, data: bytes | NDArray[np.uint8], *, stream: Stream, order: Event) -> None:
        """Copy `data` to the device behind the frames that were started and before those that will be.

        Args:
            order: the event that orders the work of frames, see CudaPath.
        """
        self._driver.synchronise(self._copied)  # the staging buffer is free; as a rule it has long been
        self.staging[: len(data)] = np.frombuffer(data, np.uint8) if isinstance(data, bytes) else data
        self._driver.hold(order, stream=stream)
        self._driver.copy(self._target, self._pinned.device_address, len(data), stream=stream)
        self._driver.record(order, stream=stream)
        self._driver.record(self._copied, stream=stream)

    def close(self) -> None:
        """Unpin the buffer. Works twice."""
        self._undo.close()


def tensor_bytes(tensor: NDArray[Any], image: Image) -> NDArray[np.uint8]:
    """A float32 tensor in the type that an input takes, as its bytes. bfloat16 is rounded to even."""
    if image.dtype == "bfloat16":
        bits = np.ascontiguousarray(tensor, np.float32).view(np.uint32)
        return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16).reshape(-1).view(np.uint8)
    typed: NDArray[Any] = np.empty(tensor.shape, image.dtype)
    np.copyto(typed, tensor, casting="same_kind")
    return typed.reshape(-1).view(np.uint8)
