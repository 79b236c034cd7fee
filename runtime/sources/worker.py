"""The source process: decodes one input into the slots that its parent offers. Its arguments are three descriptors:
socket, lifeline, log pipe.
"""

from __future__ import annotations

import fcntl
import math
import mmap
import os
import resource
import signal
import socket
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterator
from contextlib import closing
from fractions import Fraction
from typing import TYPE_CHECKING, Final, TypeAlias, final

import av
import av.logging

from cutline.runtime.errors import BadInputError, CutlineError, InternalError, UsageError
from cutline.runtime.slots import view_planes
from cutline.runtime.sources.address import Address, Kind, Redactor
from cutline.runtime.sources.clock import Clock, Pace
from cutline.runtime.sources.convert import Converter, copy_planes
from cutline.runtime.sources.messages import (
    Channel,
    Failed,
    Fill,
    FromChild,
    Offer,
    Open,
    Opened,
    Over,
    Say,
    Start,
    ToChild,
    child_end,
)
from cutline.runtime.sources.reader import Lost, Reader, VideoReader
from cutline.runtime.sources.records import DecodeStamps, SourceInfo
from cutline.runtime.sources.trouble import LogTail, explain

if TYPE_CHECKING:
    from cutline.runtime.sources.nvdec import SurfaceCheck

__all__ = ["main"]

Shaper: TypeAlias = "Converter | SurfaceCheck"  # what frames pass, whose format is then known
Store: TypeAlias = Callable[[av.VideoFrame, int], None]

CPU_PER_FRAME_S: Final = 5.0  # of all threads together; a frame that takes more is a trap, and SIGPROF ends the process
ADDRESS_SPACE: Final = 8 << 30  # bytes, the slots not counted: what no honest input needs
LATE_RUN: Final = 10  # paced frames that may be left out in a row because the next one is due already
NOTICES_PER_KIND: Final = 10  # a stream that is broken all over says so a few times, not for months


class _Closing(Exception):
    """The parent wants no more, or is gone."""


