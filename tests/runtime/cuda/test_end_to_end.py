"""A whole pipeline on the fake driver, its kernels run by the grid emulator, beside the same pipeline on the CPU."""

from __future__ import annotations

import ctypes
import dataclasses
import sys
from collections.abc import Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from fake_nvcodec import FakeCodec
from msgspec.structs import replace
from numpy.typing import NDArray
from small_device import floats, octets

from cutline.runtime import Pipeline, StreamOptions
from cutline.runtime.bundle import Bundle
from cutline.runtime.contract import ModelContract
from cutline.runtime.cuda import nvcodec
from cutline.runtime.cuda.device_stream import DeviceStream
from cutline.runtime.cuda.driver import Grid, Stream
from cutline.runtime.cuda.engine import CudaEngine
from cutline.runtime.cuda.fake import A_CARD, FakeDriver, HostKernel
from cutline.runtime.cuda.memory import Surfaces
from cutline.runtime.cuda.nvcodec import SurfaceDecoder
from cutline.runtime.errors import DeviceError, DeviceLostError
from cutline.runtime.frame import FrameFormat, Timestamp
from cutline.runtime.runner import Runner
from cutline.runtime.sessions import open_engine
from cutline.runtime.sinks.null import NullSink

sys.path.insert(0, str(Path(__file__).parents[1] / "kernels"))

from emulated import Emulator, compile_emulator

lying = pytest.mark.skipif(
    not hasattr(av.VideoFrame, "sw_format"), reason="this PyAV has no frames that lie on the GPU"
)
FRAMES = 6
"""Of each comparison: the emulator takes a tenth of a second for one."""


class HostNetwork:
    """A bundle's network, run by OpenVINO on what lies at its addresses."""

    scratch_bytes = 0

    def __init__(self, driver: FakeDriver, bundle: Bundle) -> None:
        from cutline.runtime.sessions.openvino import shared_core

        self.driver, self.contract = driver, bundle.manifest.contract
        core = shared_core()
        model = core.read_model(bundle.read("source.onnx"))
        self.compiled = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
        self.shapes = {p.any_name: tuple(p.shape) for p in (*self.compiled.inputs, *self.compiled.outputs)}
        self.tensors = {name: 4 * int(np.prod(shape)) for name, shape in self.shapes.items()}

    def inference(self, addresses: Mapping[str, int], scratch: int) -> HostInference:  # noqa: ARG002
        return HostInference(self, dict(addresses))

    def close(self) -> None:
        pass


class HostInference:
    """One context."""

    def __init__(self, network: HostNetwork, addresses: dict[str, int]) -> None:
        self._network, self._at = network, addresses

    def queue(self, stream: Stream) -> None:
        self._network.driver.host_work(stream, "network", self._run)

    def _run(self) -> None:
        net = self._network
        feeds = {p.any_name: self._view(p.any_name) for p in net.compiled.inputs}
        found = net.compiled(feeds)
        for port in net.compiled.outputs:
            self._view(port.any_name)[...] = found[port]

    def _view(self, name: str) -> NDArray[np.float32]:
        shape = self._network.shapes[name]
        flat = np.ctypeslib.as_array((ctypes.c_float * int(np.prod(shape))).from_address(self._at[name]))
        return flat.reshape(shape)

    def not_captured(self, stream: Stream) -> str | None:  # noqa: ARG002
        return None

    def close(self) -> None:
        pass


class Emulated(dict[str, HostKernel]):
    """Every kernel of the emulator, as the fake driver calls them."""

    def __init__(self, library: Path) -> None:
        emulator = Emulator(library)
        run = emulator._library.launch
        three = ctypes.c_uint * 3

        def kernel(name: str) -> HostKernel:
            def body(grid: Grid, block: Grid, params: bytes) -> None:
                fault = run(name.encode(), three(*grid), three(*block), params, ctypes.c_size_t(len(params)), 0)
                assert fault is None, fault.decode()

            return body

        super().__init__({name: kernel(name) for name in emulator.kernels})


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> Emulated:
    return Emulated(compile_emulator(tmp_path_factory.mktemp("emulator")))


