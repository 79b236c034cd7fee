"""What measuring itself costs."""

from __future__ import annotations

import itertools
import time
from typing import Final

import msgspec

from cutline.benchmarks.schema import Instrument
from cutline.runtime.sources.records import DecodeStamps
from cutline.runtime.telemetry import FrameStamps, Telemetry

__all__ = ["measure_instrument"]

FRAMES: Final = 300  # of a batch
BATCHES: Final = 15  # the quickest counts: interruptions only add


def measure_instrument() -> Instrument:
    """Do for some frames exactly what a frame's stamps cost, and nothing else."""
    return Instrument(
        clock_ns=round(_clock_ns(), 1), overhead_us=round(min(_batch() for _ in range(BATCHES)) / FRAMES / 1e3, 3)
    )


def _clock_ns() -> float:
    stamps = [time.monotonic_ns() for _ in range(2000)]
    steps = [b - a for a, b in itertools.pairwise(stamps) if b > a]
    return float(min(steps, default=0))


def _batch() -> int:
    """Nanoseconds for FRAMES frames: nine readings of the clock, seven of processor clocks, the message, the row."""
    telemetry, encoder = Telemetry(), msgspec.msgpack.Encoder()
    decoder = msgspec.msgpack.Decoder(DecodeStamps)
    s = FrameStamps()
    began = time.perf_counter_ns()
    for _ in range(FRAMES):
        s.decode_began = time.monotonic_ns()
        s.decode_ended = time.monotonic_ns()
        stamps = DecodeStamps(s.decode_began, s.decode_ended, time.monotonic_ns(), time.process_time_ns())
        decode = decoder.decode(encoder.encode(stamps))
        s.filled, s.decode_core = decode.filled_ns, decode.core_ns
        s.taken, s.feed_clock = time.monotonic_ns(), time.thread_time_ns()
        s.prepared, s.pre_core = time.monotonic_ns(), time.thread_time_ns() - s.feed_clock
        s.inferred, s.finish_clock = time.monotonic_ns(), time.thread_time_ns()
        s.composed, s.post_core = time.monotonic_ns(), time.thread_time_ns() - s.finish_clock
        s.delivered, s.call_clock = time.monotonic_ns(), time.thread_time_ns()
        s.released, s.caller_core = time.monotonic_ns(), time.thread_time_ns() - s.call_clock
        telemetry.add(s)
    return time.perf_counter_ns() - began