@final
class Worker:
    """Owns the child's end of the channel and the mapping of the slots."""

    def __init__(self, channel: Channel[FromChild, ToChild], log: LogTail) -> None:
        self._channel = channel
        self._log = log
        self._store: Store | None = None  # puts a frame into a slot, once there are any
        self._gpu: int | None = None  # decodes
        self._offered: deque[int] = deque()
        self._index = 0  # of the next frame, counted from Start
        self._skipped = 0  # since the last Fill
        self._began_ns = self._ended_ns = time.monotonic_ns()  # of decoding the frame at hand
        self._core_ns = 0  # of this process, at the last Fill
        self._said: Counter[str] = Counter()
        self._redactor = Redactor("")

    def run(self) -> None:
        """Serve one Open, and report whatever ends it."""
        try:
            message = self._wait()
            if not isinstance(message, Open):
                raise InternalError("a source process was not told what to open", remedy="Report this.")
            self._redactor = Redactor(os.fsdecode(message.uri))
            self._serve(message)
            self._channel.send(Over(self._skipped))
        except _Closing:
            return
        except CutlineError as error:
            self._fail(error)
        except Exception as error:  # the process boundary: what is not foreseen is reported as our own mistake
            where = error.__traceback__
            while where is not None and where.tb_next is not None:
                where = where.tb_next
            place = f"{where.tb_frame.f_code.co_filename}:{where.tb_lineno}" if where else ""
            what = f"the source process failed: {type(error).__name__}: {error}"
            self._fail(InternalError(what, remedy="Report this with the input.", place=place))

    def _fail(self, error: CutlineError) -> None:
        clean = self._redactor.clean
        facts = {name: clean(value) if isinstance(value, str) else value for name, value in error.facts.items()}
        self._channel.send(Failed.of(type(error)(clean(error.what), remedy=error.remedy, **facts), self._skipped))

    def _serve(self, request: Open) -> None:
        address = Address.parse(os.fsdecode(request.uri))
        self._gpu = request.gpu
        if address.kind is not Kind.CUSTOM:
            if request.gpu is None:
                _limit_memory(ADDRESS_SPACE)
            _limit_frame_time()
        with closing(_open_reader(address, self._redactor.name, self._log, request.gpu)) as reader:
            if address.kind is not Kind.CUSTOM:
                _limit_frame_time()  # opening a GPU takes long
            traits = reader.traits
            unit = Fraction(*request.resume.tick) if request.resume else traits.time_base
            clock = Clock(traits.time_base, traits.rate, self._say, unit=unit)
            if request.resume:
                gap_s = (time.monotonic_ns() - request.resume.available_ns) / 1e9
                clock.begin_at(request.resume.pts + max(1, round(gap_s / unit)))
            if traits.hdr:
                self._say("hdr", f"this is HDR video ({traits.hdr}); its colours are shown as if it were not")
            target = request.target
            wanted = target.format if target is not None else None
            decoder, aspect = traits.decoder, traits.pixel_aspect
            converter: Shaper
            if request.gpu is None:
                crop = target is not None and target.crop
                converter = Converter(decoder=decoder, target=wanted, crop=crop, pixel_aspect=aspect, report=self._say)
            else:
                from cutline.runtime.sources.nvdec import SurfaceCheck

                converter = SurfaceCheck(decoder=decoder, target=wanted, pixel_aspect=aspect)
            self._stream(request, address, reader, converter, clock)

    def _stream(self, request: Open, address: Address, reader: Reader, converter: Shaper, clock: Clock) -> None:
        traits = reader.traits
        paced = request.pace_fps is not None
        latest = (traits.live or paced) if request.policy == "auto" else request.policy == "latest"
        pace: Pace | None = None
        given = late = 0
        opened = False
        for frame in self._timed(self._frames(request, reader, converter, clock, address)):
            if frame is None:
                if not traits.live or self._store is not None:
                    self._lose()
                continue
            if not opened:
                opened = True
                self._channel.send(Opened(self._info(address, reader, converter, clock)))
            if request.frame_limit is not None and self._index >= request.frame_limit:
                return
            if self._store is None:
                if latest and traits.live:
                    self._take_messages()
                    if self._store is None:
                        continue  # nobody counts yet: a camera does not wait until the network is compiled
                else:
                    self._await_offer()
            available_ns = time.monotonic_ns()
            if request.pace_fps is not None:
                if pace is None:
                    self._await_offer()
                    pace = Pace(request.pace_fps, time.monotonic_ns())
                available_ns = pace.due_ns(given)
                given += 1
                overdue = latest and time.monotonic_ns() >= pace.due_ns(given)  # the next one is there already
                late = late + 1 if overdue else 0
                if late % (LATE_RUN + 1):  # a decoder that never keeps up shows every so many frames at least
                    self._lose()
                    continue
                self._sleep_until(available_ns)
            self._hand_out(frame, clock.origin, available_ns, wait=not latest, paced=paced)
        self._check_the_end(reader, opened=opened)

    def _timed(self, frames: Iterator[av.VideoFrame | None]) -> Iterator[av.VideoFrame | None]:
        """The same frames; `_began_ns` and `_ended_ns` say how long each one took."""
        while True:
            self._began_ns = time.monotonic_ns()
            try:
                frame = next(frames)
            except StopIteration:
                return
            self._ended_ns = time.monotonic_ns()
            yield frame

    def _check_the_end(self, reader: Reader, *, opened: bool) -> None:
        name = self._redactor.name
        if not opened:
            log = {"log": self._log.last} if self._log.last else {}
            what = "not one frame could be decoded"
            raise BadInputError(what, remedy="Give a video or picture file.", input=name, **log)
        if reader.broken is not None:
            what = "the input is truncated; every frame before the break was used"
            raise BadInputError(what, remedy="Get the whole file.", input=name, reason=reader.broken)

    def _frames(
        self, request: Open, reader: Reader, converter: Shaper, clock: Clock, address: Address
    ) -> Iterator[av.VideoFrame | None]:
        """Yield converted frames with repaired pts, and None for each lost one; again from the start when looping."""
        limit_cpu = address.kind is not Kind.CUSTOM
        found = True
        while found:
            found = False
            try:
                for event in reader:
                    if limit_cpu:
                        _limit_frame_time()
                    if isinstance(event, Lost):
                        self._say("corrupt", f"skipped what cannot be decoded: {event.text}")
                        yield None
                        continue
                    found = True
                    for frame in converter.push(event, reader.turn):
                        yield _stamped(frame, clock)
            except (av.FFmpegError, OSError) as error:
                raise explain(error, address, self._redactor.name, self._log.last) from error
            for frame in converter.flush():
                yield _stamped(frame, clock)
            if not request.loop or reader.broken is not None:
                return
            clock.go_on()

    def _hand_out(self, frame: av.VideoFrame, origin: int, available_ns: int, *, wait: bool, paced: bool) -> None:
        """Put the frame into a slot, or lose it.

        A file that waits was not late: its frame is available once there is a slot. A paced one was: the time that it
        was due is kept, so that a taker who is slow cannot hide it.
        """
        self._take_messages()
        if wait and not self._offered:
            self._await_offer()
            available_ns = available_ns if paced else time.monotonic_ns()
        if not self._offered or self._store is None:
            self._lose()
            return
        slot = self._offered.popleft()
        self._store(frame, slot)
        assert frame.pts is not None
        before_ns, self._core_ns = self._core_ns, time.process_time_ns()
        stamps = DecodeStamps(self._began_ns, self._ended_ns, time.monotonic_ns(), self._core_ns - before_ns)
        if not self._channel.send(Fill(slot, self._index, frame.pts, origin, available_ns, self._skipped, stamps)):
            raise _Closing
        self._index += 1
        self._skipped = 0

    def _lose(self) -> None:
        self._index += 1
        self._skipped += 1

    def _await_offer(self) -> None:
        while not self._offered:
            self._handle(self._wait())

    def _sleep_until(self, due_ns: int) -> None:
        """Wait for the moment, and listen meanwhile."""
        while (left_ns := due_ns - time.monotonic_ns()) > 0:
            if left_ns < 2_000_000:  # poll() counts in whole milliseconds
                time.sleep(left_ns / 1e9)
            elif (message := self._channel.receive(left_ns / 1e9 - 0.001)) is not None:
                self._handle(message)
            elif self._channel.closed_by_peer:
                raise _Closing

    def _take_messages(self) -> None:
        while (message := self._channel.receive()) is not None:
            self._handle(message)
        if self._channel.closed_by_peer:
            raise _Closing

    def _wait(self) -> ToChild:
        while (message := self._channel.receive(math.inf)) is None:
            if self._channel.closed_by_peer:
                raise _Closing
        return message

    def _handle(self, message: ToChild) -> None:
        if isinstance(message, Offer):
            self._offered.append(message.slot)
        elif isinstance(message, Start):
            self._store = self._open_slots(message)
        else:
            raise _Closing

    def _open_slots(self, message: Start) -> Store:
        """What puts a frame into a slot: into its planes here, or its surface on the GPU."""
        layout = message.layout
        fd = self._channel.take_fd()
        try:
            if message.surfaces is not None and self._gpu is not None:
                from cutline.runtime.sources.nvdec import SurfaceSlots

                return SurfaceSlots(message.surfaces, self._gpu).store
            _limit_memory(ADDRESS_SPACE + layout.nbytes)
            memory = mmap.mmap(fd, layout.nbytes)
        finally:
            os.close(fd)
        planes = [view_planes(memory, i * layout.slot_bytes, layout.y, layout.u, layout.v) for i in range(layout.depth)]
        return lambda frame, slot: copy_planes(frame, planes[slot])

    def _say(self, kind: str, text: str) -> None:
        """Tell the parent, but not for ever the same."""
        once = kind != "corrupt"
        self._said[kind] += 1
        if self._said[kind] > (1 if once else NOTICES_PER_KIND):
            return
        if self._said[kind] == NOTICES_PER_KIND:
            text += "; more of the kind will not be mentioned"
        self._channel.send(Say(self._redactor.clean(text), kind))

    def _info(self, address: Address, reader: Reader, converter: Shaper, clock: Clock) -> SourceInfo:
        traits, form = reader.traits, converter.format
        return SourceInfo(
            name="standard input" if address.kind is Kind.STDIN else self._redactor.name,
            width=form.width,
            height=form.height,
            matrix=form.colour.matrix,
            full_range=form.colour.full_range,
            rate=traits.rate.as_integer_ratio() if traits.rate else None,
            tick=clock.unit.as_integer_ratio(),
            frames=traits.frames,
            duration_s=traits.duration_s,
            live=traits.live,
            audio=traits.audio,
            decoder=traits.decoder,
            surface_pitch=converter.pitch,
        )


