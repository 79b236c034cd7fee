"""`cutline inspect` and `cutline verify`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from onnx import TensorProto, helper, numpy_helper

from cutline.engine import keys
from cutline.runtime.contract import Image, ModelContract, Output, State
from cutline.runtime.errors import BundleError, ContractError, TrustError
from cutline.runtime.kernels.cuda_sources import sources_digest
from cutline.runtime.manifest import Cubin, KernelFigures, Target
from cutline.tools import cli_bundle
from cutline.tools.cli_bundle import Finding, in_words, inspect_bundle, verify_bundle


def network(output: str = "alpha") -> bytes:
    weight = numpy_helper.from_array(np.ones((1, 3, 1, 1), np.float32), "weight")
    frame = helper.make_tensor_value_info("frame", TensorProto.FLOAT, (1, 3, 16, 32))
    alpha = helper.make_tensor_value_info(output, TensorProto.FLOAT, (1, 1, 16, 32))
    nodes = [helper.make_node("Conv", ["frame", "weight"], [output])]
    opset = [helper.make_opsetid("", 17)]
    graph = helper.make_graph(nodes, "g", [frame], [alpha], [weight])
    return helper.make_model(graph, opset_imports=opset, ir_version=8).SerializeToString()


@pytest.fixture
def bundle(pack: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundle of this machine with one network that runs here and one that does not."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv("COLUMNS", "200")
    targets = [
        Target(kind="openvino", precision="fp32", member="source.onnx", proven=True, facts={"ms": 1.25}),
        Target(kind="tensorrt-rtx", precision="int8", member="engines/sm86.plan", device="sm86"),
    ]
    pack(
        tmp_path / "a.cutline",
        key=keys.machine_key(),
        members={"source.onnx": network(), "engines/sm86.plan": b"plan"},
        targets=targets,
        accuracy={"alpha MAD": 0.00123456789, "frames": {"count": 12}},
        provenance={"note": "[bold]made\x1b[2J in a test\x9b"},
    )
    return tmp_path / "a.cutline"


def test_inspect_shows_people_what_is_inside(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    inspect_bundle(str(bundle))
    shown = capsys.readouterr().out
    for text in (
        *(
            "small, version 1",
            "Apache-2.0",
            "(machine)",
            "32x16 RGB",
            "alpha out of 'alpha'",
            "fp32",
            "sm86",
            "ms 1.25",
        ),
        *("alpha MAD", "0.00123457", "frames.count", "12", "engines/sm86.plan", "4 B", "not run"),
        r"[bold]made\x1b[2J in a test\x9b",  # a stranger's text is shown, not obeyed
    ):
        assert text in shown, text
    assert "\x1b" not in shown


def test_inspect_shows_the_kernels_for_each_gpu(pack: Any, bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    inspect_bundle(str(bundle))
    assert "CUDA kernels" not in capsys.readouterr().out
    figures = {
        "cutline_pre": KernelFigures(registers=78, spilled_bytes=0, stack_bytes=0, shared_bytes=9216),
        "cutline_post_blur": KernelFigures(registers=80, spilled_bytes=44, stack_bytes=16, shared_bytes=0),
    }
    cubins = [
        Cubin(device=device, member=f"cubins/{device}.cubin", source="0" * 64, toolkit=(12, 9), kernels=figures)
        for device in ("sm86", "sm87")
    ]
    members = {"source.onnx": network(), **{c.member: bytes(2048) for c in cubins}}
    pack(bundle, key=keys.machine_key(), members=members, cubins=cubins)
    inspect_bundle(str(bundle))
    shown = capsys.readouterr().out
    for text in ("CUDA kernels", "sm86", "sm87", "2.0 KiB", "CUDA 12.9", "80", "cutline_post_blur"):
        assert text in shown, text
    inspect_bundle(str(bundle), as_json=True)
    found = json.loads(capsys.readouterr().out)["manifest"]["cubins"][0]["kernels"]["cutline_pre"]
    assert found == {"registers": 78, "spilled_bytes": 0, "stack_bytes": 0, "shared_bytes": 9216}


def test_verify_says_whether_the_kernels_are_of_this_version(
    pack: Any, bundle: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cubins = [
        Cubin(device="sm86", member="cubins/sm86.cubin", source=sources_digest(), toolkit=(12, 9)),
        Cubin(device="sm87", member="cubins/sm87.cubin", source="0" * 64, toolkit=(12, 9)),
    ]
    members = {"source.onnx": network(), **{c.member: b"elf" for c in cubins}}
    pack(bundle, key=keys.machine_key(), members=members, cubins=cubins)
    verify_bundle(str(bundle), as_json=True)
    checks = {check["subject"]: check for check in json.loads(capsys.readouterr().out)["checks"]}
    assert checks["CUDA kernels sm86"]["result"] == "passed"
    assert checks["CUDA kernels sm87"]["result"] == "not run"
    assert "another version" in checks["CUDA kernels sm87"]["detail"]


def test_inspect_gives_programs_one_document(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    inspect_bundle(str(bundle), as_json=True)
    out = capsys.readouterr().out
    assert out.isascii()
    document = json.loads(out)
    assert document["manifest"]["accuracy"]["frames"] == {"count": 12}
    assert document["signer"]["origin"] == "machine"
    assert document["bytes"] == bundle.stat().st_size


def test_inspect_says_when_nobody_signed(pack: Any, bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pack(bundle, key=None)
    with pytest.raises(TrustError):
        inspect_bundle(str(bundle))
    inspect_bundle(str(bundle), allow_unsigned=True)
    assert "this bundle is not signed" in capsys.readouterr().out


def test_the_contract_is_told_in_words() -> None:
    contract = ModelContract(
        task="matte",
        frame=Image(tensor="src", width=8, height=4, layout="NHWC", order="BGR", dtype="uint8"),
        plate=Image(tensor="bgr", width=8, height=4),
        outputs=(Output(tensor="c", meaning="classes", width=8, height=4, channels=2, foreground_channels=(1,)),),
        states=(State(input="r1i", output="r1o", shape=(1, 16, 2, 4)),),
        constants={"ratio": (0.5,)},
        strength="s",
    )
    assert in_words(contract) == [
        "frame in 'src', 8x4 BGR, uint8 NHWC",
        "clean plate in 'bgr', 8x4 RGB, float32 NCHW",
        "alpha (classes [1] of 2) out of 'c', 8x4",
        "state 'r1i' comes from 'r1o', float32[1, 16, 2, 4]",
        "'ratio' is always [0.5]",
        "strength in 's'",
    ]


def test_verify_runs_what_can_run_here_and_says_what_cannot(bundle: Path, capsys: pytest.CaptureFixture[str]) -> None:
    verify_bundle(str(bundle), as_json=True)
    checks = json.loads(capsys.readouterr().out)["checks"]
    assert [(c["subject"], c["result"]) for c in checks] == [
        ("signature", "passed"),
        ("digests", "passed"),
        ("openvino fp32", "passed"),
        ("tensorrt-rtx int8 sm86", "not run"),
        ("accuracy", "not run"),
    ]
    assert "(machine)" in checks[0]["detail"]
    verify_bundle(str(bundle))
    assert "fits its contract on cpu" in capsys.readouterr().out


def test_verify_refuses_a_network_that_does_not_fit(pack: Any, bundle: Path) -> None:
    pack(bundle, key=keys.machine_key(), members={"source.onnx": network("mask")})
    with pytest.raises(ContractError, match="no output 'alpha'"):
        verify_bundle(str(bundle))


def test_verify_refuses_a_network_that_is_none(pack: Any, bundle: Path) -> None:
    pack(bundle, key=keys.machine_key(), members={"source.onnx": b"<html>"})
    with pytest.raises(BundleError, match="cannot read the network"):
        verify_bundle(str(bundle))


def test_verify_refuses_a_stranger(pack: Any, bundle: Path) -> None:
    pack(bundle, key=Ed25519PrivateKey.generate())
    with pytest.raises(TrustError):
        verify_bundle(str(bundle))


def test_verify_says_what_a_further_check_found(
    bundle: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    gate = Finding(subject="accuracy", result="passed", detail="alpha MAD 0.001 of 0.005")
    monkeypatch.setattr(cli_bundle, "CHECKS", (*cli_bundle.CHECKS, lambda _: [gate]))
    verify_bundle(str(bundle))
    assert "alpha MAD 0.001 of 0.005" in capsys.readouterr().out
