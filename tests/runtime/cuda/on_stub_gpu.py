"""Run by test_stub_gpu.py in a process that finds the stub driver: FFmpeg's own NVDEC and NVENC code at both ends."""

from __future__ import annotations

import ctypes
import dataclasses
import errno
import gc
import os
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from msgspec.structs import replace
from numpy.typing import NDArray

from cutline.runtime import Pipeline, StreamOptions
from cutline.runtime.bundle import Bundle
from cutline.runtime.cuda.engine import CudaEngine
from cutline.runtime.cuda.fake import A_CARD, FakeDriver
from cutline.runtime.cuda.memory import Arena
from cutline.runtime.errors import InternalError
from cutline.runtime.runner import Runner
from cutline.runtime.sinks.codec import why_no_nvenc
from cutline.runtime.sinks.encoder import VideoEncoder
from cutline.runtime.sinks.partfile import PartFile
from cutline.runtime.sources.nvdec import why_no_nvdec

sys.path.insert(0, str(Path(__file__).parent))

from test_end_to_end import FRAMES, Emulated, engine_for, kernels

__all__ = ["kernels"]

LOG = Path(os.environ["STUB_LOG"])


def with_context(engine: CudaEngine) -> CudaEngine:
    """Let the fake driver make a context current as a real one does: FFmpeg asks the driver for it."""
    library, attach = ctypes.CDLL("libcuda.so.1"), engine.driver.attach

    def attached() -> None:
        attach()
        library.cuCtxSetCurrent(ctypes.c_uint64(FakeDriver.context))

    engine.driver.attach = attached  # type: ignore[method-assign]
    return engine


@pytest.fixture
def gpu(kernels: Emulated, red: Bundle) -> Iterator[CudaEngine]:
    engine = with_context(engine_for(red, kernels))
    LOG.write_text("")
    yield engine
    engine.close()


@pytest.fixture
def odd_clip(tmp_path: Path) -> Path:
    """161x90, which VP9 can hold."""
    path = tmp_path / "odd.webm"
    with av.open(str(path), "w") as out:
        stream = out.add_stream("libvpx-vp9", rate=25, options={"deadline": "realtime", "cpu-used": "8"})
        stream.width, stream.height, stream.pix_fmt = 161, 90, "yuv420p"
        for number in range(FRAMES):
            picture = np.full((90, 161, 3), 40 * number, np.uint8)
            out.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        out.mux(stream.encode(None))
    return path


def planes_of(path: Path) -> list[NDArray[np.uint8]]:
    """A file's frames: uint8[3 H / 2, W], I420."""
    with av.open(str(path)) as file:
        return [frame.to_ndarray(format="yuv420p") for frame in file.decode(video=0)]


def composites(engine: Any, options: StreamOptions) -> list[NDArray[np.uint8]]:
    """The same of a pipeline's composites, on the host."""
    found = []
    with Pipeline(engine, options, alpha=False) as pipeline:
        for frame in pipeline:
            c = frame.composite
            found.append(np.concatenate([plane.ravel() for plane in (c.y, c.u, c.v)]))
    return [flat.reshape(-1, c.y.shape[1]) for flat in found]


def options_for(clip: Path, output: Path, **more: Any) -> StreamOptions:
    more = {"background": "#30c060", "decoder": "nvdec", **more}
    return StreamOptions(input=str(clip), output=str(output), encoder="nvenc", frames=FRAMES, **more)


def test_the_stub_is_what_ffmpeg_finds() -> None:
    assert (why_no_nvenc(), why_no_nvdec()) == ("", "")


@pytest.mark.parametrize("decoder", ["cpu", "nvdec"])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_frames_are_encoded_where_they_were_made(
    gpu: CudaEngine, clip: Path, tmp_path: Path, decoder: str, suffix: str
) -> None:
    options = options_for(clip, tmp_path / f"out{suffix}", decoder=decoder)
    report = Runner(gpu, options).run()
    assert (report.error, report.notices, report.frames_out) == (None, [], FRAMES)
    assert "registered 512" in LOG.read_text()
    wanted = composites(gpu, replace(options, output="null://"))
    np.testing.assert_array_equal(planes_of(Path(options.output)), wanted)


def test_nothing_but_the_matte_comes_back(gpu: CudaEngine, clip: Path, tmp_path: Path) -> None:
    copied: list[int] = []
    copy = gpu.driver.copy

    def counted(target: int, source: int, nbytes: int, **more: Any) -> None:
        copied.append(nbytes)
        copy(target, source, nbytes, **more)

    gpu.driver.copy = counted  # type: ignore[method-assign]
    assert Runner(gpu, options_for(clip, tmp_path / "out.mp4")).run().error is None
    assert copied
    assert max(copied) < 320 * 180 // 2  # tables, the matte of the small network, and no plane of a picture


def fails_at(call: int) -> Any:
    """A disk that is full from that write on."""
    count, write = iter(range(1 << 20)), PartFile.write

    def written(file: PartFile, data: bytes) -> int:
        if next(count) >= call:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return write(file, data)

    return written


def unnamed(file: PartFile) -> None:
    """A file that cannot get its final name."""
    file.leave()
    raise OSError(errno.EIO, os.strerror(errno.EIO))


