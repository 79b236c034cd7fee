"""One stream: source process, slots, pre, network, post, and whoever takes the finished frames.

Three threads carry a frame: the feeder (source to network), the finisher (network to composite) and the caller, who
takes frames by iterating. All heavy work in them runs in C++ without the GIL.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Final, final

import numpy as np
from numpy.typing import NDArray

from cutline.runtime.bundle import Bundle
from cutline.runtime.errors import DeviceError, UsageError
from cutline.runtime.frame import Frame, FrameFormat, OnGpu, Timestamp
from cutline.runtime.options import StreamOptions
from cutline.runtime.plate import PlateKeeper, check_plate, read_plate
from cutline.runtime.sessions import Engine, open_engine
from cutline.runtime.slots import ArraySpec, Counts, Slot, SlotPool, SlotState
from cutline.runtime.sources import End, Filled, Notice, Opener, Source, SourceInfo, SourceOptions
from cutline.runtime.telemetry import FrameStamps, Telemetry

__all__ = ["Pipeline"]

POLL_S: Final = 0.1  # how often a waiting thread looks whether it should stop
FILLING: Final = 2  # slots that the source may be ahead with
WAITING: Final = 2  # finished frames that may wait for a live taker before the oldest is dropped


@dataclass(slots=True)
class _Passage:
    """What is known of the frame in one slot."""

    time: Timestamp
    stamps: FrameStamps
    first: bool = False  # the first frame, or the first after a gap: nothing before it counts


@final
class Pipeline:
    """Owns one stream from construction until close(); borrows the engines that it is given, owns those it makes."""

    def __init__(
        self,
        network: Bundle | Engine,
        options: StreamOptions,
        *,
        style: Bundle | Engine | None = None,
        alpha: bool = True,
        on_gpu: bool = False,
        closed_loop: int | None = None,
        opener: Opener | None = None,
        on_notice: Callable[[str], None] = lambda text: None,
    ) -> None:
        """Start the source and allocate everything that frames need.

        Args:
            network: a matte bundle, or an engine shared with other pipelines.
            options: the stream.
            style: a style bundle or engine, when the picture is to be styled.
            alpha: whether frames carry the full-size alpha plane.
            on_gpu: leave composites on the engine's GPU, where they are NV12 and so need even sides: frames have a
                `surface` then and no `composite`, and `self.gpu` says where. It is None where they cannot stay.
            closed_loop: for measuring: so many frames go to the network at once, and the next so many when the caller
                is done with the last of them. None: as many as keep the device busy, at all times.
            opener: opens the source; its stop() ends a construction that waits for one. None: one that does not wait.
            on_notice: called, from any thread, with one line for each thing worth knowing (reconnects, skipped images).
        Raises:
            CutlineError: what the source, the engine, the plate or the background raise.
        """
        self.options = options
        self.telemetry = Telemetry()
        self._closed_loop = closed_loop
        self._notify = on_notice
        self._stopping = threading.Event()
        self._running: SimpleQueue[Slot | None] = SimpleQueue()  # None: nothing comes any more
        self._done: SimpleQueue[Slot | None] = SimpleQueue()
        self._room: SimpleQueue[None] = SimpleQueue()  # one item for each frame that may still go to the network
        self._started = False
        self._failure: BaseException | None = None
        with ExitStack() as undo:
            engine, learnt = self._open(network, opener or Opener(), undo)
            live = self._source.info.live or options.pace is not None
            self._latest = live if options.policy == "auto" else options.policy == "latest"
            self._path = engine.path(self.format, options, _engine(style, undo) if style else None)
            undo.callback(self._path.close)
            even = self.format.width % 2 == self.format.height % 2 == 0
            stay = on_gpu and even and engine.gpu is not None
            self.gpu = OnGpu(engine.gpu or 0, engine.attach) if stay else None
            self._allocate(engine, undo, alpha, learnt)
            self._undo = undo.pop_all()
        nothing = Timestamp(0, self.info.time_base, 0)
        self._passages = [_Passage(nothing, FrameStamps()) for _ in self._pool.slots]
        self._make_room(closed_loop or engine.in_flight + 1)
        self._threads = [
            threading.Thread(target=self._guard, args=(body,), name=f"{name} {options.shown_name}", daemon=True)
            for name, body in (("feed", self._feed), ("finish", self._finish))
        ]

    @property
    def info(self) -> SourceInfo:
        """What the source said of itself."""
        return self._source.info

    @property
    def format(self) -> FrameFormat:
        """Size and colour of the input and of the composite."""
        return self._source.info.format

    def counts(self) -> Counts:
        """Frames in, out, dropped and in flight, at one moment; after close() none is in flight."""
        return self._pool.counts()

    def is_resting(self) -> bool:
        """Whether nothing moves until the caller takes another frame: for measuring, so that others have their turn.

        A stream that may drop frames never rests, nor does one before its first frame or behind its last one.
        """
        states = {slot.state for slot in self._pool.slots}
        if self._closed_loop is None:
            return states == {SlotState.DONE}
        return SlotState.RUNNING not in states and self._room.empty()

    def __enter__(self) -> Pipeline:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __iter__(self) -> Iterator[Frame]:
        """Yield finished frames in order. A frame's pictures are valid until the next one is asked for."""
        if self._started:
            raise UsageError("a pipeline can be iterated once", remedy="Make another Pipeline.")
        self._started = True
        for slot in self._pool.slots:
            self._source.offer(slot)
        for thread in self._threads:
            thread.start()
        taken = 0
        while (done := self._done.get()) is not None:
            stamps = self._passages[done.index].stamps
            stamps.delivered, stamps.call_clock = time.monotonic_ns(), time.thread_time_ns()
            yield self._frame(done)
            stamps.released, stamps.caller_core = time.monotonic_ns(), time.thread_time_ns() - stamps.call_clock
            self.telemetry.add(stamps)
            self._release(done)
            taken += 1
            if self._closed_loop is not None and taken % self._closed_loop == 0:
                self._make_room(self._closed_loop)
        if self._failure is not None:
            raise self._failure

    def stop(self) -> None:
        """Take no more frames from the source; those that were taken still come out. Safe in a signal handler."""
        self._stopping.set()

    def set_style_strength(self, strength: float) -> None:
        """Turn the style up or down, 0 to 1, from the next frame on."""
        self._path.set_strength(min(1.0, max(0.0, strength)))

    def close(self) -> None:
        """End the threads, the source process and the sessions. Works twice."""
        self._stopping.set()
        if self._started:
            for thread in self._threads:
                thread.join()
        self._undo.close()

    def _open(
        self, network: Bundle | Engine, opener: Opener, undo: ExitStack
    ) -> tuple[Engine, NDArray[np.uint8] | None]:
        """Open source and network, one while the other is compiled; return the engine, and the plate if it is learnt.

        That is done before the source is opened: many cameras serve one at a time.
        """
        options = self.options
        settings = SourceOptions(
            policy=options.policy,
            pace_fps=options.pace,
            loop=options.loop,
            frame_limit=options.frames,
            gpu=_decoding_gpu(options, network),
        )
        learnt = None
        if options.learn_plate is not None:
            engine = _engine(network, undo)
            check_plate(options, engine)
            _decoding_gpu(options, engine)
            from cutline.runtime.plate_learning import learn_plate  # brings OpenCV: 0.2 s that only learning pays

            learnt = learn_plate(options, engine.contract.frame, opener, self._notify)
            self._source = opener.open(options.input, settings, self._notify)
            undo.callback(self._source.close)
            return engine, learnt
        with ThreadPoolExecutor(1) as helper:
            opening = helper.submit(opener.open, options.input, settings, self._notify)
            undo.callback(_close_opened, opening)
            try:
                engine = _engine(network, undo)
                check_plate(options, engine)
                _decoding_gpu(options, engine)
                self._source = opening.result()
            except BaseException:  # what is being opened is not waited for
                opener.stop()
                raise
        return engine, learnt

    def _allocate(self, engine: Engine, undo: ExitStack, alpha: bool, learnt: NDArray[np.uint8] | None) -> None:
        """Take all memory that frames will need: the slots, what the device keeps of them, and the plate."""
        frame, image = self.format, engine.contract.frame
        arrays = {
            "guide": ArraySpec((3, image.height, image.width), "uint8"),
            "matte": ArraySpec((image.height, image.width), "float32"),
            **self._path.arrays,
        }
        query = self._closed_loop  # its frames all wait in slots before it begins
        depth = query + query if query else FILLING + engine.in_flight + 1 + WAITING + 1  # and one with the caller
        self._pool = SlotPool(
            format=frame,
            depth=depth,
            arrays=arrays,
            alpha=alpha,
            composite=self.gpu is None,
            surface_pitch=self.info.surface_pitch,
        )
        undo.callback(self._pool.close)
        undo.callback(self._drop_rest)
        undo.callback(self._path.close)  # before the slots go
        undo.callback(self._source.close)  # and before that: it may have surfaces of the path's open
        for notice in self._path.bind(self._pool):
            self._notify(notice)
        self._plate = None
        if engine.contract.plate is not None:
            plate = learnt if self.options.plate is None else read_plate(self.options.plate, self.options, image, frame)
            assert plate is not None  # see check_plate
            self._plate = PlateKeeper(plate, engine.contract.plate, frame.colour, self._path, self._notify)
        self._source.start(self._pool, self._path.surfaces)

    def _feed(self) -> None:
        """Source to network: the feeder thread."""
        while not self._stopping.is_set():
            slot = self._take_filled() if self._has_room() else None
            if slot is None:
                continue
            passage = self._passages[slot.index]
            stamps = passage.stamps
            stamps.taken, stamps.feed_clock = time.monotonic_ns(), time.thread_time_ns()
            self._pool.move(slot, SlotState.RUNNING)
            self._path.start(slot, passage.time, first=passage.first)
            stamps.prepared, stamps.pre_core = time.monotonic_ns(), time.thread_time_ns() - stamps.feed_clock
            self._running.put(slot)

    def _make_room(self, frames: int) -> None:
        for _ in range(frames):
            self._room.put(None)

    def _has_room(self) -> bool:
        """Wait until the network can take a frame; False when it could not for a while, so that stop() is seen."""
        try:
            self._room.get(timeout=POLL_S)
        except Empty:
            return False
        return True

    def _take_filled(self) -> Slot | None:
        """The next frame to work on, or None at the end. With the policy `latest`, the newest that is there."""
        newest: Slot | None = None
        first = False
        while not self._stopping.is_set():
            event = self._source.take(POLL_S if newest is None else 0.0)
            if isinstance(event, Filled):
                if newest is not None:
                    self._release(newest)
                newest = self._accept(event, first)
                if not self._latest:
                    break
            elif isinstance(event, Notice):
                self._notify(event.text)
                first = first or event.kind == "reconnected"
            elif isinstance(event, End):
                self._pool.add_dropped(event.skipped)
                self._failure = self._failure or event.error
                self._stopping.set()
            elif newest is not None:
                break
        return newest

    def _accept(self, event: Filled, first: bool) -> Slot:
        slot = self._pool.slots[event.slot_index]
        self._pool.move(slot, SlotState.READY)
        if event.skipped:
            self._pool.add_dropped(event.skipped)
        passage, decode = self._passages[slot.index], event.decode
        passage.time, passage.first = event.time, first
        stamps = passage.stamps
        stamps.index, stamps.available = event.index, event.time.available_ns
        stamps.delivered = stamps.released = stamps.call_clock = stamps.caller_core = 0
        stamps.decode_began, stamps.decode_ended = decode.began_ns, decode.ended_ns
        stamps.filled, stamps.decode_core = decode.filled_ns, decode.core_ns
        return slot

    def _finish(self) -> None:
        """Network to composite: the finisher thread."""
        while (slot := self._running.get()) is not None:
            passage = self._passages[slot.index]
            stamps = passage.stamps
            self._path.wait(slot)
            if self._closed_loop is None:
                self._make_room(1)
            stamps.inferred, stamps.finish_clock = time.monotonic_ns(), time.thread_time_ns()
            self._path.finish(slot, passage.time, first=passage.first)
            stamps.composed, stamps.post_core = time.monotonic_ns(), time.thread_time_ns() - stamps.finish_clock
            if self._plate is not None:
                self._plate.adapt(slot.arrays["guide"], slot.arrays["matte"], passage.time)
            self._deliver(slot)

    def _deliver(self, slot: Slot) -> None:
        """Hand a finished frame to the taker; a live taker who is late loses the oldest."""
        self._pool.move(slot, SlotState.DONE)
        self._done.put(slot)
        if self._latest and self._done.qsize() > WAITING:
            with suppress(Empty):  # the taker was faster after all
                stale = self._done.get_nowait()
                assert stale is not None  # this thread alone puts the end, last
                self.telemetry.add(self._passages[stale.index].stamps)
                self._release(stale, dropped=True)

    def _release(self, slot: Slot, *, dropped: bool = False) -> None:
        self._pool.move(slot, SlotState.FREE, dropped=dropped)
        if not self._stopping.is_set():
            self._source.offer(slot)

    def _drop_rest(self) -> None:
        """Count what a failure or an early end left in flight as dropped: nobody will take it any more."""
        for slot in self._pool.slots:
            if slot.state in (SlotState.READY, SlotState.RUNNING, SlotState.DONE):
                self._pool.move(slot, SlotState.FREE, dropped=True)

    def _frame(self, slot: Slot) -> Frame:
        passage = self._passages[slot.index]
        return Frame(
            index=passage.stamps.index,
            time=passage.time,
            source=None if self._pool.surface_pitch else slot.source,
            composite=slot.composite if self.gpu is None else None,
            alpha=slot.alpha,
            matte=slot.arrays["matte"],
            surface=self._path.surface(slot),
        )

    def _guard(self, body: Callable[[], None]) -> None:
        """Run a thread's body; whatever it raises reaches the caller through the iteration."""
        try:
            body()
        except BaseException as error:  # a thread's last resort: handed over to the caller, not swallowed
            self._failure = self._failure or error
        finally:
            self._stopping.set()
            (self._done if body == self._finish else self._running).put(None)


def _close_opened(opening: Future[Source]) -> None:
    if opening.exception() is None:
        opening.result().close()


def _decoding_gpu(options: StreamOptions, network: Bundle | Engine) -> int | None:
    """The GPU that decodes: the network's, which is the first one where it is opened here; None: the CPU.

    Raises:
        DeviceError: a GPU is to decode, and the network runs on the CPU.
    """
    if options.decoder == "cpu":
        return None
    if isinstance(network, Bundle):
        return 0
    if network.gpu is None:
        raise DeviceError(
            "the GPU's decoder is asked for, and the network runs on the CPU",
            remedy="Give --device cuda too, or leave --decoder out.",
            device=network.device,
        )
    return network.gpu


def _engine(network: Bundle | Engine, undo: ExitStack) -> Engine:
    if not isinstance(network, Bundle):
        return network
    engine = open_engine(network)
    undo.callback(engine.close)
    return engine
