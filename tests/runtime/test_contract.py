from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cutline.runtime.contract import Image, ModelContract, Output, State, contract_from_json, contract_to_json
from cutline.runtime.errors import ContractError

sides = st.integers(1, 4096)
names = st.text(min_size=1, max_size=8)


@given(sides, sides, st.sampled_from(["NCHW", "NHWC"]), st.sampled_from(["float32", "int8"]), st.floats(0.01, 9))
def test_a_contract_survives_its_json(width: int, height: int, layout: Any, dtype: Any, std: float) -> None:
    contract = ModelContract(
        task="matte",
        frame=Image(tensor="x", width=width, height=height, layout=layout, dtype=dtype, std=(std, std, std)),
        outputs=(
            Output(tensor="y", meaning="classes", width=width, height=height, channels=2, foreground_channels=(1,)),
        ),
        states=(State(input="a", output="b", shape=(1, 2)),),
        constants={"ratio": (0.25,)},
    )
    assert contract_from_json(contract_to_json(contract)) == contract


def test_shapes_follow_the_layout() -> None:
    assert Image(tensor="x", width=4, height=2).shape == (1, 3, 2, 4)
    assert Image(tensor="x", width=4, height=2, layout="NHWC").shape == (1, 2, 4, 3)
    assert Output(tensor="y", meaning="alpha", width=4, height=2).shape == (1, 1, 2, 4)


BAD: list[tuple[str, dict[str, Any]]] = [
    ("range", {"frame": {"tensor": "x", "width": 0, "height": 4}}),
    ("positive", {"frame": {"tensor": "x", "width": 4, "height": 4, "std": [1, 0, 1]}}),
    ("exactly one output", {"outputs": []}),
    ("three channels", {"outputs": [{"tensor": "y", "meaning": "foreground", "width": 4, "height": 4}]}),
    ("share a tensor", {"plate": {"tensor": "x", "width": 4, "height": 4}}),
    (
        "channels that the output does not have",
        {"outputs": [{"tensor": "y", "meaning": "alpha", "width": 4, "height": 4, "foreground_channels": [1]}]},
    ),
    ("unknown field", {"sparkle": 1}),
    ("Expected `str`", {"frame": {"tensor": 5, "width": 4, "height": 4}}),
]


@pytest.mark.parametrize(("said", "change"), BAD, ids=[case[0] for case in BAD])
def test_a_contract_that_cannot_hold_is_refused(said: str, change: dict[str, Any]) -> None:
    import json

    plain = {
        "task": "matte",
        "frame": {"tensor": "x", "width": 4, "height": 4},
        "outputs": [{"tensor": "y", "meaning": "alpha", "width": 4, "height": 4}],
    }
    with pytest.raises(ContractError, match=said):
        contract_from_json(json.dumps(plain | change).encode())


def test_inputs_and_outputs_are_named_completely() -> None:
    contract = ModelContract(
        task="matte",
        frame=Image(tensor="src", width=4, height=4),
        outputs=(
            Output(tensor="fgr", meaning="foreground", width=4, height=4, channels=3),
            Output(tensor="pha", meaning="alpha", width=4, height=4),
        ),
        states=(State(input="r1i", output="r1o", shape=(1, 1)),),
        constants={"downsample_ratio": (0.25,)},
    )
    assert contract.input_names == ("src", "r1i", "downsample_ratio")
    assert contract.output_names == ("fgr", "pha", "r1o")
    assert contract.primary.tensor == "pha"
