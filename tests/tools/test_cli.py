from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import av
import numpy as np
import pytest

FRAMES = 12


def cutline(*words: str | Path, stdin: bytes | None = None) -> subprocess.CompletedProcess[str]:
    """Run the command as a user does, in a process of its own."""
    command = [sys.executable, "-c", "from cutline.tools.cli import main; main()", *map(str, words)]
    done = subprocess.run(command, capture_output=True, input=stdin, timeout=120, check=False)
    return subprocess.CompletedProcess(command, done.returncode, done.stdout.decode(), done.stderr.decode())


def one_line(done: subprocess.CompletedProcess[str]) -> str:
    """The one line of complaint; anything else on stderr but the announced device is a failure."""
    lines = [x for x in done.stderr.splitlines() if x.startswith("cutline: ") and " on cpu (" not in x]
    assert "Traceback" not in done.stderr
    assert len(lines) == 1, done.stderr
    return lines[0]


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory, write_clip: Callable[..., Path]) -> Path:
    path, rng = tmp_path_factory.mktemp("clips") / "in.mp4", np.random.default_rng(1)
    return write_clip(path, (rng.integers(0, 255, (180, 320, 3), np.uint8) for _ in range(FRAMES)))


def frames_of(path: Path) -> int:
    with av.open(str(path)) as video:
        return sum(1 for _ in video.decode(video=0))


def test_run_needs_nothing_but_input_and_output(clip: Path, tmp_path: Path) -> None:
    done = cutline("run", clip, tmp_path / "out.mp4")
    assert done.returncode == 0, done.stderr
    assert done.stdout == "" or "in" in done.stdout
    assert frames_of(tmp_path / "out.mp4") == FRAMES
    assert "cutout on cpu" in done.stderr


def test_json_report_is_the_only_thing_on_stdout(clip: Path) -> None:
    done = cutline("run", clip, "--json")
    stream = json.loads(done.stdout)["streams"][0]
    assert stream["frames_in"] == stream["frames_out"] == FRAMES
    assert stream["dropped"] == stream["in_flight"] == 0
    assert set(stream["latency_ms"]) >= {"p50", "p90", "p99"}
    assert set(stream["stages_ms"]) == {"wait", "pre", "network", "post", "deliver"}
    assert stream["device"].startswith("cpu")
    assert stream["memory_mib"]["process"] > 0


def test_a_site_file_runs_its_streams_together(clip: Path, tmp_path: Path) -> None:
    site = tmp_path / "site.toml"
    site.write_text(
        f'[left]\ninput = "{clip}"\noutput = "{tmp_path}/left.mp4"\nbackground = "#102030"\n'
        f'[right]\ninput = "{clip}"\noutput = "{tmp_path}/right.jsonl"\n'
    )
    done = cutline("run", "--streams", site, "--json")
    assert done.returncode == 0, done.stderr
    names = [stream["name"] for stream in json.loads(done.stdout)["streams"]]
    assert names == ["left", "right"]
    assert frames_of(tmp_path / "left.mp4") == FRAMES
    assert len((tmp_path / "right.jsonl").read_text().splitlines()) == FRAMES


@pytest.mark.parametrize(
    ("left", "right", "said"),
    [
        ("{clip}>{tmp}/out.mp4", "{clip}>{tmp}/./x/../out.mp4", "one output"),
        ("{clip}>{tmp}/copy.mp4", "{tmp}/copy.mp4>{tmp}/out.mp4", "another stream's input"),
        ("{clip}>-", "{clip}>-", "one output"),
    ],
)
def test_streams_that_would_write_over_each_other_are_refused(
    clip: Path, tmp_path: Path, left: str, right: str, said: str
) -> None:
    (tmp_path / "x").mkdir()
    precious = tmp_path / "copy.mp4"
    precious.write_bytes(clip.read_bytes())
    site = tmp_path / "site.toml"
    tables = [text.format(clip=clip, tmp=tmp_path).split(">") for text in (left, right)]
    site.write_text("".join(f'[s{i}]\ninput = "{a}"\noutput = "{b}"\n' for i, (a, b) in enumerate(tables)))
    done = cutline("run", "--streams", site)
    assert done.returncode == 64, done.stderr
    assert said in one_line(done)
    assert precious.read_bytes() == clip.read_bytes()


