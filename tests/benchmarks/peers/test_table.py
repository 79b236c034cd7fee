from __future__ import annotations

import json
from dataclasses import replace

import msgspec
import pytest
from bench_example import example

from cutline.benchmarks.peers.catalogue import read_entries
from cutline.benchmarks.peers.contest import Contestant, Result
from cutline.benchmarks.peers.rival import Turn
from cutline.benchmarks.peers.table import Contest, to_json, to_markdown

OURS = Result(
    name="Cutline", key="cutline", variant="", precision="bf16", fps=76.94, fps_range=(70.0, 80.5), ratio=1.0,
    ratio_range=(1.0, 1.0), ratio_same_precision=None, core_ms=25.0, peak_mib=335.2, others=0.0, difference=1.5,
    differs="filters", versions={"cutline": "0.1.0"},
)  # fmt: skip
SCRIPT = replace(
    OURS, name="Script, hard mask", key="script", variant="hard mask", precision="fp32", fps=17.7, ratio=4.26,
    ratio_range=(4.1, 4.5), ratio_same_precision=3.08, difference=None, differs="resizes badly", versions={"cv2": "5"},
)  # fmt: skip
CONTEST = Contest(
    command="python -m peers", created="2026-11-21 15:00 UTC", commit="0123456", machine=example().machine,
    clip="kiosk.mp4", width=1920, height=1080, bundle="cutout", rounds=5, seconds=3.0, complete=True,
    results=(SCRIPT, OURS), left_out={},
)  # fmt: skip


def test_the_table_has_a_row_for_each_and_straight_columns() -> None:
    lines = to_markdown(CONTEST).splitlines()[:4]
    assert len({tuple(i for i, c in enumerate(line) if c == "|") for line in lines}) == 1
    assert lines[2].split("|")[1:6] == [" Script, hard mask ", " fp32      ", " 17.7 ", " 70.0-80.5 ", "     4.26 x "]
    assert " 3.08 x " in lines[2]
    assert lines[3].split("|")[-2].strip() == "1.50"


def test_what_a_reader_must_know_stands_below() -> None:
    text = to_markdown(CONTEST)
    for part in ("`python -m peers`", "2026-11-21 15:00 UTC", "commit 0123456", "2 virtual cores", "94% confidence"):
        assert part in text
    assert "- Script (cv2 5): resizes badly." in text
    assert "under load" not in text
    assert "Interrupted" not in text


def test_one_round_claims_no_confidence() -> None:
    assert "confidence" not in to_markdown(msgspec.structs.replace(CONTEST, rounds=1))


def test_load_interruption_and_absentees_are_said() -> None:
    busy = msgspec.structs.replace(
        CONTEST, complete=False, results=(replace(OURS, others=1.2),), left_out={"rembg": "is not installed"}
    )
    text = to_markdown(busy)
    assert "**Measured under load**: other programs had 1.2 of 2 cores" in text
    assert "Interrupted" in text
    assert "- Left out: rembg: is not installed" in text


def test_a_contest_without_a_turn_of_ours_is_printed_without_ratios() -> None:
    found = to_markdown(msgspec.structs.replace(CONTEST, results=(replace(OURS, ratio=None, ratio_range=None),)))
    assert " x" not in found.splitlines()[2]


def test_json_holds_the_single_turns() -> None:
    turns = [Turn(frames=n, seconds=1.0, cpu_s=1.9, others_s=0.1, peak_mib=300.0) for n in (70, 80)]
    (entry,) = (e for e in read_entries() if e.key == "cutline_pipeline")
    ours = Contestant(entry=entry, variant="", precision="bf16", turns=turns)
    document = json.loads(to_json(CONTEST, [ours]))
    assert document["schema"] == "cutline.peers/1"
    assert [t["fps"] for t in document["turns"]["Cutline"]] == pytest.approx([70, 80])
    assert document["results"][0]["ratio_range"] == [4.1, 4.5]
    assert document["machine"]["cores"] == 2
