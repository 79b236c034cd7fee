"""Sources that other packages bring: an entry point of the group `cutline.sources` opens a URI of its scheme."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from fractions import Fraction
from importlib.metadata import entry_points
from typing import Final, Protocol, cast, final

import av
import numpy as np
from numpy.typing import NDArray

from cutline.runtime.errors import BadInputError, UsageError
from cutline.runtime.sources.address import Address
from cutline.runtime.sources.look import Turn
from cutline.runtime.sources.reader import Lost, Traits

__all__ = ["FrameGenerator", "GeneratorReader"]

GROUP: Final = "cutline.sources"


class FrameGenerator(Protocol):
    """What an entry point's object returns when it is called with a URI."""

    width: int
    height: int
    frame_rate: Fraction
    frames: int | None
    live: bool

    def __iter__(self) -> Iterator[NDArray[np.uint8]]:
        """Begin at the beginning: uint8[height, width, 3], full-range R'G'B'."""
        ...


@final
class GeneratorReader:
    """Reads frames from another package's generator."""

    def __init__(self, address: Address, name: str) -> None:
        """Load the entry point and call it.

        Raises:
            UsageError: no installed package knows the scheme.
        """
        found = [point for point in entry_points(group=GROUP) if point.name == address.scheme]
        if not found:
            raise UsageError("unknown kind of URL", remedy="Give a file, a camera, rtsp:// or http://.", input=name)
        opener = cast("Callable[[str], FrameGenerator]", found[0].load())
        self._generator = opener(address.uri)
        self._name = name
        self.broken: str | None = None
        self.turn: Turn | None = ()
        made = self._generator
        self.traits = Traits(
            time_base=1 / made.frame_rate,
            rate=made.frame_rate,
            frames=made.frames,
            duration_s=float(made.frames / made.frame_rate) if made.frames is not None else None,
            live=made.live,
            audio=False,
            decoder=address.scheme,
        )

    def __iter__(self) -> Iterator[av.VideoFrame | Lost]:
        shape = (self._generator.height, self._generator.width, 3)
        for number, picture in enumerate(self._generator):
            if picture.shape != shape or picture.dtype != np.uint8:
                raise BadInputError(
                    "a source gave frames unlike those it announced",
                    remedy="Correct the package that brings this source.",
                    input=self._name,
                    announced=shape,
                    given=picture.shape,
                )
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), "rgb24")
            frame.pts = number
            frame.time_base = self.traits.time_base
            yield frame

    def close(self) -> None:
        """The generator goes with the process."""
