"""The result of the device checks: plain data, for one JSON document and one page."""

from __future__ import annotations

from html import escape
from typing import Any, Final, Literal

import msgspec

from cutline.benchmarks.schema import Machine
from cutline.engine.page import page, table

__all__ = ["SCHEMA", "Check", "NotRun", "Record", "Verdict", "encode", "html"]

SCHEMA: Final = "cutline.gpu/1"
Verdict = Literal["passed", "missed", "failed", "measured", "not run"]
MARKS: Final = {"passed": "#0a7d32", "missed": "#b26a00", "failed": "#b3261e", "measured": "#444", "not run": "#777"}
STYLE: Final = (
    "body{font:16px/1.5 system-ui,sans-serif;color:#1a1a1a;margin:0}"
    "main{max-width:64rem;margin:2rem auto;padding:0 1rem}table{border-collapse:collapse;width:100%;font-size:.9rem}"
    "td,th{text-align:left;padding:.25rem .6rem;border-bottom:1px solid #ddd;vertical-align:top}"
    ".lead{background:#fff4d6;padding:.6rem .8rem}.wide{overflow-x:auto}"
)


class NotRun(Exception):
    """What a check raises that cannot run here: no fault of what it would have looked at. Its words are the reason."""


class Check(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was looked at. missed: it works, and is slower than its goal. failed: it is wrong."""

    name: str
    verdict: Verdict
    goal: str = ""
    figures: dict[str, float | int | str] = {}
    notes: tuple[str, ...] = ()
    clocks: dict[str, float | str] = {}  # MHz, lowest and highest while it ran; throttled: why, where it was
    seconds: float = 0.0


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that one run found."""

    schema: Literal["cutline.gpu/1"] = msgspec.field(default=SCHEMA)
    lead: str  # the first line: what ran in the network's place, where TensorRT did not
    created: str  # UTC
    commit: str | None
    device: str
    driver: dict[str, Any]  # its version, CUDA that it runs, the binding
    network: str
    machine: Machine
    complete: bool = False  # every check had its turn
    seconds: float = 0.0
    checks: tuple[Check, ...] = ()


def encode(record: Record) -> bytes:
    """Indented JSON that ends with a line feed."""
    return msgspec.json.format(msgspec.json.encode(record), indent=1) + b"\n"


def html(record: Record) -> bytes:
    """The page."""
    rows = [[_mark(c.verdict), escape(c.name), escape(c.goal), _figures(c), _clocks(c)] for c in record.checks]
    about = {
        "device": record.device, "network": record.network, **record.driver, **record.machine.versions,
        "commit": record.commit or "", "created": record.created, "seconds": f"{record.seconds:.0f}",
        "processor": f"{record.machine.cpu}, {record.machine.cores} cores", "system": record.machine.system,
    }  # fmt: skip
    body = [
        f'<p class="lead">{escape(record.lead)}{"" if record.complete else " THE RUN DID NOT END."}</p>',
        f"<h1>Device checks on {escape(record.device)}</h1>",
        table(["verdict", "check", "goal", "found", "clocks"], rows),
        "<h2>Setting</h2>",
        table(["what", "value"], [[escape(name), escape(str(value))] for name, value in about.items()]),
    ]
    return page(f"Device checks: {record.device}", body, STYLE).encode()


def _mark(verdict: Verdict) -> str:
    return f'<b style="color:{MARKS[verdict]}">{verdict}</b>'


def _figures(check: Check) -> str:
    shown = [f"{escape(name)}: {value:.4g}" if isinstance(value, float) else f"{escape(name)}: {escape(str(value))}"
             for name, value in check.figures.items()]  # fmt: skip
    return "<br>".join([*shown, *(f"<i>{escape(note)}</i>" for note in check.notes)])


def _clocks(check: Check) -> str:
    shown = (f"{value:.0f}" if isinstance(value, float) else value for value in check.clocks.values())
    return "<br>".join(f"{escape(name)}: {escape(text)}" for name, text in zip(check.clocks, shown, strict=True))
