"""What is kept from one build to the next: a timing only if the machine was free for it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import small_models

from cutline.calibration.graph import normalise
from cutline.engine import evidence as evidence_module
from cutline.engine.cache import Cache
from cutline.engine.candidates import Candidate
from cutline.engine.evidence import Evidence, HeldOut
from cutline.engine.latency import Timing
from cutline.engine.progress import Silent
from cutline.engine.proof import Gate
from cutline.runtime.contract import Image, ModelContract, Output

CONTRACT = ModelContract(
    task="matte",
    frame=Image(tensor="image", width=64, height=48),
    outputs=(Output(tensor="alpha", meaning="alpha", width=64, height=48),),
)
HELD_OUT = HeldOut(sequences=[[{"image": np.zeros((1, 3, 48, 64), np.float32)}]], source="patterns")


def builds(folder: Path, monkeypatch: pytest.MonkeyPatch, shares: Sequence[float]) -> list[float]:
    """Median times that builds one after the other go by; others take these shares of the CPUs while each is timed."""
    model = normalise(small_models.luma_matte())
    graph = Candidate(precision="fp32", model=model, layers={}, reasons={})
    monkeypatch.setattr(evidence_module, "compile_for_cpu", lambda *_: SimpleNamespace(inputs=[]))
    found = []
    for number, share in enumerate(shares):
        timed = Timing(median_ms=number, low_ms=0, high_ms=0, in_flight=1, frames=1, others=share)

        def measure(compiled: dict[str, Any], *_: Any, timed: Timing = timed, **__: Any) -> dict[str, Timing]:
            return dict.fromkeys(compiled, timed)

        monkeypatch.setattr(evidence_module, "measure", measure)
        evidence = Evidence(model, CONTRACT, HELD_OUT, Gate(), Cache(folder))
        found.append(evidence.time([graph], Silent())["fp32"].median_ms)
    return found


def test_what_was_timed_on_a_free_machine_is_not_timed_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert builds(tmp_path, monkeypatch, [0.02, 0.02, 0.9]) == [0, 0, 0]


@pytest.mark.parametrize("busy", [0.5, float("nan")])
def test_what_was_timed_on_a_busy_machine_is_timed_again_until_it_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, busy: float
) -> None:
    assert builds(tmp_path, monkeypatch, [busy, busy, 0.0, busy]) == [0, 1, 2, 2]
