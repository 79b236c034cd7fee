from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import av
import pytest

from cutline.benchmarks.peers.__main__ import read_words
from cutline.benchmarks.peers.catalogue import read_entries
from cutline.benchmarks.peers.setting import Setting, open_setting
from cutline.runtime.contract import Image, ModelContract, Output
from cutline.runtime.errors import BadInputError, DeviceError, NoInputError, UsageError

CONTRACT = ModelContract(
    task="matte",
    frame=Image(tensor="image", width=64, height=32, mean=(0.1, 0.2, 0.3), std=(0.4, 0.5, 0.6)),
    outputs=(Output(tensor="alpha", meaning="alpha", width=64, height=32),),
)
SETTING = Setting(
    clip=Path("/clip.mp4"), width=1920, height=1080, bundle="cutout", network=Path("/net.onnx"), contract=CONTRACT,
    precision="bf16",
)  # fmt: skip
ENTRIES = {entry.key: entry for entry in read_entries()}


def test_best_is_what_cutline_chose_here() -> None:
    assert SETTING.job(ENTRIES["openvino_queue"], "").precision == "bf16"
    assert SETTING.job(ENTRIES["usual_script"], "soft mask").precision == "fp32"


def test_every_job_carries_the_networks_own_normalisation() -> None:
    job = SETTING.job(ENTRIES["usual_script"], "hard mask")
    assert (job.mean, job.std, job.width, job.height) == ((0.1, 0.2, 0.3), (0.4, 0.5, 0.6), 64, 32)
    assert job.variant == "hard mask"


def test_nothing_runs_twice_in_one_precision() -> None:
    ours = ENTRIES["cutline_pipeline"]
    assert SETTING.variants(ours) == ["", "fp32"]
    assert replace(SETTING, precision="fp32").variants(ours) == [""]
    assert replace(SETTING, precision="fp32").variants(ENTRIES["usual_script"]) == ["soft mask", "hard mask"]


def test_clips_that_are_none_are_refused(tmp_path: Path) -> None:
    with pytest.raises(NoInputError), open_setting(tmp_path / "none.mp4", "cutout"):
        pass
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(BadInputError), open_setting(tmp_path / "text.mp4", "cutout"):
        pass


def test_a_network_that_peers_cannot_be_given_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "clip.mp4"
    with av.open(str(path), "w") as video:
        stream = video.add_stream("libx264", 30)
        stream.width, stream.height, stream.pix_fmt = 64, 32, "yuv420p"
        video.mux(stream.encode(av.VideoFrame(64, 32, "yuv420p")))
        video.mux(stream.encode(None))
    with pytest.raises(DeviceError, match="one alpha output"), open_setting(path, "cutout-plate"):
        pass


@pytest.mark.parametrize("words", [["--rounds", "0"], ["--seconds", "0"], ["--seconds", "nan"]])
def test_numbers_that_make_no_sense_are_refused(words: list[str]) -> None:
    with pytest.raises(UsageError):
        read_words(words)
