"""The command that writes scenes down to be looked at."""

from __future__ import annotations

from pathlib import Path

import cv2
import pytest

from cutline.tools.scenes.__main__ import main


@pytest.mark.parametrize("name", ["turntable", "stills"])
def test_it_writes_frames_alphas_and_a_sheet(name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "new" / "folder"
    assert main(["--out", str(out), "--name", name, "--frames", "2", "--size", "96x64"]) == 0
    assert sorted(path.name for path in out.iterdir()) == [
        "alpha-000.png", "alpha-001.png", "frame-000.png", "frame-001.png", "sheet.png",
    ]  # fmt: skip
    sheet = cv2.imread(str(out / "sheet.png"))
    assert sheet is not None
    assert sheet.shape == (2 * 64, 4 * 96, 3)
    assert "2 frames" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        (["--name", "garden"], 64),
        (["--size", "big"], 64),
        (["--name", "packshots"], 64),
        (["--name", "stills", "--products", "/does/not/exist"], 66),
    ],
)
def test_bad_arguments_end_in_one_line_and_the_right_code(
    arguments: list[str], code: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--out", str(tmp_path), "--frames", "1", *arguments]) == code
    assert "Traceback" not in capsys.readouterr().err


def test_a_folder_that_cannot_be_made_is_an_output_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    assert main(["--out", str(tmp_path / "file" / "folder"), "--frames", "1"]) == 73
