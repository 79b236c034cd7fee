"""A frame's way on the GPU: one graph launch by the thread that feeds, one event wait by the thread that finishes.

Every slot has a stream and a graph of its own:

    copy in ─► hold(order) ─► pre ─► network ─► post ─► record(order) ─► copy out          then record(done of the slot)

`order` is one event for the whole stream of frames: what lies between holding and recording it runs frame after frame,
in the order of launches, so that temporal state, recurrent states, tensors and scratch memory exist once; copies of the
neighbours run beside it. Whatever changes between frames (plate, strength, background video, forgetting the past) is
queued in the same order, outside the graphs. On an integrated GPU nothing is copied.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, closing, suppress
from typing import Any, Final, Protocol, TypeVar, final

import numpy as np
from numpy.typing import NDArray

from cutline.runtime.background import open_background
from cutline.runtime.branch import post_options, window_of
from cutline.runtime.contract import ModelContract
from cutline.runtime.cuda.backdrop import Backdrop
from cutline.runtime.cuda.driver import Driver, Event, Kernel, Stream
from cutline.runtime.cuda.frame_graph import FrameGraph
from cutline.runtime.cuda.launches import RESET_BYTE, Behind, Launch, PostLaunches, PreLaunches, strengths
from cutline.runtime.cuda.memory import Arena, SlotAddresses, SlotSpace, Space, Surfaces
from cutline.runtime.cuda.network import STARTING, Inference, Network, TensorPlaces
from cutline.runtime.cuda.upload import Upload, tensor_bytes
from cutline.runtime.errors import DeviceError
from cutline.runtime.frame import FrameFormat, Surface, Timestamp
from cutline.runtime.options import StreamOptions
from cutline.runtime.slots import ArraySpec, Slot, SlotPool, SurfaceLayout

__all__ = ["Branch", "CudaPath"]

LOWER: Final = "Run fewer streams or smaller frames, or end other programs on this GPU (see nvidia-smi)."


class _Closes(Protocol):
    def close(self) -> None: ...


T = TypeVar("T", bound=_Closes)
R = TypeVar("R", Stream, Event)


@final
class Branch:
    """Borrows one network, with its pre kernel for one stream."""

    def __init__(
        self, contract: ModelContract, network: Network, frame: FrameFormat, options: StreamOptions, prefix: str
    ) -> None:
        self.contract, self.network, self.prefix = contract, network, prefix
        self.window = window_of(contract.frame, frame, options)
        self.pre = PreLaunches(frame, contract.frame, self.window)
        self.tensors = TensorPlaces(contract, network, prefix)

    def parts(self) -> dict[str, int]:
        """What it wants of the arena."""
        return {f"{self.prefix}pre": len(self.pre.tables), **self.tensors.parts()}


@final
class CudaPath:
    """Owns all that one stream keeps on the device; borrows the driver, the networks, and the slots that it pins."""

    def __init__(
        self,
        driver: Driver,
        kernels: Callable[[str], Kernel],
        frame: FrameFormat,
        options: StreamOptions,
        matte: tuple[ModelContract, Network],
        style: tuple[ModelContract, Network] | None,
    ) -> None:
        """Plan the stream.

        Args:
            kernels: looks a kernel up by name.
            matte, style: contract and network of either; no style: None.
        """
        self._driver, self._kernel, self._options = driver, kernels, options
        self._matte = Branch(*matte, frame, options, "")
        self._style = Branch(*style, frame, options, "style_") if style else None
        painted = (style[0].primary, style[0].frame) if style else None
        self._post = PostLaunches(frame, matte[0].primary, self._matte.window, post_options(options), style=painted)
        self._lock = threading.Lock()
        self._plate: NDArray[np.uint8] | None = None  # waits to be copied; under the lock
        self._strength: float | None = options.style_strength  # the same
        self._turn = 0  # parity of the next frame, where there are states
        self._done: list[Event] = []  # by slot: its frame is back on the host
        self.surfaces: SurfaceLayout | None = None  # see FramePath
        self.streams: list[Stream] = []  # by slot
        self.slots: list[SlotAddresses] = []
        driver.attach()
        with ExitStack() as undo:
            feed = open_background(options.background or "#ffffff", frame)
            undo.callback(feed.close)
            self._backdrop = Backdrop(driver, feed, frame)
            undo.callback(self._backdrop.close)
            self._undo = undo.pop_all()

    @property
    def arrays(self) -> Mapping[str, ArraySpec]:
        return {}

    def bind(self, pool: SlotPool) -> Sequence[str]:
        """See FramePath. Where it fails, close() frees what it took."""
        outputs = ("guide", "matte") if self._matte.contract.plate else ("matte",)
        self._driver.attach()
        with STARTING:
            surfaces = None
            if pool.surface_pitch:
                surfaces = _owned(self._undo, Surfaces(self._driver, pool, lower=LOWER))
                self.surfaces = surfaces.layout
            return self._bind(_owned(self._undo, SlotSpace(self._driver, pool, outputs, surfaces)))

    def bind_space(self, space: Space) -> Sequence[str]:
        """As bind(), for slots that are not a pool's. Their addresses are then in `slots`; the caller closes it."""
        self._driver.attach()
        with STARTING:
            return self._bind(space)

    def _bind(self, space: Space) -> Sequence[str]:
        undo, driver = self._undo, self._driver
        self._arena = _owned(undo, Arena(driver, self._parts(space), lower=LOWER))
        self._order = _released(undo, driver, driver.event(waited=False))
        for _ in range(space.depth):
            self._done.append(_released(undo, driver, driver.event()))
            self.streams.append(_released(undo, driver, driver.stream(urgent=True)))
        behind = self._backdrop.place(self._arena["background"])
        self._uploads = self._make_uploads()
        self._fill_in(self.streams[0])
        self._graphs: list[list[FrameGraph]] = []
        for index in range(space.depth):
            self.slots.append(space.layout(index, self._arena["mirrors"] + index * space.mirror_bytes))
            self._graphs.append(self._prepare(index, self.slots[index], behind))
        self._forget(self.streams[0])
        self._settle(self.streams[0])
        reasons = {graph.reason for graphs in self._graphs for graph in graphs if graph.reason}
        return [f"frames are launched without CUDA graphs: {reason}" for reason in sorted(reasons)]

    def start(self, slot: Slot, time: Timestamp, *, first: bool) -> None:
        self.begin(slot.index, time, first=first)

    def wait(self, slot: Slot) -> None:
        self.end(slot.index)

    def begin(self, index: int, time: Timestamp, *, first: bool) -> None:
        """Queue a slot's frame, behind what is in the slot's stream."""
        self._driver.attach()
        stream = self.streams[index]
        if first:
            self._forget(stream)
        self._apply_changes(stream)
        self._backdrop.follow(time, stream=stream, order=self._order)
        graphs = self._graphs[index]
        graphs[self._turn % len(graphs)].launch()
        self._turn += 1
        self._driver.record(self._done[index], stream=stream)

    def end(self, index: int) -> None:
        """Sleep until a slot's frame is done."""
        self._driver.attach()
        self._driver.synchronise(self._done[index])

    def finish(self, slot: Slot, time: Timestamp, *, first: bool) -> None:
        """Nothing is left to do: post and the copy out were part of the graph."""

    def surface(self, slot: Slot) -> Surface | None:
        at = self.slots[slot.index].composite
        return Surface(at.y, at.u, at.luma_pitch) if at.interleaved else None

    def set_plate(self, tensor: NDArray[Any]) -> None:
        plate = self._matte.contract.plate
        if plate is not None:
            typed = tensor_bytes(tensor, plate)
            with self._lock:
                self._plate = typed

    def set_strength(self, strength: float) -> None:
        with self._lock:
            self._strength = strength

    def close(self) -> None:
        self._driver.attach()
        self._drain()
        self._done, self.streams = [], []
        with STARTING:
            self._undo.close()

    def _drain(self) -> None:
        """Wait for all that is queued; where the device was lost, nothing is."""
        for done, stream in zip(self._done, self.streams, strict=False):
            with suppress(DeviceError):
                self._driver.record(done, stream=stream)
                self._driver.synchronise(done)

    def _parts(self, space: Space) -> dict[str, int]:
        """The arena: everything that the stream keeps on the device."""
        branches = [branch for branch in (self._style, self._matte) if branch is not None]
        parts = {
            "mirrors": space.depth * space.mirror_bytes,
            "background": self._backdrop.nbytes,
            "network scratch": max(branch.network.scratch_bytes for branch in branches),
            "post": len(self._post.tables),
            "post scratch": self._post.scratch_bytes,
            "post state": self._post.state_bytes,
            "not numbers": 8,
            "strengths": 8,
        }
        for branch in branches:
            parts |= branch.parts()
        return parts

    def _make_uploads(self) -> dict[str, Upload]:
        """What may change while frames run, by the arena's name of it."""
        wanted = {"strengths": 8}
        if (plate := self._matte.contract.plate) is not None:
            wanted[plate.tensor] = self._matte.network.tensors[plate.tensor]
        if self._style is not None and self._style.contract.strength:
            wanted[f"style_{self._style.contract.strength}"] = 4
        return {name: _owned(self._undo, Upload(self._driver, self._arena[name], n)) for name, n in wanted.items()}

    def _fill_in(self, stream: Stream) -> None:
        """Copy tables and constants in, and zero what must begin at zero."""
        content: dict[str, bytes] = {"post": self._post.tables}
        for branch in (self._matte, self._style):
            if branch is None:
                continue
            content[f"{branch.prefix}pre"] = branch.pre.tables
            for name, values in branch.contract.constants.items():
                content[branch.prefix + name] = np.asarray(values, np.float32).tobytes()
            for name, nbytes in branch.parts().items():
                self._driver.fill(self._arena[name], 0, nbytes, stream=stream)
        self._driver.fill(self._arena["not numbers"], 0, 8, stream=stream)
        self._driver.record(self._order, stream=stream)
        for name, data in content.items():
            with closing(Upload(self._driver, self._arena[name], len(data))) as upload:
                upload.put(data, stream=stream, order=self._order)
                self._settle(stream)
        self._apply_changes(stream)
        self._backdrop.follow(None, stream=stream, order=self._order)
        self._settle(stream)

    def _prepare(self, index: int, at: SlotAddresses, behind: Behind) -> list[FrameGraph]:
        """Make the slot's graph; two of them where states change sides with every frame."""
        found = []
        for parity in range(2 if self._matte.contract.states else 1):
            work = self._work(at, behind, parity)
            graph = _owned(self._undo, FrameGraph(self._driver, self.streams[index], work.queue))
            graph.warm(self._done[index])
            graph.capture(work.not_captured(graph.stream))
            found.append(graph)
        return found

    def _work(self, at: SlotAddresses, behind: Behind, parity: int) -> _Work:
        arena = self._arena
        inferences: list[Inference] = []
        before: list[Launch] = []
        guide = at.arrays["guide"]
        for branch in (self._style, self._matte):
            if branch is not None:
                addresses = branch.tensors.addresses(arena, parity)
                inferences.append(_owned(self._undo, branch.network.inference(addresses, arena["network scratch"])))
                before += branch.pre.launches(
                    tables=arena[f"{branch.prefix}pre"],
                    frame=at.source,
                    tensor=addresses[branch.contract.frame.tensor],
                    guide=guide if branch is self._matte else 0,
                )
        styled = arena[f"style_{self._style.contract.primary.tensor}"] if self._style is not None else 0
        after = self._post.launches(
            tables=arena["post"],
            scratch=arena["post scratch"],
            state=arena["post state"],
            frame=at.source,
            raw=arena[self._matte.contract.primary.tensor],
            guide=guide,
            behind=behind,
            out=at.composite,
            matte=at.arrays["matte"],
            nans=arena["not numbers"],
            alpha=at.alpha,
            alpha_pitch=at.alpha_pitch,
            style=styled,
            strengths=arena["strengths"],
        )
        kernels = {launch.kernel: self._kernel(launch.kernel) for launch in (*before, *after)}
        return _Work(self._driver, self._order, kernels, at, before, inferences, after)

    def _apply_changes(self, stream: Stream) -> None:
        """Queue what was set since the last frame."""
        with self._lock:
            plate, self._plate = self._plate, None
            strength, self._strength = self._strength, None
        if plate is not None and self._matte.contract.plate is not None:
            self._uploads[self._matte.contract.plate.tensor].put(plate, stream=stream, order=self._order)
        if strength is not None:
            kind = self._backdrop.kind
            data = strengths(strength, self._options.style_on, kind)
            self._uploads["strengths"].put(data, stream=stream, order=self._order)
            if self._style is not None and self._style.contract.strength:
                own = np.float32(strength).tobytes()
                self._uploads[f"style_{self._style.contract.strength}"].put(own, stream=stream, order=self._order)

    def _forget(self, stream: Stream) -> None:
        """Queue forgetting all frames so far: temporal filter and recurrent states."""
        driver, arena = self._driver, self._arena
        driver.hold(self._order, stream=stream)
        driver.fill(arena["post state"], RESET_BYTE, self._post.state_bytes, stream=stream)
        for state in self._matte.contract.states:
            for name in (state.input, f"{state.input}'"):
                driver.fill(arena[name], 0, self._matte.network.tensors[state.input], stream=stream)
        driver.record(self._order, stream=stream)

    def _settle(self, stream: Stream) -> None:
        """Wait for all that is queued; only before the first frame."""
        self._driver.record(self._done[0], stream=stream)
        self._driver.synchronise(self._done[0])


