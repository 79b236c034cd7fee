from __future__ import annotations

import json
from pathlib import Path

import pytest

from cutline.runtime.errors import OutputError, UsageError
from cutline.tools.train.folder import CHECKPOINT, settled


def test_a_run_goes_on_with_its_own_options_only(tmp_path: Path) -> None:
    with settled(tmp_path / "run", {"seed": 1}):
        pass
    (tmp_path / "run" / CHECKPOINT).write_bytes(b"x")
    with settled(tmp_path / "run", {"seed": 1}):
        pass
    with pytest.raises(UsageError, match="another seed"), settled(tmp_path / "run", {"seed": 2}):
        pass


def test_before_the_first_checkpoint_there_is_nothing_to_go_on_with(tmp_path: Path) -> None:
    with settled(tmp_path, {"seed": 1}):
        pass
    (tmp_path / "run.json").write_text("")  # a kill while it was written
    with settled(tmp_path, {"seed": 2}):
        pass
    assert json.loads((tmp_path / "run.json").read_text()) == {"seed": 2}


@pytest.mark.parametrize("damage", ["", "[]", None])
def test_a_checkpoint_of_which_nobody_knows_the_run_is_left_alone(tmp_path: Path, damage: str | None) -> None:
    (tmp_path / CHECKPOINT).write_bytes(b"x")
    if damage is not None:
        (tmp_path / "run.json").write_text(damage)
    with pytest.raises(OutputError, match="cannot be used"), settled(tmp_path, {"seed": 1}):
        pass


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be used"), settled(tmp_path / "file" / "run", {}):
        pass


def test_two_processes_do_not_train_in_one_folder(tmp_path: Path) -> None:
    with settled(tmp_path, {}), pytest.raises(UsageError, match="another process"), settled(tmp_path, {}):
        pass
    with settled(tmp_path, {}):
        pass
