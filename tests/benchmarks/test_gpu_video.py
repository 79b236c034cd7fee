"""The device check of decoder and encoder, on the fake driver and a module with PyNvVideoCodec's signatures."""

from __future__ import annotations

import math
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import av
import msgspec
import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[1] / "runtime" / "cuda"))

from fake_nvcodec import FakeCodec
from small_device import KERNELS

from cutline.benchmarks.gpu import timing, video
from cutline.benchmarks.gpu.bed import Bed, SpinNetwork
from cutline.benchmarks.gpu.record import Check, NotRun
from cutline.benchmarks.probe import SPIN
from cutline.runtime.contract import Image, ModelContract, Output
from cutline.runtime.cuda import cuda_python, nvcodec
from cutline.runtime.cuda.fake import FakeDriver
from cutline.runtime.errors import DeviceError
from cutline.runtime.frame import FrameFormat

FORM = FrameFormat(width=96, height=64)
CONTRACT = ModelContract(
    task="matte",
    frame=Image(tensor="image", width=16, height=8),
    outputs=(Output(tensor="alpha", meaning="alpha", width=16, height=8),),
)


class Kernels(dict[str, Any]):
    """Those of the small device, and the stand-in network's."""

    def __contains__(self, name: object) -> bool:
        return name == SPIN or name in KERNELS

    def get(self, name: str, default: Any = None) -> Any:
        return (lambda *given: None) if name == SPIN else KERNELS.get(name, default)


@pytest.fixture
def bed(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bed]:
    monkeypatch.setattr(timing, "WARM_S", 0.0)
    monkeypatch.setattr(timing, "MOST_TURNS", 2)
    driver = FakeDriver(kernels=Kernels(), seed=5)
    made = Bed(driver, b"cubin", CONTRACT)
    made.take(SpinNetwork(driver, CONTRACT, cost_ms=1.0, multiprocessors=2), "stand-in")
    with made.scope():
        yield made
    made.close()


