"""Calibrating: frames in, table out, and nothing done twice."""

from __future__ import annotations

from pathlib import Path

import onnx

from cutline.calibration.collect import DEFAULTS, CollectOptions, Progress, collect
from cutline.calibration.feeds import Feeds
from cutline.calibration.frames import FrameSet
from cutline.calibration.table import CalibrationTable, make_table, reusable_table, save_table, table_key
from cutline.runtime.contract import ModelContract

__all__ = ["calibrate"]


def calibrate(
    model: onnx.ModelProto,
    contract: ModelContract,
    frames: FrameSet,
    *,
    path: Path | None = None,
    options: CollectOptions = DEFAULTS,
    progress: Progress | None = None,
) -> CalibrationTable:
    """Collect the range of every tensor, or take the table at `path` when it was made from just these things.

    Args:
        model: normalised, float32.
        path: where the table is kept; None keeps it in memory only.
    Raises:
        BadInputError: the file at `path` is no calibration table, or the network produced NaN or infinity.
        StorageError: the table cannot be written.
    """
    feeds = Feeds(frames, "calibration", contract)
    records = feeds.records()
    if path is not None:
        known = reusable_table(path, table_key(model, contract, records, options))
        if known is not None:
            return known
    total = frames.count("calibration") * frames.run_length
    table = make_table(
        model,
        contract,
        records,
        options,
        collect(model, contract, feeds, options=options, progress=_with_total(progress, total)),
    )
    if path is not None:
        save_table(path, table)
    return table


def _with_total(progress: Progress | None, total: int) -> Progress | None:
    if progress is None:
        return None
    return lambda done, _, text: progress(done, total, text)
