"""H.264 by the GPU's encoder: who gets it, with which settings, and what is said where there is none."""

from __future__ import annotations

import threading
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import pytest

from cutline.runtime.cuda import watchdog
from cutline.runtime.errors import DeviceError, DeviceLostError, UsageError
from cutline.runtime.options import StreamOptions
from cutline.runtime.sinks import SinkOptions, codec, describe_sink, encoder, open_sink
from cutline.runtime.sinks.codec import explaining, said, why_no_nvenc
from cutline.runtime.sinks.recipes import NVENC, RECIPES, X264, by_gpu

NO_ENCODER = why_no_nvenc()
without = pytest.mark.skipif(not NO_ENCODER, reason="this machine's GPU encodes")


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("encoder", ["nvenc", "nvenc:3"])
def test_every_setting_is_one_that_ffmpeg_s_encoder_knows_with_that_value(suffix: str, encoder: str) -> None:
    if "came without" in NO_ENCODER:
        pytest.skip(NO_ENCODER)
    codec = av.CodecContext.create(NVENC, "w")
    if not hasattr(codec, "supported_options"):
        pytest.skip("this PyAV cannot say what a codec takes")
    known = {option.name: option for option in (*codec.supported_options.generic, *codec.supported_options.private)}
    settings = by_gpu(RECIPES[suffix]).settings(SinkOptions(encoder=encoder, crf=23), Fraction(30))
    for name, value in settings.items():
        option = known[name]
        choices = {choice.name for choice in option.choices or ()}
        number = not choices or value.lstrip("-").isdigit()
        assert (option.min <= float(value) <= option.max) if number else value in choices, name
    assert settings["cq"] == "23"
    assert settings["gpu"] == ("3" if encoder.endswith("3") else "any")


def test_what_the_gpu_makes_is_the_same_kind_of_file() -> None:
    cpu, gpu = RECIPES[".mp4"], by_gpu(RECIPES[".mp4"])
    assert gpu.codec == NVENC
    assert gpu.muxing(Fraction(1, 90000), wait=True) == cpu.muxing(Fraction(1, 90000), wait=True)


@pytest.mark.parametrize(
    "spec", ["out.mov", "out.webm", "out-%05d.png", "-", "null://", "display://0", "a.jsonl", "a.mp4/"]
)
def test_other_outputs_than_h264_refuse_the_gpu(spec: str) -> None:
    with pytest.raises(UsageError, match=r"H\.264 only"):
        describe_sink(spec, SinkOptions(encoder="nvenc"))
    assert describe_sink(spec)


@pytest.mark.parametrize("encoder", ["", "nvenc:", "nvenc:x", "nvenc:-1", "x265", "x264:0", "NVENC"])
def test_encoders_that_nobody_knows_are_usage_errors(encoder: str) -> None:
    with pytest.raises(UsageError, match="encoder"):
        StreamOptions(input="a.mp4", encoder=encoder)
    with pytest.raises(UsageError, match="encoder"):
        SinkOptions(encoder=encoder)


def test_the_best_quality_is_not_what_the_encoder_takes_for_no_wish_at_all() -> None:
    """0 is its word for none; it then keeps to the bit rate of its preset."""
    assert by_gpu(RECIPES[".mp4"]).settings(SinkOptions(encoder="nvenc", crf=0), Fraction(30))["cq"] == "1"


class Fails:
    """A stream whose encoder loses its device with the `last` picture."""

    def __init__(self, stream: Any, last: int) -> None:
        self._stream, self._left = stream, last

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def encode(self, picture: Any) -> Any:
        self._left -= 1
        if self._left <= 0:
            raise av.ExternalError(0, "Generic error in an external library")
        return self._stream.encode(picture)


