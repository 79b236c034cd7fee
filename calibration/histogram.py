"""Statistics of one tensor over many frames: exact extremes, and a histogram of magnitudes that fits any range.

Bins follow the bits of float32: 2048 to an octave, so every bin is at most 1/2048 of its own value wide.
Nothing has to be known about the range beforehand, adding and merging are exact, and an outlier a million times larger
than the rest costs one more row of bins instead of all resolution.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterable
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from cutline.runtime.errors import BadInputError

__all__ = ["Bins", "Histogram", "HistogramRecord"]

MANTISSA_BITS = 11
PER_OCTAVE = 1 << MANTISSA_BITS
SHIFT = 23 - MANTISSA_BITS
LOWEST = 127 - 40  # biased exponent; magnitudes below 2**-40 count as zero
INFINITE = np.uint32(0x7F800000)
STORED_OCTAVES = 24  # below the largest magnitude; what is smaller rounds to zero at every threshold worth trying


class HistogramRecord(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A histogram as it is stored. `rows`: biased exponent to 2048 counts, uint64 little-endian, zlib, base64."""

    values: int
    sampled: int
    zeros: int
    minimum: float
    maximum: float
    mean: float
    rows: dict[int, str]


@dataclass(frozen=True, slots=True)
class Bins:
    """Non-empty bins of magnitude, ascending: edges and counts, all float64[n]. Exact zeros are not among them."""

    low: NDArray[np.float64]
    high: NDArray[np.float64]
    counts: NDArray[np.float64]
    zeros: float  # sampled values that are exactly (or as good as) zero
    peak: float  # exact largest magnitude, of all values and not only of those sampled

    @property
    def centres(self) -> NDArray[np.float64]:
        """Middle of each bin."""
        return (self.low + self.high) / 2


