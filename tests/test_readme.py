from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


def test_the_quick_start_runs_as_it_is_printed(tmp_path: Path) -> None:
    (program,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=tmp_path, check=False)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) == 30


def test_every_command_that_is_shown_exists() -> None:
    from typer.main import get_command

    from cutline.tools.cli import app

    known = {p for name, verb in get_command(app).commands.items() for p in _words(name, verb)}  # type: ignore[attr-defined]
    shown = re.findall(r"^(?:\S*/)?cutline (\w+)", README, re.MULTILINE) + re.findall(r"(?<!-)(--[a-z][a-z-]*)", README)
    assert shown
    assert {word for word in shown if word not in known} <= {"--help", "--debug"}


def _words(name: str, verb: object) -> set[str]:
    below = getattr(verb, "commands", {})
    own = {name, *(option for p in verb.params for option in p.opts)}  # type: ignore[attr-defined]
    return own.union(*(_words(inner, command) for inner, command in below.items()))


def test_pictures_that_are_shown_are_there() -> None:
    for name in re.findall(r"!\[.*?\]\((.*?)\)", README):
        assert (Path(__file__).parents[1] / name).is_file(), name
