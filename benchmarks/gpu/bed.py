"""What the device checks run on: a driver, the kernels, a network or its stand-in, streams of frames made up here."""

from __future__ import annotations

import ctypes
import mmap
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, closing, contextmanager, suppress
from fractions import Fraction
from functools import partial
from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray

from cutline.benchmarks.gpu.record import NotRun
from cutline.benchmarks.gpu.timing import Stopwatch
from cutline.benchmarks.probe import PROBE, SPIN, probe_params
from cutline.engine.cache import Cache
from cutline.engine.cubins import build_cubins, demand_compilers
from cutline.engine.progress import Silent
from cutline.runtime.bundle import Bundle
from cutline.runtime.contract import ModelContract
from cutline.runtime.cuda.cubin import kernel_image
from cutline.runtime.cuda.driver import Device, Driver, Stream
from cutline.runtime.cuda.engine import CudaEngine
from cutline.runtime.cuda.network import Network
from cutline.runtime.errors import CutlineError, DeviceError, DeviceLostError
from cutline.runtime.frame import FrameFormat, Timestamp
from cutline.runtime.options import StreamOptions
from cutline.runtime.slots import ArraySpec, Slot, SlotPool

__all__ = ["Bed", "Frames", "SpinNetwork", "kernels_for"]

DEPTH: Final = 8
BUSY: Final = 3  # frames with the device at once, as the pipeline has them
SPIN_BLOCKS: Final = 4  # on each multiprocessor: with them every scheduler issues whenever it can
SPIN_BLOCK: Final = (256, 1, 1)
SPIN_ROUNDS: Final = (5_000, 55_000)  # that are timed, tenths of a millisecond and some: the law between is linear
MOST_ROUNDS: Final = (1 << 32) - 1


@final
class SpinNetwork:
    """Stands in for a network: hands the input's first channel on as the matte, and works for a known time.

    It fills the card, as networks do: two of them at once take twice as long.
    """

    scratch_bytes = 0

    def __init__(self, driver: Driver, contract: ModelContract, *, cost_ms: float, multiprocessors: int) -> None:
        image, primary = contract.frame, contract.primary
        self._driver, self._names = driver, (image.tensor, primary.tensor)
        self.tensors: Mapping[str, int] = {
            image.tensor: 4 * int(np.prod(image.shape)),
            primary.tensor: 4 * int(np.prod(primary.shape)),
        }
        self._grid = SPIN_BLOCKS * multiprocessors, 1, 1
        self._module = driver.load(PROBE)
        self._spin = driver.kernel(self._module, SPIN)
        self._rounds = SPIN_ROUNDS[0]
        self._base_ms, self._round_ms = self._calibrate()
        self.cost(cost_ms)

    def cost(self, ms: float) -> None:
        """Take about so long from now on; what was captured before keeps its time."""
        self._rounds = min(MOST_ROUNDS, max(1, round((ms - self._base_ms) / self._round_ms)))

    def inference(self, addresses: Mapping[str, int], scratch: int) -> _Spin:  # noqa: ARG002 - the protocol's
        """Make a context."""
        return _Spin(self, addresses[self._names[0]], addresses[self._names[1]])

    def close(self) -> None:
        """Unload the probe. Works twice."""
        if self._module is not None:
            self._driver.release(self._module)
            self._module = None  # type: ignore[assignment]

    def queue(self, source: int, target: int, stream: Stream) -> None:
        """One inference."""
        self._driver.copy(target, source, self.tensors[self._names[1]], stream=stream)
        params = probe_params(target, self._rounds)
        self._driver.launch(self._spin, self._grid, SPIN_BLOCK, params, stream=stream)

    def _calibrate(self) -> tuple[float, float]:
        """Milliseconds of no round, and of every round."""
        with ExitStack() as undo:
            stream, memory = self._driver.stream(), self._driver.alloc(sum(self.tensors.values()))
            undo.callback(self._driver.release, memory)
            undo.callback(self._driver.release, stream)
            watch = undo.enter_context(closing(Stopwatch(self._driver, stream)))
            source = memory.address + self.tensors[self._names[1]]

            def work(rounds: int) -> None:
                self._rounds = rounds
                self.queue(source, memory.address, stream)

            few, many = SPIN_ROUNDS
            times = watch.medians(partial(work, few), partial(work, many))
        slope = max((times[1] - times[0]) / (many - few), 1e-9)
        return times[0] - slope * few, slope


@final
class _Spin:
    def __init__(self, network: SpinNetwork, source: int, target: int) -> None:
        self._network, self._places = network, (source, target)

    def queue(self, stream: Stream) -> None:
        self._network.queue(*self._places, stream)

    def not_captured(self, stream: Stream) -> str | None:  # noqa: ARG002 - the protocol's
        return None

    def close(self) -> None:
        """Owns nothing."""