class Histogram:
    """Owns the running statistics of one tensor; memory grows with the octaves seen, 16 KiB each."""

    def __init__(self) -> None:
        self.values = 0  # all values seen
        self.sampled = 0  # values counted in bins
        self.zeros = 0
        self.minimum = np.inf
        self.maximum = -np.inf
        self._sum = 0.0
        self._rows: dict[int, NDArray[np.int64]] = {}

    @property
    def peak(self) -> float:
        """Exact largest magnitude; 0 when nothing was seen."""
        return max(abs(self.minimum), abs(self.maximum)) if self.values else 0.0

    @property
    def mean(self) -> float:
        """Mean of the sampled values."""
        return self._sum / self.sampled if self.sampled else 0.0

    def add(self, values: NDArray[np.float32], *, most: int | None = None, name: str = "") -> None:
        """Count one array.

        Extremes are taken from every value. The histogram and the mean take every value too, or an even sample when
        there are more than `most`.

        Args:
            values: float32, any shape, C-contiguous.
            most: values to count at most.
            name: for the message.
        Raises:
            BadInputError: a value is NaN or infinite.
        """
        flat = values.reshape(-1)
        if not flat.size:
            return
        low, high = float(flat.min()), float(flat.max())
        if not (np.isfinite(low) and np.isfinite(high)):  # min and max carry NaN along
            bad = int(np.count_nonzero(~np.isfinite(flat)))
            raise BadInputError(
                "the network produced values that are not numbers",
                remedy="Check the model's normalisation and the calibration frames.",
                tensor=name,
                count=bad,
                of=int(flat.size),
            )
        self.minimum, self.maximum = min(self.minimum, low), max(self.maximum, high)
        self.values += flat.size
        if most is not None and flat.size > most:
            flat = _sample(flat, most)
        self.sampled += flat.size
        self._sum += float(flat.sum(dtype=np.float64))
        self._count(flat)

    def _count(self, flat: NDArray[np.float32]) -> None:
        bins = (np.ascontiguousarray(flat).view(np.uint32) & np.uint32(0x7FFFFFFF)) >> np.uint32(SHIFT)
        first = LOWEST << MANTISSA_BITS
        top = int(bins.max()) >> MANTISSA_BITS
        if top < LOWEST:
            self.zeros += flat.size
            return
        offset = np.maximum(bins, np.uint32(first - 1)).astype(np.int64) - (first - 1)
        counts = np.bincount(offset, minlength=((top - LOWEST + 1) << MANTISSA_BITS) + 1)
        self.zeros += int(counts[0])
        rows = counts[1:].reshape(-1, PER_OCTAVE)
        for index in np.flatnonzero(rows.any(axis=1)):
            exponent = LOWEST + int(index)
            if exponent in self._rows:
                self._rows[exponent] += rows[index]
            else:
                self._rows[exponent] = rows[index].astype(np.int64)

    def merge(self, other: Histogram) -> None:
        """Add everything that another histogram counted."""
        self.values += other.values
        self.sampled += other.sampled
        self.zeros += other.zeros
        self.minimum, self.maximum = min(self.minimum, other.minimum), max(self.maximum, other.maximum)
        self._sum += other._sum
        for exponent, row in other._rows.items():
            self._rows[exponent] = self._rows.get(exponent, np.zeros(PER_OCTAVE, np.int64)) + row

    def bins(self) -> Bins:
        """The non-empty bins, narrowed to the exact peak."""
        lows, highs, counts = [], [], []
        steps = np.arange(PER_OCTAVE + 1) / PER_OCTAVE
        for exponent in sorted(self._rows):
            row = self._rows[exponent]
            edges = (1.0 + steps) * 2.0 ** (exponent - 127)
            filled = np.flatnonzero(row)
            lows.append(edges[filled])
            highs.append(edges[filled + 1])
            counts.append(row[filled].astype(np.float64))
        if not counts:
            return Bins(np.zeros(0), np.zeros(0), np.zeros(0), float(self.zeros), self.peak)
        low, high = np.concatenate(lows), np.minimum(np.concatenate(highs), self.peak)
        if 0 < self.minimum == self.maximum or self.minimum == self.maximum < 0:
            low = high.copy()  # one value only: its bin is a point
        return Bins(np.minimum(low, high), high, np.concatenate(counts), float(self.zeros), self.peak)

    def record(self) -> HistogramRecord:
        """The stored form; octaves far below the peak are stored as zeros."""
        rows = dict(self._rows)
        zeros = self.zeros
        for exponent in sorted(rows)[:-STORED_OCTAVES]:
            zeros += int(rows.pop(exponent).sum())
        packed = {e: base64.b64encode(zlib.compress(rows[e].astype("<u8").tobytes(), 9)).decode() for e in sorted(rows)}
        return HistogramRecord(
            values=self.values,
            sampled=self.sampled,
            zeros=zeros,
            minimum=self.minimum if self.values else 0.0,
            maximum=self.maximum if self.values else 0.0,
            mean=self.mean,
            rows=packed,
        )

    @staticmethod
    def from_record(record: HistogramRecord) -> Histogram:
        """Read the stored form back.

        Raises:
            BadInputError: the record contradicts itself.
        """
        histogram = Histogram()
        histogram.values, histogram.sampled, histogram.zeros = record.values, record.sampled, record.zeros
        if record.values:
            histogram.minimum, histogram.maximum = record.minimum, record.maximum
        histogram._sum = record.mean * record.sampled
        histogram._rows = {int(e): _unpack(text) for e, text in record.rows.items()}
        counted = sum(int(row.sum()) for row in histogram._rows.values()) + histogram.zeros
        finite = np.isfinite([record.minimum, record.maximum, record.mean]).all()
        if counted != record.sampled or not finite or record.minimum > record.maximum:
            raise BadInputError("a calibration record contradicts itself", remedy="Calibrate again.")
        return histogram


def merged(histograms: Iterable[Histogram]) -> Histogram:
    """One histogram of everything that several counted."""
    total = Histogram()
    for histogram in histograms:
        total.merge(histogram)
    return total


def _sample(flat: NDArray[np.float32], most: int) -> NDArray[np.float32]:
    """Every n-th value, n odd, so that rows of even length are not sampled in columns."""
    step = -(-flat.size // most) | 1
    return flat[::step]


def _unpack(text: str) -> NDArray[np.int64]:
    try:
        data = zlib.decompressobj().decompress(base64.b64decode(text, validate=True), PER_OCTAVE * 8 + 1)
    except (ValueError, zlib.error) as error:
        raise BadInputError("a calibration record is damaged", remedy="Calibrate again.") from error
    if len(data) != PER_OCTAVE * 8:
        raise BadInputError("a calibration record has the wrong size", remedy="Calibrate again.", size=len(data))
    return np.frombuffer(data, "<u8").astype(np.int64)
