"""One network's way through a frame: pre-processing into the slot, then the session."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, final

from numpy.typing import NDArray

from cutline.runtime.contract import Image
from cutline.runtime.frame import FrameFormat
from cutline.runtime.kernels import PostOptions, Pre, Rect, Window, place
from cutline.runtime.options import StreamOptions
from cutline.runtime.sessions import Engine
from cutline.runtime.slots import ArraySpec, Slot

__all__ = ["Branch", "post_options", "window_of"]


def window_of(image: Image, frame: FrameFormat, options: StreamOptions) -> Window:
    """Where a network's input lies in a stream's frames."""
    crop = None
    if options.crop:
        x, y, width, height = options.crop
        crop = Rect(x=x, y=y, width=width, height=height)
    return place(frame.width, frame.height, image.width, image.height, mode=options.framing, crop=crop)


def post_options(options: StreamOptions) -> PostOptions:
    """What the stream's options mean to the post kernel."""
    plain = PostOptions(refine=options.refine, decontaminate=options.decontaminate)
    return plain if options.smooth else replace(plain, temporal=0.0)


@final
class Branch:
    """Owns the pre kernel and the session of one network on one stream; borrows the engine and the slots."""

    def __init__(self, engine: Engine, frame: FrameFormat, options: StreamOptions, *, prefix: str = "") -> None:
        self.engine = engine
        self.window = window_of(engine.contract.frame, frame, options)
        self.pre = Pre(frame, engine.contract.frame, self.window)
        self._prefix = prefix

    @property
    def arrays(self) -> Mapping[str, ArraySpec]:
        """What each slot must hold for this network."""
        return self.engine.arrays(self._prefix)

    def bind(self, slots: Sequence[Slot]) -> None:
        """Bind the session to the stream's slots. Called once, before the first frame."""
        self.session = self.engine.session(slots, self._prefix)

    def prepare(self, slot: Slot, guide: NDArray[Any] | None) -> None:
        """Write the network's input (and the small picture, when asked for) from the slot's frame."""
        self.pre.run(slot.source, slot.arrays[f"{self._prefix}input"], guide)

    def output(self, slot: Slot) -> NDArray[Any]:
        """The slot's tensor that the network writes."""
        return slot.arrays[f"{self._prefix}output"]
