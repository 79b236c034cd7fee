from __future__ import annotations

import tracemalloc
from pathlib import Path

import pytest

from cutline.runtime import Pipeline, StreamOptions
from cutline.runtime.bundle import Bundle
from cutline.runtime.runner import NOTICES, Runner
from cutline.runtime.sessions import open_engine

WARM, WATCHED = 30, 100
PLANE_BYTES = 320 * 180  # of the clip: the smallest thing that would count as an allocation per frame


@pytest.mark.parametrize("background", ["#ffffff", "blur:8", "original"])
def test_no_frame_allocates_a_picture_and_nothing_piles_up(red: Bundle, clip: Path, background: str) -> None:
    options = StreamOptions(input=str(clip), loop=True, frames=WARM + WATCHED, background=background)
    peaks = []
    with Pipeline(red, options) as pipeline:
        tracemalloc.start()
        try:
            for number, _ in enumerate(pipeline):
                if number == WARM:
                    settled = tracemalloc.get_traced_memory()[0]
                if number > WARM:
                    now, peak = tracemalloc.get_traced_memory()
                    peaks.append(peak - now)
                tracemalloc.reset_peak()
            grown = tracemalloc.get_traced_memory()[0] - settled
        finally:
            tracemalloc.stop()
    assert len(peaks) == WATCHED - 1
    assert max(peaks) < PLANE_BYTES // 2
    assert grown < PLANE_BYTES // 2


def test_a_run_to_nowhere_reports_its_peak_memory(red: Bundle, clip: Path) -> None:
    engine = open_engine(red)
    report = Runner(engine, StreamOptions(input=str(clip))).run()
    assert set(report.memory_mib) == {"process", "decoder"}
    assert min(report.memory_mib.values()) > 10


def test_a_report_keeps_the_last_of_countless_notices(red: Bundle, clip: Path) -> None:
    told: list[str] = []
    runner = Runner(open_engine(red), StreamOptions(input=str(clip), frames=2), on_notice=told.append)
    for number in range(2 * NOTICES):
        runner._notice(f"the camera was away for the {number}th time")
    report = runner.run()
    assert len(told) >= 2 * NOTICES
    assert report.notices == told[-NOTICES:]