@final
class _Work:
    """All of one frame's work in one slot, ready to be queued."""

    def __init__(
        self,
        driver: Driver,
        order: Event,
        kernels: Mapping[str, Kernel],
        at: SlotAddresses,
        before: list[Launch],
        inferences: list[Inference],
        after: tuple[Launch, ...],
    ) -> None:
        self._driver, self._order, self._at = driver, order, at
        self._before = [(kernels[launch.kernel], launch) for launch in before]
        self._inferences = inferences
        self._after = [(kernels[launch.kernel], launch) for launch in after]

    def queue(self, stream: Stream) -> None:
        """Queue it: the calls are the same every time, whether the stream captures or runs."""
        driver = self._driver
        for copy in self._at.copies_in:
            driver.copy(*copy, stream=stream)
        driver.hold(self._order, stream=stream)
        for kernel, launch in self._before:
            driver.launch(kernel, launch.grid, launch.block, launch.params, stream=stream)
        for inference in self._inferences:
            inference.queue(stream)
        for kernel, launch in self._after:
            driver.launch(kernel, launch.grid, launch.block, launch.params, stream=stream)
        driver.record(self._order, stream=stream)
        for copy in self._at.copies_out:
            driver.copy(*copy, stream=stream)

    def not_captured(self, stream: Stream) -> str | None:
        """Why it cannot be captured; None: it can."""
        return next((reason for i in self._inferences if (reason := i.not_captured(stream))), None)


def _owned(undo: ExitStack, owner: T) -> T:
    undo.callback(owner.close)
    return owner


def _released(undo: ExitStack, driver: Driver, resource: R) -> R:
    undo.callback(driver.release, resource)
    return resource
