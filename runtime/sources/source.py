"""A source: frames from a child process into slots, with reconnects for what is live."""

from __future__ import annotations

import os
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Final, final

from cutline.runtime.errors import BadInputError, CutlineError, DeviceError, InternalError, NoInputError, UsageError
from cutline.runtime.frame import FrameFormat, Timestamp
from cutline.runtime.slots import Slot, SlotPool, SlotState, SurfaceLayout
from cutline.runtime.sources.address import Address, Kind, Redactor
from cutline.runtime.sources.child import Child
from cutline.runtime.sources.messages import (
    Failed,
    Fill,
    FromChild,
    Offer,
    Open,
    Opened,
    Resume,
    Say,
    Start,
    Target,
)
from cutline.runtime.sources.records import End, Filled, Notice, SourceInfo, SourceOptions
from cutline.runtime.sources.trouble import ON_CPU

__all__ = ["Source"]

NEVER: Final = float("inf")
LIVE_OPEN_S: Final = 10.0
FILE_OPEN_S: Final = 60.0  # nobody waits at a file; the time that decoding may take is limited in the process itself
LIVE_STALL_S: Final = 2.0
FILE_STALL_S: Final = 10.0  # a sleeping disk may take this long to turn
PERIODS: Final = 3  # of a slow stream's frames, before it is taken for silent
FIRST_WAIT_S: Final = 0.5  # before the first reconnect; doubled each time
LONGEST_WAIT_S: Final = 5.0
GIVE_UP_S: Final = 0.1  # how soon it is seen that an opening is given up
DEFAULTS: Final = SourceOptions()


