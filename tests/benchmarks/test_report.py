from __future__ import annotations

import math
import re
from html.parser import HTMLParser

import msgspec
import pytest
from bench_example import example, ms

from cutline.benchmarks.report import report
from cutline.benchmarks.report_text import bounded
from cutline.benchmarks.schema import Document, Figure

VOID = {"meta", "br"}
HOSTILE = '<script>alert("x")</script>&'


class Checker(HTMLParser):
    """Fails on tags that are not closed, or closed in the wrong order."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def checked(document: Document) -> tuple[str, Checker]:
    text = report(document)
    checker = Checker()
    checker.feed(text)
    assert checker.open == []
    return text, checker


def test_the_page_is_whole_and_needs_nothing_else() -> None:
    text, checker = checked(example())
    assert not {tag for tag, _ in checker.tags} & {"script", "link", "img", "iframe", "object"}
    assert not re.search(r"https?:|url\(|@import|src=|href=", text)


def test_every_scenario_figure_and_warning_is_there() -> None:
    document = example()
    text, _ = checked(document)
    for scenario in document.scenarios:
        assert f"<b>{scenario.label}</b>" in text
        for name in scenario.figures:
            assert f">{name}</code>" in text
    for warning in ("too few for p99.9", "varies by 5.0 %", "4k was left out"):
        assert warning in text
    for part in ("cutline bench cutout --duration 20", "2026-11-21T09:30:00Z", "0123456", "one period, 33.3 ms"):
        assert part in text


def test_a_figure_that_may_be_noise_is_red() -> None:
    document = example()
    quiet = Figure(value=1.0, unit="ms", better="lower", n=5, cv=0.01)
    loud = msgspec.structs.replace(quiet, cv=0.2, value=2.0)
    only = msgspec.structs.replace(document.scenarios[0], figures={"quiet": quiet, "loud": loud})
    text, _ = checked(msgspec.structs.replace(document, scenarios=(only,), scaling=()))
    assert '<span class="bad"><span class="number">2.00 ms' in text
    assert '<span class="bad"><span class="number">1.00 ms' not in text


def test_what_was_not_measured_has_no_section() -> None:
    document = example()
    start = tuple(s for s in document.scenarios if s.kind == "start")
    text, _ = checked(msgspec.structs.replace(document, scenarios=start, scaling=()))
    assert re.findall("<h2>(.*?)</h2>", text) == ["Figures", "Setting"]
    assert re.findall("<h2>(.*?)</h2>", report(document)) == [
        "Figures", "Latency", "Stages", "One second of frames", "Scaling", "Setting",
    ]  # fmt: skip


def test_an_interrupted_run_says_so_even_with_nothing_in_it() -> None:
    document = msgspec.structs.replace(example(), complete=False, scenarios=(), scaling=(), warnings=("too hot",))
    text, _ = checked(document)
    assert "interrupted" in text
    assert "too hot" in text


def test_names_from_elsewhere_are_text() -> None:
    document = example()
    hostile = msgspec.structs.replace(
        document,
        commit=HOSTILE,
        command=(HOSTILE,),
        warnings=(HOSTILE,),
        machine=msgspec.structs.replace(document.machine, cpu=HOSTILE, gpus=(HOSTILE,), versions={HOSTILE: HOSTILE}),
        model=msgspec.structs.replace(document.model, name=HOSTILE),
        input=msgspec.structs.replace(document.input, name=HOSTILE, decoder=HOSTILE),
        scenarios=tuple(
            msgspec.structs.replace(
                s, precision=HOSTILE, warnings=(HOSTILE,), figures={HOSTILE: ms(1.0, warnings=(HOSTILE,))}
            )
            for s in document.scenarios
        ),
        scaling=tuple(msgspec.structs.replace(c, precision=HOSTILE, warnings=(HOSTILE,)) for c in document.scaling),
    )
    text, checker = checked(hostile)
    assert "script" not in {tag for tag, _ in checker.tags}
    assert "<script" not in text


def test_every_class_has_a_colour_by_day_and_by_night() -> None:
    text, checker = checked(example())
    style = text.partition("<style>")[2].partition("</style>")[0]
    for word in {w for _, attributes in checker.tags for w in (attributes.get("class") or "").split()}:
        assert f".{word}" in style or word in ("stage",), word
    light, dark = (set(re.findall(r"(--[\w-]+):", block)) for block in re.findall(r":root\{([^}]*)\}", style)[2:4])
    assert light == dark


def test_a_share_is_a_percentage_and_a_ratio_a_factor() -> None:
    missed = Figure(value=0.0123, unit="ratio", better="lower", n=10, low=0.01, high=0.02)
    assert re.sub("<.*?>", "", " ".join(bounded(missed))) == "1.23 % 1.00 – 2.00"
    ratio = Figure(value=0.67, unit="ratio", better="higher", n=10, low=0.6, high=0.7, confidence=0.9)
    assert re.sub("<.*?>", "", " ".join(bounded(ratio))) == "0.67 × 0.600 – 0.700 (90%)"


def test_lines_are_told_apart_by_what_differs() -> None:
    document = example()
    paced = next(s for s in document.scenarios if s.kind == "paced")
    both = (paced, msgspec.structs.replace(paced, precision="fp32"))
    text, _ = checked(msgspec.structs.replace(document, scenarios=both))
    assert "</svg>int8, available to composite</li>" in text
    assert "</svg>fp32, available to sink done</li>" in text
    alone, _ = checked(msgspec.structs.replace(document, scenarios=(document.scenarios[0],)))
    assert "</svg>one inference</li>" in alone
    closed = msgspec.structs.replace(document.scenarios[1], cdfs=document.scenarios[0].cdfs)
    assert "</svg>taken by pre to composite</li>" in checked(msgspec.structs.replace(document, scenarios=(closed,)))[0]


def test_a_bound_that_is_not_known_is_left_open() -> None:
    figure = Figure(value=30.0, unit="ms", better="lower", n=40, low=28.0)
    assert re.sub("<.*?>", "", bounded(figure)[1]) == "28.0 – …"


def test_frames_that_never_came_keep_the_line_down() -> None:
    """With one of ten frames lost, the line ends at 90 %: on this axis at half of the height that 99 % has."""
    document = example()
    paced = next(s for s in document.scenarios if s.kind == "paced")
    missed = Figure(value=0.5, unit="ratio", better="lower", n=1000)
    ends = {}
    for n in (1000, 900):
        cdf = msgspec.structs.replace(paced.cdfs["latency"], n=n)
        only = msgspec.structs.replace(paced, figures={"missed": missed}, cdfs={"latency": cdf}, stages=(), trace=())
        text, _ = checked(msgspec.structs.replace(document, scenarios=(only,), scaling=()))
        (way,) = re.findall(r'<path d="M([^"]*)" class="line line0"><title>', text)
        ends[n] = float(way.split("L")[-1].split()[1])
    top, bottom = 20, 298 - 46
    assert ends[1000] == top
    assert (bottom - ends[900]) / (bottom - top) == pytest.approx(1 / math.log10(900), abs=0.01)
