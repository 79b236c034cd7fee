"""The device check of whole runs, on the fake driver; with the stub's codecs in a process of its own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import av
import pytest
from test_gpu_video import FORM, Bed, bed

from cutline.benchmarks.gpu import runs

__all__ = ["bed"]

GPU = ["nvdec, x264", "cpu, nvenc:0", "nvdec, nvenc:0"]


def test_a_gpu_without_codecs_leaves_the_cpu_s_figures_and_says_why(bed: Bed) -> None:
    check = runs.check_runs(bed, form=FORM, frames=8)
    assert check.verdict == "measured"
    assert check.figures["cpu, x264: lowest PSNR dB"] == "inf"
    assert float(check.figures["cpu, x264: fps"]) > 0
    assert [note.partition(": ")[0] for note in check.notes] == ["this GPU has no nvdec", "this GPU has no nvenc"]


def test_codecs_that_are_there_and_fail_are_a_fault(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "why_no_nvenc", lambda: "")
    check = runs.check_runs(bed, form=FORM, frames=8)
    assert check.verdict == "failed"
    assert any(note.startswith("cpu, nvenc:0: the GPU does not encode these frames") for note in check.notes)


@pytest.mark.skipif(not hasattr(av.VideoFrame, "sw_format"), reason="this PyAV has no frames that lie on the GPU")
@pytest.mark.usefixtures("stub_gpu")
def test_every_way_is_measured_and_read_back() -> None:
    pytest.importorskip("cuda.bindings.driver", reason="cuda-bindings is not installed")
    within = Path(__file__).with_name("on_stub_gpu.py")
    program = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(within)]
    done = subprocess.run(program, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout[-4000:]


def test_frames_that_are_missing_or_others_fail(bed: Bed, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(runs, "_compare", lambda out, first: (7, 0, 30.0))
    check = runs.check_runs(bed, form=FORM, frames=8)
    assert check.verdict == "failed"
    assert check.notes[:3] == (
        "cpu, x264: 8 of 8 frames came out, 7 can be decoded again",
        "cpu, x264: 0 key frames in 0.3 s",
        "cpu, x264: its frames are not those of the CPU's codecs",
    )


def test_files_are_compared_frame_by_frame(tmp_path: Path) -> None:
    one, other = tmp_path / "one.mp4", tmp_path / "other.mp4"
    runs.write_clip(one, FORM, 6)
    runs.write_clip(other, FORM, 5)
    count, keys, same = runs._compare(one, one)
    assert (count, same) == (6, float("inf"))
    assert keys >= 1
    count, _, lowest = runs._compare(other, one)
    assert count == 5
    assert lowest < runs.LEAST_DB
