"""Video decoded by FFmpeg's NVDEC code in the source process, on a driver of our own, into surfaces of this process."""

from __future__ import annotations

import ctypes
import resource
import signal
import time
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from cutline.runtime.cuda.fake import FakeDriver
from cutline.runtime.cuda.memory import Surfaces
from cutline.runtime.errors import BadInputError, CutlineError, DeviceError, DeviceLostError, UsageError
from cutline.runtime.slots import SlotPool
from cutline.runtime.sources import End, Filled, Notice, Source, SourceOptions

from .conftest import Clips, drain, recycle
from .feeds import Feed

pytest.importorskip("cuda.bindings.driver", reason="cuda-bindings is not installed")
if not hasattr(av.VideoFrame, "sw_format"):
    pytest.skip("this PyAV hands out no frames that lie on the GPU", allow_module_level=True)

ON_GPU = SourceOptions(gpu=0)
SIZE = (128, 80)  # not of whole blocks of 16 rows of 128: what is decoded is larger than what is shown


def moving(number: int, frame: av.VideoFrame) -> None:
    """Every frame and every plane is a ramp of its own."""
    for index, plane in enumerate(frame.planes):
        rows = np.frombuffer(memoryview(plane), np.uint8).reshape(-1, plane.line_size)
        y, x = np.mgrid[: rows.shape[0], : rows.shape[1]]
        rows[:] = (x + 2 * y + 7 * number + 50 * index) % 200 + 16


@pytest.fixture
def clip(clips: Clips) -> Path:
    """With frames that are decoded before those that are shown before them."""
    return clips.make("nvdec.mp4", size=SIZE, paint=moving, options={"bf": "2"}, frames=20)


class Taker:
    """Takes frames from a source that decodes on the GPU, from where they lie."""

    def __init__(self, uri: str, options: SourceOptions = ON_GPU) -> None:
        self.source = Source(uri, options)
        form, pitch = self.source.info.format, self.source.info.surface_pitch
        self.pool = SlotPool(format=form, depth=3, arrays={}, alpha=False, surface_pitch=pitch)
        self.driver = FakeDriver()
        self.surfaces = Surfaces(self.driver, self.pool, lower="Lower it.")
        self.source.start(self.pool, self.surfaces.layout)
        self.pictures: list[NDArray[np.uint8]] = []  # NV12: uint8[3 H / 2, W]
        self.indexes: list[int] = []
        self.notices: list[Notice] = []
        self.end: End | None = None
        for slot in self.pool.slots:
            self.source.offer(slot)

    def take(self, frames: int = 1000) -> Taker:
        """Take so many more frames, or all."""
        wanted, deadline = len(self.pictures) + frames, time.monotonic() + 60
        while self.end is None and len(self.pictures) < wanted:
            assert time.monotonic() < deadline, self.notices
            event = self.source.take(30)
            if isinstance(event, Filled):
                self.indexes.append(event.index)
                self.pictures.append(self._picture(event.slot_index))
                recycle(self.source, self.pool, event)
            elif isinstance(event, Notice):
                self.notices.append(event)
            else:
                assert event is not None, "the source said nothing for 30 s"
                self.end = event
        return self

    def _picture(self, index: int) -> NDArray[np.uint8]:
        planes, form = self.surfaces.planes(index), self.source.info.format
        found = []
        for address, rows in ((planes.y, form.height), (planes.u, form.chroma_height)):
            octets = (ctypes.c_uint8 * (rows * planes.luma_pitch)).from_address(address)
            found.append(np.ctypeslib.as_array(octets).reshape(rows, -1)[:, : form.width])
        return np.vstack(found)

    def close(self) -> None:
        self.source.close()
        self.surfaces.close()
        self.driver.close()
        self.pool.close()


@pytest.fixture
def taker(stub_gpu: Any) -> Any:
    assert stub_gpu
    opened: list[Taker] = []

    def start(uri: Path | str, options: SourceOptions = ON_GPU) -> Taker:
        opened.append(Taker(str(uri), options))
        return opened[-1]

    yield start
    for each in opened:
        each.close()


def on_cpu(clip: Path) -> list[NDArray[np.uint8]]:
    with av.open(str(clip)) as video:
        return [frame.to_ndarray(format="nv12") for frame in video.decode(video=0)]


def test_frames_lie_in_the_slots_surfaces_in_the_order_in_which_they_are_shown(
    stub_gpu: Any, taker: Any, clip: Path
) -> None:
    stub_gpu.show(clip)
    taken = taker(clip).take()
    wanted = on_cpu(clip)
    assert taken.end == End(None, len(wanted), 0)
    assert taken.indexes == list(range(len(wanted)))
    np.testing.assert_array_equal(np.stack(taken.pictures), np.stack(wanted))


def test_size_colour_and_times_are_those_that_the_cpu_finds(taker: Any, clips: Clips) -> None:
    clip = clips.make("nvdec-full.mp4", size=(162, 90), colour=(1, 2), frames=5, rate=Fraction(30000, 1001))
    ours, theirs = taker(clip).source, Source(str(clip), SourceOptions())
    theirs.close()
    assert ours.info.surface_pitch % 256 == 0
    assert ours.info.surface_pitch >= 162
    known = [(i.format, i.rate, i.tick, i.frames, i.duration_s, i.audio) for i in (ours.info, theirs.info)]
    assert known[0] == known[1]