def test_a_stream_that_cannot_start_leaves_nothing_of_the_others(clip: Path, tmp_path: Path) -> None:
    site = tmp_path / "site.toml"
    site.write_text(
        f'[good]\ninput = "{clip}"\noutput = "{tmp_path}/good.mp4"\n[bad]\ninput = "{tmp_path}/missing.mp4"\n'
    )
    done = cutline("run", "--streams", site)
    assert done.returncode == 66, done.stderr
    assert "bad: no such input" in one_line(done)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["site.toml"]


def test_options_that_a_site_file_would_make_void_are_refused(clip: Path, tmp_path: Path) -> None:
    site = tmp_path / "site.toml"
    site.write_text(f'[s]\ninput = "{clip}"\n')
    done = cutline("run", "--streams", site, "--frames", "3", "--background", "#000000")
    assert done.returncode == 64, done.stderr
    assert "--background, --frames" in one_line(done)


BAD: Sequence[tuple[str, list[str], int, str]] = [
    ("missing input", ["missing.mp4"], 66, "missing.mp4"),
    ("no input", [], 64, "INPUT"),
    ("unknown background", ["{clip}", "out.mp4", "--background", "sky"], 64, "sky"),
    ("missing background", ["{clip}", "out.mp4", "--background", "sky.jpg"], 66, "sky.jpg"),
    ("unknown output", ["{clip}", "out.xyz"], 64, "out.xyz"),
    ("two inputs", ["{clip}", "{clip}", "out.mp4"], 64, "out.mp4"),
    ("output is input", ["{clip}", "{clip}"], 64, "same file"),
    ("two things on stdout", ["{clip}", "-", "--json"], 64, "stdout"),
    ("no such folder", ["{clip}", "nowhere/out.mp4"], 73, "nowhere"),
    ("input of 300 letters", ["x" * 300 + ".mp4"], 66, "longer than any"),
    ("output of 300 letters", ["{clip}", "x" * 300 + ".mp4"], 73, "longer than any"),
    ("absent device", ["{clip}", "--device", "cuda"], 69, "cuda"),
    ("unknown model", ["{clip}", "--model", "nothing"], 66, "nothing"),
    ("missing bundle", ["{clip}", "--model", "nothing.cutline"], 66, "nothing.cutline"),
    ("transparent mp4", ["{clip}", "out.mp4", "--background", "transparent"], 64, "transparency"),
    ("pace of nothing", ["{clip}", "--pace", "0"], 64, "pace"),
    ("crop of words", ["{clip}", "--crop", "a,b"], 64, "crop"),
    ("policy unknown", ["{clip}", "--policy", "never"], 64, "never"),
    ("option unknown", ["{clip}", "--sparkle"], 64, "sparkle"),
    ("plate missing", ["{clip}", "--plate", "missing.png"], 66, "missing.png"),
    ("plate that nobody takes", ["{clip}", "--model", "cutout", "--plate", "{clip}"], 64, "takes no plate"),
    ("a matte network as style", ["{clip}", "--style", "cutout"], 64, "style network"),
    ("a styled picture", ["{clip}", "--style", "ink", "--style-on", "background"], 64, "own background"),
    ("an encoder for y4m", ["{clip}", "-", "--encoder", "nvenc"], 64, "H.264 only"),
    ("a style as network", ["{clip}", "--model", "ink"], 64, "matte network"),
    ("both plates", ["{clip}", "--plate", "p.png", "--learn-plate", "3"], 64, "not both"),
]


@pytest.mark.parametrize(("words", "code", "said"), [case[1:] for case in BAD], ids=[case[0] for case in BAD])
def test_bad_words_get_one_line_and_their_exit_code(
    clip: Path, tmp_path: Path, words: list[str], code: int, said: str
) -> None:
    output = tmp_path / "out.mp4"
    given = [w.replace("{clip}", str(clip)).replace("out.", f"{tmp_path}/out.") for w in words]
    done = cutline("run", *given)
    assert done.returncode == code, done.stderr
    assert said in one_line(done)
    assert not output.exists()
    assert not list(tmp_path.glob("*.part.*"))


