"""The whole build: what comes out, what is kept, what is refused, and that a failure changes nothing."""

from __future__ import annotations

import importlib.util
import re
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import cv2
import msgspec
import numpy as np
import onnx
import pytest
import small_models
from numpy.typing import NDArray

from cutline.calibration.runner import OrtRunner
from cutline.engine import build as build_module
from cutline.engine import cubins, keys, latency, patterns
from cutline.engine import evidence as evidence_module
from cutline.engine.build import BuildOptions, build
from cutline.engine.choose import GateError
from cutline.engine.explain import explain
from cutline.engine.nvrtc import find_compilers
from cutline.engine.pack import write_bundle
from cutline.engine.proof_set import read_proof_set
from cutline.engine.targets import RTX_DEVICES, parse_targets
from cutline.runtime.bundle import open_bundle
from cutline.runtime.errors import CutlineError, DeviceError, OutputError, UsageError
from cutline.runtime.kernels.cuda_sources import sources_digest
from cutline.runtime.manifest import Manifest, Target

# an engine for a GPU comes with the kernels for it
HAVE_RTX = importlib.util.find_spec("tensorrt_rtx") is not None and bool(find_compilers())
needs_rtx = pytest.mark.skipif(not HAVE_RTX, reason="needs tensorrt-rtx and nvidia-cuda-nvrtc")
FOLDER = "alices-shelf"  # holds the footage; nobody who gets the bundle may learn of it
BUDGET = 0.03  # the small network's sigmoid is steep


def time_shortly(patch: pytest.MonkeyPatch) -> None:
    """On a machine that is free, whatever else runs beside the tests."""
    clocks = latency.Clocks(cpus=lambda: latency.CpuTimes(time.perf_counter(), 0.0))
    patch.setattr(evidence_module, "measure", partial(latency.measure, rounds=2, round_s=0.01, clocks=clocks))


@pytest.fixture(autouse=True)
def _short_timing(monkeypatch: pytest.MonkeyPatch) -> None:
    time_shortly(monkeypatch)