def test_a_loop_goes_on_with_a_decoder_of_its_own(stub_gpu: Any, taker: Any, clip: Path) -> None:
    stub_gpu.show(clip)
    taken = taker(clip, SourceOptions(gpu=0, loop=True)).take(50)
    wanted = on_cpu(clip)
    np.testing.assert_array_equal(np.stack(taken.pictures), np.stack([wanted[i % 20] for i in range(50)]))


def test_a_live_source_whose_decoder_dies_goes_on_with_the_same_surfaces(
    stub_gpu: Any, taker: Any, clips: Clips
) -> None:
    stream = clips.make("nvdec.ts", frames=50, options={"g": "5"})
    with Feed(stream) as feed:
        taken = taker(feed.uri, SourceOptions(gpu=0, stall_timeout_s=2.0, open_timeout_s=20))
        taken.take(3)
        taken.source._child._process.kill()
        taken.source._child._process.wait()
        for surface in (taken.surfaces.planes(slot.index) for slot in taken.pool.slots):
            ctypes.memset(surface.y, 0, surface.luma_pitch * 48)  # nobody writes now: take() starts the next process
        while not any(notice.kind == "reconnected" for notice in taken.notices):
            taken.take(1)
        before = len(taken.pictures)
        taken.take(3)
        assert len(taken.pictures) == before + 3
        assert all(picture[:48].min() > 0 for picture in taken.pictures[before:])  # grey, and never black
        assert stub_gpu.log.read_text().count("opened") == 2
        assert taken.indexes == sorted(set(taken.indexes))


def test_a_process_that_decodes_on_the_gpu_may_map_what_its_driver_wants(taker: Any, clip: Path) -> None:
    """Drivers take addresses for all memory that there is."""
    pid = taker(clip).source._child.pid
    soft, _ = resource.prlimit(pid, resource.RLIMIT_AS)
    assert soft == resource.RLIM_INFINITY


@pytest.mark.usefixtures("stub_gpu")
@pytest.mark.parametrize(
    ("recipe", "why"),
    [
        ({"pixels": "yuv420p10le"}, "its pixels are p010le"),
        ({"rotate": 90}, "it is turned"),
        ({"aspect": Fraction(4, 3)}, "its pixels are not square"),
        ({"options": {"x264-params": "interlaced=1", "flags": "+ildct+ilme"}}, "it is interlaced"),
    ],
)
def test_what_would_have_to_be_converted_is_refused(
    clips: Clips,
    recipe: dict[str, Any],
    why: str,
) -> None:
    clip = clips.make(f"nvdec-{len(why)}.mp4", size=(128, 96), frames=4, **recipe)
    with pytest.raises(BadInputError, match=f"this video cannot stay on the GPU: {why}") as caught:
        Source(str(clip), ON_GPU)
    assert caught.value.remedy == "Leave --decoder out: the CPU decodes it."


def test_a_size_that_changes_ends_the_stream_after_the_frames_before(taker: Any, clips: Clips, tmp_path: Path) -> None:
    parts = [clips.make(f"nvdec-{w}.ts", size=(w, 96), frames=6) for w in (128, 192)]
    joined = tmp_path / "joined.ts"
    joined.write_bytes(b"".join(part.read_bytes() for part in parts))
    taken = taker(joined).take()
    assert len(taken.pictures) == 6
    assert isinstance(taken.end.error, BadInputError)
    assert "it became 192x96" in taken.end.error.what


@pytest.mark.parametrize(
    ("codec", "why"),
    [("ffv1", "on the CPU only"), ("libsvtav1", "on the CPU only"), ("libx264", "Hardware is lacking")],
)
def test_a_codec_or_gpu_that_cannot_is_told_at_once(stub_gpu: Any, clips: Clips, codec: str, why: str) -> None:
    """FFmpeg has dav1d for AV1, and asks no GPU."""
    size = (64, 64) if codec == "libsvtav1" else (64, 48)
    clip = clips.make(f"nvdec-{codec}.mkv", codec=codec, frames=40, size=size)
    stub_gpu.set(STUB_REFUSES=1)
    with pytest.raises(DeviceError, match="the GPU does not decode this video") as caught:
        Source(str(clip), ON_GPU)
    assert not isinstance(caught.value, DeviceLostError)
    assert caught.value.remedy == "Leave --decoder out: the CPU decodes it."
    assert why in str(caught.value.facts["reason"])


@pytest.mark.usefixtures("stub_gpu")
def test_what_holds_no_video_is_not_the_gpu_s_fault(clips: Clips) -> None:
    sound = clips.sound_only("nvdec.m4a")
    with pytest.raises(BadInputError, match="this has sound but no picture"):
        Source(str(sound), ON_GPU)


