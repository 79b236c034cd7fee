from __future__ import annotations

import io

import msgspec
from bench_example import example
from rich.console import Console

from cutline.benchmarks.schema import Document
from cutline.benchmarks.table import show


def printed(document: Document) -> str:
    out = io.StringIO()
    show(document, Console(file=out, width=200, highlight=False))
    return out.getvalue()


def test_every_scenario_stage_and_curve_is_there() -> None:
    text, document = printed(example()), example()
    for scenario in document.scenarios:
        assert scenario.label in text
    for name in ("decode", "wait_sink", "scaling over streams", "scaling over size", "1080p"):
        assert name in text
    assert "900 frames are too few for p99.9 (3688)" in text
    assert "repeats vary by up to 5.0 %: fps" in text
    assert "34.0 (32.3-35.7)" in text
    assert "sink 20.0" in text


def test_a_percentile_that_is_missing_leaves_its_place_empty() -> None:
    (line,) = [line for line in printed(example()).splitlines() if line.startswith("multi stream")]
    assert line.count("(") == 1


def test_what_was_interrupted_says_so() -> None:
    assert "interrupted" in printed(msgspec.structs.replace(example(), complete=False))
    assert "interrupted" not in printed(example())


def test_names_are_no_markup() -> None:
    scenario = msgspec.structs.replace(example().scenarios[3], output="[bold]x.mp4")
    text = printed(msgspec.structs.replace(example(), scenarios=(scenario,)))
    assert text.count("[bold]x.mp4") >= 2


def test_nothing_at_all_can_be_shown() -> None:
    empty = msgspec.structs.replace(example(), scenarios=(), scaling=(), complete=False)
    assert "interrupted" in printed(empty)
