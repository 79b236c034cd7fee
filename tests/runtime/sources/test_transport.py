"""A transport stream that breaks off is told from one that ends, by its sound as well as by its picture."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from cutline.runtime.errors import BadInputError
from cutline.runtime.sources.transport import ends_torn

from .conftest import Clips, drain

PACKET = 188


@pytest.fixture(scope="module")
def sounding(clips: Clips) -> Path:
    """A second of picture, and of noise whose pieces are some hundreds of bytes."""
    path = clips.folder / "sounding.ts"
    with av.open(str(clips.make("mute-second.mp4", frames=25))) as mute, av.open(str(path), "w") as out:
        picture = out.add_stream_from_template(mute.streams.video[0])
        sound = out.add_stream("mp2", rate=48000)
        for number in range(40):
            noise = np.random.default_rng(number).integers(-9999, 9999, (1, 2 * 1152), np.int16)
            frame = av.AudioFrame.from_ndarray(noise, "s16", "stereo")
            frame.sample_rate, frame.pts, frame.time_base = 48000, number * 1152, Fraction(1, 48000)
            out.mux(sound.encode(frame))
        out.mux(sound.encode(None))
        for packet in mute.demux(video=0):
            if packet.dts is not None:
                packet.stream = picture
                out.mux(packet)
    return path


def last_start_of_sound(data: bytes) -> int:
    """Where the packet begins that holds the last beginning of a piece of sound that goes on in the next one."""

    def begins(at: int) -> bool:
        packet, following = data[at : at + PACKET], data[at + PACKET :]
        mark = packet.find(b"\0\0\1")
        sound = packet[1] & 0x40 and 0xC0 <= packet[mark + 3] < 0xE0
        return bool(sound and following[1] & 0x5F == packet[1] & 0x1F and following[2] == packet[2])

    return max(at for at in range(0, len(data) - PACKET, PACKET) if begins(at))


@pytest.mark.parametrize("kind", ["plain", "arrival times", "other bytes behind it", "zeros behind it", "mute", "mp2"])
def test_an_intact_file_is_not_torn(clips: Clips, sounding: Path, tmp_path: Path, kind: str) -> None:
    path = tmp_path / "intact.ts"
    if kind == "arrival times":
        path = clips.make("times.m2ts", audio=True, container="mpegts", container_options={"mpegts_m2ts_mode": "1"})
        assert path.stat().st_size % 192 == 0
    elif kind == "mute":
        path = clips.make("mute-too.ts")
    elif kind == "mp2":
        path = clips.make("old.ts", audio=True, codec="mpeg2video")
    else:
        behind = {"plain": b"", "other bytes behind it": b"written by somebody" * 9, "zeros behind it": bytes(5000)}
        path.write_bytes(sounding.read_bytes() + behind[kind])
    assert not ends_torn(path)
    _, taken = drain(path, keep=False)
    assert taken.end is not None
    assert taken.end.error is None


@pytest.mark.parametrize("where", ["within a packet", "between the packets of one piece of sound"])
def test_a_file_cut_in_the_middle_of_its_sound_gives_its_frames_and_says_so(
    sounding: Path, tmp_path: Path, where: str
) -> None:
    data = sounding.read_bytes()
    path = tmp_path / "cut.ts"
    path.write_bytes(data[: last_start_of_sound(data) + PACKET + (50 if where == "within a packet" else 0)])
    _, taken = drain(path, keep=False)
    assert taken.end is not None
    assert isinstance(taken.end.error, BadInputError)
    assert "truncated" in str(taken.end.error)
    assert taken.end.frames == len(taken.filled) > 10


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(share=st.floats(0.05, 1))
def test_a_cut_within_a_packet_is_always_seen(sounding: Path, tmp_path: Path, share: float) -> None:
    data = sounding.read_bytes()
    size = int(len(data) * share)
    path = tmp_path / "cut.ts"
    path.write_bytes(data[:size])
    assert ends_torn(path) or size % PACKET == 0


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.binary(max_size=2000))
def test_any_bytes_have_an_answer(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "any.ts"
    path.write_bytes(b"".join(b"\x47" + data[at : at + 187].ljust(187) for at in range(0, len(data), 187)) + data[:9])
    assert ends_torn(path) in (True, False)