def noise(number: int, frame: av.VideoFrame) -> None:
    """What cannot be compressed."""
    for index, plane in enumerate(frame.planes):
        plane.update(np.random.default_rng([number, index]).bytes(plane.buffer_size))


def test_a_stream_that_is_joined_long_before_a_key_frame_is_waited_for(taker: Any, clips: Clips) -> None:
    """Until then FFmpeg knows no parameters, and can decode nothing: no GPU is to blame."""
    whole = clips.make("nvdec-late.ts", size=(320, 240), paint=noise, frames=70, options={"g": "60"})
    with av.open(str(whole)) as video:
        packets = [packet.pos for packet in video.demux(video.streams.video[0]) if packet.size]
    late = whole.with_name("nvdec-joined.ts")
    late.write_bytes(whole.read_bytes()[packets[5] :])
    taken = taker(late).take()
    assert len(taken.pictures) == 10
    assert taken.end.error is None


@pytest.mark.usefixtures("stub_gpu")
@pytest.mark.parametrize(
    "recipe",
    [
        {"codec": "libvpx-vp9", "size": (161, 91), "options": {"deadline": "realtime", "cpu-used": "8"}},
        {"options": {"x264-params": "crop-rect=16,8,0,0"}},
    ],
    ids=["odd", "cut"],
)
def test_what_ffmpeg_shows_otherwise_on_a_gpu_is_refused(clips: Clips, recipe: dict[str, Any]) -> None:
    recipe = {"size": (128, 96), **recipe}
    clip = clips.make(f"nvdec-whole{recipe['size'][0]}.mkv", frames=4, **recipe)
    with pytest.raises(BadInputError, match="its size is odd, or it is cut"):
        Source(str(clip), ON_GPU)


@pytest.mark.usefixtures("stub_gpu")
def test_a_gpu_that_is_not_there_is_said(clip: Path) -> None:
    with pytest.raises(DeviceError, match="the GPU cannot be opened for decoding") as caught:
        Source(str(clip), SourceOptions(gpu=3))
    assert caught.value.facts["gpu"] == 3


@pytest.mark.usefixtures("stub_gpu")
def test_a_driver_without_its_video_library_is_said(clip: Path, tmp_path: Path) -> None:
    (tmp_path / "libnvcuvid.so.1").unlink()
    with pytest.raises(DeviceError, match="video decoder is not there") as caught:
        Source(str(clip), ON_GPU)
    assert "NVIDIA_DRIVER_CAPABILITIES" in caught.value.remedy


@pytest.mark.usefixtures("stub_gpu")
@pytest.mark.parametrize("what", ["picture", "scheme"])
def test_pictures_and_foreign_schemes_are_refused(clips: Clips, what: str) -> None:
    picture = clips.picture("nvdec.png", np.zeros((32, 32, 3), np.uint8))
    uri = str(picture) if what == "picture" else "synthetic://kiosk"
    with pytest.raises(UsageError, match="only video can be decoded on the GPU"):
        Source(uri, ON_GPU)


def test_a_device_that_is_lost_ends_the_stream_as_such(stub_gpu: Any, taker: Any, clip: Path) -> None:
    stub_gpu.set(STUB_BREAKS=4)
    taken = taker(clip).take()
    assert len(taken.pictures) == 3
    error: CutlineError | None = taken.end.error
    assert isinstance(error, DeviceLostError)


def test_a_decoder_that_the_driver_fails_is_a_lost_device_and_no_damage(
    stub_gpu: Any, taker: Any, clips: Clips
) -> None:
    clip = clips.make("nvdec-fails.mkv", frames=60)
    stub_gpu.set(STUB_FAILS=10)
    taken = taker(clip).take()
    assert len(taken.pictures) == 10
    assert isinstance(taken.end.error, DeviceLostError)
    assert "the GPU's decoder failed" in taken.end.error.what


@pytest.mark.parametrize(
    ("blow", "said"), [(signal.SIGSTOP, "does not answer"), (signal.SIGSEGV, "crashed, or took too long")]
)
def test_a_decoder_that_hangs_or_crashes_is_not_the_file_s_fault(
    taker: Any, clip: Path, blow: signal.Signals, said: str
) -> None:
    taken = taker(clip, SourceOptions(gpu=0, loop=True, stall_timeout_s=1.0)).take(2)
    taken.source._child._process.send_signal(blow)
    taken.take(1000)
    assert isinstance(taken.end.error, DeviceError)
    assert said in taken.end.error.what
    assert taken.end.error.remedy == "Leave --decoder out: the CPU decodes it."


def test_damage_is_found_as_on_the_cpu(taker: Any, clips: Clips, tmp_path: Path) -> None:
    whole = clips.make("nvdec.mkv", frames=30, options={"g": "5"}).read_bytes()
    torn = tmp_path / "torn.mkv"
    torn.write_bytes(whole[: len(whole) * 2 // 3])
    taken = taker(torn).take()
    _, theirs = drain(torn)
    assert (taken.end.frames, str(taken.end.error)) == (theirs.end.frames, str(theirs.end.error))
    assert 10 < taken.end.frames < 30
    assert "truncated" in taken.end.error.what
