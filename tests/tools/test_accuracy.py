"""`verify` runs the accuracy gate again, on the frames that travel in the bundle."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from cutline.engine import keys
from cutline.engine.pack import write_bundle
from cutline.engine.patterns import pattern_sequences
from cutline.engine.proof_set import ProofSet, quantised, write_proof_set
from cutline.runtime.bundle import open_bundle
from cutline.runtime.contract import Image, ModelContract, Output, State
from cutline.runtime.errors import BadInputError
from cutline.runtime.manifest import Target
from cutline.tools.accuracy import judge, proof_of
from cutline.tools.cli_bundle import verify_bundle

CONTRACT = ModelContract(
    task="matte",
    frame=Image(tensor="image", width=16, height=8),
    outputs=(Output(tensor="alpha", meaning="alpha", width=16, height=8),),
    states=(State(input="old", output="new", shape=(1, 1, 8, 16)),),
)
TARGET = Target(kind="openvino", precision="fp32", member="source.onnx", proven=True)


@pytest.fixture(autouse=True)
def _own_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("CACHE", "CONFIG", "DATA", "STATE"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(tmp_path / name.lower()))


def network() -> bytes:
    """alpha = mean of the channels, half of it from the frame before."""
    weight = numpy_helper.from_array(np.full((1, 3, 1, 1), 1 / 6, np.float32), "w")
    half = numpy_helper.from_array(np.array(0.5, np.float32), "half")
    nodes = [
        helper.make_node("Conv", ["image", "w"], ["now"]),
        helper.make_node("Mul", ["old", "half"], ["before"]),
        helper.make_node("Add", ["now", "before"], ["alpha"]),
        helper.make_node("Identity", ["alpha"], ["new"]),
    ]
    shapes = {"image": (1, 3, 8, 16), "old": (1, 1, 8, 16), "alpha": (1, 1, 8, 16), "new": (1, 1, 8, 16)}
    values = {n: helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in shapes.items()}
    graph = helper.make_graph(
        nodes, "g", [values["image"], values["old"]], [values["alpha"], values["new"]], [weight, half]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


def bundle(path: Path, *, error: float = 0.0, with_proof: bool = True) -> Path:
    sequences = quantised(pattern_sequences(CONTRACT), CONTRACT)
    wanted = []
    for sequence in sequences:
        state = np.zeros((8, 16), np.float32)
        for feed in sequence:
            state = feed["image"][0].mean(axis=0) / 2 + state / 2
            wanted.append(np.clip(state + np.float32(error), 0, 1))
    proof = ProofSet(sequences=sequences, wanted=wanted, source="patterns", budget=0.005)
    members: dict[str, Any] = {"source.onnx": network()}
    write_bundle(
        path,
        name="small",
        version=1,
        created="2026-11-21T00:00:00Z",
        licence="none",
        contract=CONTRACT,
        members=members | (write_proof_set(proof, CONTRACT) if with_proof else {}),
        targets=[TARGET],
        key=keys.machine_key(),
    )
    return path


def test_the_gate_is_run_with_states_carried_within_each_sequence(tmp_path: Path) -> None:
    with open_bundle(bundle(tmp_path / "a.cutline")) as opened:
        proof = proof_of(opened)
        assert proof is not None
        accuracy = judge(opened, TARGET, proof)
    assert accuracy.frames == 16
    assert accuracy.alpha_mad is not None
    assert accuracy.alpha_mad < 1e-4


def test_an_engine_that_gives_other_mattes_fails_verification(tmp_path: Path) -> None:
    path = bundle(tmp_path / "a.cutline", error=0.02)
    with pytest.raises(BadInputError, match="accuracy gate"):
        verify_bundle(str(path))


def test_a_bundle_without_proof_frames_says_so(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    verify_bundle(str(bundle(tmp_path / "a.cutline", with_proof=False)), as_json=True)
    assert "carries no proof frames" in capsys.readouterr().out


def test_verification_needs_neither_onnx_nor_onnx_runtime() -> None:
    code = (
        "import sys\n"
        "for name in ('onnx', 'onnxruntime', 'onnxslim', 'polygraphy', 'torch'): sys.modules[name] = None\n"
        "import cutline.tools.cli_bundle\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
