"""Run by test_gpu_runs.py in a process that finds the stub driver."""

from __future__ import annotations

import ctypes
from pathlib import Path
from typing import Any

import pytest
from test_gpu_runs import GPU
from test_gpu_video import FORM, Bed, bed

from cutline.benchmarks.gpu import runs
from cutline.runtime.cuda.fake import FakeDriver

__all__ = ["bed"]


def test_every_way_gives_the_same_frames(bed: Bed, stub_gpu: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    write, attach = runs.write_clip, bed.driver.attach

    def written(path: Path, *given: Any) -> None:
        write(path, *given)
        stub_gpu.show(path)

    def attached() -> None:
        attach()
        ctypes.CDLL("libcuda.so.1").cuCtxSetCurrent(ctypes.c_uint64(FakeDriver.context))

    monkeypatch.setattr(runs, "write_clip", written)
    bed.driver.attach = attached  # type: ignore[method-assign]
    check = runs.check_runs(bed, form=FORM, frames=8)
    assert (check.verdict, check.notes) == ("measured", ())
    for way in ("cpu, x264", *GPU):
        assert float(check.figures[f"{way}: fps"]) > 0
        assert f"{way}: core-ms a frame" in check.figures
        assert int(check.figures[f"{way}: key frames"]) > 0
    assert check.figures["nvdec, x264: lowest PSNR dB"] == "inf"
