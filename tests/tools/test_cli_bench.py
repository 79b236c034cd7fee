from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from cutline.tools import cli

WITHOUT_MEASURING = [
    ("duration of nothing", ["--duration", "0"], 64, "duration"),
    ("duration of words", ["--duration", "long"], 64, "duration"),
    ("pace of nothing", ["--pace", "0"], 64, "pace"),
    ("pace above timers", ["--pace", "100000"], 64, "timers"),
    ("streams of words", ["--streams", "a,b"], 64, "streams"),
    ("no streams", ["--streams", "0"], 64, "streams"),
    ("size of words", ["--size", "huge"], 64, "huge"),
    ("no precision", ["--precision", ","], 64, "precision"),
    ("unknown precision", ["--precision", "fp64", "--input", "{clip}"], 64, "fp64"),
    ("absent device", ["--device", "cuda:99", "--input", "{clip}"], 69, "cuda"),
    ("unknown bundle", ["nothing"], 66, "nothing"),
    ("a style", ["ink"], 64, "mattes"),
    ("two bundles", ["cutout", "cutout-plate"], 64, "more than one"),
    ("missing clip", ["--input", "missing.mp4"], 66, "missing.mp4"),
    ("camera", ["--input", "/dev/video0"], 64, "own pace"),
    ("condition of words", ["--fail-if", "slow"], 64, "slow"),
    ("no such folder", ["--html", "nowhere/report.html"], 73, "nowhere"),
    ("report in a folder's place", ["--html", "{folder}"], 73, "folder"),
    ("compare nothing", ["compare"], 64, "two results"),
    ("compare one", ["compare", "a.json"], 64, "two results"),
    ("compare what is missing", ["compare", "a.json", "b.json"], 66, "a.json"),
    ("compare another schema", ["compare", "{other}", "{other}"], 65, "schema"),
    ("compare no JSON", ["compare", "{clip}", "{clip}"], 65, "not a result"),
    ("compare by another condition", ["compare", "{other}", "{other}", "--fail-if", "p99>3ms"], 64, "ratio"),
]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory, write_clip: Callable[..., Path]) -> Path:
    path = tmp_path_factory.mktemp("clips") / "in.mp4"
    return write_clip(path, (np.full((90, 160, 3), (20 * index, 100, 50), np.uint8) for index in range(10)))


@pytest.mark.parametrize(
    ("words", "code", "said"), [case[1:] for case in WITHOUT_MEASURING], ids=[case[0] for case in WITHOUT_MEASURING]
)
def test_bad_words_get_one_line_and_their_exit_code(
    clip: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], code: int, said: str
) -> None:
    (tmp_path / "other.json").write_text('{"schema": "other/1"}')
    places = {"clip": clip, "folder": tmp_path, "other": tmp_path / "other.json"}
    before = sorted(tmp_path.iterdir())
    given = ["bench", *(word.format(**places) for word in words)]
    assert cli.guarded(lambda: cli.app(given, standalone_mode=False), debug=False) == code
    captured = capsys.readouterr()
    lines = [line for line in captured.err.splitlines() if not line.startswith("cutline: making the clip")]
    told = [line for line in lines if line != "cutline: compiling the network"]
    assert len(told) == 1, captured.err
    assert said in told[0]
    assert captured.out == ""
    assert sorted(tmp_path.iterdir()) == before


def start(clip: Path, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", "from cutline.tools.cli import main; main()", "bench", "--input", str(clip)]
    environment = dict(os.environ) | {"XDG_CACHE_HOME": str(clip.parent / "cache")}
    return subprocess.Popen(
        [*command, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


@pytest.mark.slow
def test_a_run_gives_every_scenario_and_every_file(clip: Path, tmp_path: Path) -> None:
    report, trace = tmp_path / "report.html", tmp_path / "trace.json"
    words = ["--duration", "1.5", "--json", "--html", str(report), "--trace", str(trace), "--streams", "1,2"]
    process = start(
        clip, *words, "--size", "160x90,80x46", "--fail-if", "warm>600s", "--fail-if", "memory.process<1MiB"
    )
    out, err = process.communicate(timeout=600)
    assert process.returncode == 0, err
    document = json.loads(out)
    kinds = [scenario["kind"] for scenario in document["scenarios"]]
    assert kinds[:6] == ["start", "network", "single stream", "multi stream", "throughput", "throughput"]
    assert kinds[6:] in (["paced"], [])  # a machine that is busy enough gives no frame in a second
    assert document["schema"] == "cutline.bench/1"
    assert document["complete"] is True
    assert any("shorter than the warm-up" in warning for warning in document["warnings"])
    assert "<svg" in report.read_text()
    assert json.loads(trace.read_text())["traceEvents"]
    same = subprocess.run(
        [sys.executable, "-c", "from cutline.tools.cli import main; main()", "bench", "compare", "a.json", "a.json"],
        cwd=tmp_path, capture_output=True, text=True, check=False, input="",
    )  # fmt: skip
    assert same.returncode == 66  # not written yet
    (tmp_path / "a.json").write_text(out)
    shown = subprocess.run(same.args, cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "no difference shown" in shown.stdout


@pytest.mark.slow
def test_an_interrupted_run_prints_what_there_is(clip: Path) -> None:
    process = start(clip, "--duration", "15", "--json")
    assert process.stderr is not None
    seen = ""
    while ": rounds" not in seen:
        line = process.stderr.readline()
        assert line, seen
        seen += line
    time.sleep(0.3)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=600)
    assert process.returncode == 130, err
    document = json.loads(out)
    assert document["complete"] is False
    assert document["scenarios"][0]["kind"] == "start"
    assert "paced" not in {scenario["kind"] for scenario in document["scenarios"]}
    assert "Traceback" not in err
