from __future__ import annotations

import io
import math

import msgspec
import numpy as np
import pytest
from bench_example import example, ms, rate
from hypothesis import given, settings
from hypothesis import strategies as st
from rich.console import Console

from cutline.benchmarks.compare import (
    Comparison,
    compare,
    parse_ratio,
    show_comparison,
    student_975,
    violations,
)
from cutline.benchmarks.schema import Document, Figure, Scenario
from cutline.runtime.errors import UsageError


def document(**figures: Figure) -> Document:
    scenario = Scenario(kind="paced", device="cpu", precision="int8", pace_fps=30.0, figures=figures)
    return msgspec.structs.replace(example(), scenarios=(scenario,))


def paired(first: Document, second: Document) -> Comparison:
    return compare(first, second, ("a.json", "b.json"))


def measured(values: list[float]) -> Figure:
    return Figure(value=float(np.median(values)), unit="ms", better="lower", n=900, repeats=tuple(values))


def test_a_result_does_not_differ_from_itself() -> None:
    found = paired(example(), example())
    assert {row.verdict for row in found.rows} == {"no difference shown"}
    assert all(row.ratio == 1 for row in found.rows)
    assert found.only_in_one == ()


def test_above_one_is_better_for_times_and_for_rates() -> None:
    rows = {(row.scenario.split(",")[0], row.figure): row for row in paired(example(), example(0.5)).rows}
    assert rows["paced", "p99"].ratio == pytest.approx(2.0)
    assert rows["throughput", "fps"].ratio == pytest.approx(2.0)
    assert rows["paced", "p99"].verdict == rows["throughput", "fps"].verdict == "faster"
    slower = {row.verdict for row in paired(example(), example(2.0)).rows if row.figure in ("p50", "fps")}
    assert slower == {"slower"}


def test_a_difference_within_the_spread_of_repeats_is_not_shown() -> None:
    noisy = paired(document(p50=measured([9, 10, 11, 10])), document(p50=measured([9.3, 10.5, 11.2, 10.4])))
    steady = paired(document(p50=measured([9.99, 10, 10.01, 10])), document(p50=measured([10.39, 10.4, 10.41, 10.4])))
    assert noisy.rows[0].verdict == "no difference shown"
    assert steady.rows[0].verdict == "slower"


def test_the_wider_of_both_intervals_counts() -> None:
    loose = ms(10.0, low=7.0, high=13.0, repeats=(10.0, 10.0, 10.0))
    (row,) = paired(document(p50=loose), document(p50=ms(9.0, repeats=(9.0, 9.0, 9.0)))).rows
    assert row.low is not None
    assert row.low < 10 / 9 / 1.3
    assert row.verdict == "no difference shown"


def test_a_figure_of_unknown_spread_shows_no_difference() -> None:
    one = Figure(value=10.0, unit="ms", better="lower", n=1)
    (row,) = paired(document(p50=one), document(p50=msgspec.structs.replace(one, value=20.0))).rows
    assert (row.low, row.high, row.verdict) == (None, None, "no difference shown")


def test_equal_runs_are_called_different_as_seldom_as_it_says() -> None:
    rng, wrong = np.random.default_rng(8), 0
    for _ in range(400):
        a, b = (measured(list(np.exp(rng.normal(2.3, 0.05, 5)))) for _ in range(2))
        a, b = (msgspec.structs.replace(f, value=float(np.exp(np.mean(np.log(f.repeats))))) for f in (a, b))
        wrong += paired(document(p50=a), document(p50=b)).rows[0].verdict != "no difference shown"
    assert wrong / 400 <= 0.075


@pytest.mark.parametrize(("freedom", "true"), [(3, 3.182), (4, 2.776), (8, 2.306), (30, 2.042)])
def test_students_quantile_is_that_of_the_tables(freedom: int, true: float) -> None:
    assert student_975(freedom) == pytest.approx(true, rel=0.01)


def test_unlike_things_are_told() -> None:
    other = msgspec.structs.replace(
        example(), machine=msgspec.structs.replace(example().machine, cpu="Another"), complete=False
    )
    found = paired(example(), other)
    assert "another machine: Example <CPU> & more and Another" in found.warnings
    assert "the second result was interrupted" in found.warnings


def test_two_precisions_can_be_compared_and_it_is_told() -> None:
    scenarios = tuple(msgspec.structs.replace(s, precision="fp32") for s in example(2.0).scenarios)
    found = paired(example(), msgspec.structs.replace(example(2.0), scenarios=scenarios))
    assert found.only_in_one == ()
    assert "another precision: int8 and fp32" in found.warnings
    both = msgspec.structs.replace(example(), scenarios=(*example().scenarios, *scenarios))
    assert len(paired(example(), both).only_in_one) == 6


