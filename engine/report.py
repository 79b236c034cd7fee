"""report.html: what was built, why, how accurate and how fast, with the worst frames; one file, no scripts."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from cutline.calibration.runner import Feed
from cutline.engine.candidates import Candidate
from cutline.engine.charts import Bar, bars, strip
from cutline.engine.choose import Choice
from cutline.engine.evidence import Evidence
from cutline.engine.page import page, table
from cutline.engine.pictures import tensor_to_picture
from cutline.engine.proof import Accuracy, Proof
from cutline.engine.quantised import Int8
from cutline.engine.report_style import STYLE
from cutline.engine.subject import Subject
from cutline.engine.targets import Ground
from cutline.runtime.contract import ModelContract
from cutline.runtime.manifest import Target

__all__ = ["ReportData", "render", "worst_picture"]

F32 = NDArray[np.float32]
U8 = NDArray[np.uint8]
GAIN = 10  # how much the pictures of differences are brightened
THUMB = 320  # pixels across


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportData:
    """All that the report shows."""

    name: str
    version: int
    created: str
    licence: str
    subject: Subject
    evidence: Evidence
    choice: Choice
    int8: Mapping[Ground, Int8]
    targets: Sequence[Target]
    calibration: Mapping[str, Any] | None
    budget: float


def render(data: ReportData) -> str:
    """The whole page."""
    title = f"{data.name} {data.version}"
    body = [
        f"<h1>{escape(title)}</h1>",
        f'<p class="lead">Built {escape(data.created)}. Licence of the model: {escape(data.licence)}. '
        f"Budget: alpha MAD {data.budget:g}.</p>",
        _decisions(data),
        _targets(data.targets),
        _errors(data),
        _latency(data),
        _worst(data),
        _sensitivity(data),
        _layers(data),
        _calibration(data),
    ]
    return page(f"{title}: build report", body, STYLE)


def _decisions(data: ReportData) -> str:
    if not data.choice.notes:
        return ""
    return "<ul>" + "".join(f"<li>{escape(note)}</li>" for note in data.choice.notes) + "</ul>"


def _targets(targets: Sequence[Target]) -> str:
    rows = []
    for t in targets:
        proven = (
            "proven here" if t.proven else "engine not run: prove it with <code>cutline verify</code> on the device"
        )
        library = escape(str(t.facts.get("library", "")))
        rows.append([escape(t.kind), escape(t.device or "any CPU"), _chip(t.precision), library, proven])
    return "<h2>Engines</h2>" + table(["target", "device", "precision", "library", "proof"], rows)


def _chip(precision: str) -> str:
    return f'<span class="chip {precision}">{precision}</span>'


def _errors(data: ReportData) -> str:
    source = data.evidence.held_out.source
    words = {
        "footage": "frames of the footage that calibration did not see",
        "patterns": "test pictures, since no footage was given",
    }[source]
    rows = []
    for (ground, precision), proof in data.choice.proofs.items():
        a = proof.accuracy
        where = "this CPU, in OpenVINO" if ground == "cpu" else "GPU types, emulated"
        verdict = (
            '<span class="good">passes</span>'
            if a.passed
            else f'<span class="bad">{escape("; ".join(a.failures))}</span>'
        )
        rows.append([_chip(precision), where, *_figures(a), verdict])
    head = ["graph", "computed as", "alpha MAD", "edge MAD", "worst frame", "largest", "IoU", "repeats", "gate"]
    count = len(data.evidence.held_out.frames)
    note = f"<p>Mattes against those of the original in FP32, over {count} {words}. Alpha runs from 0 to 1.</p>"
    return "<h2>Accuracy</h2>" + note + table(head, rows)


def _figures(a: Accuracy) -> list[str]:
    worst = "NaN" if a.worst_mad is None else f"{a.worst_mad:.5f} (#{a.worst_frame})"
    return [
        _number(a.alpha_mad),
        _number(a.band_mad, absent="no edge"),
        worst,
        _number(a.largest),
        _number(a.iou, absent="no product"),
        "yes" if a.repeatable else "no",
    ]


def _number(value: float | None, *, absent: str = "NaN") -> str:
    return absent if value is None else f"{value:.5f}"


def _latency(data: ReportData) -> str:
    timings = data.choice.timings
    if not timings:
        return ""
    shipped = {t.precision for t in data.targets if t.kind == "openvino"}
    rows = [
        Bar(
            label=f"{name}{' (shipped)' if name in shipped else ''}",
            value=t.median_ms,
            text=f"{t.median_ms:.2f} ms",
            low=t.low_ms,
            high=t.high_ms,
            kind=name,
        )
        for name, t in timings.items()
    ]
    facts = next((t.facts for t in data.targets if t.kind == "openvino"), {})
    note = (
        f"<p>Milliseconds per frame of the network alone at full load, median and range of rounds taken in turns, "
        f"on {escape(str(facts.get('built_on', 'this machine')))}, {escape(str(facts.get('library', '')))}.</p>"
    )
    return "<h2>Latency</h2>" + note + bars(rows, title="Latency of each candidate")


def _worst(data: ReportData) -> str:
    """The six worst frames of the least accurate graph that is shipped."""
    shown = [(data.choice.proof(t, c.precision), c) for t, cs in data.choice.shipped.items() for c in cs]
    proof, candidate = max(shown, key=lambda e: e[0].accuracy.alpha_mad or 0.0)
    rows = [_four(data.evidence, proof, i) for i in range(len(proof.worst))]
    head = (
        f"<h2>Worst frames</h2><p>Of the least accurate graph shipped, {_chip(candidate.precision)}: the frame, "
        f"the original's matte, the built one, and their difference {GAIN} times brighter.</p>"
    )
    return head + "".join(rows)


def _four(evidence: Evidence, proof: Proof, place: int) -> str:
    number, matte = proof.worst[place]
    wanted = evidence.wanted[number]
    mad = float(np.abs(matte - wanted).mean())
    pictures = _panels(evidence.held_out.frames[number], evidence.contract, wanted, matte)
    names = ("frame", "FP32 matte", "built matte", f"difference × {GAIN}")
    cells = "".join(
        f'<figure><img alt="{name}" src="data:image/png;base64,{base64.b64encode(_png(_shrink(p))).decode()}">'
        f"<figcaption>{name}</figcaption></figure>"
        for name, p in zip(names, pictures, strict=True)
    )
    return f'<div class="four"><p>frame {number}, alpha MAD {mad:.5f}</p>{cells}</div>'


def _panels(feed: Feed, contract: ModelContract, wanted: F32, found: F32) -> list[U8]:
    """Frame, both mattes and their difference, uint8[h, w, 3] RGB, all of the frame's size."""
    frame = tensor_to_picture(feed[contract.frame.tensor], contract.frame)
    size = (frame.shape[1], frame.shape[0])
    difference = np.abs(np.nan_to_num(found, nan=1.0) - wanted) * GAIN
    planes = [_grey(x, size) for x in (wanted, np.nan_to_num(found), difference)]
    return [frame, *planes]


