"""Frames that come and go on the device: order and lifetimes without one wait of the host between the streams."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import closing, contextmanager
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from small_device import KERNELS, SmallNetwork, contract, octets

from cutline.runtime.contract import ModelContract
from cutline.runtime.cuda.device_stream import DEPTH, DeviceFrame, DeviceStream
from cutline.runtime.cuda.driver import Pinned
from cutline.runtime.cuda.engine import CudaEngine
from cutline.runtime.cuda.fake import FakeDriver
from cutline.runtime.cuda.planes import DevicePlanes
from cutline.runtime.errors import ContractError, DeviceError, UsageError
from cutline.runtime.frame import FrameFormat, Timestamp
from cutline.runtime.options import StreamOptions

FRAME = FrameFormat(width=96, height=64)
PITCH = 112
LATE = 60  # pieces of work that the encoder has to do before it reads a frame: it comes long after the frame was done
CODES = [(7 * i) % 200 + 1 for i in range(40)]


def surface_at(address: int, pitch: int = PITCH) -> DevicePlanes:
    uv = address + pitch * FRAME.height
    return DevicePlanes(y=address, u=uv, v=uv + 1, luma_pitch=pitch, chroma_pitch=pitch, interleaved=True)


class Codec:
    """A decoder with two surfaces that it writes again and again, and an encoder; both only queue work."""

    nbytes = PITCH * FRAME.height * 3 // 2

    def __init__(self, driver: FakeDriver) -> None:
        self.driver, self.decoding, self.encoding = driver, driver.stream(), driver.stream()
        self._memory = [driver.alloc(self.nbytes) for _ in range(2)]
        self.encoded: list[float] = []
        self._turn = 0

    def decode(self, code: int) -> DevicePlanes:
        memory = self._memory[self._turn % 2]
        self._turn += 1

        def write() -> None:
            octets(memory.address, self.nbytes)[:] = code

        self.driver.host_work(self.decoding, "decoder", write)
        return surface_at(memory.address)

    def encode(self, frame: DeviceFrame) -> None:
        def read() -> None:
            self.encoded.append(float(np.frombuffer(octets(frame.composite.y, 4).tobytes(), np.float32)[0]))

        for _ in range(LATE):
            self.driver.host_work(self.encoding, "encoder", lambda: None)
        self.driver.host_work(self.encoding, "encoder", read)

    def close(self) -> None:
        mark = self.driver.event()
        for stream in (self.decoding, self.encoding):
            self.driver.record(mark, stream=stream)
            self.driver.synchronise(mark)
        for resource in (mark, self.decoding, self.encoding, *self._memory):
            self.driver.release(resource)


@contextmanager
def opened(seed: int = 0, shape: ModelContract | None = None, **driver: Any) -> Iterator[tuple[DeviceStream, Codec]]:
    random.seed(seed)
    fake = FakeDriver(kernels=KERNELS, seed=seed, **driver)
    network = SmallNetwork(fake, shape or contract())
    engine = CudaEngine(fake, network, b"cubin", network.contract, name="small", precision="fp32", library="none")
    codec = Codec(fake)
    with closing(engine), closing(DeviceStream(engine, FRAME, StreamOptions(input="-"), pitch=PITCH)) as stream:
        yield stream, codec
        codec.close()
        stream.close()
    assert fake.live == set()
    assert network.live == 0


def at(index: int) -> Timestamp:
    return Timestamp(index, Fraction(1, 25), 0)


def run(stream: DeviceStream, codec: Codec, codes: list[int]) -> list[int]:
    """Each code through decoder, stream and encoder; the frames' times as they came out."""
    times = []
    for index, code in enumerate(codes):
        if not stream.room:
            times.append(take(stream, codec))
        stream.start(codec.decode(code), at(index), stream=codec.decoding)
    while len(times) < len(codes):
        times.append(take(stream, codec))
    return times


def take(stream: DeviceStream, codec: Codec) -> int:
    frame = stream.finish()
    codec.encode(frame)
    stream.give_back(frame, stream=codec.encoding)
    return frame.time.pts


@pytest.mark.parametrize("no_graphs", [None, "it has none"], ids=["graphs", "plain"])
@pytest.mark.parametrize("seed", range(6))
def test_every_frame_is_read_from_its_surface_and_encoded_before_it_is_overwritten(
    seed: int, no_graphs: str | None
) -> None:
    with opened(seed, contract(states=True), no_graphs=no_graphs) as (stream, codec):
        assert run(stream, codec, CODES) == list(range(len(CODES)))
    assert codec.encoded == [code + 100000 * i for i, code in enumerate(CODES)]