@pytest.mark.parametrize("kind", ["empty", "text", "zeros", "audio"])
def test_what_is_no_video_is_bad_data(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "in.mp4"
    if kind == "audio":
        with av.open(str(path), "w") as sound:
            stream = sound.add_stream("aac", 48000)
            silence = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            silence.sample_rate = 48000
            sound.mux(stream.encode(silence))
            sound.mux(stream.encode(None))
    else:
        path.write_bytes({"empty": b"", "text": b"hello\n" * 500, "zeros": bytes(10000)}[kind])
    done = cutline("run", path, tmp_path / "out.mp4")
    assert done.returncode == 65, done.stderr
    assert "in.mp4" in one_line(done)
    assert not (tmp_path / "out.mp4").exists()


@pytest.mark.parametrize(("given", "said"), [(b"hello\n" * 500, "not a video"), (b"", "empty")])
def test_what_is_no_video_on_standard_input_is_bad_data(tmp_path: Path, given: bytes, said: str) -> None:
    done = cutline("run", "-", tmp_path / "out.mp4", stdin=given)
    assert done.returncode == 65, done.stderr
    assert said in one_line(done)


def test_pictures_are_never_written_over_those_that_are_read(clip: Path, tmp_path: Path) -> None:
    assert cutline("run", clip, f"{tmp_path}/in/", "--frames", "2").returncode == 0
    before = {path.name: path.read_bytes() for path in (tmp_path / "in").iterdir()}
    done = cutline("run", f"{tmp_path}/in/*.png", f"{tmp_path}/in/%05d.png", "--background", "#00ff00")
    assert done.returncode == 64, done.stderr
    assert "would write over a picture" in one_line(done)
    assert {path.name: path.read_bytes() for path in (tmp_path / "in").iterdir()} == before


def test_names_of_files_need_not_be_utf_8_nor_fit_a_terminal(clip: Path, tmp_path: Path) -> None:
    name = os.fsdecode(b"caf\xe9\n\x1b[31m.mp4")
    (tmp_path / name).write_bytes(clip.read_bytes())
    done = cutline("run", tmp_path / name, tmp_path / f"out{name}", "--background", tmp_path / name, "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["streams"][0]["name"] == r"caf\udce9\n\x1b[31m.mp4"
    assert frames_of(tmp_path / f"out{name}") == FRAMES
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / name.replace("mp4", "png")).write_bytes(b"no picture")
    one_line(done := cutline("run", tmp_path / "pictures"))
    assert done.returncode == 65
    assert "\x1b" not in done.stderr


def test_a_style_on_all_says_that_another_background_stays_as_it_is(clip: Path) -> None:
    words = ("run", clip, "--style", "ink", "--frames", "2", "--background")
    styled = [cutline(*words, background) for background in ("#ffffff", "blur:4")]
    assert [done.returncode for done in styled] == [0, 0]
    assert ["#ffffff is shown as it is" in done.stderr for done in styled] == [True, False]


def test_what_is_missing_is_said_before_a_network_is_compiled(clip: Path, tmp_path: Path) -> None:
    site = tmp_path / "site.toml"
    camera = f'[late]\ninput = "rtsp://127.0.0.1:1/x"\noutput = "{tmp_path}/none/a.mp4"\n'
    site.write_text(f'[there]\ninput = "{clip}"\noutput = "null://"\n{camera}')
    for words, code, said in (
        ([tmp_path / "none.mp4"], 66, "no such input"),
        ([clip, tmp_path / "none" / "a.mp4"], 73, "the output's folder is not there"),
        (["--streams", site], 73, "late: the output's folder is not there"),
    ):
        done = cutline("run", *words)
        assert done.returncode == code
        assert said in one_line(done)
        assert " on cpu (" not in done.stderr


def test_a_style_in_a_site_file_is_opened_like_any_other(clip: Path, tmp_path: Path) -> None:
    site = tmp_path / "site.toml"
    site.write_text(f'[s]\ninput = "{clip}"\nstyle = "no such style"\n')
    done = cutline("run", "--streams", site)
    assert done.returncode == 66
    assert "no such style" in one_line(done)


@pytest.mark.parametrize(
    "words", [["run", "{clip}", "-"], ["run", "{clip}", "--json"], ["inspect", "cutout", "--json"]]
)
@pytest.mark.parametrize("end", [">/dev/full", "| true"])
def test_an_output_that_nobody_takes_is_one_line_and_74(clip: Path, words: list[str], end: str) -> None:
    given = " ".join(word.format(clip=clip) for word in words)
    program = f"{sys.executable} -c 'from cutline.tools.cli import main; main()' {given} {end}; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 74, done.stderr
    assert "writing the output failed" in one_line(done)


@pytest.mark.parametrize("stdout", ["raw", "events"])
def test_a_closed_standard_output_is_no_output(clip: Path, stdout: str) -> None:
    program = f"{sys.executable} -c 'from cutline.tools.cli import main; main()' run {clip} - --stdout {stdout} >&-"
    done = subprocess.run(["bash", "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 73, done.stderr
    assert "standard output is closed" in one_line(done)


def test_the_newest_frame_of_a_file_comes_out_however_fast_it_is_read(clip: Path, tmp_path: Path) -> None:
    done = cutline("run", clip, tmp_path / "out.jsonl", "--policy", "latest")
    assert done.returncode == 0, done.stderr
    assert json.loads((tmp_path / "out.jsonl").read_text().splitlines()[-1])["index"] > 0


def test_a_failed_run_leaves_an_existing_output_as_it_was(tmp_path: Path) -> None:
    output = tmp_path / "out.mp4"
    output.write_bytes(b"precious")
    assert cutline("run", tmp_path / "missing.mp4", output).returncode == 66
    assert output.read_bytes() == b"precious"


def test_a_truncated_file_gives_every_frame_that_decodes_and_says_so(clip: Path, tmp_path: Path) -> None:
    whole = tmp_path / "whole.ts"
    with av.open(str(clip)) as video, av.open(str(whole), "w") as copy:
        stream = copy.add_stream_from_template(video.streams.video[0])
        for packet in video.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                copy.mux(packet)
    cut = tmp_path / "cut.ts"
    cut.write_bytes(whole.read_bytes()[: whole.stat().st_size * 2 // 3])
    done = cutline("run", cut, tmp_path / "out.mp4")
    assert 0 < frames_of(tmp_path / "out.mp4") < FRAMES
    assert done.returncode == 65
    assert "truncated" in one_line(done)


@pytest.mark.parametrize("verb", ["run", "bench", "build", "inspect", "verify", "train", "eval", "doctor"])
def test_help_has_two_examples(verb: str) -> None:
    done = cutline(verb, "--help")
    assert done.returncode == 0
    assert done.stdout.count(f"cutline {verb}") >= 2


def test_no_verb_shows_help_and_is_a_usage_error() -> None:
    assert cutline().returncode == 64


def test_an_unknown_verb_is_a_usage_error() -> None:
    assert cutline("dance").returncode == 64


def test_doctor_speaks_json() -> None:
    done = cutline("doctor", "--json")
    subjects = {finding["subject"] for finding in json.loads(done.stdout)["findings"]}
    assert {"kernels", "OpenVINO", "video", "NVIDIA driver"} <= subjects
    assert done.returncode == 0, done.stdout


def test_doctor_shows_remedies_to_the_letter() -> None:
    shown = cutline("doctor").stdout
    for finding in json.loads(cutline("doctor", "--json").stdout)["findings"]:
        for word in finding["remedy"].split():
            assert word in shown


def test_debug_shows_the_traceback() -> None:
    done = cutline("--debug", "run", "missing.mp4")
    assert done.returncode == 66
    assert "Traceback" in done.stderr
