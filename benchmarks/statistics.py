"""From samples to figures: percentiles by rank, with bounds by order statistics; rates, with bounds by bootstrap.

A percentile is the sample of rank ceil(q n): a time that really occurred. Its bounds are the two samples between which
the true quantile lies with 95 % confidence, whatever the distribution is, since the number of samples below a quantile
is binomial. Where n has no such upper sample the percentile is not given at all.

Sources: H. A. David, H. N. Nagaraja, Order Statistics, 3rd ed., section 7.1 (bounds); B. Efron, R. Tibshirani, An
Introduction to the Bootstrap, section 13 (percentile bootstrap).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from cutline.benchmarks.schema import Cdf, Figure, Unit

__all__ = [
    "CONFIDENCE", "CV_LIMIT", "cdf", "figure_of_few", "figure_of_mean", "figure_of_quantile", "label_of", "number",
    "quantile", "rank_bounds", "samples_needed",
]  # fmt: skip

CONFIDENCE: Final = 0.95
CV_LIMIT: Final = 0.025  # above it, repeats differ by more than what they are to tell apart
RESAMPLES: Final = 2000
LEAST_BLOCKS: Final = 5  # from which on bounds are drawn
CDF_SHARES: Final = np.unique(
    np.concatenate([np.linspace(0, 0.9, 91), np.linspace(0.9, 0.99, 91), np.linspace(0.99, 0.999, 91), [0.9999, 1.0]])
)

Samples = NDArray[Any]


def samples_needed(q: float, confidence: float = CONFIDENCE) -> int:
    """How many samples give the q-quantile bounds on both sides: 6 for p50, 36 for p90, 368 for p99, 3688 for p99.9."""
    tail = (1 - confidence) / 2
    return math.ceil(math.log(tail) / math.log(max(q, 1 - q)))


def rank_bounds(n: int, q: float, confidence: float = CONFIDENCE) -> tuple[int, int] | None:
    """Ranks, counted from 1, of the samples between which the q-quantile lies; None where n is too small for both."""
    if n < samples_needed(q, confidence):
        return None
    tail = (1 - confidence) / 2
    k = np.arange(1, n + 1)
    log_choose = np.concatenate([[0.0], np.cumsum(np.log((n - k + 1) / k))])
    k = np.arange(n + 1)
    cumulative = np.cumsum(np.exp(log_choose + k * math.log(q) + (n - k) * math.log1p(-q)))
    low = int(np.searchsorted(cumulative, tail))
    high = int(np.searchsorted(cumulative, 1 - tail)) + 1
    return (low, high) if low >= 1 and high <= n else None


def quantile(ordered: Samples, q: float) -> float:
    """The sample of rank ceil(q n) of rising samples."""
    return float(ordered[max(0, math.ceil(q * len(ordered)) - 1)])


def label_of(q: float) -> str:
    """p50, p99, p99.9."""
    return f"p{100 * q:.10g}"


def coefficient_of_variation(repeats: Sequence[float]) -> float | None:
    """Standard deviation over mean; None for fewer than two repeats, or a mean of 0."""
    if len(repeats) < 2 or not np.mean(repeats):
        return None
    return float(np.std(repeats, ddof=1) / abs(np.mean(repeats)))


def number(value: float) -> str:
    """For people: three digits, all of those before the point: 0.812, 14.2, 1520."""
    return f"{value:.0f}" if abs(value) >= 99.95 else f"{value:#.3g}"


def figure_of_quantile(parts: Sequence[Samples], q: float, unit: Unit = "ms") -> Figure | None:
    """A percentile of all parts together; None when there are too few samples, or when it is infinite.

    Args:
        parts: the samples of each repeat; infinite ones are frames that never came.
    """
    ordered = np.sort(np.concatenate(parts)) if parts else np.zeros(0)
    bounds = rank_bounds(len(ordered), q)
    if bounds is None:
        return None
    low, high = (float(ordered[rank - 1]) for rank in bounds)
    value = quantile(ordered, q)
    if not math.isfinite(value):
        return None
    whole = [p for p in parts if len(p) >= samples_needed(q)]
    repeats = tuple(quantile(np.sort(p), q) for p in whole) if len(whole) == len(parts) else ()
    repeats = repeats if all(map(math.isfinite, repeats)) else ()
    return _figure(
        value, unit, "lower", len(ordered), (low, high if math.isfinite(high) else None), "order statistics", repeats
    )


def figure_of_mean(
    parts: Sequence[Sequence[float]],
    unit: Unit,
    better: Literal["lower", "higher", "neither"],
    *,
    n: int,
    weights: Sequence[Sequence[float]] | None = None,
    seed: int = 0,
) -> Figure | None:
    """The mean of blocks, with bounds by bootstrap over repeats and their blocks; None without blocks.

    Args:
        parts: the blocks' values in each repeat. Frames that follow each other are alike, so blocks are drawn and not
            frames; so are blocks of one repeat, so repeats are drawn first. A repeat without blocks leaves no repeats.
        n: samples behind the blocks.
        weights: of the blocks, as lengths; equal where None.
    """
    blocks = [
        np.array([part, lengths], float) for part, lengths in zip(parts, weights or map(_ones, parts), strict=True)
    ]
    blocks = [block for block in blocks if block.size]
    if not blocks:
        return None
    low, high = (
        _bounds_of_mean(blocks, seed) if sum(block.shape[1] for block in blocks) >= LEAST_BLOCKS else (None, None)
    )
    repeats = tuple(map(_mean, blocks)) if len(blocks) == len(parts) else ()
    method: Literal["bootstrap", "none"] = "bootstrap" if low is not None else "none"
    return _figure(_mean(np.concatenate(blocks, axis=1)), unit, better, n, (low, high), method, repeats)


def figure_of_few(values: Sequence[float], unit: Unit) -> Figure:
    """The median of values that are dear to measure, lower is better: they are the repeats, too few for bounds."""
    return _figure(float(np.median(values)), unit, "lower", len(values), (None, None), "none", tuple(values))


def cdf(samples: Samples, unit: Unit = "ms") -> Cdf | None:
    """The distribution of the finite samples, by rank; None when there are fewer than ten."""
    ordered = np.sort(samples[np.isfinite(samples)])
    if len(ordered) < 10:
        return None
    shares = CDF_SHARES[(CDF_SHARES * len(ordered) <= len(ordered) - 1) | (CDF_SHARES == 1.0)]
    values = tuple(round(quantile(ordered, q), 4) for q in shares)
    return Cdf(unit=unit, n=len(ordered), shares=tuple(round(float(q), 6) for q in shares), values=values)


def _ones(part: Sequence[float]) -> list[float]:
    return [1.0] * len(part)


def _mean(block: Samples) -> float:
    """Of values, weighed by the lengths in the second row."""
    return float((block[0] * block[1]).sum() / block[1].sum())


def _bounds_of_mean(blocks: Sequence[Samples], seed: int) -> tuple[float, float]:
    """Draw repeats, and of each one that was drawn as many blocks as it has."""
    rng = np.random.default_rng(seed)
    chosen = rng.integers(0, len(blocks), (RESAMPLES, len(blocks)))
    sums, lengths = np.zeros(chosen.shape), np.zeros(chosen.shape)
    for number, (values, weights) in enumerate(blocks):
        mine = chosen == number
        drawn = rng.integers(0, len(values), (int(mine.sum()), len(values)))
        sums[mine] = (values[drawn] * weights[drawn]).sum(axis=1)
        lengths[mine] = weights[drawn].sum(axis=1)
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(sums.sum(axis=1) / lengths.sum(axis=1), (tail, 1 - tail))
    return float(low), float(high)


def _figure(
    value: float,
    unit: Unit,
    better: Literal["lower", "higher", "neither"],
    n: int,
    bounds: tuple[float | None, float | None],
    method: Literal["order statistics", "bootstrap", "none"],
    repeats: tuple[float, ...],
) -> Figure:
    cv = coefficient_of_variation(repeats)
    warnings = (f"varies by {100 * cv:.1f} % between repeats",) if cv is not None and cv > CV_LIMIT else ()
    low, high = bounds
    return Figure(
        value=_rounded(value), unit=unit, better=better, n=n, low=None if low is None else _rounded(low),
        high=None if high is None else _rounded(high), confidence=CONFIDENCE, method=method,
        repeats=tuple(_rounded(r) for r in repeats), cv=None if cv is None else round(cv, 5), warnings=warnings,
    )  # fmt: skip


def _rounded(value: float) -> float:
    """Six digits: more than any clock here deserves."""
    return float(f"{value:.6g}")