def test_the_host_waits_once_for_a_frame_and_no_byte_of_it_passes_through_its_memory() -> None:
    with opened() as (stream, codec):
        run(stream, codec, CODES[:8])
        before = codec.driver.calls.copy()
        with codec.driver.still():
            run(stream, codec, CODES)
        calls = codec.driver.calls - before
        frames = len(CODES)
        assert calls["synchronise"] == calls["replay"] == frames
        assert calls["copy"] == 2 * frames  # luma and chroma of the surface, from device to device
        pinned = sum(resource.nbytes for resource in codec.driver.live if isinstance(resource, Pinned))
        assert pinned < codec.nbytes  # what changes between frames, and no slot


def test_a_first_frame_forgets_what_came_before_it() -> None:
    with opened(shape=contract(states=True)) as (stream, codec):
        run(stream, codec, CODES[:3])
        stream.start(codec.decode(9), at(3), stream=codec.decoding, first=True)
        take(stream, codec)
    assert codec.encoded[-1] == 9


def test_a_plate_is_seen_by_the_frames_started_after_it() -> None:
    with opened(shape=contract(plate=True)) as (stream, codec):
        for index in range(3):
            stream.set_plate(np.full((1, 3, 8, 16), index, np.float32))
            stream.start(codec.decode(5), at(index), stream=codec.decoding)
        for _ in range(3):
            take(stream, codec)
    assert codec.encoded == [5, 1005, 2005]


def test_style_strength_reaches_post() -> None:
    with opened() as (stream, codec):
        stream.set_strength(0.25)
        stream.start(codec.decode(5), at(0), stream=codec.decoding)
        frame = stream.finish()
        assert octets(frame.composite.y + 4, 4).tobytes() == np.float32(0.25).tobytes()
        stream.give_back(frame, stream=codec.encoding)


def test_more_frames_than_slots_and_frames_that_never_began_are_refused() -> None:
    with opened() as (stream, codec):
        with pytest.raises(UsageError, match="no frame is running"):
            stream.finish()
        for index in range(DEPTH):
            stream.start(codec.decode(1), at(index), stream=codec.decoding)
        with pytest.raises(UsageError, match="too many frames at once"):
            stream.start(codec.decode(1), at(DEPTH), stream=codec.decoding)
        frame = stream.finish()
        assert stream.room == 0  # it is not given back
        stream.give_back(frame, stream=codec.encoding)
        assert stream.room == 1


def test_surfaces_of_another_kind_than_announced_are_refused() -> None:
    with opened() as (stream, codec):
        with pytest.raises(ContractError, match="not what was announced"):
            stream.start(surface_at(1 << 20, pitch=96), at(0), stream=codec.decoding)
        planar = DevicePlanes(y=0, u=16, v=32, luma_pitch=PITCH, chroma_pitch=PITCH)
        with pytest.raises(ContractError, match="not what was announced"):
            stream.start(planar, at(0), stream=codec.decoding)
        assert stream.room == DEPTH


@pytest.mark.parametrize(("pitch", "said"), [(100, "misaligned"), (80, "smaller than a row")])
def test_a_pitch_that_the_kernels_cannot_read_is_refused_before_anything_is_taken(pitch: int, said: str) -> None:
    fake = FakeDriver(kernels=KERNELS)
    network = SmallNetwork(fake, contract())
    engine = CudaEngine(fake, network, b"cubin", network.contract, name="small", precision="fp32", library="none")
    live = fake.live
    with pytest.raises(ContractError, match=said):
        DeviceStream(engine, FRAME, StreamOptions(input="-"), pitch=pitch)
    assert fake.live == live


@pytest.mark.parametrize("call", ["alloc", "stream", "event", "end_capture"])
def test_a_start_that_fails_leaves_nothing_behind(call: str) -> None:
    name = "CUDA_ERROR_ILLEGAL_ADDRESS" if call == "end_capture" else "CUDA_ERROR_INVALID_VALUE"
    fake = FakeDriver(kernels=KERNELS, faults={(call, 2 if call in ("stream", "event") else 0): name})
    network = SmallNetwork(fake, contract())
    engine = CudaEngine(fake, network, b"cubin", network.contract, name="small", precision="fp32", library="none")
    with pytest.raises(DeviceError):
        DeviceStream(engine, FRAME, StreamOptions(input="-"), pitch=PITCH)
    engine.close()
    assert fake.live == set()
