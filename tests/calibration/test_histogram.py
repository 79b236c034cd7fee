"""Streaming statistics of one tensor."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from cutline.calibration.histogram import Histogram, HistogramRecord, merged
from cutline.runtime.errors import BadInputError

FLOATS = st.floats(-(2.0**100), 2.0**100, width=32)
ARRAYS = hnp.arrays(np.float32, st.integers(1, 200), elements=FLOATS)


@given(ARRAYS)
@settings(max_examples=60, deadline=None)
def test_every_value_is_counted_once_in_the_bin_that_holds_it(values: np.ndarray) -> None:
    histogram = Histogram()
    histogram.add(values)
    bins = histogram.bins()
    magnitude = np.abs(values.astype(np.float64))
    assert bins.zeros == np.count_nonzero(magnitude < 2.0**-40)
    assert bins.zeros + bins.counts.sum() == values.size
    assert histogram.peak == magnitude.max()
    for low, high, count in zip(bins.low, bins.high, bins.counts, strict=True):
        last = high == histogram.peak
        held = (magnitude >= low) & ((magnitude <= high) if last else (magnitude < high))
        assert np.count_nonzero(held & (magnitude >= 2.0**-40)) == count


@given(ARRAYS, ARRAYS)
@settings(max_examples=40, deadline=None)
def test_merging_equals_counting_everything_in_one(one: np.ndarray, other: np.ndarray) -> None:
    parts = [Histogram(), Histogram()]
    parts[0].add(one)
    parts[1].add(other)
    whole = Histogram()
    whole.add(np.concatenate([one, other]))
    both = merged(parts)
    assert (both.minimum, both.maximum, both.values, both.zeros) == (
        whole.minimum,
        whole.maximum,
        whole.values,
        whole.zeros,
    )
    np.testing.assert_array_equal(both.bins().counts, whole.bins().counts)


def test_bins_are_never_wider_than_one_2048th_of_their_value() -> None:
    histogram = Histogram()
    histogram.add(np.random.default_rng(1).lognormal(0, 9, 20_000).astype(np.float32))
    bins = histogram.bins()
    assert np.all(bins.high - bins.low <= bins.low / 2048 * (1 + 1e-12))


def test_sampling_keeps_extremes_exact_and_the_shape_right() -> None:
    values = np.random.default_rng(2).normal(0, 1, 400_000).astype(np.float32)
    values[123_457] = -77.25
    histogram = Histogram()
    histogram.add(values, most=20_000)
    assert histogram.peak == 77.25
    assert histogram.values == 400_000
    assert histogram.sampled <= 20_000
    bins = histogram.bins()
    median = np.interp(0.5, np.cumsum(bins.counts) / bins.counts.sum(), bins.centres)
    assert median == pytest.approx(0.6745, rel=0.03)


def test_memory_does_not_grow_with_frames() -> None:
    histogram = Histogram()
    rng = np.random.default_rng(3)
    for _ in range(200):
        histogram.add(rng.uniform(1, 1000, 1000).astype(np.float32))
    assert len(histogram.record().rows) == 10  # octaves from 1 to 1000


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers_are_counted_and_refused(bad: float) -> None:
    values = np.ones(100, np.float32)
    values[[3, 50]] = bad
    with pytest.raises(BadInputError, match=r"tensor='relu_7', count=2"):
        Histogram().add(values, name="relu_7")


def test_a_record_comes_back_as_it_was() -> None:
    histogram = Histogram()
    histogram.add(np.concatenate([np.zeros(9), np.random.default_rng(4).normal(0, 3, 5000)]).astype(np.float32))
    stored = msgspec.json.decode(msgspec.json.encode(histogram.record()), type=HistogramRecord)
    back = Histogram.from_record(stored)
    assert (back.minimum, back.maximum, back.values) == (histogram.minimum, histogram.maximum, histogram.values)
    assert back.mean == pytest.approx(histogram.mean)
    assert back.bins().counts.sum() + back.zeros == 5009
    np.testing.assert_array_equal(back.bins().counts[-2000:], histogram.bins().counts[-2000:])


@pytest.mark.parametrize("harm", ["count", "base64", "size"])
def test_a_damaged_record_is_refused(harm: str) -> None:
    histogram = Histogram()
    histogram.add(np.linspace(1, 2, 50, dtype=np.float32))
    record = histogram.record()
    key = next(iter(record.rows))
    changed = {
        "count": msgspec.structs.replace(record, sampled=51),
        "base64": msgspec.structs.replace(record, rows={key: "???"}),
        "size": msgspec.structs.replace(record, rows={key: "eJwDAAAAAAE="}),
    }[harm]
    with pytest.raises(BadInputError):
        Histogram.from_record(changed)


def test_an_empty_histogram_has_no_peak() -> None:
    assert Histogram().peak == 0.0
    assert Histogram.from_record(Histogram().record()).peak == 0.0