@pytest.mark.parametrize("case", ["well", "full at once", "full later", "no name"])
def test_the_encoder_is_gone_before_the_memory_that_it_reads(
    gpu: CudaEngine, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, case: str
) -> None:
    """An error keeps what its frames held, and some packets keep their stream."""
    told: list[str] = []
    close = Arena.close
    monkeypatch.setattr(Arena, "close", lambda arena: (told.append(LOG.read_text()), close(arena)))
    if case == "no name":
        monkeypatch.setattr(PartFile, "keep", unnamed)
    elif case != "well":
        monkeypatch.setattr(PartFile, "write", fails_at(0 if case == "full at once" else 4))
    gc.disable()  # it may come at any time, or not
    try:
        report = Runner(gpu, options_for(clip, tmp_path / "out.mp4")).run()
    finally:
        gc.enable()
    assert (report.error is None) is (case == "well")
    assert told
    assert "registered" in told[0]
    assert all(text.count("encoder opened") == text.count("encoder closed") == 1 for text in told)


def test_nothing_is_allocated_for_frames_that_are_lent(gpu: CudaEngine, clip: Path, tmp_path: Path) -> None:
    assert Runner(gpu, options_for(clip, tmp_path / "out.mp4", decoder="cpu")).run().error is None
    assert "taken" not in LOG.read_text()


def test_a_refusal_comes_with_the_first_frame_and_leaves_no_file(
    gpu: CudaEngine, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STUB_REFUSES", "1")
    report = Runner(gpu, options_for(clip, tmp_path / "out.mp4", decoder="cpu")).run()
    assert report.exit_code == 69
    assert "the GPU does not encode these frames" in str(report.error)
    assert "reason='OpenEncodeSessionEx failed" in str(report.error)
    assert list(tmp_path.glob("out*")) == []


def test_a_stream_may_run_in_another_thread_than_it_was_opened_in(gpu: CudaEngine, clip: Path, tmp_path: Path) -> None:
    """FFmpeg takes the context that is current where it is first shown a frame."""
    runner = Runner(gpu, options_for(clip, tmp_path / "out.mp4"))
    with ThreadPoolExecutor(1) as other:
        assert other.submit(runner.run).result().error is None
    assert "no context is current" not in LOG.read_text()


def test_an_encoder_on_another_gpu_is_fed_from_the_host(
    kernels: Emulated, red: Bundle, clip: Path, tmp_path: Path
) -> None:
    elsewhere = with_context(engine_for(red, kernels, device=dataclasses.replace(A_CARD, ordinal=1)))
    LOG.write_text("")
    options = replace(options_for(clip, tmp_path / "out.mp4", decoder="cpu"), encoder="nvenc:0")
    report = Runner(elsewhere, options).run()
    assert report.error is None
    assert report.notices == [
        "frames go to the GPU's encoder through the host: it is not that of cuda:1, where they are made"
    ]
    assert "encoder opened" in LOG.read_text()
    assert "registered" not in LOG.read_text()
    elsewhere.close()


def test_an_odd_size_goes_through_the_host_and_says_so(gpu: CudaEngine, odd_clip: Path, tmp_path: Path) -> None:
    options = options_for(odd_clip, tmp_path / "out.mp4", decoder="cpu")
    report = Runner(gpu, options).run()
    assert report.error is None
    assert report.notices[0] == "frames go to the GPU's encoder through the host: the size 161x90 is odd"
    assert "registered" not in LOG.read_text()
    assert [picture.shape for picture in planes_of(Path(options.output))] == [(135, 162)] * FRAMES


def test_an_encoder_that_keeps_a_lent_frame_is_not_trusted(
    gpu: CudaEngine, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its slot would be written again while the encoder reads it."""
    kept: list[Any] = []

    class Keeping:
        def __init__(self, codec: Any) -> None:
            self._codec = codec

        def __getattr__(self, name: str) -> Any:
            return getattr(self._codec, name)

        def encode(self, picture: Any) -> list[Any]:
            kept.extend(self._codec.encode(picture))
            return []

    add = VideoEncoder._add_stream
    monkeypatch.setattr(VideoEncoder, "_add_stream", lambda *given: Keeping(add(*given)))
    report = Runner(gpu, options_for(clip, tmp_path / "out.mp4")).run()
    assert "the GPU's encoder kept a frame that was lent" in str(report.error)
    assert report.exit_code == InternalError.exit_code


def test_a_cpu_network_feeds_the_encoder_from_the_host(red: Bundle, clip: Path, tmp_path: Path) -> None:
    from cutline.runtime.sessions import open_engine

    options = options_for(clip, tmp_path / "out.mp4", decoder="cpu")
    engine = open_engine(red)
    report = Runner(engine, options).run()
    assert (report.error, report.notices, report.device[:3]) == (None, [], "cpu")
    np.testing.assert_array_equal(
        planes_of(Path(options.output)), composites(engine, replace(options, output="null://"))
    )
    engine.close()


def test_a_plate_is_followed_all_the_same(
    kernels: Emulated, with_plate: Bundle, clip: Path, empty_room: Path, tmp_path: Path
) -> None:
    gpu = with_context(engine_for(with_plate, kernels))
    options = options_for(clip, tmp_path / "out.mp4", plate=str(empty_room))
    assert Runner(gpu, options).run().error is None
    np.testing.assert_array_equal(planes_of(Path(options.output)), composites(gpu, replace(options, output="null://")))
    gpu.close()
