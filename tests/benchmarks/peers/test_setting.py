from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cutline.benchmarks.clips import Clip, open_clip
from cutline.benchmarks.peers.__main__ import read_words
from cutline.benchmarks.peers.catalogue import read_entries
from cutline.benchmarks.peers.setting import Setting, open_setting
from cutline.runtime.contract import Image, ModelContract, Output
from cutline.runtime.errors import DeviceError, UsageError

CONTRACT = ModelContract(
    task="matte",
    frame=Image(tensor="image", width=64, height=32, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6)),
    outputs=(Output(tensor="alpha", meaning="alpha", width=64, height=32),),
)
NETWORKS = {"fp32": Path("/fp32.onnx"), "bf16": Path("/bf16.onnx")}
ENTRIES = {entry.key: entry for entry in read_entries()}


@pytest.fixture
def clip(tmp_path: Path, write_clip: Callable[..., Path]) -> Clip:
    return open_clip(str(write_clip(tmp_path / "clip.mp4", [np.zeros((32, 64, 3), np.uint8)])), print, tmp_path)


@pytest.fixture
def setting(clip: Clip) -> Setting:
    return Setting(clip=clip, bundle="cutout", networks=NETWORKS, contract=CONTRACT, precision="bf16")


def test_best_is_what_cutline_chose_here(setting: Setting) -> None:
    queue, script = setting.job(ENTRIES["openvino_queue"], ""), setting.job(ENTRIES["usual_script"], "soft mask")
    assert (queue.precision, queue.network) == ("bf16", "/bf16.onnx")
    assert (script.precision, script.network) == ("fp32", "/fp32.onnx")


def test_what_takes_no_network_finds_one_all_the_same(setting: Setting) -> None:
    assert setting.job(ENTRIES["floor"], "").network == "/fp32.onnx"


def test_an_int8_graph_is_not_told_its_precision(setting: Setting) -> None:
    eight = replace(setting, precision="int8", networks={**NETWORKS, "int8": Path("/int8.onnx")})
    job = eight.job(ENTRIES["openvino_prepost"], "")
    assert job.network == "/int8.onnx"
    assert job.openvino_properties == {"PERFORMANCE_HINT": "THROUGHPUT"}


def test_every_job_carries_the_networks_own_normalisation(setting: Setting) -> None:
    job = setting.job(ENTRIES["usual_script"], "hard mask")
    assert (job.mean, job.std, job.width, job.height) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6), 64, 32)
    assert job.variant == "hard mask"
    assert Path(job.clip).is_file()


def test_nothing_runs_twice_in_one_precision(setting: Setting) -> None:
    ours = ENTRIES["cutline_pipeline"]
    assert setting.variants(ours) == ["", "fp32"]
    assert replace(setting, precision="fp32").variants(ours) == [""]
    assert replace(setting, precision="fp32").variants(ENTRIES["usual_script"]) == ["soft mask", "hard mask"]


def test_a_network_that_peers_cannot_be_given_is_refused(clip: Clip) -> None:
    with pytest.raises(DeviceError, match="one alpha output"), open_setting(clip, "cutout-plate"):
        pass


@pytest.mark.parametrize(
    "words", [["--rounds", "0"], ["--rounds", "x"], ["--seconds", "0"], ["--seconds", "nan"], ["--no-such"]]
)
def test_words_that_make_no_sense_are_refused(words: list[str]) -> None:
    with pytest.raises(UsageError):
        read_words(words)


def test_the_networks_of_the_shipped_bundle_become_files(clip: Clip) -> None:
    with open_setting(clip, "cutout") as opened:
        assert set(opened.networks) == {"fp32", opened.precision}
        assert all(path.stat().st_size > 10_000 for path in opened.networks.values())
    assert not any(path.exists() for path in opened.networks.values())
