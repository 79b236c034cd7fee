"""One pass over the calibration frames that leaves a histogram of every activation, within a bound of memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from math import prod
from typing import TypeAlias

import numpy as np
import onnx

from cutline.calibration.graph import Graph
from cutline.calibration.histogram import Histogram
from cutline.calibration.placement import ACTIVATIONS
from cutline.calibration.runner import OrtRunner, Sequences
from cutline.runtime.contract import ModelContract
from cutline.runtime.errors import BadInputError, UsageError

__all__ = ["DEFAULTS", "CollectOptions", "Progress", "collect", "observed_tensors"]

Progress: TypeAlias = Callable[[int, int | None, str], None]  # done, of how many if known, what


@dataclass(frozen=True, slots=True, kw_only=True)
class CollectOptions:
    """Bounds of one collection."""

    samples: int = 1 << 15  # values counted per tensor and frame; extremes take every value
    memory: int = 400 << 20  # bytes of activations held at once; beyond it, tensors are collected in several passes
    threads: int = 0  # of ONNX Runtime, 0 for one per core

    def __post_init__(self) -> None:
        if self.samples < 1 or self.memory < 1 or self.threads < 0:
            raise UsageError(
                "a bound of the calibration is out of range",
                remedy="Use positive numbers.",
                samples=self.samples,
                memory=self.memory,
                threads=self.threads,
            )


DEFAULTS = CollectOptions()


def observed_tensors(model: onnx.ModelProto) -> tuple[str, ...]:
    """The float tensors whose range matters: all but what only a ReLU or Clip reads, as that fuses with its layer."""
    graph = Graph(model)
    found = []
    for tensor in graph.activations():
        readers = graph.consumers.get(tensor, [])
        fused = tensor in graph.producer and len(readers) == 1 and readers[0].op_type in ACTIVATIONS
        if tensor in graph.outputs or (readers and not fused):
            found.append(tensor)
    return tuple(found)


def collect(
    model: onnx.ModelProto,
    contract: ModelContract,
    sequences: Sequences,
    *,
    options: CollectOptions = DEFAULTS,
    progress: Progress | None = None,
) -> dict[str, Histogram]:
    """Count every observed tensor over all frames.

    Recurrent states run on within a sequence and begin anew with the next.

    Args:
        model: normalised, float32.
        sequences: can be iterated several times: once per pass.
    Raises:
        BadInputError: there are no frames, or the network produced NaN or infinity.
    """
    graph = Graph(model)
    histograms = {tensor: Histogram() for tensor in observed_tensors(model)}
    passes = _passes(graph, tuple(histograms), options.memory)
    for number, tensors in enumerate(passes, 1):
        extra = [tensor for tensor in tensors if tensor not in graph.inputs]
        runner = OrtRunner(model, contract, extra=extra, threads=options.threads)
        frames = 0
        for frames, values in enumerate(_run(runner, sequences), 1):
            for tensor in tensors:
                array = np.ascontiguousarray(values[tensor], np.float32)
                histograms[tensor].add(array, most=options.samples, name=tensor)
            if progress is not None:
                progress(frames, None, f"ranges, pass {number} of {len(passes)}" if len(passes) > 1 else "ranges")
        if not frames:
            raise BadInputError("there are no calibration frames", remedy="Give footage of the site.")
    return histograms


def _run(runner: OrtRunner, sequences: Sequences) -> Iterator[dict[str, np.ndarray]]:
    for sequence in sequences:
        runner.reset()
        for feed in sequence:
            yield {**runner.inputs(feed), **runner.run(feed)}


def _passes(graph: Graph, tensors: Sequence[str], memory: int) -> list[list[str]]:
    """Split tensors into runs of neighbours that fit the bound; one that is larger than the bound runs alone."""
    passes: list[list[str]] = [[]]
    room = memory
    for tensor in tensors:
        need = 4 * prod(graph.shape(tensor))
        if need > room and passes[-1]:
            passes.append([])
            room = memory
        passes[-1].append(tensor)
        room -= need
    return passes
