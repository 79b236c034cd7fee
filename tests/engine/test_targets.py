"""What --target and --precision may say."""

from __future__ import annotations

import pytest

from cutline.engine.targets import RTX_DEVICES, parse_precision, parse_targets
from cutline.runtime.errors import UsageError


def test_capabilities_belong_to_the_target_before_them() -> None:
    found = [str(t) for t in parse_targets("tensorrt-rtx:sm86,sm89,openvino,tensorrt")]
    assert found == ["tensorrt-rtx:sm86", "tensorrt-rtx:sm89", "openvino", "tensorrt"]


def test_a_target_named_twice_is_built_once() -> None:
    assert len(parse_targets("openvino, openvino,tensorrt-rtx:sm75,sm75")) == 2


@pytest.mark.parametrize(
    "text",
    ["", "cuda", "sm86", "openvino,sm86", "tensorrt-rtx", "tensorrt-rtx:sm90", "tensorrt-rtx:sm86,sm1", "openvino:cpu"],
)
def test_what_is_not_a_target_is_a_usage_error(text: str) -> None:
    with pytest.raises(UsageError):
        parse_targets(text)


def test_six_capabilities_are_offered() -> None:
    assert len(RTX_DEVICES) == 6


def test_precisions() -> None:
    assert parse_precision("auto") == "auto"
    with pytest.raises(UsageError):
        parse_precision("int4")
