"""Decoder, stream and encoder of the GPU in a row, on a fake driver and a module with the real one's signatures."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import closing
from fractions import Fraction
from pathlib import Path
from types import ModuleType
from typing import Any

import av
import numpy as np
import pytest
from fake_nvcodec import FakeCodec, PyNvVCException, nv12
from small_device import KERNELS, SmallNetwork, contract, octets

from cutline.runtime.cuda import nvcodec
from cutline.runtime.cuda.device_stream import DeviceStream
from cutline.runtime.cuda.engine import CudaEngine
from cutline.runtime.cuda.fake import FakeDriver
from cutline.runtime.cuda.nvcodec import SurfaceDecoder, SurfaceEncoder, load_codec
from cutline.runtime.errors import BadInputError, DeviceError, DeviceLostError, InternalError
from cutline.runtime.frame import FrameFormat, Timestamp
from cutline.runtime.options import StreamOptions

WIDTH, HEIGHT, FRAMES = 96, 64, 12
FRAME = FrameFormat(width=WIDTH, height=HEIGHT)
RATE = Fraction(25)


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Twelve frames of H.264 with B-frames, each of its own grey."""
    path = tmp_path_factory.mktemp("clip") / "greys.mp4"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"bf": "2", "crf": "1"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for index in range(FRAMES):
            grey = np.full((HEIGHT, WIDTH, 3), 40 + 10 * index, np.uint8)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(grey, format="rgb24")))
        container.mux(stream.encode(None))
    return path


@pytest.fixture
def driver() -> Iterator[FakeDriver]:
    with FakeDriver(kernels=KERNELS, seed=3) as driver:
        yield driver


@pytest.fixture
def codec(driver: FakeDriver, monkeypatch: pytest.MonkeyPatch) -> FakeCodec:
    codec = FakeCodec(driver)
    monkeypatch.setitem(sys.modules, nvcodec.MODULE, codec)  # type: ignore[arg-type]
    return codec


def settle(driver: FakeDriver, stream: Any) -> None:
    mark = driver.event()
    driver.record(mark, stream=stream)
    driver.synchronise(mark)
    driver.release(mark)


