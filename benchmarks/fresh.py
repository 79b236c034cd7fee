"""One stream in a process of its own, for what only a new process shows: its start, its memory, and fewer cores.

python -m cutline.benchmarks.fresh '{"bundle": ..., ...}'        prints one JSON document
"""

from __future__ import annotations

import os
import sys

import msgspec

from cutline.runtime.errors import BadInputError, CutlineError

__all__ = ["FreshJob", "FreshResult"]


class FreshJob(msgspec.Struct, frozen=True, kw_only=True):
    """What the process is to do."""

    bundle: str
    clip: str
    device: str
    precision: str
    allow_unsigned: bool = False
    plate: str | None = None  # picture, for networks that take one
    seconds: float = 0.0  # after the first frame
    cores: int | None = None  # use only so many


class FreshResult(msgspec.Struct, frozen=True, kw_only=True):
    """What it found."""

    first_ns: int  # time.monotonic_ns() at the first composite
    blocks: list[float] = []  # frames per second
    lengths: list[float] = []  # seconds of those blocks
    frames: int = 0
    memory_mib: dict[str, float] = {}  # peak resident


def main() -> None:
    """Do the job that the command line gives."""
    job = msgspec.json.decode(sys.argv[1], type=FreshJob)
    if job.cores is not None:  # before anything counts them
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: job.cores])
    try:
        result = work(job)
    except CutlineError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
    sys.stdout.write(msgspec.json.encode(result).decode() + "\n")


def work(job: FreshJob) -> FreshResult:
    """Open the bundle and the stream as `cutline run` does; the imports are part of the start."""
    from cutline.benchmarks.load import Load
    from cutline.runtime import StreamOptions, open_bundle
    from cutline.runtime.memory import PeakMemory
    from cutline.runtime.sessions import EngineOptions, open_engine

    options = msgspec.convert({"device": job.device, "precision": job.precision}, EngineOptions)
    stream = StreamOptions(input=job.clip, loop=True, audio=False, name="fresh", plate=job.plate)
    with open_bundle(job.bundle, allow_unsigned=job.allow_unsigned) as bundle:
        engine = open_engine(bundle, options)
    load = Load(engine, [stream])
    try:
        (first,) = load.turn(60.0, 0.0, frames=1).frames
        if len(first) == 0:
            raise BadInputError("no frame came", remedy="Try `cutline run` on the same input.", input=job.clip)
        first_ns = int(first["composed"][0])
        if job.seconds <= 0:
            return FreshResult(first_ns=first_ns)
        from cutline.benchmarks.figures import composites_per_s

        turn = load.turn(job.seconds, min(0.3, job.seconds))
        rates, lengths = composites_per_s(turn)
        memory = PeakMemory()
        memory.look()
        return FreshResult(
            first_ns=first_ns, blocks=rates, lengths=lengths, frames=len(turn.frames[0]),
            memory_mib=memory.summary_mib(),
        )  # fmt: skip
    finally:
        load.close()
        engine.close()


if __name__ == "__main__":
    main()
