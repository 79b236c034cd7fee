"""How large a magnitude INT8 must represent: by largest value, percentile, entropy or mean squared error."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from cutline.calibration.histogram import Bins
from cutline.runtime.errors import UsageError

__all__ = ["METHODS", "SIGNED", "UNSIGNED", "Method", "threshold"]

Method = Literal["max", "percentile", "entropy", "mse"]
METHODS: tuple[Method, ...] = get_args(Method)

F64 = NDArray[np.float64]

SIGNED, UNSIGNED = 127, 255  # largest code of int8 and of uint8
ENTROPY_BINS = 2048
BULK = 0.999  # entropy: its range ends at eight times this quantile, so that one outlier cannot use up all bins
BULK_FACTOR = 8.0
PERCENTILE = 99.99


def threshold(bins: Bins, method: Method, *, codes: int = SIGNED, percentile: float = PERCENTILE) -> float:
    """Pick the magnitude that becomes the largest code.

    Args:
        bins: what one tensor, or all tensors of one scale group, held.
        method: "max" never clips; "percentile" clips a fixed share of values; "entropy" minimises the Kullback-Leibler
            divergence between the values' distribution and its quantised form; "mse" minimises the squared error.
        codes: the largest code: SIGNED for int8, UNSIGNED for uint8.
        percentile: for that method, in (0, 100], of all values, zeros among them.
    Returns:
        In 0..bins.peak; 0 only if every value is zero.
    Raises:
        UsageError: no such method, or the percentile is out of range.
    """
    if method not in METHODS:
        raise UsageError("no such calibration method", remedy=f"Use one of {', '.join(METHODS)}.", method=method)
    if not 0 < percentile <= 100:
        raise UsageError("percentile is out of range", remedy="Use more than 0, at most 100.", percentile=percentile)
    if method == "max" or not bins.counts.size:
        return bins.peak
    pick: dict[Method, Callable[[], float]] = {
        "percentile": lambda: _quantile(bins, percentile / 100),
        "entropy": lambda: _entropy(bins, codes + 1),
        "mse": lambda: _mse(bins, codes),
    }
    return min(pick[method](), bins.peak)


def _quantile(bins: Bins, share: float) -> float:
    """Magnitude below which a share of all values lies; the smallest non-zero one if that falls among the zeros."""
    total = bins.zeros + bins.counts.sum()
    cumulative = bins.zeros + np.cumsum(bins.counts)
    index = int(np.searchsorted(cumulative, share * total))
    index = min(index, bins.counts.size - 1)
    within = (share * total - (cumulative[index] - bins.counts[index])) / bins.counts[index]
    return float(bins.low[index] + np.clip(within, 0.0, 1.0) * (bins.high[index] - bins.low[index]))


def _entropy(bins: Bins, levels: int) -> float:
    """Smallest divergence over every threshold of as many linear bins as levels, or more; there are 2048 to 4096.

    As in S. Migacz, "8-bit inference with TensorRT", GTC 2017: what lies beyond the threshold is added to the last bin
    of the reference but not to its quantised form. Exact zeros are left out, as they cost nothing at any threshold.
    """
    non_zero = Bins(bins.low, bins.high, bins.counts, 0.0, bins.peak)
    reach = min(bins.peak, BULK_FACTOR * _quantile(non_zero, BULK))
    width = 2.0 ** np.ceil(np.log2(reach / (2 * ENTROPY_BINS)))
    counts = _linear(bins, width, int(np.ceil(reach / width)))
    total = float(bins.counts.sum())
    below = np.concatenate([[0.0], np.cumsum(counts)])
    best, at = np.inf, counts.size
    for size in range(levels, counts.size + 1):
        reference = counts[:size].copy()
        reference[-1] += total - below[size]
        loss = _divergence(reference, _through_levels(counts[:size], reference > 0, levels))
        if loss < best:
            best, at = loss, size
    return float(at * width)


def _linear(bins: Bins, width: float, size: int) -> F64:
    """Counts in `size` bins of equal width from zero; exact, as a power-of-two width makes each a union of ours."""
    index = (bins.low / width).astype(np.int64)
    index[bins.low >= bins.peak] = min(int(np.ceil(bins.peak / width)) - 1, size)  # the peak belongs to the bin it ends
    kept = index < size
    return np.bincount(index[kept], bins.counts[kept], minlength=size).astype(np.float64)


def _through_levels(counts: F64, filled: NDArray[np.bool_], levels: int) -> F64:
    """Merge bins into levels, then spread each level evenly over those of its bins that the reference fills."""
    starts = np.arange(levels) * counts.size // levels
    held = np.maximum(np.add.reduceat(filled, starts, dtype=np.int64), 1)
    share = np.add.reduceat(counts, starts) / held
    return np.where(filled, np.repeat(share, np.diff([*starts, counts.size])), 0.0)


def _divergence(reference: F64, quantised: F64) -> float:
    """Kullback-Leibler divergence of two unnormalised distributions; infinite where the second misses a value."""
    total = quantised.sum()
    held = reference > 0
    if total <= 0 or (quantised[held] <= 0).any():
        return np.inf
    p, q = reference[held] / reference.sum(), quantised[held] / total
    return float((p * np.log(p / q)).sum())


def _mse(bins: Bins, codes: int) -> float:
    """Smallest squared error: a coarse search over all scales, then a fine one around the best."""
    error = _SquaredError(bins, codes)
    low = max(_quantile(Bins(bins.low, bins.high, bins.counts, 0.0, bins.peak), 0.5), bins.peak * 1e-6)
    coarse = np.geomspace(low, bins.peak, 128)
    losses = [error(t) for t in coarse]
    at = int(np.argmin(losses))
    fine = np.linspace(coarse[max(at - 2, 0)], coarse[min(at + 2, 127)], 65)
    candidates = np.concatenate([coarse, fine])
    losses += [error(t) for t in fine]
    return float(candidates[int(np.argmin(losses))])


class _SquaredError:
    """Owns running sums over the bins, so that one threshold costs only the bins between half a step and itself."""

    def __init__(self, bins: Bins, codes: int) -> None:
        self.value, self.counts, self.codes = bins.centres, bins.counts, codes
        powers = [self.counts * self.value**n for n in range(3)]
        self.sums = [np.concatenate([[0.0], np.cumsum(p)]) for p in powers]

    def __call__(self, peak: float) -> float:
        step = peak / self.codes
        first, last = (int(i) for i in np.searchsorted(self.value, [step / 2, peak], side="right"))
        value = self.value[first:last]
        inside = float((self.counts[first:last] * (np.rint(value / step) * step - value) ** 2).sum())
        count, total, square = (float(s[-1] - s[last]) for s in self.sums)
        clipped = square - 2 * peak * total + peak * peak * count
        return inside + clipped + float(self.sums[2][first])
