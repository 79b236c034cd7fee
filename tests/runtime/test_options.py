from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cutline.runtime import StreamOptions
from cutline.runtime.errors import UsageError

BAD: list[tuple[str, dict[str, Any]]] = [
    ("input", {"input": ""}),
    ("pace", {"pace": 0.0}),
    ("pace", {"pace": float("nan")}),
    ("learn-plate", {"learn_plate": -1.0}),
    ("frames", {"frames": 0}),
    ("style-strength", {"style_strength": 1.5}),
    ("crop", {"crop": (0, 0, 1, 10)}),
    ("crop", {"crop": (-1, 0, 10, 10)}),
    ("not both", {"plate": "p.png", "learn_plate": 2.0}),
    ("same file", {"output": "in.mp4"}),
]


@pytest.mark.parametrize(("said", "change"), BAD)
def test_options_out_of_range_are_refused_by_name(said: str, change: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match=said):
        StreamOptions(**({"input": "in.mp4"} | change))


def test_an_output_that_is_the_input_by_another_name_is_refused(tmp_path: Path) -> None:
    video, link = tmp_path / "in.mp4", tmp_path / "link.mp4"
    video.write_bytes(b"x")
    link.symlink_to(video)
    with pytest.raises(UsageError, match="same file"):
        StreamOptions(input=str(video), output=str(link))


@pytest.mark.parametrize("what", ["background", "plate"])
def test_an_output_that_would_replace_a_picture_in_use_is_refused(tmp_path: Path, what: str) -> None:
    picture = tmp_path / "studio.mp4"
    picture.write_bytes(b"x")
    with pytest.raises(UsageError, match=f"same file as {what}"):
        StreamOptions(input="in.mp4", output=str(picture), **{what: str(picture)})  # type: ignore[arg-type]


def test_a_stream_is_named_after_its_input() -> None:
    assert StreamOptions(input="/a/b/in.mp4").shown_name == "in.mp4"
    assert StreamOptions(input="/a/b/in.mp4", name="left").shown_name == "left"
