"""A contract that does not fit its network is refused, by tensor."""

from __future__ import annotations

import pytest

from cutline.runtime.contract import Image, ModelContract, Output, State
from cutline.runtime.contract_check import compare, expected_inputs, expected_outputs
from cutline.runtime.errors import ContractError

FULL = ModelContract(
    task="matte",
    frame=Image(tensor="frame", width=8, height=4, layout="NHWC", dtype="float16"),
    plate=Image(tensor="plate", width=8, height=4),
    outputs=(Output(tensor="alpha", meaning="alpha", width=8, height=4),),
    states=(State(input="r1i", output="r1o", shape=(1, 16, 2, 4), dtype="float16"),),
    constants={"downsample_ratio": (0.5,)},
    strength="strength",
)
INPUTS = {
    "frame": ((1, 4, 8, 3), "float16"),
    "plate": ((1, 3, 4, 8), "float32"),
    "r1i": ((1, 16, 2, 4), "float16"),
    "downsample_ratio": ((1,), "float32"),
    "strength": ((1,), "float32"),
}
OUTPUTS = {"alpha": ((1, 1, 4, 8), "float32"), "r1o": ((1, 16, 2, 4), "float16")}


def test_a_network_that_fits_passes() -> None:
    assert expected_inputs(FULL) == INPUTS
    assert expected_outputs(FULL) == OUTPUTS
    compare(FULL, INPUTS, OUTPUTS | {"not read by anyone": ((7,), "int64")})


@pytest.mark.parametrize("tensor", [*INPUTS, *OUTPUTS])
def test_every_tensor_is_missed_and_measured(tensor: str) -> None:
    everything = INPUTS | OUTPUTS
    shape, kind = everything[tensor]
    gone = {name: value for name, value in everything.items() if name != tensor}
    with pytest.raises(ContractError, match=f"has no (input|output) '{tensor}'"):
        compare(FULL, {n: v for n, v in gone.items() if n in INPUTS}, {n: v for n, v in gone.items() if n in OUTPUTS})
    for other in ((shape, "int32"), ((*shape, 1), kind), ((0, *shape[1:]), kind)):
        changed = everything | {tensor: other}
        with pytest.raises(ContractError, match=f"'{tensor}' of the network is not what the contract says"):
            compare(FULL, {n: changed[n] for n in INPUTS}, {n: changed[n] for n in OUTPUTS})


def test_expected_and_found_are_shown_and_a_free_dimension_as_a_question() -> None:
    with pytest.raises(ContractError, match=r"expected='float16\[1,4,8,3\]', found='float32\[\?,4,8,3\]'") as caught:
        compare(FULL, INPUTS | {"frame": ((0, 4, 8, 3), "float32")}, OUTPUTS)
    assert caught.value.exit_code == 65


def test_an_input_that_nobody_feeds_is_refused() -> None:
    with pytest.raises(ContractError, match="'mask' is not in the contract"):
        compare(FULL, INPUTS | {"mask": ((1,), "float32")}, OUTPUTS)