def engine_for(bundle: Bundle, kernels: Emulated, **driver: Any) -> CudaEngine:
    fake = FakeDriver(kernels=kernels, **driver)
    contract: ModelContract = bundle.manifest.contract
    network = HostNetwork(fake, bundle)
    return CudaEngine(fake, network, b"cubin", contract, name="small", precision="fp32", library="OpenVINO")


@pytest.fixture
def pair(kernels: Emulated, red: Bundle) -> Iterator[tuple[Any, CudaEngine]]:
    """The same network on the CPU and on the fake GPU."""
    cpu, gpu = open_engine(red), engine_for(red, kernels)
    yield cpu, gpu
    cpu.close()
    gpu.close()


def pictures(engine: Any, options: StreamOptions, **more: Any) -> list[dict[str, NDArray[Any]]]:
    found = []
    with Pipeline(engine, options, **more) as pipeline:
        for frame in pipeline:
            c = frame.composite
            parts = {"y": c.y, "u": c.u, "v": c.v, "matte": frame.matte}
            found.append({name: np.array(plane) for name, plane in parts.items()})
            if frame.alpha is not None:
                found[-1]["alpha"] = np.array(frame.alpha)
    return found


def assert_alike(ours: list[dict[str, NDArray[Any]]], theirs: list[dict[str, NDArray[Any]]]) -> None:
    assert len(ours) == len(theirs) == FRAMES
    for mine, his in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(mine["matte"], his["matte"], atol=2e-3, equal_nan=False)
        for name in ("y", "u", "v", "alpha"):
            if name in his:
                difference = np.abs(mine[name].astype(int) - his[name])
                assert difference.max() <= 3, name
                assert difference.mean() < 0.05, name


@pytest.mark.parametrize("background", ["#00ff00", "blur:8", "original", "transparent"])
def test_frames_are_those_of_the_cpu(pair: tuple[Any, CudaEngine], clip: Path, background: str) -> None:
    cpu, gpu = pair
    options = StreamOptions(input=str(clip), background=background, frames=FRAMES)
    assert_alike(pictures(gpu, options), pictures(cpu, options))