@pytest.fixture(scope="module", autouse=True)
def _small_kernel() -> Iterator[None]:
    """A kernel that compiles at once; the real ones are compiled in test_cubins.py."""
    with pytest.MonkeyPatch.context() as patch:
        text = b'extern "C" __global__ void cutline_pre(int* p) { *p = 1; }'
        patch.setattr(cubins, "read_sources", lambda: {cubins.MAIN: text})
        yield


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One cache, one key and one folder for the tests of this file: what is built once is not built again."""
    return tmp_path_factory.mktemp("home")


@pytest.fixture(autouse=True)
def _home(home: Path, monkeypatch: pytest.MonkeyPatch, _own_cache: None) -> None:
    for name in ("CACHE", "DATA", "STATE", "CONFIG"):
        monkeypatch.setenv(f"XDG_{name}_HOME", str(home / name.lower()))


@pytest.fixture(scope="module")
def footage(home: Path) -> Path:
    """Forty pictures that differ."""
    folder = home / FOLDER
    folder.mkdir()
    for number in range(40):
        _, picture = patterns._scene(96, 64, number, 0.5)
        cv2.imwrite(str(folder / f"{number:02}.png"), np.rint(picture[..., ::-1] * 255))
    return folder


@pytest.fixture(scope="module")
def model(home: Path) -> Path:
    exported = small_models.luma_matte()
    exported.graph.node[0].metadata_props.add(key="stack_trace", value=f"File /home/{FOLDER}/train.py, line 7")
    exported.graph.initializer[0].doc_string = f"/home/{FOLDER}/checkpoint.pt"
    return small_models.save(exported, home, "luma.onnx")


class Listener:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)

    def step(self, stage: str, fraction: float | None) -> None: ...


def made(source: Path, output: Path, target: str = "openvino", **options: Any) -> tuple[Manifest, list[str]]:
    listener = Listener()
    options.setdefault("budget", BUDGET)
    return build(
        BuildOptions(source=source, output=output, targets=parse_targets(target), **options), listener
    ), listener.lines


@pytest.fixture(scope="module")
def whole(home: Path, model: Path, footage: Path) -> Path:
    """A bundle with everything: calibrated, for the CPU, and for a GPU where that can be built here."""
    with pytest.MonkeyPatch.context() as patch:
        for name in ("CACHE", "DATA", "STATE", "CONFIG"):
            patch.setenv(f"XDG_{name}_HOME", str(home / name.lower()))
        time_shortly(patch)
        target = "openvino,tensorrt-rtx:sm89" if HAVE_RTX else "openvino"
        made(model, home / "whole.cutline", target, calib=(str(footage),))
    return home / "whole.cutline"


def test_the_bundle_carries_source_table_proof_and_report(whole: Path) -> None:
    with open_bundle(whole) as bundle:
        names = {m.name for m in bundle.manifest.members}
        assert {"source.onnx", "calibration.json", "report.html", "proof/index.json"} <= names
        assert bundle.manifest.accuracy is not None
        assert bundle.manifest.accuracy["frames_from"] == "footage"
        assert {t.kind for t in bundle.manifest.targets} >= {"openvino"}
        for target in bundle.manifest.targets:
            assert target.proven == (target.kind == "openvino")
            assert target.facts["alpha_mad"] <= BUDGET


def test_no_folder_of_the_machine_that_built_it_travels(whole: Path, home: Path) -> None:
    packed = whole.read_bytes()  # members are stored as they are
    for place in (FOLDER, str(home), tempfile.gettempdir(), str(Path(__file__).parents[2])):
        assert place.encode() not in packed, place
    with open_bundle(whole) as bundle:
        assert bundle.manifest.calibration is not None
        assert bundle.manifest.calibration["sources"] == ["pictures"]


@needs_rtx
def test_a_gpu_that_is_absent_gets_half_first_and_int8_beside_it(whole: Path) -> None:
    with open_bundle(whole) as bundle:
        gpu = [t for t in bundle.manifest.targets if t.kind == "tensorrt-rtx"]
        assert [t.precision for t in gpu] == ["fp16", "int8"]
        assert [t.member for t in gpu] == [f"engines/tensorrt-rtx/sm89-{p}.plan" for p in ("fp16", "int8")]
        assert all(t.facts["engine"] == "not run" for t in gpu)
        typed = onnx.ModelProto.FromString(bundle.read("graphs/int8.onnx"))
        assert "QuantizeLinear" in {node.op_type for node in typed.graph.node}


@needs_rtx
def test_an_engine_for_a_gpu_comes_with_the_kernels_for_it(whole: Path) -> None:
    with open_bundle(whole) as bundle:
        (cubin,) = bundle.manifest.cubins
        assert (cubin.device, cubin.member, cubin.source) == ("sm89", "cubins/sm89.cubin", sources_digest())
        assert bundle.read(cubin.member).startswith(b"\x7fELF")
        assert cubin.kernels["cutline_pre"].registers > 0


@needs_rtx
def test_kernels_are_added_for_gpus_that_are_named(whole: Path, home: Path) -> None:
    manifest, lines = made(whole, home / "kernels.cutline", "openvino,cuda:sm87,sm75")
    assert [c.device for c in manifest.cubins] == ["sm75", "sm87"]
    assert {t.kind for t in manifest.targets} == {"openvino"}
    assert any(line.startswith("kernels for sm87") for line in lines)


@needs_rtx
def test_kernels_travel_on_to_where_no_compiler_is(whole: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cubins, "find_compilers", list)
    manifest, _ = made(whole, home / "carried.cutline", "openvino,cuda:sm89")
    with open_bundle(whole) as bundle:
        assert manifest.cubins == bundle.manifest.cubins
    with pytest.raises(DeviceError, match="NVRTC is not installed"):
        made(whole, home / "missing.cutline", "openvino,cuda:sm75")
    assert not (home / "missing.cutline").exists()


def test_kernels_alone_are_no_bundle(model: Path, home: Path) -> None:
    with pytest.raises(UsageError, match="alone run no network"):
        made(model, home / "kernels-only.cutline", "cuda:sm89")


def test_the_report_needs_nothing_but_itself(whole: Path) -> None:
    page = whole.with_suffix(".report.html").read_text()
    assert not re.search(r"<script|https?://|<link|@import|src=\"(?!data:)", page)
    for heading in ("Accuracy", "Latency", "Worst frames", "Sensitivity", "Precision of each layer", "Calibration"):
        assert f"<h2>{heading}</h2>" in page
    assert page.count("<figure>") == 4 * 6
    with open_bundle(whole) as bundle:
        assert bundle.read("report.html").decode() == page


def test_proof_frames_give_the_mattes_that_are_stored_with_them(whole: Path) -> None:
    with open_bundle(whole) as bundle:
        contract = bundle.manifest.contract
        members = {m.name: bundle.read(m.name) for m in bundle.manifest.members if m.name.startswith("proof/")}
        proof = read_proof_set(members, contract)
        source = onnx.ModelProto.FromString(bundle.read("source.onnx"))
    assert proof is not None
    assert proof.source == "footage"
    runner = OrtRunner(source, contract, threads=1)
    for sequence, wanted in zip(proof.sequences, proof.wanted, strict=True):
        found = runner.run(sequence[0])["alpha"][0, 0]
        np.testing.assert_allclose(found, wanted, atol=1e-4)


def test_the_second_build_measures_nothing(
    whole: Path, model: Path, footage: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("prove", "measure", "ort_runner"):
        monkeypatch.setattr(evidence_module, name, None)
    with open_bundle(whole) as bundle:
        first = bundle.manifest
    target = "openvino,tensorrt-rtx:sm89" if HAVE_RTX else "openvino"
    second, _ = made(
        model, home / "again.cutline", target, calib=(str(footage),), created=first.created, name=first.name
    )
    assert msgspec.json.encode(second, order="sorted") == msgspec.json.encode(first, order="sorted")


def test_a_bundle_alone_is_enough_to_build_for_another_target(whole: Path, home: Path) -> None:
    target = "tensorrt-rtx:sm75" if HAVE_RTX else "openvino"
    rebuilt, lines = made(whole, home / "rebuilt.cutline", target)
    assert rebuilt.name == "whole"
    assert any("signature and digests checked" in line for line in lines)
    assert rebuilt.accuracy is not None
    assert rebuilt.accuracy["frames_from"] == "footage"
    assert "int8" in {t.precision for t in rebuilt.targets} or target == "openvino"
    assert {m.name for m in rebuilt.members} >= {"calibration.json", "proof/index.json"}


def test_a_layer_s_precision_can_be_explained(whole: Path) -> None:
    with open_bundle(whole) as bundle:
        record = next(
            (m.name for m in bundle.manifest.members if m.name.startswith("graphs/int8") and m.name.endswith(".json")),
            None,
        )
        if record is None:
            pytest.skip("int8 was not the fastest here, and there is no GPU target")
        layers = msgspec.json.decode(bundle.read(record))["layers"]
        first, last = next(iter(layers)), list(layers)[-1]
        assert any(f"graph: {layers[first]}: " in line for line in explain(bundle, first))
        assert layers[last] != "int8"
        with pytest.raises(UsageError, match="Did you mean"):
            explain(bundle, first + "x")


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_demanded_precision_is_what_is_shipped(precision: Any, model: Path, footage: Path, home: Path) -> None:
    manifest, _ = made(model, home / f"{precision}.cutline", calib=(str(footage),), precision=precision)
    assert [t.precision for t in manifest.targets] == [precision]


def test_without_footage_a_build_is_proven_on_patterns_and_says_so(model: Path, home: Path) -> None:
    manifest, lines = made(model, home / "patterns.cutline")
    assert manifest.accuracy is not None
    assert manifest.accuracy["frames_from"] == "patterns"
    assert any("--calib" in line for line in lines)
    assert "int8" not in {t.precision for t in manifest.targets}


def test_a_recurrent_network_is_proven_over_sequences(home: Path) -> None:
    source = small_models.save(small_models.rvm(), home, "rvm.onnx")
    manifest, lines = made(source, home / "rvm.cutline", precision="fp32", shapes={"src": (1, 3, 64, 128)})
    assert len(manifest.contract.states) == 4
    assert any("state r1i <- r1o" in line for line in lines)
    with open_bundle(home / "rvm.cutline") as bundle:
        index = msgspec.json.decode(bundle.read("proof/index.json"))
    assert max(index["sequences"]) > 1


@pytest.fixture(scope="module")
def clip(home: Path, write_clip: Callable[[Path, Iterable[NDArray[np.uint8]]], Path]) -> Path:
    """Twenty-five scenes of six frames in which things move; the empty scene of none of them."""
    scenes = (patterns._scene(128, 64, seed, time / 5)[1] for seed in range(25) for time in range(6))
    return write_clip(home / "moving.mp4", (np.rint(picture * 255).astype(np.uint8) for picture in scenes))


def test_a_recurrent_network_is_calibrated_over_sequences_too(home: Path, clip: Path) -> None:
    source = small_models.save(small_models.rvm((16, 16, 16, 16)), home, "wide-rvm.onnx")
    target = "openvino,tensorrt-rtx:sm89" if HAVE_RTX else "openvino"
    shapes = {"src": (1, 3, 64, 128)}
    manifest, lines = made(
        source, home / "wide.cutline", target, calib=(str(clip),), precision="int8", shapes=shapes, budget=0.2
    )
    assert {t.precision for t in manifest.targets} == {"int8"}
    assert manifest.calibration is not None
    assert manifest.calibration["sources"] == ["moving.mp4"]
    assert str(home).encode() not in (home / "wide.cutline").read_bytes()
    assert any("sequences for calibration" in line for line in lines)
    assert manifest.accuracy is not None
    assert manifest.accuracy["frames"] > 6
    with open_bundle(home / "wide.cutline") as bundle:
        graph = onnx.ModelProto.FromString(bundle.read("graphs/int8-openvino.onnx")).graph
        index = msgspec.json.decode(bundle.read("proof/index.json"))
    assert {"r1i", "r4i"} <= {value.name for value in graph.input}
    assert "QuantizeLinear" in {node.op_type for node in graph.node}
    assert min(index["sequences"]) > 1


def test_an_empty_scene_that_was_made_from_a_clip_is_said(home: Path, clip: Path) -> None:
    source = small_models.save(small_models.unet(plate=True, width=128, height=64), home, "plate.onnx")
    _, lines = made(source, home / "plate.cutline", calib=(str(clip),), precision="fp32")
    assert any("moving-plate.png" in line for line in lines)


@needs_rtx
@pytest.mark.slow
def test_half_and_int8_engines_are_built_for_six_capabilities(model: Path, footage: Path, home: Path) -> None:
    manifest, _ = made(model, home / "six.cutline", "tensorrt-rtx:" + ",".join(RTX_DEVICES), calib=(str(footage),))
    assert {(t.device, t.precision) for t in manifest.targets} == {
        (device, precision) for device in RTX_DEVICES for precision in ("fp16", "int8")
    }


@needs_rtx
@pytest.mark.slow
def test_the_real_selfie_network_builds_for_every_target_with_nothing_but_the_file(selfie: Path, home: Path) -> None:
    manifest, _ = made(selfie, home / "selfie.cutline", "openvino,tensorrt-rtx:" + ",".join(RTX_DEVICES))
    assert {t.device for t in manifest.targets if t.kind == "tensorrt-rtx"} == set(RTX_DEVICES)
    assert next(t for t in manifest.targets if t.kind == "openvino").proven


def test_a_precision_that_misses_the_gate_is_refused_with_a_picture(model: Path, footage: Path, home: Path) -> None:
    with pytest.raises(GateError) as caught:
        made(model, home / "tight.cutline", calib=(str(footage),), precision="fp16", budget=1e-9)
    assert caught.value.exit_code == 65
    assert not (home / "tight.cutline").exists()
    picture = cv2.imread(str(home / "tight.worst.png"))
    assert picture is not None
    assert picture.shape == (48, 4 * 64, 3)
    assert "tight.worst.png" in str(caught.value)


def alike(folder: Path) -> str:
    folder.mkdir()
    for number in range(30):
        cv2.imwrite(str(folder / f"{number:02}.png"), np.full((48, 64, 3), 90, np.uint8))
    return str(folder)


def test_failures_leave_what_was_there(whole: Path, model: Path, tmp_path: Path) -> None:
    output = tmp_path / "kept.cutline"
    output.write_bytes(b"what was there before")
    other = small_models.save(small_models.luma_matte(gain=11.0), tmp_path, "other.onnx")
    with open_bundle(whole) as bundle:
        (tmp_path / "table.json").write_bytes(bundle.read("calibration.json"))
    (tmp_path / "bad.onnx").write_bytes(b"<html>")
    wrong: list[tuple[int, dict[str, Any]]] = [
        (64, {"source": model, "precision": "int8"}),
        (64, {"source": model, "budget": 0.0}),
        (65, {"source": model, "calib": (alike(tmp_path / "alike"),)}),
        (65, {"source": other, "precision": "int8", "table": tmp_path / "table.json"}),
        (65, {"source": tmp_path / "bad.onnx"}),
        (65, {"source": output}),
        (66, {"source": tmp_path / "none.onnx"}),
        (66, {"source": model, "calib": (str(tmp_path / "none"),)}),
        (66, {"source": model, "card": tmp_path / "none.md"}),
        (66, {"source": model, "hints": tmp_path / "none.toml"}),
        (66, {"source": model, "table": tmp_path / "none.json"}),
    ]
    for code, options in wrong:
        with pytest.raises(CutlineError) as caught:
            made(options.pop("source"), output, **options)
        assert caught.value.exit_code == code, caught.value
        assert "\n" not in str(caught.value)
    assert output.read_bytes() == b"what was there before"
    assert sorted(p.name for p in tmp_path.iterdir() if "kept" in p.name) == ["kept.cutline"]


def test_an_output_that_cannot_be_written_is_said_before_the_work(model: Path, tmp_path: Path) -> None:
    with pytest.raises(OutputError):
        made(model, tmp_path / "nowhere" / "x.cutline")
    with pytest.raises(UsageError):
        made(model, tmp_path / "x.zip")
    (tmp_path / "folder.cutline").mkdir()
    with pytest.raises(OutputError):
        made(model, tmp_path / "folder.cutline")


@pytest.mark.parametrize(
    ("code", "variables", "options"),
    [
        (64, {}, {"version": 0}),
        (64, {}, {"name": "Not a name"}),
        (64, {}, {"licence": "two\nlines"}),
        (64, {"SOURCE_DATE_EPOCH": "yesterday"}, {}),
        (66, {"CUTLINE_SIGNING_KEY": "nowhere.key"}, {}),
    ],
)
def test_what_a_bundle_cannot_say_is_said_before_the_work(
    model: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    code: int,
    variables: dict[str, str],
    options: dict[str, Any],
) -> None:
    monkeypatch.setattr(build_module, "load_subject", None)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(CutlineError) as caught:
        made(model, tmp_path / "x.cutline", **options)
    assert caught.value.exit_code == code


@pytest.mark.skipif(importlib.util.find_spec("tensorrt") is not None, reason="TensorRT is here")
def test_tensorrt_that_is_absent_is_said_before_the_work(tmp_path: Path, model: Path) -> None:
    with pytest.raises(DeviceError):
        made(model, tmp_path / "x.cutline", "tensorrt")


def test_a_bundle_whose_source_was_packed_as_it_was_exported_can_be_rebuilt(home: Path, whole: Path) -> None:
    plain = small_models.luma_matte()
    plain.opset_import[0].version = 17
    with open_bundle(whole) as bundle:
        contract = bundle.manifest.contract
    write_bundle(
        home / "plain.cutline",
        name="plain",
        version=4,
        created="2026-11-21T00:00:00Z",
        licence="MIT",
        contract=contract,
        members={"source.onnx": plain.SerializeToString()},
        targets=[Target(kind="openvino", precision="fp32", member="source.onnx")],
        key=keys.machine_key(),
    )
    manifest, _ = made(home / "plain.cutline", home / "replain.cutline", precision="fp32")
    assert (manifest.name, manifest.version, manifest.licence) == ("plain", 4, "MIT")
