"""Bad input gets one line and the right exit code, and what is good in it is not lost."""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

import av
import numpy as np
import pytest

from cutline.runtime.errors import BadInputError, NoInputError, UsageError
from cutline.runtime.sources import Source, SourceOptions

from .conftest import Clips, drain, encode_picture, plane_view


def noisy(number: int, frame: av.VideoFrame) -> None:
    """Frames that code to many bytes, so that a cut falls where it was meant to."""
    random = np.random.default_rng(number)
    for plane in frame.planes:
        plane_view(plane)[:] = random.integers(0, 255, (plane.height, plane.width), dtype=np.uint8)


def refused(uri: str | Path, options: SourceOptions | None = None) -> Exception:
    """Open what cannot be opened; returns the error, which must be one line."""
    with pytest.raises((BadInputError, NoInputError, UsageError)) as caught:
        Source(str(uri), options or SourceOptions())
    assert "\n" not in str(caught.value)
    return caught.value


@pytest.mark.parametrize("name", ["gone.mp4", "gone.png", "gone/*.png", "no/folder/clip.mp4"])
def test_missing_input(tmp_path: Path, name: str) -> None:
    assert isinstance(refused(tmp_path / name), NoInputError)


def test_a_missing_camera() -> None:
    assert isinstance(refused("/dev/video97"), NoInputError)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_that_may_not_be_read(clips: Clips, tmp_path: Path) -> None:
    path = tmp_path / "locked.mp4"
    path.write_bytes(clips.make("plain.mp4").read_bytes())
    path.chmod(0)
    assert isinstance(refused(path), NoInputError)


def test_an_empty_file(tmp_path: Path) -> None:
    (tmp_path / "empty.mp4").touch()
    error = refused(tmp_path / "empty.mp4")
    assert isinstance(error, BadInputError)
    assert "empty" in str(error)