@pytest.mark.parametrize("background", ["#00ff00", "blur:8", "original"])
def test_frames_that_stay_on_the_device_are_those_of_the_cpu(
    pair: tuple[Any, CudaEngine], clip: Path, background: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a decoder's NV12 surfaces to NV12 composites, none of them in host memory that anybody gave away."""
    cpu, gpu = pair
    monkeypatch.setitem(sys.modules, nvcodec.MODULE, FakeCodec(gpu.driver))  # type: ignore[arg-type]
    options = StreamOptions(input=str(clip), background=background, frames=FRAMES)
    with Pipeline(cpu, options) as pipeline:
        form = pipeline.format
    assert_alike(surfaces(gpu, options, form), pictures(cpu, options, alpha=False))


def surfaces(gpu: CudaEngine, options: StreamOptions, form: FrameFormat) -> list[dict[str, NDArray[Any]]]:
    """The first frames through DeviceStream, read where they lie."""
    image, found = gpu.contract.frame, []
    decoding, pitch = gpu.driver.stream(), -(-form.width // 64) * 64
    with (
        closing(SurfaceDecoder(gpu.driver, Path(options.input), stream=decoding)) as decoder,
        closing(DeviceStream(gpu, form, options, pitch=pitch)) as stream,
    ):
        for index, (surface, pts) in zip(range(FRAMES), decoder, strict=False):
            stream.start(surface, Timestamp(pts, decoder.time_base, 0), stream=decoding, first=index == 0)
            frame = stream.finish()
            out = frame.composite
            y = octets(out.y, form.height * out.luma_pitch).reshape(form.height, -1)[:, : form.width]
            chroma = octets(out.u, form.chroma_height * out.chroma_pitch).reshape(form.chroma_height, -1)
            u, v = (chroma[:, side : 2 * form.chroma_width : 2] for side in (0, 1))
            matte = floats(frame.matte, image.height * image.width).reshape(image.height, image.width)
            found.append({"y": y.copy(), "u": u.copy(), "v": v.copy(), "matte": matte.copy()})
            stream.give_back(frame, stream=decoding)
    return found


@lying
@pytest.mark.parametrize("background", ["#00ff00", "blur:8"])
def test_frames_that_the_gpu_decodes_are_those_of_the_cpu(
    pair: tuple[Any, CudaEngine], stub_gpu: Any, clip: Path, background: str
) -> None:
    """They are decoded by another process, and lie on the device when they come: nothing is copied in."""
    cpu, gpu = pair
    stub_gpu.show(clip)
    options = StreamOptions(input=str(clip), background=background, frames=FRAMES, decoder="nvdec")
    before = gpu.driver.calls["copy"]
    ours = pictures(gpu, options)
    copies = gpu.driver.calls["copy"] - before
    assert_alike(ours, pictures(cpu, replace(options, decoder="cpu")))
    through_host = replace(options, decoder="cpu")
    before = gpu.driver.calls["copy"]
    pictures(gpu, through_host)
    assert gpu.driver.calls["copy"] - before > copies


@lying
@pytest.mark.usefixtures("stub_gpu")
def test_a_frame_that_was_never_on_the_host_says_so(
    pair: tuple[Any, CudaEngine],
    clip: Path,
) -> None:
    options = StreamOptions(input=str(clip), frames=1, decoder="nvdec")
    with Pipeline(pair[1], options) as pipeline:
        assert [frame.source for frame in pipeline] == [None]


def test_frames_are_not_decoded_on_a_gpu_where_the_network_is_not(pair: tuple[Any, CudaEngine], clip: Path) -> None:
    with pytest.raises(DeviceError, match="the network runs on the CPU") as caught:
        Pipeline(pair[0], StreamOptions(input=str(clip), decoder="nvdec"))
    assert "--device cuda" in caught.value.remedy


@lying
@pytest.mark.usefixtures("stub_gpu")
def test_the_source_process_has_ended_before_its_surfaces_are_freed(
    pair: tuple[Any, CudaEngine],
    clip: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """CUDA leaves undefined what comes of memory that is freed while another process has it open."""
    _, gpu = pair
    freed = []
    release = Surfaces.close

    def close(surfaces: Surfaces) -> None:
        freed.append(pipeline._source._child._process.returncode)
        release(surfaces)

    monkeypatch.setattr(Surfaces, "close", close)
    pipeline = Pipeline(gpu, StreamOptions(input=str(clip), frames=2, decoder="nvdec"))
    pipeline.close()
    assert len(freed) == 1
    assert freed[0] is not None


def test_a_video_background_follows_its_own_time(pair: tuple[Any, CudaEngine], clip: Path) -> None:
    cpu, gpu = pair
    options = StreamOptions(input=str(clip), background=str(clip), frames=FRAMES)
    assert_alike(pictures(gpu, options), pictures(cpu, options))


def test_a_picture_background_is_the_cpus(pair: tuple[Any, CudaEngine], clip: Path, empty_room: Path) -> None:
    cpu, gpu = pair
    options = StreamOptions(input=str(clip), background=str(empty_room), frames=FRAMES)
    assert_alike(pictures(gpu, options), pictures(cpu, options))


def test_a_styled_picture_is_the_cpus(
    pair: tuple[Any, CudaEngine], kernels: Emulated, inverting: Bundle, clip: Path
) -> None:
    cpu, gpu = pair
    options = StreamOptions(input=str(clip), background="original", style_strength=0.7, frames=FRAMES)
    painter = engine_on_driver_of(gpu, inverting)
    assert_alike(pictures(gpu, options, style=painter), pictures(cpu, options, style=inverting))
    assert kernels


def engine_on_driver_of(gpu: CudaEngine, bundle: Bundle) -> CudaEngine:
    """A second engine whose network queues its work through the first one's driver, as two libraries share a GPU."""
    driver: Any = gpu.driver
    contract = bundle.manifest.contract
    other = FakeDriver()
    return CudaEngine(
        other, HostNetwork(driver, bundle), b"cubin", contract, name="style", precision="fp32", library="OpenVINO"
    )


def test_a_plate_is_copied_in_and_followed(kernels: Emulated, with_plate: Bundle, clip: Path, empty_room: Path) -> None:
    cpu, gpu = open_engine(with_plate), engine_for(with_plate, kernels)
    options = StreamOptions(input=str(clip), plate=str(empty_room), frames=FRAMES)
    assert_alike(pictures(gpu, options), pictures(cpu, options))
    gpu.close()


def test_recurrent_state_follows_the_frames(kernels: Emulated, counting: Bundle, clip: Path) -> None:
    cpu, gpu = open_engine(counting), engine_for(counting, kernels)
    options = StreamOptions(input=str(clip), smooth=False, frames=FRAMES)
    assert_alike(pictures(gpu, options), pictures(cpu, options))
    gpu.close()


def test_two_streams_share_an_engine(pair: tuple[Any, CudaEngine], clip: Path) -> None:
    _, gpu = pair
    options = StreamOptions(input=str(clip), frames=FRAMES)
    with Pipeline(gpu, options) as first, Pipeline(gpu, options) as second:
        seen = [(a.index, b.index) for a, b in zip(first, second, strict=True)]
    assert seen == [(i, i) for i in range(FRAMES)]


def test_the_device_in_use_is_named(pair: tuple[Any, CudaEngine], clip: Path) -> None:
    _, gpu = pair
    report = Runner(gpu, StreamOptions(input=str(clip), frames=FRAMES)).run()
    assert report.device == f"{A_CARD} with OpenVINO, fake"
    assert report.error is None
    assert set(report.stages_ms) == {"wait", "pre", "network", "post", "deliver"}


def test_a_lost_device_ends_the_run_and_is_told_apart(kernels: Emulated, red: Bundle, clip: Path) -> None:
    gpu = engine_for(red, kernels, faults={("work", 500): "CUDA_ERROR_LAUNCH_FAILED"})
    runner = Runner(gpu, StreamOptions(input=str(clip), loop=True))
    report = runner.run()
    assert isinstance(runner.failure, DeviceLostError)
    assert report.exit_code == 69
    assert "CUDA_ERROR_LAUNCH_FAILED while waiting for a frame" in str(report.error)
    gpu.close()


def test_a_device_lost_while_the_output_is_finished_is_told_too(
    pair: tuple[Any, CudaEngine], clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The last frames are still in the GPU's encoder then."""
    lost, told = [DeviceLostError("the GPU's encoder failed", remedy="Try again.")], list[DeviceLostError]()

    def close(*given: Any, **more: Any) -> None:  # noqa: ARG001
        if lost:
            raise lost.pop()

    monkeypatch.setattr(NullSink, "close", close)
    runner = Runner(pair[0], StreamOptions(input=str(clip), frames=FRAMES), on_lost=told.append)
    assert runner.run().exit_code == 69
    assert told == [runner.failure]


def test_a_style_network_on_another_device_is_refused(
    pair: tuple[Any, CudaEngine], kernels: Emulated, inverting: Bundle, clip: Path
) -> None:
    _, gpu = pair
    with pytest.raises(DeviceError, match="style network does not run on cuda:0"):
        Pipeline(gpu, StreamOptions(input=str(clip)), style=inverting)
    painter = engine_for(inverting, kernels, device=dataclasses.replace(A_CARD, ordinal=1))
    with pytest.raises(DeviceError, match="style network does not run on cuda:0") as caught:
        Pipeline(gpu, StreamOptions(input=str(clip)), style=painter)
    assert "cuda:1" in str(caught.value)
