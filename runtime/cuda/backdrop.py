"""A stream's background on the device: at one address, which captured graphs read; a video's frames are copied in."""

from __future__ import annotations

from contextlib import ExitStack
from fractions import Fraction
from typing import final

import numpy as np

from cutline.runtime.background import BackgroundFeed
from cutline.runtime.cuda.driver import Driver, Event, Pinned, Stream
from cutline.runtime.cuda.launches import Behind, DevicePlanes
from cutline.runtime.frame import U8, FrameFormat, Planes, Timestamp
from cutline.runtime.kernels import Background, BackgroundKind
from cutline.runtime.slots import SlotPool

__all__ = ["Backdrop"]


@final
class Backdrop:
    """Owns the pinning of the background's pictures, until close(); borrows the feed."""

    def __init__(self, driver: Driver, feed: BackgroundFeed, frame: FrameFormat) -> None:
        self._driver, self._feed = driver, feed
        self._video = feed.pool is not None
        still = None if self._video else feed.at(Timestamp(0, Fraction(1), 0))
        self._still: Background = still or Background(kind="colour")
        self._pool = feed.pool
        self._own: SlotPool | None = None
        self._pinned: Pinned | None = None
        self._shown: Planes | None = None
        self._address = 0
        with ExitStack() as undo:
            if still is not None and still.planes is not None:  # memory whose pages others share
                self._pool = self._own = SlotPool(format=frame, depth=1, arrays={}, alpha=False, composite=False)
                undo.callback(self._own.close)
                for ours, plane in zip(_parts(self._own.slots[0].source), _parts(still.planes), strict=True):
                    np.copyto(ours, plane)
            if self._pool is not None:
                self._pinned = driver.pin(self._pool.address, self._pool.layout.nbytes)
                undo.callback(driver.release, self._pinned)
            self._copied = driver.event()
            undo.callback(driver.release, self._copied)
            self._undo = undo.pop_all()

    @property
    def nbytes(self) -> int:
        """Device memory that it wants."""
        if self._pool is None:
            return 0
        v = self._pool.layout.v
        return v.offset + v.pitch * v.height

    @property
    def kind(self) -> BackgroundKind:
        """What lies behind the product."""
        return "picture" if self._pool is not None else self._still.kind

    def place(self, address: int) -> Behind:
        """Say where that memory is; get what post is told of the background."""
        self._address = address
        if self._pool is None:
            return Behind(kind=self._still.kind, colour=self._still.colour, radius=self._still.radius)
        y, u, v = self._pool.layout.y, self._pool.layout.u, self._pool.layout.v
        planes = DevicePlanes(
            y=address + y.offset,
            u=address + u.offset,
            v=address + v.offset,
            luma_pitch=y.pitch,
            chroma_pitch=u.pitch,
        )
        return Behind(kind="picture", planes=planes)

    def follow(self, time: Timestamp | None, *, stream: Stream, order: Event) -> None:
        """Copy the picture that is due behind the frames that were started; nothing where it is there already.

        Args:
            time: of the frame that comes next; None: before the first frame.
        """
        if self._video and time is not None:
            self._driver.synchronise(self._copied)  # the feed gives away the picture that it showed before
            planes = self._feed.at(time).planes
        else:
            planes = self._own.slots[0].source if self._own is not None else None
        if planes is None or planes is self._shown or self._pinned is None:
            return
        shift = self._pinned.device_address - self._pinned.address
        self._driver.hold(order, stream=stream)
        self._driver.copy(self._address, planes.y.ctypes.data + shift, self.nbytes, stream=stream)
        self._driver.record(order, stream=stream)
        self._driver.record(self._copied, stream=stream)
        self._shown = planes

    def close(self) -> None:
        """Unpin. Works twice."""
        self._undo.close()


def _parts(planes: Planes) -> tuple[U8, U8, U8]:
    return planes.y, planes.u, planes.v
