"""The model card: what a network is, what it was trained on, how good it is and where it fails, as Markdown."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from cutline.tools.evaluate.evaluation import Evaluation

__all__ = ["CardFacts", "Floor", "model_card"]

_COLUMNS = ("shots", "iou", "f1", "mad", "band_mad", "inside_mad", "psnr", "ssim")
_TITLES = ("shots", "IoU at 0.5", "F1", "MAD", "boundary MAD", "MAD inside", "PSNR dB", "SSIM")


@dataclass(frozen=True, slots=True)
class Floor:
    """A figure that the network is to reach: `group` is "all", "flicker" or a category."""

    title: str
    group: str
    figure: str
    limit: float
    at_least: bool = False

    def found(self, evaluation: Evaluation) -> float | None:
        """The figure of this evaluation, if it has it."""
        if self.group == "flicker":
            return evaluation.flicker
        figures = evaluation.overall if self.group == "all" else evaluation.categories.get(self.group, {})
        return figures.get(self.figure)


@dataclass(frozen=True, slots=True, kw_only=True)
class CardFacts:
    """What the figures do not say; every list item is one sentence."""

    name: str
    purpose: str
    weights: int
    gflop: float
    width: int
    height: int
    data: Sequence[str]
    training: Sequence[str]
    measured_on: str
    limits: Sequence[str]
    licence: str
    floors: Sequence[Floor]


def model_card(facts: CardFacts, evaluation: Evaluation) -> str:
    """Write the card. Every figure comes from `evaluation`; a floor that is missed is marked as missed."""
    lines = [
        f"# {facts.name}",
        "",
        facts.purpose,
        "",
        f"{facts.weights / 1e6:.2f} M weights, {facts.gflop:.2f} GFLOP (two per multiply-add) at "
        f"{facts.width}x{facts.height}. Licence: {facts.licence}.",
        "",
        *_section("Data", facts.data),
        *_section("Training", facts.training),
        "## Figures",
        "",
        facts.measured_on,
        "",
        "| goods | " + " | ".join(_TITLES) + " |",
        "|---|" + "---:|" * len(_TITLES),
    ]
    rows = {"all": {**evaluation.overall, "shots": float(evaluation.shots)}, **evaluation.categories}
    lines += [f"| {name} | " + " | ".join(_cell(row.get(c), c) for c in _COLUMNS) + " |" for name, row in rows.items()]
    lines.append("")
    if evaluation.flicker is not None:
        lines += [
            f"Flicker (dtSSD x 100, still goods under noise of three levels): {evaluation.flicker:.2f} behind the "
            f"runtime's temporal filter, {evaluation.raw_flicker:.2f} without it.",
            "",
        ]
    sums = ("MSE", "mse"), ("SAD", "sad"), ("Grad", "grad"), ("Conn", "conn")
    lines += [
        ", ".join(f"{title} {evaluation.overall[name]:.4f}" for title, name in sums)
        + " (the last three are sums, in thousands).",
        "",
    ]
    if evaluation.dtssd is not None:
        lines += [f"Held-out video of moving goods: dtSSD x 100 {evaluation.dtssd:.2f} behind the filter.", ""]
    if facts.floors:
        lines += ["| wanted | limit | found | |", "|---|---:|---:|---|"]
        lines += [*(_floor(f, evaluation) for f in facts.floors), ""]
    return "\n".join([*lines, *_section("Where it fails", facts.limits)]).rstrip() + "\n"


def _section(title: str, sentences: Sequence[str]) -> list[str]:
    return [f"## {title}", "", *(f"- {sentence}" for sentence in sentences), ""]


def _floor(floor: Floor, evaluation: Evaluation) -> str:
    found = floor.found(evaluation)
    sign = "at least" if floor.at_least else "at most"
    if found is None:
        return f"| {floor.title} | {sign} {floor.limit:g} | not measured | |"
    reached = found >= floor.limit if floor.at_least else found <= floor.limit
    return f"| {floor.title} | {sign} {floor.limit:g} | {_cell(found)} | {'reached' if reached else '**missed**'} |"


def _cell(value: float | None, name: str = "") -> str:
    if value is None:
        return ""
    return f"{value:.0f}" if name == "shots" else f"{value:.1f}" if value > 1 else f"{value:.4f}"
