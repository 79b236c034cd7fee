"""What was there before survives; what was accepted is not lost."""

from __future__ import annotations

import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from cutline.runtime.errors import OutputError
from cutline.runtime.sinks import open_sink
from cutline.runtime.sinks.partfile import PartFile

FILES = ["out.mp4", "out.mkv", "out.mov", "out.webm", "out.jsonl"]


def part_of(path: Path, number: str = "") -> Path:
    return path.with_name(f"{path.stem}.part{number}{path.suffix}")


def write_some(clip: Any, sink: Any, count: int = 10) -> None:
    for index in range(count):
        sink.write(clip.frame(index))


@pytest.mark.parametrize("name", FILES)
def test_the_final_name_appears_when_the_file_is_done(clip: Any, tmp_path: Path, name: str) -> None:
    final = tmp_path / name
    final.write_bytes(b"what was there before")
    made = clip(count=10)
    sink = open_sink(str(final), made.info)
    write_some(made, sink)
    assert final.read_bytes() == b"what was there before"
    assert part_of(final).exists()
    sink.close(complete=True)
    assert final.stat().st_size > 100
    assert list(tmp_path.iterdir()) == [final]
    sink.close(complete=True)
    assert sink.report()["path"] == str(final)


@pytest.mark.parametrize("name", FILES)
def test_an_interrupted_run_leaves_every_frame_under_the_final_name(
    clip: Any, read: Any, tmp_path: Path, name: str
) -> None:
    made = clip(count=10)
    sink = open_sink(str(tmp_path / name), made.info)
    write_some(made, sink)
    sink.close(complete=False)
    assert list(tmp_path.iterdir()) == [tmp_path / name]
    if name.endswith(".jsonl"):
        assert len((tmp_path / name).read_text().splitlines()) == 10
    else:
        assert len(read(tmp_path / name)) == 10


@pytest.mark.parametrize("name", FILES)
def test_an_interrupted_run_does_not_replace_what_was_there(clip: Any, read: Any, tmp_path: Path, name: str) -> None:
    final = tmp_path / name
    final.write_bytes(b"what was there before")
    made = clip(count=10)
    sink = open_sink(str(final), made.info)
    write_some(made, sink)
    sink.close(complete=False)
    assert final.read_bytes() == b"what was there before"
    assert any(str(part_of(final)) in notice for notice in sink.report()["notices"])
    if name.endswith(".jsonl"):
        assert len(part_of(final).read_text().splitlines()) == 10
    else:
        assert len(read(part_of(final))) == 10


def test_a_live_recording_ends_by_interruption_and_takes_its_name(clip: Any, read: Any, tmp_path: Path) -> None:
    final = tmp_path / "out.mp4"
    final.write_bytes(b"yesterday's")
    made = clip(count=10, changes={"live": True})
    sink = open_sink(str(final), made.info)
    write_some(made, sink)
    sink.close(complete=False)
    assert len(read(final)) == 10


def test_the_part_file_of_a_killed_run_is_kept_and_told(clip: Any, tmp_path: Path) -> None:
    final = tmp_path / "out.mp4"
    part_of(final).write_bytes(b"an earlier recording")
    made = clip(count=3)
    sink = open_sink(str(final), made.info)
    assert sink.report()["path"] == str(part_of(final, "2"))
    write_some(made, sink, 3)
    sink.close(complete=True)
    assert part_of(final).read_bytes() == b"an earlier recording"
    assert sorted(tmp_path.iterdir()) == [final, part_of(final)]
    assert sink.report()["notices"] == [f"{part_of(final)} is left from an earlier run that did not finish"]


@pytest.mark.parametrize("name", FILES)
def test_a_folder_that_does_not_exist_is_an_output_error(clip: Any, tmp_path: Path, name: str) -> None:
    with pytest.raises(OutputError, match="cannot create the output") as caught:
        open_sink(str(tmp_path / "missing" / name), clip().info)
    assert caught.value.exit_code == 73


@pytest.mark.parametrize("name", ["out.mp4", "out.jsonl"])
def test_a_folder_in_the_place_of_a_folder_is_an_output_error(clip: Any, tmp_path: Path, name: str) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(OutputError):
        open_sink(str(tmp_path / "file" / name), clip().info)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
@pytest.mark.parametrize("name", [*FILES, "out-%05d.png"])
def test_a_folder_that_may_not_be_written_to_is_an_output_error(clip: Any, tmp_path: Path, name: str) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OutputError):
            open_sink(str(tmp_path / name), clip().info)
    finally:
        tmp_path.chmod(0o700)


def test_the_name_of_a_folder_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "out.mp4").mkdir()
    with pytest.raises(OutputError, match="is a folder"):
        PartFile(tmp_path / "out.mp4")


def test_a_pipe_is_not_replaced_by_a_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "out.mp4")
    with pytest.raises(OutputError, match="pipe or a device"):
        PartFile(tmp_path / "out.mp4")
    assert (tmp_path / "out.mp4").is_fifo()


def test_recordings_of_live_sources_are_pushed_to_the_disk(
    clip: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pushed = threading.Event()
    monkeypatch.setattr(os, "fsync", lambda _descriptor: pushed.set())
    monkeypatch.setattr("cutline.runtime.sinks.partfile.SYNC_S", 0.01)
    made = clip(count=40, changes={"live": True})
    sink = open_sink(str(tmp_path / "out.mp4"), made.info)
    threads = threading.active_count()
    write_some(made, sink, 40)
    assert pushed.wait(20)
    sink.close(complete=True)
    assert threading.active_count() == threads - 1


def test_a_disk_that_fails_while_it_is_pushed_to_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    failed = threading.Event()

    def fail(_descriptor: int) -> None:
        failed.set()
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fail)
    monkeypatch.setattr("cutline.runtime.sinks.partfile.SYNC_S", 0.01)
    file = PartFile(tmp_path / "out.mp4", durable=True)
    file.write(b"something")
    assert failed.wait(20)
    with pytest.raises(OSError, match="Input/output error"):
        write_on(file)
    file.leave()


def write_on(file: PartFile) -> None:
    for _ in range(500):
        file.write(b"more")
        time.sleep(0.01)