def _stamped(frame: av.VideoFrame, clock: Clock) -> av.VideoFrame:
    frame.pts = clock.stamp(frame.pts)
    return frame


def _open_reader(address: Address, name: str, log: LogTail, gpu: int | None) -> Reader:
    """Choose the reader; what only some inputs need is imported only for them."""
    if gpu is not None and address.kind in (Kind.PICTURES, Kind.CUSTOM):
        raise UsageError("only video can be decoded on the GPU", remedy="Leave --decoder out.", input=name)
    if address.kind is Kind.PICTURES:
        from cutline.runtime.sources.pictures import PictureReader

        return PictureReader(address.uri, log)
    if address.kind is Kind.CUSTOM:
        from cutline.runtime.sources.custom import GeneratorReader

        return GeneratorReader(address, name)
    return VideoReader(address, name, log, gpu)


def _limit_memory(nbytes: int) -> None:
    """A hostile file may not take the machine down: allocation fails in this process first.

    Not where a GPU decodes: its driver takes addresses for all memory that there is, on the GPU and here.
    """
    _soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = nbytes if hard == resource.RLIM_INFINITY else min(nbytes, hard)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


def _limit_frame_time() -> None:
    """Begin to count processor time anew; waiting for a disk, a network or a slot costs none."""
    signal.setitimer(signal.ITIMER_PROF, CPU_PER_FRAME_S)