@final
class Frames:
    """Owns one stream on the device: a path, its slots, and noise in them."""

    def __init__(self, engine: CudaEngine, frame: FrameFormat, **options: Any) -> None:
        image = engine.contract.frame
        arrays = {
            "guide": ArraySpec((3, image.height, image.width), "uint8"),
            "matte": ArraySpec((image.height, image.width), "float32"),
        }
        with ExitStack() as undo:
            self._path = engine.path(frame, StreamOptions(input="-", **options), None)
            undo.callback(self._path.close)
            self.pool = SlotPool(format=frame, depth=DEPTH, arrays=arrays, alpha=True)
            undo.callback(self.pool.close)
            undo.callback(self._path.close)
            self.notices = self._path.bind(self.pool)
            self._undo = undo.pop_all()
        rng = np.random.default_rng(1)
        for slot in self.pool.slots:
            for plane in (slot.source.y, slot.source.u, slot.source.v):
                plane[:] = rng.integers(16, 236, plane.shape, np.uint8)
        self.places = tuple(self._path.slots)
        self._free, self.running = list(self.pool.slots), list[Slot]()
        self.count, self.host_ns = 0, 0  # host_ns: processor time of this thread for start and wait

    def start(self) -> Slot:
        """Begin with the next slot."""
        slot = self._free.pop(0)
        began = time.thread_time_ns()
        self._path.start(slot, Timestamp(self.count, Fraction(1, 30), 0), first=False)
        self.host_ns += time.thread_time_ns() - began
        self.running.append(slot)
        self.count += 1
        return slot

    def finish(self) -> Slot:
        """Wait for the oldest."""
        slot = self.running.pop(0)
        began = time.thread_time_ns()
        self._path.wait(slot)
        self.host_ns += time.thread_time_ns() - began
        self._free.append(slot)
        return slot

    def flat_out(self, seconds: float) -> float:
        """Milliseconds per frame when the device always has work."""
        for _ in range(2 * BUSY):
            self._turn()
        self.host_ns, done, began = 0, 0, time.perf_counter()
        while time.perf_counter() - began < seconds:
            self._turn()
            done += 1
        took = time.perf_counter() - began
        self.host_ns = self.host_ns // max(done, 1)
        while self.running:
            self.finish()
        return 1000 * took / max(done, 1)

    def close(self) -> None:
        """Free the stream."""
        self._undo.close()

    def _turn(self) -> None:
        self.start()
        if len(self.running) == BUSY:
            self.finish()


@final
class Bed:
    """Owns an open driver, and the network's engine once there is one; moves arrays to the device and back."""

    def __init__(self, driver: Driver, cubin: bytes, contract: ModelContract) -> None:
        self.driver, self.cubin, self.contract = driver, cubin, contract
        self._engine: CudaEngine | None = None
        self._undo = ExitStack()
        self.stream = driver.stream()
        self._undo.callback(driver.release, self.stream)
        self._mark = driver.event()
        self._undo.callback(driver.release, self._mark)

    @property
    def engine(self) -> CudaEngine:
        """The network with the kernels; NotRun where none could be opened."""
        if self._engine is None:
            raise NotRun("no network could be opened, nor the stand-in")
        return self._engine

    def take(self, network: Network, library: str) -> None:
        """Make the engine of an open network, which it owns from now on."""
        self._engine = CudaEngine(
            self.driver, network, self.cubin, self.contract, name="cutout", precision="fp32", library=library
        )

    @contextmanager
    def scope(self) -> Iterator[None]:
        """Within: what is put on the device goes again at the end."""
        outer, self._undo = self._undo, ExitStack()
        try:
            with self._undo:
                try:
                    yield
                except BaseException:
                    with suppress(DeviceError):  # told is what came first
                        self.settle()
                    raise
                self.settle()
        finally:
            self._undo = outer

    def room(self, nbytes: int, *, value: int = 0) -> int:
        """Device memory until the scope ends, filled with one byte."""
        memory = self.driver.alloc(max(nbytes, 256))
        self._undo.callback(self.driver.release, memory)
        self.driver.fill(memory.address, value, memory.nbytes, stream=self.stream)
        self.settle()
        return memory.address

    def put(self, array: NDArray[Any] | bytes) -> int:
        """An array's bytes on the device."""
        data = np.frombuffer(array, np.uint8) if isinstance(array, bytes) else array.reshape(-1).view(np.uint8)
        address = self.room(data.nbytes)
        self._move(data.nbytes, address, data)
        return address

    def get(self, address: int, shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
        """An array from the device."""
        nbytes = int(np.prod(shape)) * np.dtype(dtype).itemsize
        found: NDArray[Any] = self._move(nbytes, address, None).view(dtype).reshape(shape)
        return found

    def settle(self) -> None:
        """Wait for all that was queued in `stream`."""
        self.driver.record(self._mark, stream=self.stream)
        self.driver.synchronise(self._mark)

    def close(self) -> None:
        """Free what was put here, the engine and the driver: all of it, whatever fails on the way."""
        with ExitStack() as undo:
            undo.callback(self.driver.close)
            if self._engine is not None:
                undo.callback(self._engine.close)
            undo.callback(self._undo.close)
            with suppress(DeviceLostError):  # then there is nothing to wait for
                self.settle()

    def _move(self, nbytes: int, address: int, data: NDArray[np.uint8] | None) -> NDArray[np.uint8]:
        memory = mmap.mmap(-1, nbytes)
        view: NDArray[np.uint8] = np.ctypeslib.as_array((ctypes.c_uint8 * nbytes).from_buffer(memory))
        pinned = self.driver.pin(view.ctypes.data, nbytes)
        try:
            if data is not None:
                view[:] = data
                self.driver.copy(address, pinned.device_address, nbytes, stream=self.stream)
            else:
                self.driver.copy(pinned.device_address, address, nbytes, stream=self.stream)
            self.settle()
        finally:
            self.driver.release(pinned)
        return np.array(view)


def kernels_for(device: Device, bundle: Bundle) -> bytes:
    """The bundle's kernels for this GPU, else compiled now."""
    try:
        return kernel_image(bundle, device)
    except CutlineError:
        return build_cubins(demand_compilers([device.sm], {}), Cache(), Silent())[device.sm].image