@pytest.mark.usefixtures("codec")
def test_surfaces_are_the_frames_of_the_file_in_the_order_in_which_they_are_shown(
    driver: FakeDriver, clip: Path
) -> None:
    stream = driver.stream()
    with closing(SurfaceDecoder(driver, clip, stream=stream)) as decoder, av.open(str(clip)) as container:
        assert (decoder.width, decoder.height) == (WIDTH, HEIGHT)
        assert decoder.time_base == container.streams.video[0].time_base
        wanted = list(container.decode(video=0))
        count = 0
        for (surface, pts), picture in zip(decoder, wanted, strict=True):
            settle(driver, stream)
            assert pts == picture.pts
            pitch = surface.luma_pitch
            found = octets(surface.y, pitch * HEIGHT * 3 // 2).reshape(-1, pitch)
            np.testing.assert_array_equal(found, nv12(picture, pitch))
            assert surface.interleaved
            assert surface.u == surface.y + pitch * HEIGHT
            count += 1
    assert count == FRAMES


@pytest.mark.parametrize("seed", range(4))
def test_from_file_to_packets_every_frame_is_composed_on_the_device(
    clip: Path, monkeypatch: pytest.MonkeyPatch, seed: int
) -> None:
    """No host wait between decoder, stream and encoder but for the one at which a frame is done."""
    driver = FakeDriver(kernels=KERNELS, seed=seed)
    codec = FakeCodec(driver)
    monkeypatch.setitem(sys.modules, nvcodec.MODULE, codec)  # type: ignore[arg-type]
    network = SmallNetwork(driver, contract(states=True))
    engine = CudaEngine(driver, network, b"cubin", network.contract, name="small", precision="fp32", library="none")
    decoding, encoding = driver.stream(), driver.stream()
    packets = []
    with av.open(str(clip)) as container:
        codes = [int(nv12(picture, 128)[0, 0]) for picture in container.decode(video=0)]

    with closing(SurfaceDecoder(driver, clip, stream=decoding)) as decoder:
        pitch = -(-WIDTH // 64) * 64
        stream = DeviceStream(engine, FRAME, StreamOptions(input="-"), pitch=pitch)
        encoder = SurfaceEncoder(driver, FRAME, stream=encoding, rate=RATE, bits_per_s=1_000_000)

        def take() -> None:
            frame = stream.finish()
            packets.extend(encoder.encode(frame.composite, frame.time.pts))
            stream.give_back(frame, stream=encoding)

        for surface, pts in decoder:
            if not stream.room:
                take()
            stream.start(surface, Timestamp(pts, decoder.time_base, 0), stream=decoding)
        while stream.running:
            take()
        packets += encoder.finish()
        settle(driver, encoding)
        encoder.close()
        stream.close()
    assert [packet.pts for packet in packets] == sorted(packet.pts for packet in packets)
    assert len(packets) == FRAMES
    assert [packet.key for packet in packets] == [True, *[False] * (FRAMES - 1)]
    answers = [float(np.frombuffer(seen[0, :4].tobytes(), np.float32)[0]) for seen in codec.encoders[0].seen]
    assert answers == [code + 100000 * i for i, code in enumerate(codes)]


def test_without_the_package_it_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, nvcodec.MODULE, None)  # type: ignore[arg-type]
    with pytest.raises(DeviceError, match="cannot be imported") as caught:
        load_codec()
    assert "cutline[video]" in caught.value.remedy
    assert caught.value.exit_code == 69


def test_without_the_drivers_video_libraries_it_says_so_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(name: str) -> None:
        raise RuntimeError(f"{name}: libnvidia-encode.so.1: cannot open\n\n=== TROUBLESHOOTING STEPS ===\n")

    monkeypatch.setattr(nvcodec.importlib, "import_module", refuse)
    with pytest.raises(DeviceError, match=r"finds no video driver: .*libnvidia-encode") as caught:
        load_codec()
    assert "\n" not in str(caught.value)
    assert "NVIDIA_DRIVER_CAPABILITIES" in caught.value.remedy


def test_an_older_release_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    old: Any = ModuleType(nvcodec.MODULE)
    old.__version__, old.CreateDecoder, old.CreateDemuxer, old.CreateEncoder = "1.0.2", 1, 1, 1
    monkeypatch.setitem(sys.modules, nvcodec.MODULE, old)
    with pytest.raises(DeviceError, match=r"too old.*1\.0\.2"):
        load_codec()


@pytest.mark.usefixtures("codec")
def test_a_file_that_is_none_is_told_apart_from_a_codec_that_the_gpu_has_not(
    driver: FakeDriver, tmp_path: Path
) -> None:
    with pytest.raises(BadInputError, match="PyNvVideoCodec failed: CreateFormatContext : Error code : -2") as bad:
        SurfaceDecoder(driver, tmp_path / "none.mp4", stream=driver.stream())
    assert bad.value.exit_code == 65
    other = tmp_path / "mpeg4.mkv"
    with av.open(str(other), "w") as container:
        stream = container.add_stream("mpeg4", rate=25)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        container.mux(stream.encode(av.VideoFrame(WIDTH, HEIGHT, "yuv420p")))
        container.mux(stream.encode(None))
    with pytest.raises(DeviceError, match="no decoder or encoder for this: Codec not supported on this GPU") as caught:
        SurfaceDecoder(driver, other, stream=driver.stream())
    assert (type(caught.value), "\n" in str(caught.value)) == (DeviceError, False)


def test_frames_of_another_kind_or_size_are_refused(driver: FakeDriver, codec: FakeCodec, clip: Path) -> None:
    codec.pixel_format = "P016"
    with pytest.raises(DeviceError, match="not 8-bit 4:2:0"):
        next(iter(SurfaceDecoder(driver, clip, stream=driver.stream())))
    codec.pixel_format, codec.rows_more = "NV12", 2
    with pytest.raises(BadInputError, match=r"changes its size.*96x66"):
        next(iter(SurfaceDecoder(driver, clip, stream=driver.stream())))


@pytest.mark.usefixtures("codec")
def test_an_encoder_that_is_not_there_odd_sizes_and_scattered_planes_are_refused(driver: FakeDriver) -> None:
    stream = driver.stream()
    with pytest.raises(DeviceError, match="no decoder or encoder"):
        SurfaceEncoder(driver, FRAME, stream=stream, rate=RATE, bits_per_s=1, codec="av1")
    odd = FrameFormat(width=95, height=64)
    with pytest.raises(BadInputError, match="even sizes"):
        SurfaceEncoder(driver, odd, stream=stream, rate=RATE, bits_per_s=1)
    encoder = SurfaceEncoder(driver, FRAME, stream=stream, rate=RATE, bits_per_s=1)
    apart = nvcodec.DevicePlanes(y=0, u=1 << 20, v=(1 << 20) + 1, luma_pitch=256, chroma_pitch=256, interleaved=True)
    with pytest.raises(InternalError, match="one block"):
        encoder.encode(apart, 0)


def test_a_lost_device_is_not_taken_for_a_bad_file(driver: FakeDriver, codec: FakeCodec, clip: Path) -> None:
    def fail(filename: str) -> None:
        driver.lose("CUDA_ERROR_LAUNCH_FAILED")
        raise PyNvVCException(f"CUDA error 719 at {filename}")

    codec.CreateDemuxer = fail  # type: ignore[method-assign,assignment]
    with pytest.raises(DeviceLostError, match="CUDA_ERROR_LAUNCH_FAILED"):
        SurfaceDecoder(driver, clip, stream=driver.stream())


@pytest.mark.gpu
def test_the_real_module_has_every_name_that_is_used() -> None:
    try:
        module = load_codec()
    except DeviceError as error:
        pytest.skip(str(error))
    for owner, names in {
        module: "PyNvVCException PyNvVCExceptionUnsupported Pixel_Format",
        module.PyNvDecoder: "Decode",
        module.PyNvDemuxer: "GetNvCodecId Width Height GetTimebaseNum GetTimebaseDen",
        module.DecodedFrame: "cuda getPTS format",
        module.CAIMemoryView: "dataptr shape stride",
        module.PyNvEncoder: "Encode EndEncode",
    }.items():
        assert [name for name in names.split() if not hasattr(owner, name)] == []