@pytest.fixture
def codec(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> FakeCodec:
    codec = FakeCodec(bed.driver)  # type: ignore[arg-type]
    monkeypatch.setitem(sys.modules, nvcodec.MODULE, codec)  # type: ignore[arg-type]
    return codec


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("clip") / "clip.mp4"
    video.write_clip(path, FORM, frames=12)
    return path


@pytest.mark.usefixtures("codec")
def test_frames_that_are_ffmpegs_and_packets_for_all_of_them_are_measured(bed: Bed, clip: Path) -> None:
    check, packets = video.measure(bed, clip, FORM)
    assert (check.verdict, check.notes) == ("measured", ())
    assert check.figures["frames"] == len(packets) == 12
    assert float(check.figures["fps from file to packets"]) > 0


def test_a_decoder_that_decodes_something_else_fails(
    bed: Bed, codec: FakeCodec, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fake_nvcodec

    honest = fake_nvcodec.nv12
    monkeypatch.setattr(fake_nvcodec, "nv12", lambda picture, pitch: honest(picture, pitch) ^ 1)
    check, _ = video.measure(bed, clip, FORM)
    assert check.verdict == "failed"
    assert check.notes[0] == "frame 0 is not what FFmpeg decodes"
    assert len(check.notes) == video.COMPARED
    assert codec.encoders


def test_packets_out_of_order_fail(bed: Bed, codec: FakeCodec, clip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import fake_nvcodec

    monkeypatch.setattr(fake_nvcodec.PyNvEncoder, "EndEncode", lambda self: [*self._waiting, *self._waiting])
    check, _ = video.measure(bed, clip, FORM)
    assert check.notes == ("packets are not in the order of frames", "13 packets for 12 frames")
    assert codec.encoders


def test_a_gpu_without_an_encoder_has_its_decoder_compared_and_its_frames_composed(
    bed: Bed, codec: FakeCodec, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import fake_nvcodec

    monkeypatch.setattr(codec, "CreateEncoder", lambda *given, **more: pytest.fail("there is none"))
    check, packets = video.measure(bed, clip, FORM, "no NVENC here")
    assert (check.verdict, check.notes, packets) == ("measured", ("not encoded: no NVENC here",), [])
    assert check.figures["frames"] == 12
    assert float(check.figures["fps from file to composites"]) > 0
    honest = fake_nvcodec.nv12
    monkeypatch.setattr(fake_nvcodec, "nv12", lambda picture, pitch: honest(picture, pitch) ^ 1)
    check, _ = video.measure(bed, clip, FORM, "no NVENC here")
    assert check.verdict == "failed"
    assert check.notes[0] == "frame 0 is not what FFmpeg decodes"


def test_frames_that_the_decoder_keeps_fail(bed: Bed, codec: FakeCodec, clip: Path, tmp_path: Path) -> None:
    """It is given a clip that ends earlier."""
    short = tmp_path / "short.mp4"
    video.write_clip(short, FORM, frames=9)
    opened = codec.CreateDemuxer
    codec.CreateDemuxer = lambda filename: opened(str(short))  # type: ignore[method-assign, assignment]
    check, _ = video.measure(bed, clip, FORM)
    assert check.verdict == "failed"
    assert "9 of 12 frames were decoded" in check.notes


@pytest.mark.usefixtures("codec")
def test_composites_are_fetched_in_the_order_of_frames(bed: Bed, clip: Path) -> None:
    """The small device writes each frame's own luma over the composite's first bytes."""
    found = video.luma_of(bed, clip, FORM)
    assert len(found) == video.COMPARED
    answers = [float(np.frombuffer(luma[0, :4].tobytes(), np.float32)[0]) for luma in found]
    with av.open(str(clip)) as container:
        codes = [float(picture.to_ndarray()[0, 0]) for picture in container.decode(video=0)]
    assert answers == codes[: video.COMPARED]


def test_what_was_encoded_is_told_from_other_frames(clip: Path) -> None:
    with av.open(str(clip)) as container:
        lumas = [picture.to_ndarray()[: FORM.height, : FORM.width] for picture in container.decode(video=0)]
    assert video.look_at(clip, lumas) == (12, math.inf)
    count, lowest = video.look_at(clip, lumas[1:])
    assert count == 12
    assert lowest < 20 < video.LEAST_DB
    passed = Check(name="x", verdict="measured")
    assert video.judge(passed, video.FRAMES, 40.0).verdict == "measured"
    assert video.judge(passed, video.FRAMES, lowest).notes == ("what was encoded is not what was composed",)
    odd = video.judge(passed, video.FRAMES, math.nan)
    assert odd.verdict == "failed"
    assert msgspec.json.decode(msgspec.json.encode(odd), type=Check) == odd  # JSON has no number for it
    assert video.judge(passed, 3, 40.0).notes == (f"3 of {video.FRAMES} frames can be decoded again",)


def test_without_the_package_it_is_not_run(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(NotRun, match="PyNvVideoCodec is not installed"):
        video.check_video(0)


@pytest.mark.parametrize(
    ("code", "out", "err", "verdict"),
    [(0, msgspec.json.encode(Check(name="x", verdict="measured")).decode(), "", "measured"), (1, "", "a\nb", "failed")],
)
def test_a_process_that_is_ended_by_the_library_is_a_failure_and_not_the_end_of_the_run(
    monkeypatch: pytest.MonkeyPatch, code: int, out: str, err: str, verdict: str
) -> None:
    monkeypatch.setattr(video.importlib.util, "find_spec", lambda name: name)
    done = SimpleNamespace(returncode=code, stdout=out, stderr=err)
    monkeypatch.setattr(subprocess, "run", lambda *given, **more: done)
    check = video.check_video(0)
    assert check.verdict == verdict
    if code:
        assert check.notes == ("the process ended with 1", "a", "b")


@pytest.mark.parametrize(
    ("wrong", "code", "said"),
    [
        ("load_codec", DeviceError.exit_code, "no video driver"),
        ("write_clip", 1, "no video driver"),
    ],
)
def test_only_what_the_machine_lacks_is_no_failure(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], wrong: str, code: int, said: str
) -> None:
    """A driver that refuses what we ask of it is one, and so is a device that is lost."""

    def refused(*given: Any) -> str:  # noqa: ARG001
        raise DeviceError("no video driver", remedy="Install it.")

    monkeypatch.setattr(video, "load_codec", lambda: None)
    monkeypatch.setattr(video, "why_no_nvenc", lambda: "")
    monkeypatch.setattr(cuda_python, "CudaPython", lambda ordinal: nullcontext(SimpleNamespace(device=None)))
    monkeypatch.setattr(video, wrong, refused)
    assert video.main(0) == code
    assert said in capsys.readouterr().err


def test_what_the_device_lacks_is_a_reason_and_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(video.importlib.util, "find_spec", lambda name: name)
    done = SimpleNamespace(returncode=69, stdout="", stderr="there is no NVIDIA driver (libcuda.so.1). Install it.\n")
    monkeypatch.setattr(subprocess, "run", lambda *given, **more: done)
    with pytest.raises(NotRun, match="no NVIDIA driver"):
        video.check_video(0)