def test_scenarios_without_a_twin_are_named() -> None:
    fewer = msgspec.structs.replace(example(), scenarios=example().scenarios[:2])
    assert len(paired(example(), fewer).only_in_one) == 4


def test_results_with_nothing_in_common_are_refused() -> None:
    with pytest.raises(UsageError, match="no scenario in common"):
        paired(example(), msgspec.structs.replace(example(), scenarios=()))


def test_the_overall_ratio_is_the_mean_over_scenarios() -> None:
    overall = paired(example(), example(0.5)).overall
    assert overall is not None
    assert overall.ratio == pytest.approx(2.0)


def test_a_limit_is_passed_only_by_what_is_surely_slower() -> None:
    limit = parse_ratio("ratio<0.95")
    assert violations(paired(example(), example()), [limit]) == []
    assert violations(paired(example(), example(0.5)), [limit]) == []
    slower = violations(paired(example(), example(1.2)), [limit])
    assert any("paced" in line and "p99" in line for line in slower)
    noisy = paired(document(fps=rate(100)), document(fps=rate(93)))
    assert noisy.rows[0].ratio < 0.95
    assert violations(noisy, [limit]) == []


def test_a_figure_that_is_gone_is_told_and_passes_no_limit() -> None:
    # two of a hundred frames never came, so there is no p99 any more
    found = paired(document(p50=ms(10.0), p99=ms(20.0)), document(p50=ms(10.0)))
    assert found.only_in_one == ("paced, 30 fps: p99",)
    (line,) = violations(found, [parse_ratio("ratio<0.95")])
    assert "p99" in line
    assert "cannot be judged" in line
    gained = paired(document(p50=ms(10.0)), document(p50=ms(10.0), p99=ms(20.0)))
    assert gained.only_in_one == ("paced, 30 fps: p99",)
    assert violations(gained, [parse_ratio("ratio<0.95")]) == []


def test_a_scenario_that_is_gone_passes_no_limit() -> None:
    fewer = msgspec.structs.replace(example(), scenarios=example().scenarios[:5])
    (line,) = violations(paired(example(), fewer), [parse_ratio("ratio<0.95")])
    assert "start" in line


def test_what_was_nothing_and_is_something_is_told() -> None:
    def dropped(frames: float) -> Figure:
        return Figure(value=frames, unit="frames", better="lower", n=375)

    found = paired(document(dropped=dropped(0)), document(dropped=dropped(50)))
    assert found.rows == ()
    assert "paced, 30 fps, dropped: 0 and 50 frames, which have no ratio" in found.warnings
    assert paired(document(dropped=dropped(0)), document(dropped=dropped(0))).warnings == ()


@pytest.mark.parametrize("text", ["p99>33ms", "ratio>0.9", "ratio<", "ratio<x"])
def test_only_ratios_can_be_demanded_of_a_comparison(text: str) -> None:
    with pytest.raises(UsageError, match="ratio"):
        parse_ratio(text)


def test_the_table_shows_every_row() -> None:
    out = io.StringIO()
    found = paired(example(), example(1.1))
    show_comparison(found, Console(file=out, width=200))
    for row in found.rows:
        assert row.scenario in out.getvalue()
    assert "no difference shown" in out.getvalue()
    assert not math.isnan(found.rows[0].ratio)


NUMBERS = st.one_of(st.floats(allow_nan=False), st.sampled_from([0.0, -1.0, 1e-308, 1e308, 5e-324]))
FIGURES = st.builds(
    Figure, value=NUMBERS, unit=st.just("ms"), better=st.sampled_from(["lower", "higher"]), n=st.integers(),
    low=st.none() | NUMBERS, high=st.none() | NUMBERS, repeats=st.lists(NUMBERS, max_size=5).map(tuple),
)  # fmt: skip


@settings(deadline=None)
@given(FIGURES, FIGURES)
def test_no_numbers_in_a_file_break_the_comparison(first: Figure, second: Figure) -> None:
    found = paired(document(p50=first), document(p50=second))
    msgspec.json.encode(found)
    violations(found, [0.95])
    show_comparison(found, Console(file=io.StringIO()))
    for row in found.rows:
        assert 0 < row.ratio < math.inf
        assert row.low is None or row.high is None or row.low <= row.ratio <= row.high


def test_names_are_no_markup() -> None:
    hostile = msgspec.structs.replace(example().scenarios[3], output="[/red]x.mp4", figures={"[/b]": ms(1.0)})
    both = msgspec.structs.replace(example(), scenarios=(hostile,))
    out = io.StringIO()
    show_comparison(compare(both, both, ("[/a].json", "b.json")), Console(file=out, width=200))
    for name in ("[/red]x.mp4", "[/b]", "[/a].json"):
        assert name in out.getvalue()
