from __future__ import annotations

import os
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


@pytest.mark.parametrize(
    ("source", "output", "refused"),
    [
        ("{}/*.png", "{}/%05d.png", True),
        ("{}/*.png", "{}/x/../%05d.png", True),
        ("{}/00007.png", "{}/", True),
        ("{}", "{}/%d.png", True),
        ("{}/*.png", "{}/out-%05d.png", False),
        ("{}/*.png", "{}/x/%05d.png", False),
        ("{}/*.png", "{}/%05d.jpg.png", False),
        ("{}/*.jpg", "{}/%05d.png", False),
        ("{}/clip.mp4", "{}/%05d.png", False),
    ],
)
def test_numbered_pictures_are_not_written_over_those_that_are_read(
    tmp_path: Path, source: str, output: str, refused: bool
) -> None:
    (tmp_path / "x").mkdir()
    (tmp_path / "00007.png").write_bytes(b"x")
    given = {"input": source.format(tmp_path), "output": output.format(tmp_path)}
    if refused:
        with pytest.raises(UsageError, match=r"write over a picture.*00007\.png"):
            StreamOptions(**given)
    else:
        StreamOptions(**given)


def test_a_name_that_is_no_text_is_shown_as_text() -> None:
    assert StreamOptions(input=os.fsdecode(b"/a/caf\xe9\n\x1b[31m.mp4")).shown_name == r"caf\udce9\n\x1b[31m.mp4"
    assert StreamOptions(input="/a/caf\u00e9 \u732b.mp4").shown_name == "caf\u00e9 \u732b.mp4"


def test_a_stream_is_named_after_its_input() -> None:
    assert StreamOptions(input="/a/b/in.mp4").shown_name == "in.mp4"
    assert StreamOptions(input="/a/b/in.mp4", name="left").shown_name == "left"
