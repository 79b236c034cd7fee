"""What --target and --precision may say."""

from __future__ import annotations

import pytest

from cutline.engine.targets import CUDA_DEVICES, RTX_DEVICES, parse_precision, parse_targets
from cutline.runtime.errors import UsageError


def test_capabilities_belong_to_the_target_before_them() -> None:
    found = [str(t) for t in parse_targets("tensorrt-rtx:sm86,sm89,openvino,tensorrt")]
    assert found == ["tensorrt-rtx:sm86", "tensorrt-rtx:sm89", "openvino", "tensorrt"]
    assert [str(t) for t in parse_targets("openvino,cuda:sm87,sm110")] == ["openvino", "cuda:sm87", "cuda:sm110"]


def test_a_target_named_twice_is_built_once() -> None:
    assert len(parse_targets("openvino, openvino,tensorrt-rtx:sm75,sm75")) == 2


@pytest.mark.parametrize(
    "text",
    [
        "",
        "cuda",
        "sm86",
        "openvino,sm86",
        "tensorrt-rtx",
        "tensorrt-rtx:sm90",
        "tensorrt-rtx:sm86,sm1",
        "openvino:cpu",
        "cuda:sm60",
        "cuda:",
    ],
)
def test_what_is_not_a_target_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError):
        parse_targets(text)


def test_six_capabilities_are_offered_and_kernels_for_all_of_them() -> None:
    assert len(RTX_DEVICES) == 6
    assert set(RTX_DEVICES) < set(CUDA_DEVICES)


def test_precisions() -> None:
    assert parse_precision("auto") == "auto"
    with pytest.raises(UsageError):
        parse_precision("int4")