@pytest.mark.parametrize("name", ["words.mp4", "words.txt", "words.nfo", "words"])
def test_text_is_not_a_video(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("The quick brown fox jumps over the lazy dog.\n" * 200)
    assert isinstance(refused(tmp_path / name), BadInputError)


def test_noise_is_not_a_video(tmp_path: Path) -> None:
    (tmp_path / "noise.mp4").write_bytes(np.random.default_rng(0).bytes(100_000))
    error = refused(tmp_path / "noise.mp4")
    assert isinstance(error, BadInputError)
    assert "noise.mp4" in str(error)


def test_sound_alone_is_not_a_video(clips: Clips) -> None:
    error = refused(clips.sound_only("sound.m4a"))
    assert isinstance(error, BadInputError)
    assert "sound" in str(error)


def test_the_cover_of_an_album_is_not_a_video(clips: Clips) -> None:
    path = clips.folder / "album.mp3"
    cover = encode_picture(np.zeros((32, 32, 3), np.uint8), ".png")
    with av.open(str(clips.sound_only("sound.mp3"))) as tone, av.open(str(path), "w") as out:
        sound = out.add_stream_from_template(tone.streams.audio[0])
        picture = out.add_stream("png", rate=1)
        picture.width = picture.height = 32
        picture.pix_fmt = "rgb24"
        picture.disposition = av.stream.Disposition.attached_pic
        packet = av.Packet(cover)
        packet.stream, packet.pts, packet.dts = picture, 0, 0
        out.mux(packet)
        for packet in tone.demux():
            if packet.dts is not None:
                packet.stream = sound
                out.mux(packet)
    with av.open(str(path)) as check:
        assert len(check.streams.video) == 1  # the file is what this test says it is
    assert isinstance(refused(path), BadInputError)


def test_a_video_without_one_frame(clips: Clips) -> None:
    path = clips.make("headed.mkv", frames=1)
    data = path.read_bytes()
    cluster = data.index(b"\x1f\x43\xb6\x75")  # the Matroska element that holds frames
    cut = path.with_name("headed-only.mkv")
    cut.write_bytes(data[:cluster])
    assert isinstance(refused(cut), BadInputError)


def test_a_video_whose_index_was_never_written_says_so_with_ffmpegs_words(clips: Clips) -> None:
    data = clips.make("noisy.mp4", paint=noisy, frames=30, size=(160, 120)).read_bytes()
    path = clips.folder / "no-index.mp4"
    path.write_bytes(data[: len(data) * 6 // 10])
    assert "moov atom not found" in str(refused(path))


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("early.mp4", {"container_options": {"movflags": "faststart"}}),
        ("pieces.mp4", {"container_options": {"movflags": "frag_keyframe+empty_moov"}, "options": {"g": "4"}}),
        ("cluster.mkv", {}),
        ("tags.flv", {"audio": True}),
        ("mute.ts", {}),
        ("naked.h264", {}),
    ],
)
def test_a_truncated_file_gives_every_frame_that_decodes_and_then_says_so(
    clips: Clips, name: str, options: dict[str, object]
) -> None:
    whole = clips.make(name, paint=noisy, frames=30, size=(160, 120), **options)  # type: ignore[arg-type]
    _, all_of_it = drain(whole, keep=False)
    assert all_of_it.end is not None
    assert all_of_it.end.error is None
    assert len(all_of_it.filled) == 30
    data = whole.read_bytes()
    cut = whole.with_name(f"cut-{name}")
    cut.write_bytes(data[: len(data) * 58 // 100])  # within the 18th frame
    with av.open(str(cut)) as container:
        decodable = sum(_decodes(packet) for packet in container.demux(video=0))
    _, taken = drain(cut, keep=False)
    assert taken.end is not None
    assert len(taken.filled) == decodable > 10
    assert isinstance(taken.end.error, BadInputError)
    assert "truncated" in str(taken.end.error)
    assert "truncated" not in " ".join(notice.text for notice in taken.notices)  # it is said once
    assert taken.end.frames == decodable


def _decodes(packet: av.Packet) -> int:
    try:
        return len(packet.decode())
    except av.FFmpegError:
        return 0


def test_a_beginning_left_out_by_an_edit_list_is_not_a_truncation(clips: Clips) -> None:
    whole = clips.make("whole.mp4", paint=noisy, frames=30, options={"g": "30"})
    path = clips.folder / "edited.mp4"
    with av.open(str(whole)) as source, av.open(str(path), "w") as out:
        stream = out.add_stream_from_template(source.streams.video[0])
        for packet in source.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                packet.pts -= 6400
                packet.dts -= 6400
                out.mux(packet)
    _, taken = drain(path, keep=False)
    assert taken.end is not None
    assert taken.end.error is None
    assert 0 < len(taken.filled) < 30


def test_names_in_no_known_alphabet_do_not_matter(clips: Clips) -> None:
    path = clips.folder / "titled.mkv"
    with av.open(str(path), "w") as out:
        out.metadata["title"] = "xxxxxxxx"
        stream = out.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        out.mux([*stream.encode(av.VideoFrame(64, 48, "yuv420p")), *stream.encode()])
    path.write_bytes(path.read_bytes().replace(b"xxxxxxxx", b"\xb6\xff\xb6\xff\xb6\xff\xb6\xff"))
    _, taken = drain(path)
    assert len(taken.filled) == 1


@pytest.mark.parametrize("name", ["hit.mp4", "hit.mkv", "hit.ts", "hit.jpg"])
def test_damaged_bytes_end_in_frames_or_in_one_line(clips: Clips, name: str) -> None:
    if name == "hit.jpg":
        whole = clips.picture(name, np.random.default_rng(0).integers(0, 255, (40, 50, 3), dtype=np.uint8))
    else:
        whole = clips.make(name, paint=noisy)
    random = np.random.default_rng(len(name))
    for round_ in range(2):
        data = bytearray(whole.read_bytes())
        for place in random.integers(0, len(data), 30):
            data[place] = random.integers(0, 256)
        path = whole.with_name(f"damaged{round_}-{name}")
        path.write_bytes(data)
        try:
            _, taken = drain(path, keep=False)
        except BadInputError as error:
            assert "\n" not in str(error)  # noqa: PT017 - whether it is raised depends on the bytes
        else:
            assert taken.end is not None
            assert taken.end.error is None or isinstance(taken.end.error, BadInputError)


def test_a_corrupt_stretch_in_the_middle_costs_only_itself(clips: Clips) -> None:
    whole = clips.make(
        "stretch.mkv", paint=noisy, frames=30, size=(160, 120), options={"g": "1"}, codec="mjpeg", pixels="yuvj420p"
    )
    data = bytearray(whole.read_bytes())
    with av.open(str(whole)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    damaged = bytes(packets[10])
    place = data.index(damaged)
    data[place : place + len(damaged)] = bytes(len(damaged))
    path = whole.with_name("stretched.mkv")
    path.write_bytes(data)
    _, taken = drain(path, keep=False)
    assert taken.end is not None
    assert taken.end.error is None
    assert len(taken.filled) == 29
    assert [filled.skipped for filled in taken.filled] == [0] * 10 + [1] + [0] * 18
    assert [filled.index for filled in taken.filled] == [n for n in range(30) if n != 10]
    assert taken.kinds == ["corrupt"]


def test_one_corrupt_picture_in_a_folder_is_skipped_counted_and_told(tmp_path: Path) -> None:
    for number in range(5):
        rgb = np.full((24, 32, 3), 40 * number, np.uint8)
        (tmp_path / f"{number}.png").write_bytes(encode_picture(rgb, ".png"))
    (tmp_path / "2.png").write_bytes(b"not a picture at all")
    _, taken = drain(tmp_path)
    assert [filled.index for filled in taken.filled] == [0, 1, 3, 4]
    assert [filled.skipped for filled in taken.filled] == [0, 0, 1, 0]
    assert [notice.kind for notice in taken.notices] == ["corrupt"]
    assert "2.png" in taken.notices[0].text
    assert taken.end is not None
    assert taken.end.error is None


@pytest.mark.parametrize("suffix", [".png", ".jpg"])
@pytest.mark.parametrize("percent", [30, 95])
def test_a_picture_of_which_a_part_is_missing_is_corrupt(tmp_path: Path, suffix: str, percent: int) -> None:
    rgb = np.random.default_rng(0).integers(0, 255, (96, 128, 3), np.uint8)
    whole = encode_picture(rgb, suffix)
    (tmp_path / f"1{suffix}").write_bytes(whole)
    (tmp_path / f"2{suffix}").write_bytes(whole[: len(whole) * percent // 100])
    _, taken = drain(tmp_path)
    assert [filled.index for filled in taken.filled] == [0]
    assert "corrupt" in taken.kinds


def test_a_folder_that_begins_and_ends_with_corrupt_pictures(tmp_path: Path) -> None:
    (tmp_path / "1.png").write_bytes(b"")
    (tmp_path / "2.png").write_bytes(encode_picture(np.zeros((24, 32, 3), np.uint8), ".png"))
    (tmp_path / "3.png").write_bytes(b"\x89PNG")
    _, taken = drain(tmp_path)
    assert [(filled.index, filled.skipped) for filled in taken.filled] == [(1, 1)]
    assert taken.end is not None
    assert (taken.end.error, taken.end.skipped) == (None, 1)


def test_a_folder_of_corrupt_pictures_only(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"{number}.png").write_bytes(b"\x89PNG\r\n")
    assert isinstance(refused(tmp_path), BadInputError)


def huge_png(width: int, height: int) -> bytes:
    """A small file that claims to be a vast picture."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(bytes(1000))) + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize("size", [(50_000, 50_000), (16_385, 16), (65_000, 100)])
def test_a_vast_picture_is_refused_before_memory_is_taken(tmp_path: Path, size: tuple[int, int]) -> None:
    path = tmp_path / "vast.png"
    path.write_bytes(huge_png(*size))
    assert isinstance(refused(path), BadInputError)


def test_an_unknown_scheme_is_a_usage_error() -> None:
    assert isinstance(refused("gopherette://x"), UsageError)


def test_a_stream_that_nobody_serves(unused_port: int) -> None:
    error = refused(f"http://someone:hunter2secret@127.0.0.1:{unused_port}/live")
    assert isinstance(error, NoInputError)
    assert "hunter2secret" not in str(error)


def test_standard_input_cannot_be_looped() -> None:
    assert isinstance(refused("-", SourceOptions(loop=True)), UsageError)