def test_a_gpu_that_fails_while_it_encodes_is_a_lost_device_and_what_was_stored_plays(
    clip: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is no trouble with the disk; another process may find the device well."""
    source = clip(count=30)
    path = tmp_path / "out.mp4"
    sink: Any = open_sink(str(path), source.info, SinkOptions())
    monkeypatch.setattr(encoder, "NVENC", X264)
    sink._encoder._codec = Fails(sink._encoder._codec, 25)
    for index in range(24):
        sink.write(source.frame(index))
    with pytest.raises(DeviceLostError, match="external library") as caught:
        sink.write(source.frame(24))
    assert "disk" not in str(caught.value)
    sink.close(complete=False)
    (left,) = tmp_path.iterdir()
    with av.open(str(left)) as container:
        assert 0 < sum(1 for _ in container.decode(video=0)) < 25
    assert any("incomplete" in notice for notice in sink.report()["notices"])


def test_a_gpu_that_hangs_while_it_encodes_is_seen(clip: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = clip(count=3)
    lost: list[DeviceLostError] = []

    class Hangs(Fails):
        def encode(self, picture: Any) -> Any:
            for _ in range(watchdog.ANSWER + 1):
                dog.look()
            return super().encode(picture)

    monkeypatch.setattr(encoder, "NVENC", X264)
    sink: Any = open_sink(str(tmp_path / "out.mp4"), source.info, SinkOptions())
    sink._encoder._codec = Hangs(sink._encoder._codec, 9)
    dog = watchdog.Watchdog(lost.append, look_s=60.0)
    try:
        sink.write(source.frame(0))
    finally:
        dog.close()
    sink.close(complete=True)
    assert "while encoding a frame" in str(lost[0])


@without
def test_where_no_gpu_encodes_the_cause_is_said_and_the_file_that_was_there_stays(clip: Any, tmp_path: Path) -> None:
    path = tmp_path / "out.mp4"
    path.write_bytes(b"the only copy")
    level = av.logging.get_level()
    with pytest.raises(DeviceError) as caught:
        open_sink(str(path), clip(width=320, height=180).info, SinkOptions(encoder="nvenc"))
    assert NO_ENCODER in str(caught.value)
    assert "Leave --encoder out" in str(caught.value)
    assert [p.name for p in tmp_path.iterdir()] == ["out.mp4"]
    assert path.read_bytes() == b"the only copy"
    assert av.logging.get_level() == level


@without
def test_what_ffmpeg_says_of_a_missing_gpu_is_not_printed(capfd: pytest.CaptureFixture[str]) -> None:
    assert NO_ENCODER not in ("", "Operation not permitted")
    assert why_no_nvenc() == NO_ENCODER
    assert capfd.readouterr() == ("", "")


def test_a_driver_without_its_video_library_is_not_called_too_old(monkeypatch: pytest.MonkeyPatch) -> None:
    """FFmpeg's last words are the same for both."""
    error = av.FFmpegError(
        1,
        "Operation not permitted",
        log=(16, NVENC, "The minimum required Nvidia driver for nvenc is 570.0 or newer\n"),
    )
    monkeypatch.setattr(codec, "ENCODING", "libthere-is-none.so.1")
    assert said(error).startswith("libthere-is-none.so.1 is not there")
    monkeypatch.setattr(codec, "ENCODING", "libc.so.6")
    assert said(error) == "The minimum required Nvidia driver for nvenc is 570.0 or newer"


def test_outputs_that_open_at_the_same_time_leave_ffmpeg_as_silent_as_it_was() -> None:
    level, inside, leave = av.logging.get_level(), [threading.Event(), threading.Event()], threading.Event()

    def opens(index: int) -> None:
        with explaining():
            inside[index].set()
            leave.wait(0.3 * (index + 1))

    threads = [threading.Thread(target=opens, args=(index,)) for index in range(2)]
    threads[0].start()
    inside[0].wait()
    threads[1].start()
    for thread in threads:
        thread.join()
    assert av.logging.get_level() == level


def test_an_ffmpeg_that_was_built_without_the_encoder_is_a_missing_device(
    clip: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("codec", "encoder", "recipes"):
        monkeypatch.setattr(f"cutline.runtime.sinks.{module}.NVENC", "h264_of_nobody")
    assert "came without" in why_no_nvenc()
    with pytest.raises(DeviceError, match="h264_of_nobody"):
        open_sink(str(tmp_path / "out.mp4"), clip().info, SinkOptions(encoder="nvenc"))
    assert list(tmp_path.iterdir()) == []
