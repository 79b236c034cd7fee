"""A frame's way from a filled slot to its composite, on whatever device: what the pipeline knows of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from numpy.typing import NDArray

from cutline.runtime.frame import Surface, Timestamp
from cutline.runtime.slots import ArraySpec, Slot, SlotPool, SurfaceLayout

__all__ = ["FramePath"]


class FramePath(Protocol):
    """Owns all that one stream keeps on its device between frames; borrows the slots and the engines.

    Frames start, and end, in order. Every slot that a path binds has the arrays `guide` (uint8[3, h, w]) and `matte`
    (float32[h, w]), at the network's size, beside those in `arrays`.
    """

    @property
    def surfaces(self) -> SurfaceLayout | None:
        """Where the source decodes to, once bound to a pool with a surface_pitch."""
        ...

    @property
    def arrays(self) -> Mapping[str, ArraySpec]:
        """What else each slot must hold."""
        ...

    def bind(self, pool: SlotPool) -> Sequence[str]:
        """Take the stream's slots and all memory that frames will need. Called once, before the first frame.

        Returns:
            what the user should know of how frames will run, a line each.
        """
        ...

    def start(self, slot: Slot, time: Timestamp, *, first: bool) -> None:
        """Begin with a frame: pre, and the network's start. One thread.

        Args:
            first: nothing that came before counts: the first frame, or the first after a gap.
        Raises:
            DeviceError: the device failed.
        """
        ...

    def wait(self, slot: Slot) -> None:
        """Block until the network is done with the frame. One thread, which may be another than start()'s."""
        ...

    def finish(self, slot: Slot, time: Timestamp, *, first: bool) -> None:
        """Return when composite, alpha and matte are in the slot, and the guide where the network takes a plate.

        The same thread as wait()'s.
        """
        ...

    def surface(self, slot: Slot) -> Surface | None:
        """Where a slot's composite lies on the device, if the pool holds none."""
        ...

    def set_plate(self, tensor: NDArray[Any]) -> None:
        """Copy the clean plate's tensor (contract.plate's shape) in, for every frame started from now on."""
        ...

    def set_strength(self, strength: float) -> None:
        """Set the style strength, 0 to 1, for every frame started from now on."""
        ...

    def close(self) -> None:
        """Wait for what is running, then let go of the slots. Works twice."""
        ...
