"""Decoder, encoder and device in one process, all of them stand-ins but FFmpeg: see on_stub_gpu.py."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import av
import pytest

pytest.importorskip("cuda.bindings.driver", reason="cuda-bindings is not installed")


@pytest.mark.skipif(not hasattr(av.VideoFrame, "sw_format"), reason="this PyAV has no frames that lie on the GPU")
def test_video_stays_on_the_gpu_from_decoder_to_encoder(stub_gpu: Any) -> None:
    """A process finds libraries where LD_LIBRARY_PATH said when it began, so it is one of its own."""
    within = Path(__file__).with_name("on_stub_gpu.py")
    program = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(within)]
    done = subprocess.run(program, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stdout[-4000:]
    assert stub_gpu.log.read_text()
