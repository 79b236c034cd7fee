"""Runs checks one after the other, and has all that was found so far on the disk after each of them."""

from __future__ import annotations

import tempfile
import time
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final, final

import msgspec

from cutline.benchmarks.clocks import ClockWatch
from cutline.benchmarks.gpu.record import Check, NotRun, Record, encode, html
from cutline.benchmarks.nvml import Gpu
from cutline.runtime.errors import DeviceLostError, OutputError, StorageError
from cutline.runtime.sinks.base import creating, storing

__all__ = ["Recorder", "Work", "demand_place"]

Work = Callable[[], Check | list[Check]]
NOT_REACHED: Final = "the run ended before it"


def demand_place(path: Path) -> None:
    """Make sure that a file can be created there, and leave no trace.

    Raises:
        OutputError: it cannot.
    """
    if path.is_dir():
        raise OutputError("the report's place is a folder", remedy="Name a file.", path=str(path))
    with creating(path), tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}."):
        pass


@final
class Recorder:
    """Owns the two files of one run, which it rewrites after every check.

    Whatever a check raises ends that check alone; the first one that finds the device lost is the last one that runs.
    Clocks are watched while it runs, those of `gpu` too where NVML knows it.
    """

    def __init__(
        self, record: Record, json: Path, page: Path, tell: Callable[[str], None], gpu: Gpu | None = None
    ) -> None:
        self.record = record
        self._places = ((json, encode), (page, html))
        self._tell, self._gpu, self._began = tell, gpu, time.monotonic()
        self._found: dict[str, list[Check]] = {}

    def describe(self, **facts: Any) -> None:
        """Set facts of the record."""
        self.record = msgspec.structs.replace(self.record, **facts)

    def notes(self, name: str) -> tuple[str, ...]:
        """What a check had to say, if it ran."""
        return tuple(note for check in self._found.get(name, ()) for note in check.notes)

    def run(self, steps: Mapping[str, Work]) -> None:
        """Run checks by their names, in order. Until its turn comes, a check is listed as not run."""
        self._found |= {name: [_not_run(name, NOT_REACHED)] for name in steps}
        lost = ""
        for name, work in steps.items():
            if lost:
                self._found[name] = [_not_run(name, lost)]
            else:
                lost = self.check(name, work)
        self.describe(complete=True)
        self._try_to_save()

    def check(self, name: str, work: Work) -> str:
        """Run one check. Returns why nothing more can run on the device; empty: more can."""
        self._tell(f"{name} ...")
        began, lost = time.perf_counter(), ""
        watch = ClockWatch([self._gpu] if self._gpu is not None else [])
        try:
            with watch.turn():
                made = work()
            found = [made] if isinstance(made, Check) else made
        except NotRun as reason:
            found = [_not_run(name, str(reason))]
        except Exception as error:  # here and nowhere else: no check may take the others with it
            errors = _chain(error)
            found = [Check(name=name, verdict="failed", notes=tuple(map(_told, errors)))]
            lost = next((f"the device was lost ({name}): {e}" for e in errors if isinstance(e, DeviceLostError)), "")
        took = round(time.perf_counter() - began, 1)
        clocks = _clocks(watch)
        self._found[name] = [msgspec.structs.replace(check, seconds=took, clocks=clocks) for check in found]
        self._try_to_save()
        return lost

    def save(self) -> None:
        """Write both files, each beside its place first.

        Raises:
            StorageError: the disk is full, or the folder went away.
        """
        self.describe(
            seconds=round(time.monotonic() - self._began, 1),
            checks=tuple(check for found in self._found.values() for check in found),
        )
        for path, written in self._places:
            part = path.with_name(f".{path.name}.part")
            with storing(path):
                part.write_bytes(written(self.record))
                part.replace(path)

    def _try_to_save(self) -> None:
        try:
            self.save()
        except StorageError as error:  # the next one may succeed; the last one must
            self._tell(str(error))


def _clocks(watch: ClockWatch) -> dict[str, float | str]:
    """What was seen, for the record."""
    found: dict[str, float | str] = {}
    for name, (lowest, highest) in watch.ranges().items():
        found |= {f"{name} MHz, lowest": float(lowest), f"{name} MHz, highest": float(highest)}
    return found | ({"throttled": "; ".join(reasons)} if (reasons := watch.throttled()) else {})


def _not_run(name: str, reason: str) -> Check:
    return Check(name=name, verdict="not run", notes=(reason,))


def _chain(error: BaseException) -> list[BaseException]:
    """An error and what it came from, the first to happen first."""
    found: list[BaseException] = []
    one: BaseException | None = error
    while one is not None and one not in found:
        found.insert(0, one)
        one = one.__cause__ or (None if one.__suppress_context__ else one.__context__)
    return found


def _told(error: BaseException) -> str:
    """One line: the kind of error, the way through the files to where it arose, and its words."""
    way = " > ".join(f"{Path(f.filename).name}:{f.lineno}" for f in traceback.extract_tb(error.__traceback__))
    return f"{type(error).__name__} ({way}): {' '.join(str(error).split())}"