def _die_with_parent(lifeline: int) -> None:
    """Let the kernel kill this process when the pipe's other end closes.

    Not PR_SET_PDEATHSIG: that one fires when the thread that made us ends, although its process lives on.
    """
    fcntl.fcntl(lifeline, fcntl.F_SETOWN, os.getpid())
    if hasattr(fcntl, "F_SETSIG"):  # Linux; elsewhere SIGIO, which ends the process as well unless it is stopped
        fcntl.fcntl(lifeline, fcntl.F_SETSIG, signal.SIGKILL)
    fcntl.fcntl(lifeline, fcntl.F_SETFL, fcntl.fcntl(lifeline, fcntl.F_GETFL) | os.O_ASYNC | os.O_NONBLOCK)
    try:
        if not os.read(lifeline, 1):
            os._exit(0)  # it closed before we listened
    except BlockingIOError:
        return


def main() -> None:
    """Serve the parent at the other end of the socket; arguments: socket, lifeline, log pipe."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole terminal; the parent decides
    control, lifeline, log = (int(argument) for argument in sys.argv[1:4])
    _die_with_parent(lifeline)
    av.logging.restore_default_callback()
    av.logging.set_libav_level(av.logging.ERROR)
    with closing(child_end(socket.socket(fileno=control))) as channel:
        Worker(channel, LogTail(log)).run()
    os._exit(0)  # nothing is left to tidy up, and FFmpeg's threads may outlive the interpreter
