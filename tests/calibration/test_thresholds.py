"""Thresholds picked from histograms, against brute-force searches on the raw samples."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from cutline.calibration.histogram import Histogram
from cutline.calibration.thresholds import METHODS, UNSIGNED, Method, threshold
from cutline.runtime.errors import UsageError

F32 = NDArray[np.float32]


def _samples() -> dict[str, F32]:
    rng = np.random.default_rng(7)
    normal = rng.normal(0.0, 1.7, 60_000)
    half = np.abs(rng.normal(0.0, 1.0, 60_000))
    return {
        "normal": normal,
        "half-normal with outliers": np.concatenate([half, np.full(20, 40.0)]),
        "half-normal with one far outlier": np.concatenate([half, [3e5]]),
        "relu of normal": np.maximum(normal, 0.0),
        "bimodal": np.concatenate([rng.normal(1.0, 0.2, 30_000), rng.normal(-8.0, 0.5, 30_000)]),
        "tiny values": half * 1e-6,
        "all zero": np.zeros(5000),
        "constant": np.full(5000, 3.7),
        "single spike": np.concatenate([np.zeros(5000), [12.5]]),
    }


SAMPLES = {name: values.astype(np.float32) for name, values in _samples().items()}


def _brute_max(values: F32) -> float:
    return max(abs(float(v)) for v in values)


def _brute_percentile(values: F32) -> float:
    return float(np.percentile(np.abs(values.astype(np.float64)), 99.99, method="inverted_cdf"))


def _brute_mse(values: F32, codes: int = 127) -> float:
    magnitude = np.sort(np.abs(values.astype(np.float64)))
    peak = magnitude[-1]
    if peak == 0:
        return 0.0
    best, at = math.inf, peak
    for candidate in np.concatenate([np.geomspace(peak / 3e5, peak, 500), np.linspace(peak / 100, peak, 100)]):
        steps = np.minimum(np.round(magnitude / (candidate / codes)), codes)
        loss = float(np.mean((steps * (candidate / codes) - magnitude) ** 2))
        if loss < best:
            best, at = loss, candidate
    return float(at)


def _brute_entropy(values: F32) -> float:
    """Every candidate on a histogram of the raw samples, level by level."""
    magnitude = np.abs(values.astype(np.float64))
    magnitude = magnitude[magnitude > 0]
    if not magnitude.size:
        return 0.0
    reach = min(magnitude.max(), 8 * float(np.quantile(magnitude, 0.999)))
    width = 2.0**-40
    while reach / width > 4096:
        width *= 2
    size = math.ceil(reach / width)
    all_counts = np.histogram(magnitude[magnitude <= size * width], bins=size, range=(0.0, size * width))[0]
    best, at = math.inf, size
    for end in range(128, size + 1):
        level_of = np.repeat(np.arange(128), [(n + 1) * end // 128 - n * end // 128 for n in range(128)])
        counts = all_counts[:end].astype(np.float64)
        p = counts.copy()
        p[-1] = magnitude.size - counts[:-1].sum()
        per_level = np.bincount(level_of, counts, minlength=128)
        bins_per_level = np.bincount(level_of, p > 0, minlength=128)
        q = np.where(p > 0, per_level[level_of] / np.maximum(bins_per_level[level_of], 1), 0.0)
        loss = _kullback_leibler(p, q)
        if loss < best:
            best, at = loss, end
    return width * at


def _kullback_leibler(p: NDArray[np.float64], q: NDArray[np.float64]) -> float:
    inside = p > 0
    if q.sum() == 0 or np.any(q[inside] == 0):
        return math.inf
    p, q = p[inside] / p.sum(), q[inside] / q.sum()
    return float(np.sum(p * (np.log(p) - np.log(q))))


BRUTE = {"max": _brute_max, "percentile": _brute_percentile, "mse": _brute_mse, "entropy": _brute_entropy}


@pytest.mark.parametrize("name", ["relu of normal", "half-normal with outliers", "bimodal", "constant"])
def test_mse_for_uint8_uses_all_256_levels(name: str) -> None:
    values = np.abs(SAMPLES[name])
    histogram = Histogram()
    histogram.add(values)
    picked = threshold(histogram.bins(), "mse", codes=UNSIGNED)
    assert picked == pytest.approx(_brute_mse(values, 255), rel=0.05)


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("method", METHODS)
def test_threshold_is_within_five_percent_of_brute_force(method: Method, name: str) -> None:
    histogram = Histogram()
    for part in np.array_split(SAMPLES[name], 7):
        histogram.add(part)
    picked = threshold(histogram.bins(), method)
    assert picked == pytest.approx(BRUTE[method](SAMPLES[name]), rel=0.05)
    assert picked <= histogram.peak


def test_max_is_exact() -> None:
    histogram = Histogram()
    histogram.add(np.array([0.1, -7.123456, 3.0], np.float32))
    assert threshold(histogram.bins(), "max") == float(np.float32(7.123456))


def test_entropy_ignores_twenty_outliers_that_would_waste_nine_tenths_of_the_levels() -> None:
    histogram = Histogram()
    histogram.add(SAMPLES["half-normal with outliers"])
    assert threshold(histogram.bins(), "entropy") < 6


@pytest.mark.parametrize(("method", "percentile"), [("median", 99.0), ("percentile", 0.0), ("percentile", 100.5)])
def test_nonsense_is_refused(method: Method, percentile: float) -> None:
    histogram = Histogram()
    histogram.add(np.ones(4, np.float32))
    with pytest.raises(UsageError):
        threshold(histogram.bins(), method, percentile=percentile)
