"""Turns what FFmpeg and the system say into Cutline's errors."""

from __future__ import annotations

import contextlib
import errno
import os
import re
from pathlib import Path
from typing import Final, final

import av

from cutline.runtime.errors import BadInputError, CutlineError, DeviceError, NoInputError, StorageError, UsageError
from cutline.runtime.printable import printable
from cutline.runtime.sources.address import Address, Kind, list_pictures

__all__ = ["ON_CPU", "LogTail", "check_input", "explain"]

ON_CPU: Final = "Leave --decoder out: the CPU decodes it."
_PREFIX: Final = re.compile(r"^\[[^\]]*? @ 0x[0-9a-f]+\] ")
_UNREACHABLE: Final = (
    av.HTTPClientError,
    av.HTTPServerError,
    ConnectionError,
    TimeoutError,
    av.ExitError,
)
_UNREACHABLE_CODES: Final = frozenset(
    {errno.EHOSTUNREACH, errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EIO, errno.EINVAL}
)
_MISSING_CODES: Final = frozenset({errno.ENOENT, errno.ENODEV, errno.ENXIO, errno.ENOTDIR})


@final
class LogTail:
    """Owns the reading end of the pipe that FFmpeg's log goes to, until close(); keeps the last line.

    A pipe and not PyAV's callback: that one takes the interpreter's lock in FFmpeg's threads, which can deadlock, and
    says nothing any more once the process has crashed.
    """

    def __init__(self, fd: int) -> None:
        os.set_blocking(fd, False)
        self._fd = fd
        self._last = self._first = ""

    @property
    def last(self) -> str:
        """The last line written, without FFmpeg's prefix; empty when there was none."""
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self._fd, 65536):
                lines = [line.strip() for line in data.decode(errors="replace").splitlines()]
                told = [_PREFIX.sub("", line) for line in lines if line and "Last message repeated" not in line]
                self._last = told[-1][:300] if told else self._last
                self._first = self._first or (told[0][:300] if told else "")
        return self._last

    @property
    def first(self) -> str:
        """The first line that was ever written: of many that follow from one another, it has the cause."""
        return self._first if self.last or self._first else ""

    def close(self) -> None:
        """Close the pipe; later calls do nothing."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def check_input(uri: str) -> None:
    """Refuse a file, folder or glob that is not there, before anything is opened. What may come later is left alone.

    Raises:
        NoInputError: there is no such file, or it may not be looked at.
        UsageError, DeviceError: as `Address.parse`.
    """
    address = Address.parse(uri)
    if address.kind is Kind.PICTURES:
        list_pictures(address.uri)
    elif address.kind is Kind.FILE:
        try:
            Path(address.uri).stat()
        except OSError as error:
            raise explain(error, address, printable(address.uri), "") from error


def explain(error: Exception, address: Address, name: str, log: str) -> CutlineError:
    """Say whose fault a failure to open or read is.

    Args:
        name: the input without credentials.
        log: FFmpeg's last line.
    """
    if isinstance(error, CutlineError):
        return error
    facts = {"input": name, "reason": getattr(error, "strerror", None) or str(error), **({"log": log} if log else {})}
    code = getattr(error, "errno", None)
    if isinstance(error, FileNotFoundError) or code in _MISSING_CODES:
        return NoInputError("no such input", remedy="Check the name.", **facts)
    if isinstance(error, PermissionError):
        return NoInputError("the input may not be read", remedy="Change its permissions.", **facts)
    if isinstance(error, av.ProtocolNotFoundError):
        return UsageError(
            "unknown kind of URL", remedy="Give a URL that FFmpeg knows, such as rtsp:// or http://.", **facts
        )
    if code == errno.EBUSY:
        return DeviceError("the camera is in use", remedy="End the other program that uses it.", **facts)
    if isinstance(error, MemoryError) or code == errno.ENOMEM:
        return BadInputError("decoding it needs too much memory", remedy="Give smaller pictures.", **facts)
    if address.kind is Kind.STREAM and (isinstance(error, _UNREACHABLE) or code in _UNREACHABLE_CODES):
        return NoInputError(
            "the source cannot be reached", remedy="Check the address, the network and the account.", **facts
        )
    if address.kind is Kind.CAMERA:
        return DeviceError("the camera cannot be read", remedy="Check that it is a video capture device.", **facts)
    if code == errno.EIO:
        return StorageError("reading failed", remedy="Check the disk.", **facts)
    return BadInputError("this is not a video that can be decoded", remedy="Give a video or picture file.", **facts)
