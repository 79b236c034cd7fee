"""The device check of files that the GPU encodes, run on x264."""

from __future__ import annotations

from typing import Any

import pytest

from cutline.benchmarks.gpu import files
from cutline.benchmarks.gpu.record import NotRun
from cutline.runtime.errors import DeviceError, DeviceLostError
from cutline.runtime.frame import FrameFormat
from cutline.runtime.sinks import SinkOptions, open_sink

FORM = FrameFormat(width=320, height=180)


@pytest.fixture
def stand_in(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What was asked for of the GPU, which x264 does."""
    asked: list[str] = []

    def opened(spec: str, info: Any, options: SinkOptions) -> Any:
        asked.append(options.encoder)
        return open_sink(spec, info, SinkOptions(crf=30))

    monkeypatch.setattr(files, "open_sink", opened)
    return asked


@pytest.fixture(autouse=True)
def _encodes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "why_no_nvenc", lambda: "")


def test_both_encoders_get_the_same_frames_and_both_files_are_read_back(stand_in: list[str]) -> None:
    check = files.check_files("nvenc:1", form=FORM, frames=6)
    assert stand_in == ["x264", "nvenc:1"]
    assert check.verdict == "measured"
    assert check.notes == ()
    for name in stand_in:
        assert 30 < float(check.figures[f"{name}: lowest PSNR dB"]) < 60
        assert float(check.figures[f"{name}: Mbit/s"]) > 0


@pytest.mark.usefixtures("stand_in")
def test_frames_that_are_lost_or_mixed_up_fail_the_check(monkeypatch: pytest.MonkeyPatch) -> None:
    write = files._write
    monkeypatch.setattr(files, "_write", lambda path, form, shots, name: write(path, form, list(shots)[:-1], name))
    check = files.check_files("nvenc", form=FORM, frames=6)
    assert (check.verdict, check.notes[0]) == ("failed", "x264: 5 of 6 frames can be decoded again")
    monkeypatch.setattr(files, "_write", lambda path, form, shots, name: write(path, form, list(shots)[::-1], name))
    check = files.check_files("nvenc", form=FORM, frames=6)
    assert (check.verdict, check.notes[0]) == ("failed", "x264: what can be decoded is not what was written")


def test_without_an_encoder_no_frame_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(files, "why_no_nvenc", lambda: "no capable devices found")
    monkeypatch.setattr(files, "_frame", lambda *given: pytest.fail("frames were made"))
    with pytest.raises(NotRun, match="encodes nothing: no capable devices found"):
        files.check_files("nvenc", form=FORM, frames=2)


def test_a_gpu_that_encodes_nothing_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*_given: Any) -> Any:
        raise DeviceError("the GPU does not encode these frames", remedy="Leave --encoder out.", reason="unsupported")

    monkeypatch.setattr(files, "open_sink", refused)
    with pytest.raises(NotRun, match="unsupported"):
        files.check_files("nvenc", form=FORM, frames=2)


def test_an_encoder_that_opens_and_then_fails_is_a_failure_and_ends_nothing_else(
    monkeypatch: pytest.MonkeyPatch, stand_in: list[str]
) -> None:
    write = files._write

    def fails(path: Any, form: FrameFormat, shots: Any, name: str) -> Any:
        if name == "x264":
            return write(path, form, shots, name)
        raise DeviceLostError("the GPU's encoder failed", remedy="Look for an Xid line.", reason="external library")

    monkeypatch.setattr(files, "_write", fails)
    check = files.check_files("nvenc", form=FORM, frames=2)
    assert check.verdict == "failed"
    assert check.notes[0].startswith("nvenc: the GPU's encoder failed (reason='external library')")
    assert "x264: ms a frame" in check.figures
    assert stand_in == ["x264"]
