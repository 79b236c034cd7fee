"""The source's sound is copied, packet by packet."""

from __future__ import annotations

import io
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import av
import msgspec
import pytest

from cutline.runtime.sinks import open_sink
from cutline.runtime.sinks.audio import AudioCopy
from cutline.runtime.sinks.recipes import RECIPES


def with_sound(clip: Any, source: Path, count: int = 30, **changes: Any) -> Any:
    return clip(count=count, changes={"source_uri": str(source), **changes})


def payload(packets: list[tuple[float, bytes]]) -> list[bytes]:
    return [data for _, data in packets]


def times(packets: list[tuple[float, bytes]]) -> list[float]:
    return [time for time, _ in packets]


@pytest.mark.parametrize(
    ("name", "codec", "output"),
    [
        ("in.mp4", "aac", "out.mp4"),
        ("in.mp4", "aac", "out.mkv"),
        ("in.mp4", "aac", "out.mov"),
        ("in.mkv", "aac", "out.mp4"),
        ("in.mkv", "libopus", "out.mp4"),
        ("in.mkv", "libopus", "out.webm"),
        ("in.mkv", "ac3", "out.mp4"),
        ("in.mov", "pcm_s16le", "out.mov"),
        ("in.avi", "pcm_s16le", "out.mp4"),
        ("in.avi", "mp2", "out.mkv"),
    ],
)
def test_every_packet_is_copied_as_it_is(
    clip: Any, store: Any, sounding: Any, listen: Any, tmp_path: Path, name: str, codec: str, output: str
) -> None:
    source = sounding(name, codec)
    report = store(with_sound(clip, source), tmp_path / output)
    sent, arrived = listen(source), listen(tmp_path / output)
    assert payload(arrived) == payload(sent)
    assert times(arrived) == pytest.approx(times(sent), abs=0.0011)
    assert report["audio"] == [codec.removeprefix("lib")]
    assert report["notices"] == []


def test_broadcast_aac_loses_only_its_transport_headers(
    clip: Any, store: Any, sounding: Any, listen: Any, tmp_path: Path
) -> None:
    source = sounding("in.ts", "aac")
    for output in ("out.mp4", "out.mkv"):
        report = store(with_sound(clip, source), tmp_path / output)
        sent, arrived = listen(source), listen(tmp_path / output)
        assert payload(arrived) == [data[7:] for data in payload(sent)]  # ADTS headers are 7 bytes
        assert times(arrived) == pytest.approx(times(sent), abs=0.0011)
        assert report["notices"] == []


def test_picture_and_sound_keep_their_distance_when_the_sound_starts_before_zero(
    clip: Any, store: Any, sounding: Any, listen: Any, read: Any, tmp_path: Path
) -> None:
    source = sounding("in.mp4", "aac")
    assert times(listen(source))[0] < 0  # the decoder's run-in
    made = with_sound(clip, source)
    store(made, tmp_path / "out.mp4")
    assert [frame.pts for frame in read(tmp_path / "out.mp4")] == made.pts
    assert times(listen(tmp_path / "out.mp4")) == pytest.approx(times(listen(source)), abs=1e-6)


@pytest.mark.parametrize("output", ["out.mov", "out.mkv"])
def test_a_picture_that_starts_long_after_the_sound_stays_there(
    clip: Any, store: Any, sounding: Any, listen: Any, read: Any, tmp_path: Path, output: str
) -> None:
    source = sounding("in.mov", "pcm_s16le", seconds=1)
    made = replace(with_sound(clip, source), times=tuple(450_000 + 3000 * index for index in range(30)))
    store(made, tmp_path / output, transparent=False)
    shown = [float(frame.pts * frame.time_base) for frame in read(tmp_path / output)]
    assert shown == pytest.approx([5 + index / 30 for index in range(30)], abs=0.0006)
    assert times(listen(tmp_path / output)) == pytest.approx(times(listen(source)), abs=0.0011)


