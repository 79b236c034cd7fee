from __future__ import annotations

import msgspec
import pytest
from bench_example import example

from cutline.benchmarks.guard import parse_conditions, violations
from cutline.benchmarks.schema import Document
from cutline.runtime.errors import UsageError


def met(text: str, document: Document | None = None) -> list[str]:
    return violations(document or example(), parse_conditions([text]))


@pytest.mark.parametrize(
    ("text", "is_met"),
    [
        ("p99>33ms", True),  # of the paced scenario, where it is 34 ms
        ("p99>35ms", False),
        ("p99 > 0.033 s", True),
        ("p99>33000us", True),
        ("p99>33", True),  # in the figure's own unit
        ("paced.sink.p50>19ms", True),
        ("multi.p99>100ms", False),
        ("multi.p99>80ms", True),
        ("network.latency.p50>8ms", True),
        ("network.p50>8ms", True),
        ("fps<60", False),  # of the throughput scenario, where it is 77
        ("fps<80fps", True),
        ("network.fps<100", False),
        ("missed>0.5%", True),
        ("missed>2%", False),
        ("warm>0.5s", True),
        ("start.cold>2000ms", False),
    ],
)
def test_a_condition_is_met_or_not(text: str, is_met: bool) -> None:
    assert bool(met(text)) is is_met


def test_a_line_says_what_was_asked_and_what_was_found() -> None:
    (line,) = met("p99>33ms")
    assert line == "p99>33ms: paced, int8, 1920x1080, 30 fps has 34 ms"


def test_what_cannot_be_judged_is_not_passed() -> None:
    (line,) = met("p99.9>1000ms")
    assert "cannot be judged" in line
    assert met("file.fps<1")


def test_one_scenario_without_the_figure_is_not_covered_by_another_that_has_it() -> None:
    document = example()
    paced = document.scenarios[3]
    # so many of its frames never came that it has no p99 at all
    worse = msgspec.structs.replace(paced, precision="fp32", figures={"p50": paced.figures["p50"]})
    both = msgspec.structs.replace(document, scenarios=(*document.scenarios, worse))
    assert met("p99>35ms", document) == []
    (line,) = met("p99>35ms", both)
    assert "paced, fp32" in line
    assert "cannot be judged" in line


@pytest.mark.parametrize(
    "text", ["", "p99", "p99=3", "p99>ms", "p99>3 parsecs", "speed<3", "p99>-3", "p99>3ms and", "p>3"]
)
def test_what_makes_no_sense_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="cannot be understood"):
        parse_conditions([text])


def test_a_unit_that_does_not_fit_is_refused() -> None:
    with pytest.raises(UsageError, match="p99 is in ms"):
        met("p99>30fps")
