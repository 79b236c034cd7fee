"""What the user typed, and what comes of it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from cutline.runtime.errors import UsageError
from cutline.runtime.sinks import SinkOptions, describe_sink, open_sink, refuse_input_as_output


@pytest.mark.parametrize(
    ("spec", "kind", "wants", "carries", "live"),
    [
        ("out.mp4", "video", False, False, False),
        ("OUT.MP4", "video", False, False, False),
        ("out.mkv", "video", False, False, False),
        ("out.mov", "video", True, True, False),
        ("out.webm", "video", True, True, False),
        ("out-%05d.png", "pictures", True, True, False),
        ("shots/", "pictures", True, True, False),
        ("-", "stdout", False, False, False),
        ("display://0", "display", False, False, True),
        ("null://", "null", False, False, False),
        ("events.jsonl", "events", True, False, False),
    ],
)
def test_traits_are_known_before_anything_is_opened(
    spec: str, kind: str, wants: bool, carries: bool, live: bool
) -> None:
    traits = describe_sink(spec)
    assert (traits.kind, traits.wants_alpha, traits.carries_alpha, traits.live) == (kind, wants, carries, live)


@pytest.mark.parametrize("spec", ["out.avi", "out", "", "rtsp://host/out.mp4", "display://1", "display://", "out.jpg"])
def test_an_unknown_kind_is_a_usage_error_that_says_what_is_known(spec: str) -> None:
    with pytest.raises(UsageError) as caught:
        describe_sink(spec)
    assert caught.value.exit_code == 64
    assert "display://0" in str(caught.value)


@pytest.mark.parametrize("spec", ["out.mp4", "null://", "out-%d.png", "out.jsonl", "out.mov"])
def test_a_sink_keeps_what_was_said_of_it(clip: Any, tmp_path: Path, spec: str) -> None:
    path = spec if "://" in spec else str(tmp_path / spec)
    sink = open_sink(path, clip().info)
    traits = describe_sink(path)
    assert (sink.wants_alpha, sink.carries_alpha, sink.live) == (traits.wants_alpha, traits.carries_alpha, traits.live)
    assert not sink.ended
    sink.close(complete=True)


def test_the_input_is_not_written_over(clip: Any, tmp_path: Path) -> None:
    source = tmp_path / "in.mp4"
    source.write_bytes(b"the only copy")
    (tmp_path / "link.mp4").symlink_to(source)
    (tmp_path / "folder").mkdir()
    for spec in (source, tmp_path / "link.mp4", tmp_path / "folder" / ".." / "in.mp4"):
        with pytest.raises(UsageError, match="the output is the input"):
            open_sink(str(spec), clip(changes={"source_uri": str(source)}).info)
        with pytest.raises(UsageError, match="the output is the input"):
            refuse_input_as_output(str(spec), str(source))
    assert source.read_bytes() == b"the only copy"
    refuse_input_as_output("-", "-")
    refuse_input_as_output("null://", str(source))
    refuse_input_as_output(str(tmp_path / "out.mp4"), str(source))
    refuse_input_as_output(str(source), "rtsp://camera/")


@pytest.mark.parametrize(
    "wrong",
    [{"preset": "medium"}, {"crf": 52}, {"threads": 0}, {"min_alpha": 0}, {"min_area": 1.0}, {"stdout": "mp4"}],
)
def test_options_out_of_range_are_usage_errors(wrong: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=next(iter(wrong))):
        SinkOptions(**wrong)


def test_the_null_sink_counts(clip: Any, store: Any) -> None:
    assert store(clip(count=7), "null://")["frames"] == 7


def test_opencv_is_not_loaded_for_sinks_that_do_without() -> None:
    program = (
        "import sys; from cutline.runtime.sinks import describe_sink\n"
        "for spec in ('out.mp4', 'display://0', 'events.jsonl'): describe_sink(spec)\n"
        "sys.exit('cv2' in sys.modules)\n"
    )
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
