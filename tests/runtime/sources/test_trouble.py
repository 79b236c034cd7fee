"""Whose fault it was: FFmpeg's and the system's errors become ours, with FFmpeg's last words."""

from __future__ import annotations

import errno
import os
from fractions import Fraction

import av
import pytest

from cutline.runtime.errors import BadInputError, CutlineError, DeviceError, NoInputError, StorageError, UsageError
from cutline.runtime.sources.address import Address
from cutline.runtime.sources.reader import decoder_threads
from cutline.runtime.sources.trouble import LogTail, explain

FILE, CAMERA, STREAM = (Address.parse(uri) for uri in ("a.mp4", "/dev/video0", "rtsp://host/1"))


def ffmpeg(code: int) -> av.FFmpegError:
    """The error that PyAV raises for a system error number."""
    with pytest.raises(av.FFmpegError) as caught:
        av.error.err_check(-code)
    return caught.value


@pytest.mark.parametrize(
    ("address", "error", "kind"),
    [
        (FILE, FileNotFoundError(errno.ENOENT, "no"), NoInputError),
        (FILE, ffmpeg(errno.ENOENT), NoInputError),
        (FILE, ffmpeg(errno.EACCES), NoInputError),
        (FILE, ffmpeg(errno.EIO), StorageError),
        (FILE, ffmpeg(errno.ENOMEM), BadInputError),
        (FILE, ffmpeg(errno.EINVAL), BadInputError),
        (CAMERA, ffmpeg(errno.ENODEV), NoInputError),
        (CAMERA, ffmpeg(errno.EBUSY), DeviceError),
        (CAMERA, ffmpeg(errno.EINVAL), DeviceError),
        (STREAM, ffmpeg(errno.ECONNREFUSED), NoInputError),
        (STREAM, ffmpeg(errno.ETIMEDOUT), NoInputError),
        (STREAM, ffmpeg(errno.EHOSTUNREACH), NoInputError),
        (STREAM, ffmpeg(errno.EIO), NoInputError),
        (STREAM, UsageError("stays", remedy="As it is."), UsageError),
    ],
)
def test_an_error_names_whose_fault_it_is(address: Address, error: Exception, kind: type[CutlineError]) -> None:
    told = explain(error, address, "the name", "the last line")
    assert type(told) is kind
    assert told is error or "the last line" in str(told)


def test_the_log_keeps_its_last_line_without_addresses_and_repeats() -> None:
    reader, writer = os.pipe()
    tail = LogTail(reader)
    assert tail.last == ""
    os.write(writer, b"[h264 @ 0x55d0c0ffee00] first\n[mov,mp4 @ 0x7f00] moov atom not found\n")
    os.write(writer, b"    Last message repeated 3 times\n")
    assert tail.last == "moov atom not found"
    assert tail.last == "moov atom not found"
    os.close(writer)
    assert tail.last == "moov atom not found"
    tail.close()
    tail.close()


@pytest.mark.parametrize(
    ("size", "rate", "cores", "threads"),
    [
        ((1920, 1080), Fraction(30), 2, 1),
        ((1920, 1080), Fraction(60), 2, 1),
        ((3840, 2160), Fraction(30), 2, 2),
        ((3840, 2160), Fraction(60), 16, 4),
        ((7680, 4320), Fraction(60), 4, 4),
        ((640, 360), None, 16, 4),
        ((0, 0), None, 1, 1),
    ],
)
def test_the_decoder_gets_the_threads_that_real_time_needs(
    size: tuple[int, int], rate: Fraction | None, cores: int, threads: int
) -> None:
    assert decoder_threads(*size, rate, cores) == threads
