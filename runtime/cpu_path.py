"""A frame's way on the CPU: the kernels and OpenVINO, straight on the slot's memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, final

from numpy.typing import NDArray

from cutline.runtime.background import open_background
from cutline.runtime.branch import Branch, post_options
from cutline.runtime.frame import FrameFormat, Timestamp
from cutline.runtime.kernels import Post
from cutline.runtime.options import StreamOptions
from cutline.runtime.sessions import Engine
from cutline.runtime.slots import ArraySpec, Slot, SlotPool

__all__ = ["CpuPath"]


@final
class CpuPath:
    """Owns the kernels, sessions and background of one stream; borrows the engines and the slots."""

    surfaces = None

    def __init__(self, engine: Engine, frame: FrameFormat, options: StreamOptions, style: Engine | None) -> None:
        self.matte = Branch(engine, frame, options)
        self.style = Branch(style, frame, options, prefix="style_") if style else None
        self._strength, self._style_on = options.style_strength, options.style_on
        painted = (style.contract.primary, style.contract.frame) if style else None
        self.post = Post(frame, engine.contract.primary, self.matte.window, post_options(options), style=painted)
        self._background = open_background(options.background or "#ffffff", frame)
        self._bound: list[Branch] = []

    @property
    def arrays(self) -> Mapping[str, ArraySpec]:
        return {**self.matte.arrays, **(self.style.arrays if self.style else {})}

    def bind(self, pool: SlotPool) -> Sequence[str]:
        for branch in (self.matte, self.style):
            if branch is not None:
                branch.bind(pool.slots)
                self._bound.append(branch)
        return ()

    def start(self, slot: Slot, time: Timestamp, *, first: bool) -> None:  # noqa: ARG002 - nothing here is timed
        self.matte.prepare(slot, slot.arrays["guide"])
        if self.style is not None:
            self.style.prepare(slot, None)
            self.style.session.set_strength(self._strength)
            self.style.session.start(slot)
        if first:
            self.matte.session.reset()
        self.matte.session.start(slot)

    def wait(self, slot: Slot) -> None:
        self.matte.session.wait(slot)
        if self.style is not None:
            self.style.session.wait(slot)

    def finish(self, slot: Slot, time: Timestamp, *, first: bool) -> None:
        if first:
            self.post.reset()
        self.post.run(
            slot.source,
            self.matte.output(slot),
            slot.arrays["guide"],
            background=self._background.at(time),
            out=slot.composite,
            matte=slot.arrays["matte"],
            alpha=slot.alpha,
            style=self.style.output(slot) if self.style is not None else None,
            style_strength=self._strength,
            style_on=self._style_on,
        )

    def surface(self, slot: Slot) -> None:
        """The pool holds every composite."""

    def set_plate(self, tensor: NDArray[Any]) -> None:
        self.matte.session.set_plate(tensor)

    def set_strength(self, strength: float) -> None:
        self._strength = strength

    def close(self) -> None:
        while self._bound:
            self._bound.pop().session.close()
        self._background.close()
