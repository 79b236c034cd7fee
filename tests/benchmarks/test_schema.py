from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest
from bench_example import example

from cutline.benchmarks.schema import STAGES, NetworkTime, decode, encode, read
from cutline.runtime.errors import BadInputError, NoInputError

# what trtexec of TensorRT 10 writes for each inference
TRTEXEC = {
    "startEnqMs", "endEnqMs", "startH2dMs", "endH2dMs", "startComputeMs", "endComputeMs", "startD2hMs", "endD2hMs",
    "h2dMs", "computeMs", "d2hMs", "latencyMs",
}  # fmt: skip


def test_a_document_comes_back_as_it_was_written() -> None:
    assert decode(encode(example()), "a.json") == example()


def test_an_inference_has_the_fields_of_trtexec() -> None:
    assert set(NetworkTime.__struct_fields__) >= TRTEXEC
    written = json.loads(encode(example()))
    assert set(written["scenarios"][0]["times"][0]) >= TRTEXEC


def test_fields_that_are_not_known_are_ignored() -> None:
    written = json.loads(encode(example()))
    written["scenarios"][0]["colour"] = "blue"
    assert decode(json.dumps(written).encode(), "a.json") == example()


def test_the_stages_of_a_frame_lie_end_to_end() -> None:
    for record in next(s for s in example().scenarios if s.kind == "paced").trace:
        spans = [s for s in record.spans if s.stage != "decode"]
        assert spans[0].start_ms == record.available_ms
        assert all(a.end_ms == b.start_ms for a, b in itertools.pairwise(spans))
        assert [s.stage for s in spans] == list(STAGES[1 : 1 + len(spans)])


@pytest.mark.parametrize(
    "data",
    [
        b"", b"no json", b"[]", b"{}", b'{"schema": 3}', b'{"schema": "cutline.bench/2"}', b'{"schema": "other"}',
        b'{"schema": "cutline.bench/1"}', b"\xff\xfe", b"[" * 100_000,
    ],
)  # fmt: skip
def test_what_is_no_result_is_bad_data(data: bytes) -> None:
    with pytest.raises(BadInputError, match=r"a\.json"):
        decode(data, "a.json")


def test_another_schema_is_named() -> None:
    with pytest.raises(BadInputError, match=r"cutline\.bench/2"):
        decode(b'{"schema": "cutline.bench/2"}', "a.json")


def test_a_missing_file_is_no_input(tmp_path: Path) -> None:
    with pytest.raises(NoInputError, match=r"gone\.json"):
        read(tmp_path / "gone.json")
