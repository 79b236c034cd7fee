"""What a source process and its parent say to each other, over one stream socket.

parent -> child    Open (once), Start (with the slots' descriptor), Offer (one per free slot), Close
child -> parent    Opened or Failed (once), then Fill and Say, at last Over or Failed
"""

from __future__ import annotations

import math
import select
import socket
import struct
from collections import deque
from collections.abc import Sequence
from typing import Generic, TypeAlias, TypeVar, final

import msgspec

from cutline.runtime import errors
from cutline.runtime.errors import CutlineError, InternalError
from cutline.runtime.frame import Colour, FrameFormat, Matrix
from cutline.runtime.slots import SlotLayout, SurfaceLayout
from cutline.runtime.sources.records import DecodeStamps, Policy, SourceInfo

__all__ = [
    "Channel",
    "Close",
    "Failed",
    "Fill",
    "FromChild",
    "Offer",
    "Open",
    "Opened",
    "Over",
    "Resume",
    "Say",
    "Start",
    "Target",
    "ToChild",
    "child_end",
    "parent_end",
]

Fact: TypeAlias = str | int | float | bool | None


class Target(msgspec.Struct, frozen=True):
    """The format that every frame must be brought to, when it is given from outside."""

    width: int
    height: int
    matrix: str
    full_range: bool
    crop: bool  # True: centre-crop to the shape first; False: scale each axis on its own

    @property
    def format(self) -> FrameFormat:
        """The size and colour meant."""
        return FrameFormat(width=self.width, height=self.height, colour=Colour(Matrix(self.matrix), self.full_range))


class Resume(msgspec.Struct, frozen=True):
    """Where the connection before this one stopped, so that timestamps go on from there."""

    pts: int
    tick: tuple[int, int]  # seconds per unit of pts
    available_ns: int