def test_a_run_in_that_cannot_be_held_is_left_out_and_told(sounding: Any, listen: Any) -> None:
    source = sounding("in.mp4", "aac")
    audio = AudioCopy(str(source))
    with av.open(io.BytesIO(), "w", format="mp4") as output:
        audio.add_streams(output, RECIPES[".mp4"])
        assert audio.starts()[0] < 0
        audio.skip_before_zero()
        copied = [bytes(packet) for packet in audio.rest()]
    audio.close()
    assert copied == [data for time, data in listen(source) if time >= 0]
    assert audio.notices == ["1 audio packets that are damaged or out of place are left out"]


def test_sound_that_the_container_cannot_hold_is_told_in_one_line(
    clip: Any, store: Any, sounding: Any, read: Any, tmp_path: Path
) -> None:
    report = store(with_sound(clip, sounding("in.mp4", "aac")), tmp_path / "out.webm")
    assert len(report["notices"]) == 1
    assert "the audio (aac) is left out, VP9 in WebM cannot hold it" in report["notices"][0]
    assert report["audio"] == []
    assert len(read(tmp_path / "out.webm")) == 30


def test_sound_longer_than_the_picture_is_kept_to_its_end(
    clip: Any, store: Any, sounding: Any, listen: Any, tmp_path: Path
) -> None:
    source = sounding("in.mp4", "aac", seconds=1, sound_s=3)
    store(with_sound(clip, source), tmp_path / "out.mp4")
    assert payload(listen(tmp_path / "out.mp4")) == payload(listen(source))


@pytest.mark.parametrize("seconds", [4, 1.5])
def test_sound_ends_with_the_picture_when_only_part_of_the_source_was_wanted(
    clip: Any, store: Any, sounding: Any, listen: Any, tmp_path: Path, seconds: float
) -> None:
    source = sounding("in.mp4", "aac", seconds=seconds)
    store(with_sound(clip, source, count=30, limit=30), tmp_path / "out.mp4")
    arrived = listen(tmp_path / "out.mp4")
    assert times(arrived)[-1] == pytest.approx(1.0, abs=0.04)
    assert payload(arrived) == payload(listen(source))[: len(arrived)]


def test_sound_ends_with_the_picture_when_the_run_was_interrupted(
    clip: Any, sounding: Any, listen: Any, tmp_path: Path
) -> None:
    source = sounding("in.mp4", "aac", seconds=2)
    made = with_sound(clip, source, count=60)
    sink = open_sink(str(tmp_path / "out.mp4"), made.info)
    for index in range(30):
        sink.write(made.frame(index))
    sink.close(complete=False)
    assert times(listen(tmp_path / "out.mp4"))[-1] == pytest.approx(1.0, abs=0.04)


def test_sound_that_ends_early_does_not_hold_the_picture_back(
    clip: Any, sounding: Any, listen: Any, tmp_path: Path
) -> None:
    source = sounding("in.mp4", "aac", seconds=4, sound_s=0.5)
    made = with_sound(clip, source, count=120)
    sink = open_sink(str(tmp_path / "out.mp4"), made.info)
    for index in range(100):
        sink.write(made.frame(index))
    written = sink.report()["bytes"]
    sink.close(complete=True)
    assert isinstance(written, int)
    assert written > 0.6 * (tmp_path / "out.mp4").stat().st_size
    assert payload(listen(tmp_path / "out.mp4")) == payload(listen(source))


def test_a_truncated_source_gives_the_sound_that_is_there(
    clip: Any, store: Any, sounding: Any, listen: Any, read: Any, tmp_path: Path
) -> None:
    whole = sounding("in.ts", "aac", seconds=2)
    cut = tmp_path / "cut.ts"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 5])
    store(with_sound(clip, cut, count=20), tmp_path / "out.mp4")
    arrived = payload(listen(tmp_path / "out.mp4"))
    assert len(arrived) > 5
    assert arrived[:-1] == [data[7:] for data in payload(listen(whole))][: len(arrived) - 1]
    assert len(read(tmp_path / "out.mp4")) == 20


def test_a_source_that_has_gone_is_told_and_the_picture_goes_on(
    clip: Any, store: Any, read: Any, tmp_path: Path
) -> None:
    report = store(with_sound(clip, tmp_path / "gone.mp4"), tmp_path / "out.mp4")
    assert "the audio could not be read" in report["notices"][0]
    assert len(read(tmp_path / "out.mp4")) == 30