@final
class Source:
    """Owns one child process that decodes, until close(). `offer` may be called from any thread, `take` from one.

    A live source never ends by itself: when it fails or falls silent its process is replaced, and the stream goes on
    with the same format, rising timestamps and frame numbers.
    """

    def __init__(
        self, uri: str, options: SourceOptions = DEFAULTS, *, given_up: Callable[[], bool] = lambda: False
    ) -> None:
        """Start the process and wait until the first frame is decoded.

        Args:
            given_up: asked while it is waited for; True ends the waiting with a NoInputError.
        Raises:
            UsageError: an unknown kind of URL, or options that contradict each other.
            NoInputError: the input is missing, unreachable, unreadable, or gave no frame in open_timeout_s.
            BadInputError: it is there but holds no video that can be decoded.
            DeviceError: the camera is in use, or no camera.
            StorageError: reading it failed.
        """
        self._address = Address.parse(uri)
        self._options = options
        self._redactor = Redactor(uri)
        self.name = self._redactor.name
        self._pipe = self._address.kind is Kind.STDIN or Path(self._address.uri).is_fifo()
        if options.loop and (self._address.kind is Kind.STDIN or self._address.looks_live):
            raise UsageError("this input cannot be looped", remedy="Leave loop out, or give a file.", input=self.name)
        if self._address.kind is Kind.STDIN and os.isatty(0):
            raise UsageError("standard input is a terminal", remedy="Pipe a video into it.", input=self.name)
        self._lock = threading.Lock()  # guards the channel's sending side, _offered and _ended
        self._pool: SlotPool | None = None
        self._surfaces: SurfaceLayout | None = None
        self._offered: set[int] = set()
        self._asked_ns = 0  # when a slot was first offered while none was, or the last frame came
        self._frames = 0
        self._base = 0  # number of the child's frame 0
        self._next = 0  # number of the next frame
        self._owed = 0  # frames that earlier processes lost and no Filled has told of
        self._last: tuple[int, int] | None = None  # pts, available_ns
        self._ended = False
        self._told = ""  # why the source broke last
        self._early: deque[Notice] = deque()  # what was said while the input was opened
        self._wait_s = FIRST_WAIT_S
        self._retry_at: float | None = None
        self._opening_until: float | None = None
        self._target = None if options.scale_to is None else _target(options.scale_to, crop=True)
        self._open_s, self._stall_s = self._open_limit(), NEVER
        self._child = self._spawn()
        try:
            self.info = self._await_opened(given_up)
        except BaseException:
            self._child.close(kill=True)
            raise
        self._stall_s = self._stall_limit()
        if self._target is None:
            self._target = _target(self.info.format, crop=False)  # for the connections after this one
        self._time_base = self.info.time_base  # a Fraction costs more to make than the rest of a frame's message
        self._opening_until = None

    def start(self, pool: SlotPool, surfaces: SurfaceLayout | None = None) -> None:
        """Let the source write into the pool's slots. Frames are counted from here.

        Args:
            surfaces: where the slots' frames lie on the GPU, if it decodes them.
        Raises:
            InternalError: called twice, or the pool has another format.
        """
        pitch = surfaces.pitch if surfaces is not None else 0
        if self._pool is not None or (pool.format, pitch) != (self.info.format, self.info.surface_pitch):
            raise InternalError("a source was started with the wrong slots", remedy="Report this.", input=self.name)
        self._pool, self._surfaces = pool, surfaces
        with self._lock:
            self._child.channel.send(Start(pool.layout, surfaces), [pool.fd])

    def offer(self, slot: Slot) -> None:
        """Hand a FREE slot to the source, which makes it FILLING. After the end the slot stays FREE."""
        assert self._pool is not None
        with self._lock:
            if self._ended:
                return
            self._pool.move(slot, SlotState.FILLING)
            if not self._offered:
                self._asked_ns = time.monotonic_ns()
            self._offered.add(slot.index)
            if self._retry_at is None and self._opening_until is None:
                self._child.channel.send(Offer(slot.index))

    def take(self, timeout_s: float) -> Filled | Notice | End | None:
        """Return what happened next, or None when nothing did in time.

        A Filled slot is still FILLING. After End, slots that were offered are FREE again, and every later call returns
        None.
        """
        deadline = time.monotonic() + timeout_s
        while not self._ended:
            event = self._step(max(0.0, deadline - time.monotonic()))
            if event is not None:
                return event
            if time.monotonic() >= deadline:
                return None
        return None

    def close(self) -> None:
        """End the process and free the slots that it held; later calls do nothing."""
        with self._lock:
            self._finish()
        self._child.close()

    def _step(self, timeout_s: float) -> Filled | Notice | End | None:
        """Do one thing that is due, waiting at most so long."""
        if self._early:
            return self._early.popleft()
        now = time.monotonic()
        if self._retry_at is not None:
            if now < self._retry_at:
                time.sleep(min(timeout_s, self._retry_at - now))
                return None
            self._retry_at = None
            with self._lock:
                self._child = self._spawn()
            return None
        message = self._child.channel.receive(min(timeout_s, self._patience_s(now)))
        if message is not None:
            return self._handle(message)
        if self._child.channel.closed_by_peer:
            return self._broke(self._died())
        if self._patience_s(time.monotonic()) <= 0:
            return self._broke(self._stalled())
        return None

    def _handle(self, message: FromChild) -> Filled | Notice | End | None:
        if isinstance(message, Fill):
            with self._lock:
                self._offered.discard(message.slot)
                self._asked_ns = time.monotonic_ns()
            self._wait_s = FIRST_WAIT_S
            self._frames += 1
            index = self._base + message.index
            self._next = index + 1
            self._last = (message.pts, message.available_ns)
            time_ = Timestamp(message.pts, self._time_base, message.available_ns, message.origin)
            skipped, self._owed = message.skipped + self._owed, 0
            return Filled(message.slot, index, time_, skipped, message.decode)
        if isinstance(message, Say):
            return Notice(message.text, message.kind)
        if isinstance(message, Opened):
            return self._reopened(message.info)
        if isinstance(message, Failed):
            return self._broke(message.rebuild(), message.skipped)
        if self.info.live and not self._limit_reached(message.skipped):
            return self._broke(NoInputError("the source ended", remedy="Check it.", input=self.name), message.skipped)
        return self._end(None, message.skipped)

    def _broke(self, error: CutlineError, skipped: int = 0) -> Notice | End | None:
        """A live source is opened again after a while; for all others this is the end."""
        if not self.info.live or self._limit_reached(skipped):
            return self._end(None if self.info.live else error, skipped)
        self._next += skipped
        self._owed += skipped
        first, self._told = self._opening_until is None or error.what != self._told, error.what
        with self._lock:
            self._child.close(kill=True)
            self._opening_until = None
            self._retry_at = time.monotonic() + self._wait_s
        wait_s, self._wait_s = self._wait_s, min(LONGEST_WAIT_S, self._wait_s * 2)
        if not first:
            return None
        return Notice(f"{self.name}: {error.what}; reconnecting in {wait_s:.1f} s", "reconnecting")

    def _reopened(self, info: SourceInfo) -> Notice:
        """Hand the slots to the new process, which must fill them as the first one did."""
        if (info.format, info.tick, info.surface_pitch) != (self.info.format, self.info.tick, self.info.surface_pitch):
            raise InternalError("a source came back in another format", remedy="Report this.", input=self.name)
        with self._lock:
            self._opening_until = None
            self._base = self._next
            self._asked_ns = time.monotonic_ns()
            if self._pool is not None:
                self._child.channel.send(Start(self._pool.layout, self._surfaces), [self._pool.fd])
            for slot in sorted(self._offered):
                self._child.channel.send(Offer(slot))
        return Notice(f"{self.name}: reconnected", "reconnected")

    def _end(self, error: CutlineError | None, skipped: int) -> End:
        with self._lock:
            self._finish()
        self._child.close()
        return End(error, self._frames, skipped + self._owed)

    def _finish(self) -> None:
        """Under the lock: nothing comes any more, so the slots that were offered are free."""
        self._ended = True
        if self._pool is not None and self._pool.fd >= 0:
            for index in self._offered:
                self._pool.move(self._pool.slots[index], SlotState.FREE)
        self._offered.clear()

    def _spawn(self) -> Child:
        child = Child(self._redactor, pass_stdin=self._address.kind is Kind.STDIN)
        options = self._options
        resume = None
        if self._last is not None:
            pts, available_ns = self._last
            tick = self.info.time_base.as_integer_ratio()
            resume = Resume(pts, tick, available_ns)
        limit = None if options.frame_limit is None else options.frame_limit - self._next
        child.channel.send(
            Open(
                uri=os.fsencode(self._address.uri),
                policy=options.policy,
                pace_fps=options.pace_fps,
                loop=options.loop,
                frame_limit=limit,
                target=self._target,
                resume=resume,
                gpu=options.gpu,
            )
        )
        self._opening_until = time.monotonic() + self._open_s
        return child

    def _await_opened(self, given_up: Callable[[], bool]) -> SourceInfo:
        while True:
            now = time.monotonic()
            message = self._child.channel.receive(min(GIVE_UP_S, self._patience_s(now)))
            if isinstance(message, Opened):
                return message.info
            if isinstance(message, Say):
                self._early.append(Notice(message.text, message.kind))
            elif isinstance(message, Failed):
                raise message.rebuild()
            elif self._child.channel.closed_by_peer:
                raise self._died()
            elif self._patience_s(time.monotonic()) <= 0:
                raise self._stalled()
            elif given_up():
                raise NoInputError(
                    "the source was not there yet", remedy="Check that it is on and sends.", input=self.name
                )

    def _patience_s(self, now: float) -> float:
        """How long from now the process may stay silent."""
        if self._opening_until is not None:
            return self._opening_until - now
        if not self._offered:
            return NEVER
        return self._asked_ns / 1e9 + self._stall_s - now

    def _open_limit(self) -> float:
        if self._options.open_timeout_s is not None:
            return self._options.open_timeout_s
        if self._address.kind in (Kind.STREAM, Kind.CAMERA):
            return LIVE_OPEN_S
        return NEVER if self._pipe else FILE_OPEN_S

    def _stall_limit(self) -> float:
        if self._options.stall_timeout_s is not None:
            return self._options.stall_timeout_s
        if self._pipe or self._address.kind is Kind.CUSTOM:
            return NEVER
        rates = [float(rate) for rate in (self._options.pace_fps, self.info.frame_rate) if rate]
        slow_s = PERIODS / min(rates, default=25.0)
        return max(slow_s, LIVE_STALL_S if self.info.live else FILE_STALL_S)

    def _died(self) -> CutlineError:
        error = self._child.obituary()
        if self._options.gpu is None or not isinstance(error, BadInputError):
            return error
        return DeviceError("the GPU's decoder crashed, or took too long", remedy=ON_CPU, **error.facts)

    def _stalled(self) -> CutlineError:
        facts = self._child.facts()
        if self._options.gpu is not None and self._opening_until is None:
            return DeviceError("the GPU's decoder does not answer", remedy=ON_CPU, **facts)
        if self._address.kind in (Kind.STREAM, Kind.CAMERA) or self._opening_until is not None:
            return NoInputError("the source gives no frame", remedy="Check that it is on and sends.", **facts)
        return BadInputError("the decoder hangs on this input", remedy="Convert the input first.", **facts)

    def _limit_reached(self, skipped: int) -> bool:
        limit = self._options.frame_limit
        return limit is not None and self._next + skipped >= limit


def _target(wanted: FrameFormat, *, crop: bool) -> Target:
    return Target(wanted.width, wanted.height, wanted.colour.matrix.value, wanted.colour.full_range, crop)
