from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest

from cutline.benchmarks.peers import __main__ as command
from cutline.benchmarks.peers.catalogue import read_entry
from cutline.benchmarks.peers.contest import Contestant
from cutline.benchmarks.peers.rival import Turn
from cutline.runtime.errors import DeviceError, NoInputError, OutputError

Write = Callable[..., Path]
PICTURE = "\ndef picture(number):\n    import numpy as np\n    return np.full((4, 6, 3), (200, number, 0), np.uint8)\n"
BROKEN = "\ndef composites(job):\n    raise OSError('no such device')\n    yield\n"


@pytest.fixture
def clip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write_clip: Callable[..., Path]) -> str:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return str(write_clip(tmp_path / "clip.mp4", [np.zeros((32, 64, 3), np.uint8)]))


@pytest.fixture
def peers(entry: Write, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Toys in the places of Cutline and the usual script, and one that needs what nobody has."""

    def put(ours: str = PICTURE) -> None:
        found = []
        for key, more, changes in (
            (command.OURS, ours, {"NAME": '"Cutline"'}),
            (command.REFERENCE, PICTURE, {"NAME": '"script"', "VARIANTS": '{"soft mask": "fp32"}'}),
            ("rare", "", {"NAME": '"rare"', "PACKAGES": '("no-such-distribution",)'}),
        ):
            path = entry(more, **changes)
            found.append(read_entry(path.rename(path.with_name(f"{key}.py"))))
        monkeypatch.setattr(command, "read_entries", lambda: found)

    return put


def test_one_command_prints_the_table_and_writes_the_rest(
    peers: Callable[..., None], clip: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    peers()
    result, pictures = tmp_path / "result.json", tmp_path / "pictures"
    words = ["--rounds", "2", "--seconds", "0.1", "--no-install", "--json", str(result), "--pictures", str(pictures)]
    assert command.compare([clip, *words])
    shown = capsys.readouterr()
    assert "| Cutline " in shown.out
    assert "| script, soft mask | fp32 " in shown.out
    assert "- Left out: rare: no-such-distribution is not installed" in shown.out
    assert "round 2 of 2" in shown.err
    document = json.loads(result.read_text())
    assert {name: len(turns) for name, turns in document["turns"].items()} == {
        "Cutline": 2, "script, soft mask": 2, "rare": 0,
    }  # fmt: skip
    ratios = {r["name"]: r["ratio"] for r in document["results"]}
    assert ratios["Cutline"] == 1
    assert ratios["script, soft mask"] > 0
    picture = cv2.imread(str(pictures / "script-soft-mask.png"))
    assert picture.shape == (4, 6, 3)
    assert list(picture[0, 0]) == [0, command.FRAME, 200]  # BGR: the channels did not change places
    assert not list(tmp_path.glob("*.part"))


def test_without_cutline_there_is_no_table(
    peers: Callable[..., None], clip: str, capsys: pytest.CaptureFixture[str]
) -> None:
    peers(BROKEN)
    with pytest.raises(DeviceError, match="no such device"):
        command.compare([clip, "--rounds", "1", "--seconds", "0.1", "--no-install"])
    assert capsys.readouterr().out == ""


def test_a_result_that_cannot_be_written_is_said_after_the_table(
    peers: Callable[..., None], clip: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    peers()
    with pytest.raises(OutputError, match="none"):
        command.compare([clip, "--rounds", "1", "--seconds", "0.1", "--no-install", "--json", str(tmp_path / "none/x")])
    assert "| Cutline " in capsys.readouterr().out


def test_an_error_is_one_line_and_an_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.argv", ["peers", "/no/such/clip.mp4"])
    with pytest.raises(SystemExit) as end:
        command.main()
    assert end.value.code == NoInputError.exit_code
    assert capsys.readouterr().err.count("\n") == 1


def test_an_interrupt_shows_what_there_is(
    peers: Callable[..., None], clip: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    peers()

    def one_round(contestants: list[Contestant], *_: object, **__: object) -> None:
        turn = Turn(frames=30, seconds=1.0, cpu_s=0.5, others_s=0.0, peak_mib=100.0)
        contestants[0].turns.append(turn)
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "hold", one_round)
    monkeypatch.setattr("sys.argv", ["peers", clip, "--no-install"])
    with pytest.raises(SystemExit) as end:
        command.main()
    assert end.value.code == 130
    shown = capsys.readouterr().out
    assert "| Cutline | " in shown
    assert "Interrupted" in shown
