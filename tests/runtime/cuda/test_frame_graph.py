"""A frame's work on its way to a graph."""

from __future__ import annotations

import gc

from cutline.runtime.cuda.driver import Stream
from cutline.runtime.cuda.fake import FakeDriver
from cutline.runtime.cuda.frame_graph import CaptureState, FrameGraph


class Cycle:
    """What only the garbage collector frees, as a tensor of somebody else's that a traceback holds."""

    def __init__(self) -> None:
        self.me = self


def test_nothing_is_collected_while_a_capture_runs() -> None:
    """Freeing device memory in the middle of a capture spoils it."""
    collections: list[str] = []
    seen: list[int] = []

    def note(phase: str, _facts: dict[str, int]) -> None:
        collections.append(phase)

    def queue(stream: Stream) -> None:
        del stream
        before = len(collections)
        for _ in range(10 * gc.get_threshold()[0]):  # far more than starts a collection by itself
            Cycle()
        seen.append(len(collections) - before)

    gc.callbacks.append(note)
    try:
        with FakeDriver() as driver:
            graph = FrameGraph(driver, driver.stream(), queue)
            graph.warm(driver.event())
            graph.capture(None)
            assert graph.state is CaptureState.CAPTURED
            graph.close()
    finally:
        gc.callbacks.remove(note)
    plain, captured = seen
    assert plain > 0
    assert captured == 0
    assert gc.isenabled()
