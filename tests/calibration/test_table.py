"""The calibration table: reuse, refusal, merging."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from cutline.calibration.collect import CollectOptions, collect
from cutline.calibration.placement import Policy, place
from cutline.calibration.table import (
    CalibrationTable,
    FrameRecord,
    load_table,
    make_table,
    merge_tables,
    reusable_table,
    save_table,
    table_key,
)
from cutline.calibration.thresholds import METHODS
from cutline.runtime.contract import ModelContract
from cutline.runtime.errors import BadInputError, NoInputError, StorageError

Frames = list[list[dict[str, NDArray[np.float32]]]]
OPTIONS = CollectOptions()


def _records(*numbers: int) -> tuple[FrameRecord, ...]:
    return tuple(FrameRecord(source="clip.mp4", index=n, digest=f"{n:064x}") for n in numbers)


def _table(model: onnx.ModelProto, contract: ModelContract, frames: Frames, first: int = 0) -> CalibrationTable:
    records = _records(*range(first, first + len(frames)))
    return make_table(model, contract, records, OPTIONS, collect(model, contract, frames, options=OPTIONS))


@pytest.fixture(scope="module")
def table(unet: onnx.ModelProto, contract: ModelContract, frames: Frames) -> CalibrationTable:
    return _table(unet, contract, frames)


def test_a_saved_table_comes_back_and_leaves_no_part_file(
    table: CalibrationTable, unet: onnx.ModelProto, tmp_path: Path
) -> None:
    path = tmp_path / "calibration.json"
    save_table(path, table)
    assert load_table(path, unet) == table
    assert list(tmp_path.iterdir()) == [path]


def test_a_table_of_another_model_is_refused(
    table: CalibrationTable, recurrent: onnx.ModelProto, tmp_path: Path
) -> None:
    save_table(tmp_path / "t.json", table)
    with pytest.raises(BadInputError, match="another model"):
        load_table(tmp_path / "t.json", recurrent)


def test_a_table_is_reused_only_for_just_what_made_it(
    table: CalibrationTable, unet: onnx.ModelProto, contract: ModelContract, tmp_path: Path
) -> None:
    path = tmp_path / "t.json"
    key = table_key(unet, contract, table.frames, OPTIONS)
    assert reusable_table(path, key) is None
    save_table(path, table)
    assert reusable_table(path, key) == table
    assert reusable_table(path, table_key(unet, contract, _records(99), OPTIONS)) is None
    assert reusable_table(path, table_key(unet, contract, table.frames, CollectOptions(samples=7))) is None


def test_merging_two_halves_equals_calibrating_on_all(
    table: CalibrationTable, unet: onnx.ModelProto, contract: ModelContract, frames: Frames
) -> None:
    halves = [_table(unet, contract, frames[:4]), _table(unet, contract, frames[4:], first=4)]
    both = merge_tables(*halves)
    placement = place(unet, Policy(name="test"))
    assert both.frames == table.frames
    assert both.peaks() == table.peaks()
    assert both.thresholds(placement, "mse") == table.thresholds(placement, "mse")


def test_merging_tables_that_share_a_frame_is_refused(table: CalibrationTable) -> None:
    with pytest.raises(BadInputError, match="share frames"):
        merge_tables(table, table)


def test_merging_tables_of_two_models_is_refused(table: CalibrationTable) -> None:
    with pytest.raises(BadInputError, match="different models"):
        merge_tables(table, msgspec.structs.replace(table, model="0" * 64))


@pytest.mark.parametrize("data", [b"", b"<html>", b"{}", b'{"schema": 1}', b"\xff\xfe"])
def test_a_file_that_is_no_table_is_refused(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "t.json"
    path.write_bytes(data)
    with pytest.raises(BadInputError, match="not a calibration table"):
        load_table(path)


def test_a_table_of_another_schema_is_refused(table: CalibrationTable, tmp_path: Path) -> None:
    (tmp_path / "t.json").write_bytes(msgspec.json.encode(msgspec.structs.replace(table, schema=99)))
    with pytest.raises(BadInputError, match="another version"):
        load_table(tmp_path / "t.json")


def test_a_missing_table_and_a_folder_that_is_not_there(table: CalibrationTable, tmp_path: Path) -> None:
    with pytest.raises(NoInputError):
        load_table(tmp_path / "none.json")
    with pytest.raises(StorageError):
        save_table(tmp_path / "none" / "t.json", table)


def test_tensors_of_one_scale_group_get_one_threshold(table: CalibrationTable, unet: onnx.ModelProto) -> None:
    placement = place(unet, Policy(name="test"))
    for method in METHODS:
        thresholds = table.thresholds(placement, method)
        assert thresholds.keys() == placement.groups.keys()
        assert thresholds["concat"] == thresholds["double"] == thresholds["stem.relu"]
    assert table.thresholds(placement, "max")["concat"] == max(table.peaks()[t] for t in ("double", "stem.relu"))


def test_the_report_has_a_line_per_tensor_with_every_method(table: CalibrationTable) -> None:
    lines = table.report(["image", "stem.relu"])
    assert [line.tensor for line in lines] == ["image", "stem.relu"]
    line = lines[1]
    assert set(line.thresholds) == set(METHODS)
    assert line.clipped["max"] == 0.0
    assert 0.1 < line.zeros < 0.9
    assert line.minimum == 0.0