def _grey(values: F32, size: tuple[int, int]) -> U8:
    picture = np.moveaxis(values, 0, -1) if values.ndim == 3 else np.repeat(values[..., None], 3, -1)
    pixels = np.asarray(np.clip(np.rint(picture * 255), 0, 255), np.uint8)
    return np.asarray(cv2.resize(pixels, size, interpolation=cv2.INTER_LINEAR), np.uint8)


def _shrink(picture: U8) -> U8:
    height, width = picture.shape[:2]
    if width <= THUMB:
        return picture
    size = (THUMB, max(1, round(height * THUMB / width)))
    return np.asarray(cv2.resize(picture, size, interpolation=cv2.INTER_AREA), np.uint8)


def _png(picture: U8) -> bytes:
    done, data = cv2.imencode(".png", np.ascontiguousarray(picture[..., ::-1]))
    assert done
    return bytes(data.tobytes())


def worst_picture(feed: Feed, contract: ModelContract, wanted: F32, found: F32) -> bytes:
    """PNG with frame, original's matte, built matte and difference beside each other, for a build that failed."""
    return _png(np.concatenate(_panels(feed, contract, wanted, found), axis=1))


def _sensitivity(data: ReportData) -> str:
    parts = [_ranking(found, ground) for ground, found in data.int8.items() if found.ranking]
    return "<h2>Sensitivity</h2>" + "".join(parts) if parts else ""


def _ranking(found: Int8, ground: Ground) -> str:
    kept = set(found.floats)
    rows = [
        Bar(
            label=entry.layer,
            value=entry.error.mad,
            text=f"{entry.error.mad:.6f}{' → fp16' if entry.layer in kept else ''}",
            kind="fp16" if entry.layer in kept else "int8",
        )
        for entry in found.ranking[:40]
    ]
    where = "in OpenVINO" if ground == "cpu" else "with a GPU's roundings"
    note = (
        f"<p>Alpha MAD on calibration frames, {where}, between the graph in which this layer alone is INT8 and the one "
        f"in which none is. That one is {found.floor.mad:.6f} from the original.</p>"
    )
    more = len(found.ranking) - len(rows)
    rest = f"<p>{more} layers that cost less are not shown.</p>" if more > 0 else ""
    return note + bars(rows, title="Sensitivity of each layer") + rest


def _layers(data: ReportData) -> str:
    parts = []
    seen = set()
    for candidates in data.choice.shipped.values():
        for candidate in candidates:
            if candidate.label not in seen:
                seen.add(candidate.label)
                parts.append(_layer_table(candidate))
    return "<h2>Precision of each layer</h2>" + "".join(parts)


def _layer_table(candidate: Candidate) -> str:
    cells = list(candidate.layers.items())
    rows = [[f"<code>{escape(n)}</code>", _chip(p), escape(candidate.reasons.get(n, ""))] for n, p in cells]
    others = [(n, r) for n, r in candidate.reasons.items() if n not in candidate.layers]
    rows += [[f"<code>{escape(n)}</code>", "", escape(reason)] for n, reason in others]
    picture = strip(cells, title=f"Precision of each layer of the {candidate.precision} graph")
    reasons = table(["layer", "precision", "why"], rows)
    count = f"{len(cells)} layers with weights"
    variant = f" for {escape(candidate.variant)}" if candidate.variant else ""
    return f"{_chip(candidate.precision)}{variant} {picture}<details><summary>{count}</summary>{reasons}</details>"


def _calibration(data: ReportData) -> str:
    if data.calibration is None:
        return "<h2>Calibration</h2><p>None: no INT8 graph was asked for, or no footage was given.</p>"
    rows = [[escape(name.replace("_", " ")), escape(_plainly(value))] for name, value in data.calibration.items()]
    return "<h2>Calibration</h2>" + table(["what", "value"], rows)


def _plainly(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {item}" for name, item in value.items())
    return ", ".join(map(str, value)) if isinstance(value, (list, tuple)) else str(value)
