from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cutline.benchmarks.statistics import (
    cdf,
    figure_of_few,
    figure_of_mean,
    figure_of_quantile,
    number,
    quantile,
    rank_bounds,
    samples_needed,
)


def mm1_sojourns(arrivals: float, service: float, queries: int, seed: int) -> np.ndarray:
    """Times in an M/M/1 queue, first come first served, by Lindley's recursion; rates per second."""
    rng = np.random.default_rng(seed)
    gaps, works = rng.exponential(1 / arrivals, queries), rng.exponential(1 / service, queries)
    waits = np.zeros(queries)
    for n in range(1, queries):
        waits[n] = max(0.0, waits[n - 1] + works[n - 1] - gaps[n])
    return waits + works


def test_percentiles_of_a_queue_are_those_of_its_law() -> None:
    # the time in an M/M/1 queue is exponential with rate service - arrivals
    found = mm1_sojourns(arrivals=30, service=60, queries=200_000, seed=3)[2000:]
    for q in (0.5, 0.9, 0.99, 0.999):
        true = -math.log(1 - q) / 30
        figure = figure_of_quantile([found], q, "s")
        assert figure is not None
        assert figure.value == pytest.approx(true, rel=0.06), q


@pytest.mark.parametrize(("q", "n"), [(0.5, 40), (0.9, 100), (0.99, 500)])
def test_the_bounds_hold_the_true_percentile_as_often_as_they_say(q: float, n: int) -> None:
    samples = np.sort(np.random.default_rng(5).exponential(1.0, (4000, n)), axis=1)
    bounds = rank_bounds(n, q)
    assert bounds is not None
    true = -math.log(1 - q)
    held = np.mean((samples[:, bounds[0] - 1] <= true) & (true <= samples[:, bounds[1] - 1]))
    assert 0.94 <= held <= 0.985  # ranks are whole numbers, so it is seldom exactly 0.95


@pytest.mark.parametrize(("q", "needed"), [(0.5, 6), (0.9, 36), (0.99, 368), (0.999, 3688)])
def test_a_percentile_is_not_given_from_too_few_samples(q: float, needed: int) -> None:
    assert samples_needed(q) == needed
    rising = np.arange(float(needed))
    assert figure_of_quantile([rising[:-1]], q) is None
    assert figure_of_quantile([rising], q) is not None


def test_no_samples_give_no_figure() -> None:
    assert figure_of_quantile([], 0.5) is None
    assert figure_of_mean([[]], "fps", "higher", n=0) is None
    assert cdf(np.zeros(3)) is None


@settings(deadline=None)
@given(st.lists(st.floats(0.001, 1e6), min_size=6, max_size=300), st.sampled_from([0.5, 0.9, 0.99]))
def test_a_percentile_is_a_sample_and_lies_within_its_bounds(samples: list[float], q: float) -> None:
    values = np.array(samples)
    assert quantile(np.sort(values), q) in samples
    assert np.mean(values <= quantile(np.sort(values), q)) >= q
    figure = figure_of_quantile([values], q)
    if figure is not None:
        assert figure.low is not None
        assert figure.high is not None
        assert figure.low <= figure.value <= figure.high


def test_frames_that_never_came_push_a_percentile_out_of_reach() -> None:
    came = np.linspace(10, 20, 980)
    lost = np.full(20, math.inf)
    assert figure_of_quantile([np.concatenate([came, lost])], 0.99) is None  # two of a hundred never came
    ninety = figure_of_quantile([np.concatenate([came, lost])], 0.9)
    without = figure_of_quantile([came], 0.9)
    assert ninety is not None
    assert without is not None
    assert ninety.value > without.value


