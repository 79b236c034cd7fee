"""A thousand mutated models: each is accepted or refused in one line; nothing hangs, and a crash has a name."""

from __future__ import annotations

import collections
import json
import os
import subprocess
import sys
from pathlib import Path

import mutants
import pytest

from cutline.engine.model_import import import_model
from cutline.runtime.errors import BadInputError

COUNT = int(os.environ.get("CUTLINE_FUZZ_COUNT", "1000"))
SILENCE_S = 60.0  # one mutant may take this long


def run_batch(folder: Path, first: int, last: int) -> tuple[dict[int, str], int | None]:
    """Outcomes by number, and the mutant that took the child down with it."""
    command = [sys.executable, str(Path(mutants.__file__)), str(folder), str(first), str(last)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment, text=True
    ) as child:
        try:
            text, _ = child.communicate(timeout=SILENCE_S + 0.5 * (last - first))
        except subprocess.TimeoutExpired:
            child.kill()
            text, _ = child.communicate()
    outcomes, open_number = {}, None
    for line in text.splitlines():
        message = json.loads(line)
        if "begin" in message:
            open_number = message["begin"]
        else:
            outcomes[message["end"]], open_number = message["outcome"], None
    return outcomes, open_number


@pytest.mark.slow
def test_a_thousand_mutants_are_accepted_or_refused_in_one_line(tmp_path: Path) -> None:
    outcomes: dict[int, str] = {}
    crashed: list[int] = []
    first = 0
    while first < COUNT:
        done, culprit = run_batch(tmp_path, first, COUNT)
        outcomes |= done
        if culprit is None:
            break
        crashed.append(culprit)
        first = culprit + 1
    for number in crashed:  # a reader went down: the real import must turn that into one line
        path = tmp_path / f"crash-{number}.onnx"
        path.write_bytes(mutants.mutant(number))
        with pytest.raises(BadInputError):
            import_model(path)
    assert len(outcomes) + len(crashed) == COUNT
    wrong = {n: o for n, o in outcomes.items() if o not in ("accepted", "refused")}
    assert not wrong
    counts = collections.Counter(outcomes.values())
    assert counts["accepted"] > COUNT // 50, "the mutations are too coarse to reach the deeper stages"
    assert counts["refused"] > COUNT // 3
