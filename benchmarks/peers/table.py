"""The result of a contest as Markdown, which a terminal shows as well as a README does, and as JSON."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from cutline.benchmarks.peers.contest import Contestant, Result
from cutline.benchmarks.schema import Machine

__all__ = ["SCHEMA", "Contest", "to_json", "to_markdown"]

SCHEMA = "cutline.peers/1"
BUSY = 0.1  # cores for other programs from which on a figure counts as measured under load


class Contest(msgspec.Struct, frozen=True, kw_only=True):
    """What was compared, on what, and when."""

    command: str
    created: str  # UTC
    commit: str | None
    machine: Machine
    clip: str
    width: int
    height: int
    bundle: str
    rounds: int
    seconds: float  # of a turn
    complete: bool  # False: interrupted
    results: Sequence[Result]
    left_out: dict[str, str]  # name -> why

    @property
    def others(self) -> float:
        """Cores that other programs had, mean over all turns."""
        shares = [r.others for r in self.results]
        return sum(shares) / len(shares) if shares else 0.0


def to_json(contest: Contest, contestants: Sequence[Contestant]) -> bytes:
    """Everything, the single turns too."""
    turns = {c.name: [{"fps": t.fps, "core_ms": t.core_ms, "others": t.others} for t in c.turns] for c in contestants}
    document = {"schema": SCHEMA, **msgspec.to_builtins(contest), "turns": turns}
    return msgspec.json.format(msgspec.json.encode(document), indent=1) + b"\n"


def to_markdown(contest: Contest) -> str:
    """The table, and under it what must be known to read it."""
    head = ("peer", "precision", "fps", "range", "Cutline is", "range", "at its precision", "core-ms", "MiB", "differs")
    rows = [_row(r) for r in contest.results]
    widths = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    rule = [("-" * w if i < 2 else "-" * (w - 1) + ":") for i, w in enumerate(widths)]
    lines = [_line(head, widths), "|" + "|".join(f"-{r}-" for r in rule).replace(":-", "-:") + "|"]
    lines += [_line(row, widths) for row in rows]
    return "\n".join([*lines, "", *_notes(contest)]) + "\n"


def _row(r: Result) -> tuple[str, ...]:
    return (
        r.name,
        r.precision,
        _short(r.fps),
        f"{_short(r.fps_range[0])}-{_short(r.fps_range[1])}",
        f"{r.ratio:.2f} x" if r.ratio is not None else "",
        f"{r.ratio_range[0]:.2f}-{r.ratio_range[1]:.2f}" if r.ratio_range is not None else "",
        f"{r.ratio_same_precision:.2f} x" if r.ratio_same_precision is not None else "",
        f"{r.core_ms:.1f}",
        f"{r.peak_mib:.0f}",
        f"{r.difference:.2f}" if r.difference is not None else "",
    )


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    """First two columns to the left, figures to the right."""
    shown = [c.ljust(w) if i < 2 else c.rjust(w) for i, (c, w) in enumerate(zip(cells, widths, strict=True))]
    return "| " + " | ".join(shown) + " |"


def _notes(contest: Contest) -> list[str]:
    n, machine = contest.rounds, contest.machine
    cores = f"{machine.cores} {'virtual ' if machine.virtual else ''}cores"
    notes = [
        f"`{contest.command}`, {contest.created}, commit {contest.commit or 'unknown'}: {machine.cpu}, {cores}; "
        f"{contest.clip} at {contest.width}x{contest.height}, network of `{contest.bundle}`.",
        "",
        f"- Decode to composite, in turns of {contest.seconds:g} s over {n} rounds; medians, and the rounds' range"
        + (f", which holds the true median with {1 - 2.0 ** (1 - n):.0%} confidence." if n > 1 else "."),
        "- *Cutline is* frames of Cutline for one of the peer, by rounds; *at its precision* with Cutline held to the "
        "peer's. *core-ms* and *MiB* count all processes of the peer.",
        "- *differs*: mean difference of one composite from the usual script's with the soft mask, in levels of 255.",
    ]
    if contest.others >= BUSY:
        notes.append(
            f"- **Measured under load**: other programs had {contest.others:.1f} of {machine.cores} cores meanwhile. "
            "Rates are too low, ratios suffer less, core-ms least."
        )
    if not contest.complete:
        notes.append("- Interrupted: not all rounds are in it.")
    notes += [f"- {name}: {text}." for name, text in _differences(contest.results)]
    notes += [f"- Left out: {name}: {why}" for name, why in contest.left_out.items()]
    return notes


def _differences(results: Sequence[Result]) -> list[tuple[str, str]]:
    found: dict[str, tuple[str, str]] = {}
    for r in results:
        base = r.name.removesuffix(f", {r.variant}") if r.variant else r.name
        versions = ", ".join(f"{name} {v}" for name, v in r.versions.items() if v)
        found[r.key] = (f"{base} ({versions})", r.differs)
    return list(found.values())


def _short(value: float) -> str:
    return f"{value:.1f}" if value < 100 else f"{value:.0f}"
