"""The body of `cutline build`: words to options, findings to stderr, the result to stdout."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from cutline.engine.build import BuildOptions
from cutline.engine.progress import Progress
from cutline.runtime.contract import Image, ModelContract, Output
from cutline.runtime.errors import CutlineError, UsageError
from cutline.runtime.manifest import Manifest, Member, Target
from cutline.tools import cli_build
from cutline.tools.cli_build import BuildRequest, parse_shapes, run_build

MANIFEST = Manifest(
    name="mine",
    version=3,
    created="2026-11-21T00:00:00Z",
    licence="MIT",
    contract=ModelContract(
        task="matte",
        frame=Image(tensor="x", width=8, height=8),
        outputs=(Output(tensor="a", meaning="alpha", width=8, height=8),),
    ),
    targets=(Target(kind="tensorrt-rtx", precision="fp16", member="e", device="sm89"),),
    members=(Member(name="e", size=1, sha256="0" * 64),),
)


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[BuildOptions]:
    """What the engine was asked for; it says one line and finishes one stage."""
    seen: list[BuildOptions] = []

    def build(options: BuildOptions, progress: Progress) -> Manifest:
        seen.append(options)
        progress.say("family: U2Net [not markup]")
        progress.step("proof", 0.5)
        progress.step("proof", 1.0)
        return MANIFEST

    monkeypatch.setattr(cli_build, "build", build)
    return seen


def test_words_become_options(asked: list[BuildOptions]) -> None:
    run_build(
        BuildRequest(
            source="m.onnx",
            output="o.cutline",
            target="openvino,tensorrt-rtx:sm86,sm89",
            precision="int8",
            calib=["a.mp4", "b"],
            budget=0.003,
            shape=["src=1x3x288x512", "input_1:0=1x2"],
            level=4,
            workspace=512,
        )
    )
    (options,) = asked
    assert [str(t) for t in options.targets] == ["openvino", "tensorrt-rtx:sm86", "tensorrt-rtx:sm89"]
    assert (options.precision, options.calib, options.budget) == ("int8", ("a.mp4", "b"), 0.003)
    assert options.shapes == {"src": (1, 3, 288, 512), "input_1:0": (1, 2)}
    assert (options.plan.level, options.plan.workspace_mib) == (4, 512)
    assert options.output == Path("o.cutline")


@pytest.mark.usefixtures("asked")
def test_findings_go_to_stderr_and_the_result_to_stdout(capsys: pytest.CaptureFixture[str]) -> None:
    run_build(BuildRequest(source="m.onnx", output="o.cutline"))
    said = capsys.readouterr()
    assert said.out == "o.cutline: mine version 3; tensorrt-rtx:sm89 fp16\n"
    assert "cutline: family: U2Net [not markup]" in said.err
    assert said.err.count("proof: done") == 1


@pytest.mark.usefixtures("asked")
def test_json_is_one_document_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    run_build(BuildRequest(source="m.onnx", output="o.cutline", json=True))
    document = json.loads(capsys.readouterr().out)
    assert document["manifest"]["version"] == 3


@pytest.mark.parametrize(
    "words",
    [
        {"output": None},
        {"output": None, "explain": "conv_1"},
        {"target": "cuda"},
        {"precision": "int4"},
        {"shape": ["src"]},
        {"shape": ["=1x2"]},
        {"shape": ["src=1x"]},
        {"level": 6},
        {"workspace": 0},
        {"budget": 2.0},
    ],
)
def test_words_that_make_no_sense_are_usage_errors(asked: list[BuildOptions], words: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        run_build(BuildRequest(**{"source": "m.onnx", "output": "o.cutline", **words}))
    assert not asked


def test_a_shape_keeps_the_equals_signs_of_a_name() -> None:
    assert parse_shapes(["a=b=1x2"]) == {"a=b": (1, 2)}


def test_explaining_a_layer_of_a_bundle_builds_nothing(asked: list[BuildOptions], tmp_path: Path) -> None:
    with pytest.raises(CutlineError) as caught:
        run_build(BuildRequest(source=str(tmp_path / "none.cutline"), explain="conv_1"))
    assert caught.value.exit_code == 66
    assert not asked
