"""What goes into a bundle: members, targets with their figures, what the manifest says of accuracy and calibration."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import onnxruntime
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from cutline.engine.candidates import Candidate, Explained
from cutline.engine.choose import Choice
from cutline.engine.cpu import cpu_name, cpu_version
from cutline.engine.cubins import BuiltCubin, cubin_member, listed
from cutline.engine.evidence import Evidence
from cutline.engine.footage import Footage
from cutline.engine.pack import write_bundle
from cutline.engine.proof import Accuracy
from cutline.engine.proof_set import write_proof_set
from cutline.engine.quantised import Int8
from cutline.engine.report import ReportData, render
from cutline.engine.subject import CALIBRATION_MEMBER, SOURCE_MEMBER, Subject
from cutline.engine.targets import BuildTarget, Ground, Precision
from cutline.engine.tensorrt_builder import Plan
from cutline.runtime.errors import StorageError
from cutline.runtime.manifest import Manifest, Target

__all__ = ["CARD_MEMBER", "REPORT_MEMBER", "Contents", "pack_contents"]

REPORT_MEMBER, CARD_MEMBER = "report.html", "card.md"


@dataclass(frozen=True, slots=True, kw_only=True)
class Contents:
    """All that a build has made and found out."""

    subject: Subject
    footage: Footage
    evidence: Evidence
    choice: Choice
    int8: Mapping[Ground, Int8]
    plans: Mapping[tuple[BuildTarget, Precision], Plan]
    cubins: Mapping[str, BuiltCubin]  # by device
    budget: float


def pack_contents(
    contents: Contents,
    output: Path,
    *,
    name: str,
    version: int,
    created: str,
    licence: str,
    card: bytes | None,
    key: Ed25519PrivateKey,
) -> Manifest:
    """Write the bundle, and its report beside it.

    Raises:
        BundleError, UsageError, OutputError, StorageError: see `pack.write_bundle`.
    """
    members = _members(contents)
    if card is not None:
        members[CARD_MEMBER] = card
    targets = _targets(contents)
    accuracy = _accuracy(contents)
    calibration = contents.footage.record()
    report = render(
        ReportData(
            name=name,
            version=version,
            created=created,
            licence=licence,
            subject=contents.subject,
            evidence=contents.evidence,
            choice=contents.choice,
            int8=contents.int8,
            targets=targets,
            calibration=calibration,
            budget=contents.budget,
        )
    ).encode()
    members[REPORT_MEMBER] = report
    manifest = write_bundle(
        output,
        name=name,
        version=version,
        created=created,
        licence=licence,
        contract=contents.subject.contract,
        members=members,
        targets=targets,
        cubins=[listed(cubin) for _, cubin in sorted(contents.cubins.items())],
        key=key,
        provenance={**contents.subject.provenance, "built_with": _versions()},
        calibration=calibration,
        accuracy=accuracy,
        card=CARD_MEMBER if card is not None else None,
    )
    _write_beside(output.with_suffix(".report.html"), report)
    return manifest


def _members(contents: Contents) -> dict[str, bytes]:
    members = {SOURCE_MEMBER: contents.subject.source}
    for candidate in _shipped(contents):
        members.setdefault(candidate.member, candidate.data)
        if candidate.member != SOURCE_MEMBER:
            explained = Explained(layers=dict(candidate.layers), reasons=dict(candidate.reasons))
            members[f"graphs/{candidate.label}.json"] = msgspec.json.encode(explained)  # in the network's order
    for (target, precision), plan in contents.plans.items():
        members[_plan_member(target, precision, plan)] = plan.data
    members |= {cubin_member(device): cubin.image for device, cubin in contents.cubins.items()}
    if contents.footage.table_data is not None:
        members[CALIBRATION_MEMBER] = contents.footage.table_data
    return members | write_proof_set(contents.footage.proof_set(contents.evidence), contents.subject.contract)


def _shipped(contents: Contents) -> list[Candidate]:
    return [candidate for candidates in contents.choice.shipped.values() for candidate in candidates]


def _plan_member(target: BuildTarget, precision: Precision, plan: Plan) -> str:
    return f"engines/{target.kind}/{plan.device}-{precision}.plan"


def _targets(contents: Contents) -> list[Target]:
    found = []
    for target, candidates in contents.choice.shipped.items():
        assert target.kind != "cuda"  # no engine, so nothing was chosen for it
        for candidate in candidates:
            proof = contents.choice.proof(target, candidate.precision).accuracy
            facts: dict[str, Any] = {"alpha_mad": proof.alpha_mad, "worst_mad": proof.worst_mad}
            facts["proof"] = f"{proof.frames} frames of {proof.source}"
            if target.kind == "openvino":
                timing = contents.choice.timings.get(candidate.precision)
                facts |= {"library": f"openvino {cpu_version()}", "built_on": cpu_name()}
                facts |= {"ms_per_frame": round(timing.median_ms, 3)} if timing else {}
                member, device = candidate.member, None
            else:
                plan = contents.plans[target, candidate.precision]
                member, device = _plan_member(target, candidate.precision, plan), plan.device
                facts |= {k: v for k, v in plan.facts.items() if v is not None}
                facts |= {"graph": candidate.member, "engine": "not run"}
            found.append(
                Target(
                    kind=target.kind,
                    precision=candidate.precision,
                    member=member,
                    device=device,
                    proven=target.kind == "openvino",
                    facts=facts,
                )
            )
    return found


def _accuracy(contents: Contents) -> dict[str, Any]:
    """What the manifest says: the gate, and the figures of every graph that was measured, shipped or not."""
    graphs = {}
    for (ground, precision), proof in contents.choice.proofs.items():
        graphs[f"{precision} on {ground}"] = _figures(proof.accuracy)
    timings = {name: round(t.median_ms, 3) for name, t in contents.choice.timings.items()}
    return {
        "gate": msgspec.to_builtins(contents.evidence.gate),
        "frames": len(contents.evidence.held_out.frames),
        "frames_from": contents.evidence.held_out.source,
        "graphs": graphs,
        "ms_per_frame_here": timings,
        "decisions": list(contents.choice.notes),
    }


def _figures(accuracy: Accuracy) -> dict[str, Any]:
    plain = msgspec.to_builtins(accuracy)
    return {k: v for k, v in plain.items() if k not in ("frames", "source")} | {"passed": accuracy.passed}


def _versions() -> dict[str, str]:
    return {
        "python": platform.python_version(),
        "onnx": onnx.__version__,
        "onnxruntime": onnxruntime.__version__,
        "openvino": cpu_version(),
        "numpy": np.__version__,
    }


def _write_beside(path: Path, data: bytes) -> None:
    part = path.with_name(f".{path.name}.part")
    try:
        part.write_bytes(data)
        part.replace(path)
    except OSError as error:
        part.unlink(missing_ok=True)
        raise StorageError(
            f"the report cannot be written: {error.strerror}", remedy="Free space; the bundle itself is complete."
        ) from error