class Open(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """Open this URI. It travels here and not on the command line, where a password would show in the process list."""

    uri: bytes  # names of files need not be UTF-8
    policy: Policy
    pace_fps: float | None
    loop: bool
    frame_limit: int | None
    target: Target | None
    resume: Resume | None
    gpu: int | None  # decode on this GPU; None: on the CPU


class Start(msgspec.Struct, frozen=True, tag=True):
    """Map the slots; their descriptor rides along. Counting begins here."""

    layout: SlotLayout
    surfaces: SurfaceLayout | None  # of the slots, where frames are decoded on the GPU


class Offer(msgspec.Struct, frozen=True, tag=True):
    """This slot may be filled."""

    slot: int


class Close(msgspec.Struct, frozen=True, tag=True):
    """Let go of the camera or connection, and exit."""


class Opened(msgspec.Struct, frozen=True, tag=True):
    """The first frame is decoded."""

    info: SourceInfo


class Fill(msgspec.Struct, frozen=True, tag=True):
    """A frame lies in this slot."""

    slot: int
    index: int
    pts: int
    origin: int  # see Timestamp
    available_ns: int
    skipped: int
    decode: DecodeStamps


class Say(msgspec.Struct, frozen=True, tag=True):
    """A notice."""

    text: str
    kind: str


class Over(msgspec.Struct, frozen=True, tag=True):
    """The stream has ended well."""

    skipped: int


class Failed(msgspec.Struct, frozen=True, tag=True, kw_only=True):
    """An error, in parts; credentials are already removed."""

    error: str  # class name in cutline.runtime.errors
    what: str
    remedy: str
    facts: dict[str, Fact]
    skipped: int = 0

    @classmethod
    def of(cls, error: CutlineError, skipped: int = 0) -> Failed:
        """Take an error apart."""
        facts = {k: v if isinstance(v, str | int | float | bool | None) else str(v) for k, v in error.facts.items()}
        return cls(error=type(error).__name__, what=error.what, remedy=error.remedy, facts=facts, skipped=skipped)

    def rebuild(self) -> CutlineError:
        """Put the error together again."""
        kind = getattr(errors, self.error, InternalError)
        error = kind(self.what, remedy=self.remedy, **self.facts)
        assert isinstance(error, CutlineError)
        return error


ToChild: TypeAlias = Open | Start | Offer | Close
FromChild: TypeAlias = Opened | Fill | Say | Over | Failed

_Out = TypeVar("_Out")
_In = TypeVar("_In")

_HEAD = struct.Struct("<I")
_FD = struct.Struct("@i")
_FD_ROOM = socket.CMSG_SPACE(_FD.size)  # one descriptor at a time
_CHUNK = 4096  # bytes a read: messages are some dozens of bytes, and every read allocates this much
_MAX_MESSAGE = 1 << 20  # bytes; nothing honest comes near


@final
class Channel(Generic[_Out, _In]):
    """Owns one end of the socket, until close(). Sending is the caller's to serialise, and so is receiving."""

    def __init__(self, end: socket.socket, decoder: msgspec.msgpack.Decoder[_In]) -> None:
        self._socket = end
        self._decoder = decoder
        self._encoder = msgspec.msgpack.Encoder()
        self._bytes = bytearray()
        self._fds: deque[int] = deque()
        self._poll = select.poll()
        self._poll.register(end.fileno(), select.POLLIN)
        self.closed_by_peer = False

    def send(self, message: _Out, fds: Sequence[int] = ()) -> bool:
        """Send one message; False when nobody is there any more."""
        body = self._encoder.encode(message)
        data = _HEAD.pack(len(body)) + body
        try:
            if fds:
                sent = socket.send_fds(self._socket, [data], list(fds))
                data = data[sent:]
            self._socket.sendall(data)
        except (BrokenPipeError, ConnectionResetError):
            return False
        return True

    def receive(self, timeout_s: float = 0.0) -> _In | None:
        """Return the next message, or None when none has fully arrived in time, or none ever will (closed_by_peer)."""
        message = self._next()
        if message is None and timeout_s > 0 and not self.closed_by_peer:
            self._poll.poll(None if timeout_s == math.inf else timeout_s * 1000)
        while message is None and not self.closed_by_peer and self._read():
            message = self._next()
        return message

    def take_fd(self) -> int:
        """Return the descriptor that came with the last message; the caller owns it."""
        return self._fds.popleft()

    def close(self) -> None:
        """Close the end; later calls do nothing."""
        self._socket.close()

    def _read(self) -> bool:
        """Read what is there without waiting; False when nothing is."""
        try:
            # not socket.recv_fds: it forgets the flags that it is given
            data, extra, _flags, _address = self._socket.recvmsg(_CHUNK, _FD_ROOM, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return False
        except ConnectionResetError:
            data, extra = b"", []
        for level, kind, payload in extra:
            if (level, kind) == (socket.SOL_SOCKET, socket.SCM_RIGHTS):
                self._fds.extend(_FD.unpack_from(payload))
        self._bytes += data
        self.closed_by_peer = not data
        return bool(data)

    def _next(self) -> _In | None:
        if len(self._bytes) < _HEAD.size:
            return None
        (size,) = _HEAD.unpack_from(self._bytes)
        if size > _MAX_MESSAGE:
            raise InternalError("a source message is too long", remedy="Report this with the input.", nbytes=size)
        end = _HEAD.size + size
        if len(self._bytes) < end:
            return None
        message = self._decoder.decode(memoryview(self._bytes)[_HEAD.size : end].tobytes())
        del self._bytes[:end]
        return message


def parent_end(end: socket.socket) -> Channel[ToChild, FromChild]:
    """Wrap the socket of the process that wants frames."""
    return Channel(end, msgspec.msgpack.Decoder(FromChild))


def child_end(end: socket.socket) -> Channel[FromChild, ToChild]:
    """Wrap the socket of the process that makes frames."""
    return Channel(end, msgspec.msgpack.Decoder(ToChild))