def test_repeats_that_differ_are_said_to_be_noise() -> None:
    steady = figure_of_quantile([np.full(50, 10.0), np.full(50, 10.1), np.full(50, 9.9)], 0.5)
    noisy = figure_of_quantile([np.full(50, 10.0), np.full(50, 11.0), np.full(50, 9.0)], 0.5)
    assert steady is not None
    assert noisy is not None
    assert steady.warnings == ()
    assert noisy.warnings == ("varies by 10.0 % between repeats",)
    assert noisy.repeats == (10.0, 11.0, 9.0)


def test_the_mean_of_blocks_weighs_long_ones_more_and_bounds_hold_it() -> None:
    figure = figure_of_mean(
        [[100.0, 50.0], [100.0, 50.0], [100.0]], "fps", "higher", n=9, weights=[[3, 1], [3, 1], [1]]
    )
    assert figure is not None
    assert figure.value == pytest.approx((7 * 100 + 2 * 50) / 9, rel=1e-5)
    assert figure.low is not None
    assert figure.high is not None
    assert figure.low < figure.value < figure.high <= 100


def test_bounds_of_a_mean_hold_it_as_often_as_they_say() -> None:
    rng = np.random.default_rng(11)
    held = 0
    for trial in range(300):
        figure = figure_of_mean([list(rng.normal(50, 5, 30))], "fps", "higher", n=30, seed=trial)
        assert figure is not None
        assert figure.low is not None
        assert figure.high is not None
        held += figure.low <= 50 <= figure.high
    assert 0.9 <= held / 300 <= 0.98


def test_a_repeat_of_a_mean_weighs_its_blocks_as_the_mean_does() -> None:
    # two composites a hundredth of a millisecond apart end each turn: a block of no length says nothing of the rate
    parts, lengths = [[80.0, 100_000.0], [90.0, 100_000.0]], [[0.05, 1e-9], [0.05, 1e-9]]
    figure = figure_of_mean(parts, "fps", "higher", n=9, weights=lengths)
    assert figure is not None
    assert figure.repeats == pytest.approx((80.0, 90.0), abs=0.01)


def test_repeats_are_all_there_or_none_since_others_are_paired_with_them() -> None:
    figure = figure_of_mean([[80.0], [], [90.0]], "fps", "higher", n=9)
    assert figure is not None
    assert figure.value == 85
    assert figure.repeats == ()


def test_bounds_of_a_mean_know_that_rounds_differ_and_not_only_blocks() -> None:
    rng, held = np.random.default_rng(12), 0
    for trial in range(200):
        rounds = [list(rng.normal(rng.normal(50, 5), 1, 10)) for _ in range(6)]
        figure = figure_of_mean(rounds, "fps", "higher", n=60, seed=trial)
        assert figure is not None
        assert figure.low is not None
        assert figure.high is not None
        held += figure.low <= 50 <= figure.high
    assert 0.85 <= held / 200 <= 0.98  # drawn over blocks alone it would be 0.4


def test_a_few_values_have_a_median_and_a_variation_and_no_bounds() -> None:
    figure = figure_of_few([0.9, 0.7, 0.8], "s")
    assert (figure.value, figure.low, figure.high, figure.repeats) == (0.8, None, None, (0.9, 0.7, 0.8))
    assert figure.warnings == ("varies by 12.5 % between repeats",)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0.00"), (0.012345, "0.0123"), (0.8123, "0.812"), (9.996, "10.0"), (14.24, "14.2"), (99.97, "100"),
        (1520, "1520"), (-0.5, "-0.500"),
    ],
)  # fmt: skip
def test_numbers_have_three_digits(value: float, text: str) -> None:
    assert number(value) == text


def test_a_distribution_rises_and_ends_at_the_greatest_sample() -> None:
    samples = np.random.default_rng(2).gamma(3, 2, 5000)
    found = cdf(samples)
    assert found is not None
    assert list(found.values) == sorted(found.values)
    assert list(found.shares) == sorted(found.shares)
    assert found.values[-1] == pytest.approx(samples.max(), abs=1e-3)
    assert found.values[found.shares.index(0.5)] == pytest.approx(np.median(samples), rel=0.01)
