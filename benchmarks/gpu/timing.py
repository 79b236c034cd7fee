"""Times of the device: warm, several works in turns, and never as slow as Python queues.

Python takes six to eight microseconds for one launch, and a kernel at 1080p two or three. So many turns of whatever is
short are captured in one graph (replayed()), and what is timed are replays of it.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, contextmanager
from statistics import median
from typing import Final, final

from cutline.benchmarks.gpu.record import NotRun
from cutline.runtime.cuda.driver import Driver, Event, Stream
from cutline.runtime.cuda.frame_graph import FrameGraph

__all__ = ["ROUNDS", "Stopwatch", "Work", "replayed"]

WARM_S: Final = 0.2  # of queued work before anything counts: clocks rise meanwhile
BLOCK_MS: Final = 20.0  # of one work, before another has its turn
ROUNDS: Final = 5  # at least; what is told is the median
MOST_TURNS: Final = 4000  # of one block
SHORTEST_MS: Final = 1e-4

Work = Callable[[], object]  # queues one turn in the stopwatch's stream


@final
class Stopwatch:
    """Owns two events, until close(); borrows the driver and a stream."""

    def __init__(self, driver: Driver, stream: Stream) -> None:
        self.stream = stream
        self._driver, self._marks = driver, list[Event]()
        with ExitStack() as undo:
            for _ in range(2):
                self._marks.append(driver.event(timing=True))
                undo.callback(driver.release, self._marks[-1])
            self._undo = undo.pop_all()

    def block(self, work: Work, turns: int) -> float:
        """Milliseconds of the device for one turn, of so many without a gap; waits for their end."""
        first, last = self._marks
        self._driver.record(first, stream=self.stream)
        for _ in range(turns):
            work()
        self._driver.record(last, stream=self.stream)
        self._driver.synchronise(last)
        return self._driver.elapsed_ms(first, last) / turns

    def warm(self, *works: Work) -> list[int]:
        """Keep the device at all of them for a while; how many turns of each make one block."""
        turns, began = [1] * len(works), time.perf_counter()
        while True:
            took = [self.block(work, count) for work, count in zip(works, turns, strict=True)]
            turns = [min(MOST_TURNS, math.ceil(BLOCK_MS / max(ms, SHORTEST_MS))) for ms in took]
            if time.perf_counter() - began >= WARM_S:
                return turns

    def medians(self, *works: Work) -> list[float]:
        """Milliseconds of the device for one turn of each, measured block by block in turns."""
        turns = self.warm(*works)
        rounds = [[self.block(*pair) for pair in zip(works, turns, strict=True)] for _ in range(ROUNDS)]
        return [median(times) for times in zip(*rounds, strict=True)]

    def close(self) -> None:
        """Free the events. Works twice."""
        self._undo.close()


@contextmanager
def replayed(driver: Driver, stream: Stream, queue: Callable[[int], object], turns: int) -> Iterator[Work]:
    """Capture queue(0), queue(1), ... in one graph. What is yielded replays all of them; it must have ended at the end.

    Raises:
        NotRun: they cannot be captured, and one by one the time would be Python's.
    """

    def all_of(_: Stream) -> None:
        for turn in range(turns):
            queue(turn)

    with ExitStack() as undo:
        done = driver.event()
        undo.callback(driver.release, done)
        graph = undo.enter_context(closing(FrameGraph(driver, stream, all_of)))
        graph.warm(done)
        graph.capture(None)
        if graph.reason:
            raise NotRun(f"turns cannot be captured in a graph: {graph.reason}")
        yield graph.launch