def test_the_sound_of_a_live_source_is_told_to_be_missing(clip: Any, store: Any, sounding: Any, tmp_path: Path) -> None:
    made = with_sound(clip, sounding("in.mp4", "aac"), live=True)
    assert store(made, tmp_path / "out.mp4")["notices"] == ["the audio of a live source is not stored"]


@pytest.mark.parametrize("uri", ["-", "pipe"])
def test_a_pipe_is_not_opened_a_second_time(clip: Any, store: Any, tmp_path: Path, uri: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    made = with_sound(clip, Path(uri) if uri == "-" else tmp_path / uri)
    assert store(made, tmp_path / "out.mp4")["notices"] == [
        "the audio of a pipe is not stored, because a pipe is read only once"
    ]


def test_a_silent_source_is_nothing_to_tell(clip: Any, store: Any, tmp_path: Path) -> None:
    store(clip(count=5), tmp_path / "silent.mp4")
    made = replace(clip(count=5), changes={"source_uri": str(tmp_path / "silent.mp4")})
    report = store(made, tmp_path / "out.mp4")
    assert report["notices"] == []
    assert report["audio"] == []


def looped(clip: Any, source: Path, frames: int, *, round_of: int) -> list[Any]:
    """Frames of a source that begins again after so many."""
    made = with_sound(clip, source, count=frames)
    later = []
    for index in range(frames):
        frame = made.frame(index)
        origin = made.pts[index - index % round_of]
        later.append(msgspec.structs.replace(frame, time=msgspec.structs.replace(frame.time, origin=origin)))
    return later


@pytest.mark.parametrize(
    ("name", "codec"), [("in.mp4", "aac"), ("in.mkv", "libopus"), ("in.ts", "aac"), ("in.avi", "mp2")]
)
@pytest.mark.parametrize("sound_s", [None, 0.4, 3.0], ids=["as long", "shorter", "longer"])
def test_sound_is_repeated_in_step_with_a_looped_picture(
    clip: Any, sounding: Any, listen: Any, tmp_path: Path, name: str, codec: str, sound_s: float | None
) -> None:
    source = sounding(name, codec, seconds=1, sound_s=sound_s)
    sent = dict(reversed([(data[7:] if name == "in.ts" else data, time) for time, data in listen(source)]))
    sink = open_sink(str(tmp_path / "out.mkv"), with_sound(clip, source, count=75).info)
    for frame in looped(clip, source, 75, round_of=30):  # two rounds and a half, of a second each
        sink.write(frame)
    sink.close(complete=False)
    arrived = listen(tmp_path / "out.mkv")
    late = [time - sent[data] for time, data in arrived if data in sent]
    rounds = [round(seconds) for seconds in late]
    assert len(late) == len(arrived)  # nothing but what the source has
    assert rounds == sorted(rounds)
    assert set(rounds) == {0, 1, 2}
    # Matroska counts milliseconds, in both files; AVI whole packets, and a round begins at the nearest
    assert late == pytest.approx(rounds, abs=0.0125 if name == "in.avi" else 0.0021)
    longest = max(after - before for before, after in zip(times(arrived), times(arrived)[1:], strict=False))
    assert longest < (0.7 if sound_s == 0.4 else 0.05)  # no gap of more than a packet or two
    assert times(arrived)[-1] == pytest.approx(2.4 if sound_s == 0.4 else 2.5, abs=0.06)
    assert sink.report()["notices"] == []


def test_a_source_that_has_gone_before_its_repetition_is_told_once(
    clip: Any, sounding: Any, read: Any, listen: Any, tmp_path: Path
) -> None:
    source = sounding("in.mp4", "aac")
    sink = open_sink(str(tmp_path / "out.mp4"), with_sound(clip, source, count=75).info)
    for index, frame in enumerate(looped(clip, source, 75, round_of=30)):
        if index == 10:
            source.unlink()
        sink.write(frame)
    sink.close(complete=True)
    assert len(read(tmp_path / "out.mp4")) == 75
    assert times(listen(tmp_path / "out.mp4"))[-1] == pytest.approx(1, abs=0.04)
    notices = sink.report()["notices"]
    assert isinstance(notices, list)
    assert len(notices) == 1
    assert "the audio ends before a repetition" in notices[0]
