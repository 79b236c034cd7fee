"""The bodies of `cutline inspect` and `cutline verify`."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import msgspec
from rich.console import Console, Group, RenderableType
from rich.table import Table
from rich.text import Text

from cutline.engine.proof_set import ProofSet
from cutline.runtime.bundle import Bundle, open_bundle
from cutline.runtime.contract import Image, ModelContract, Output
from cutline.runtime.errors import DeviceError
from cutline.runtime.kernels.cuda_sources import sources_digest
from cutline.runtime.manifest import Cubin, Target
from cutline.runtime.sessions import EngineOptions, open_engine
from cutline.tools.accuracy import judge, proof_of
from cutline.tools.document import write_document

__all__ = ["CHECKS", "Check", "Finding", "describe", "in_words", "inspect_bundle", "verify_bundle"]


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """What one check of `verify` found. A check that fails raises instead."""

    subject: str
    result: Literal["passed", "not run"]
    detail: str


Check = Callable[[Bundle], Sequence[Finding]]  # raises CutlineError when the bundle does not hold what it says


def inspect_bundle(bundle: str, *, allow_unsigned: bool = False, as_json: bool = False) -> None:
    """Print what is inside a bundle: tables for people, or one JSON document.

    Raises:
        CutlineError: as `open_bundle` does: what cannot be trusted is not shown either.
    """
    with open_bundle(bundle, allow_unsigned=allow_unsigned) as opened:
        description = describe(opened)
        shown = _tables(opened)
    if as_json:
        _print_json(description)
    else:
        Console(highlight=False).print(shown)


def verify_bundle(bundle: str, *, allow_unsigned: bool = False, as_json: bool = False) -> None:
    """Check a bundle on this machine and print what was checked.

    Raises:
        CutlineError: the first check that failed.
    """
    with open_bundle(bundle, allow_unsigned=allow_unsigned) as opened:
        findings = [finding for check in CHECKS for finding in check(opened)]
        name, version = opened.manifest.name, opened.manifest.version
    if as_json:
        _print_json({"name": name, "version": version, "path": str(opened.path), "checks": findings})
        return
    table = _table(f"{name}, version {version}", "check", "result", "what was looked at")
    for finding in findings:
        table.add_row(finding.subject, finding.result, _plain(finding.detail))
    Console(highlight=False).print(table)


def describe(bundle: Bundle) -> dict[str, object]:
    """Return the document of `inspect --json`: the whole manifest, and what opening the file found out."""
    signer = bundle.signer
    return {
        "path": str(bundle.path),
        "bytes": bundle.path.stat().st_size,
        "signer": {"key": signer.id, "origin": signer.origin} if signer else None,
        "manifest": bundle.manifest,
    }


def in_words(contract: ModelContract) -> list[str]:
    """Say in a few lines what a network takes and gives."""
    lines = [f"frame in {_image(contract.frame)}"]
    if contract.plate:
        lines.append(f"clean plate in {_image(contract.plate)}")
    lines += [f"{_output(o)} out of {o.tensor!r}, {o.width}x{o.height}" for o in contract.outputs]
    lines += [f"state {s.input!r} comes from {s.output!r}, {s.dtype}{list(s.shape)}" for s in contract.states]
    lines += [f"{name!r} is always {list(values)}" for name, values in contract.constants.items()]
    if contract.strength:
        lines.append(f"strength in {contract.strength!r}")
    return lines


def _check_signature(bundle: Bundle) -> list[Finding]:
    """Opening the bundle was the check; this says what it rested on."""
    if bundle.signer is None:
        return [Finding(subject="signature", result="not run", detail="the bundle is not signed")]
    detail = f"Ed25519 by key {bundle.signer.id} ({bundle.signer.origin})"
    return [Finding(subject="signature", result="passed", detail=detail)]


def _check_digests(bundle: Bundle) -> list[Finding]:
    members = bundle.manifest.members
    for member in members:
        bundle.read(member.name)
    detail = f"SHA-256 of {len(members)} members, {_size(sum(m.size for m in members))}"
    return [Finding(subject="digests", result="passed", detail=detail)]


def _check_networks(bundle: Bundle) -> list[Finding]:
    """Compile every network that this machine can run; compiling compares it with the contract."""
    return [_check_network(bundle, target) for target in bundle.manifest.targets]


def _check_network(bundle: Bundle, target: Target) -> Finding:
    subject = f"{target.kind} {target.precision}" + (f" {target.device}" if target.device else "")
    if target.kind != "openvino":
        return Finding(subject=subject, result="not run", detail="this version has no session for it")
    try:
        engine = open_engine(bundle, EngineOptions(device="cpu", precision=target.precision))
    except DeviceError as error:
        if target.precision in ("fp32", "int8"):  # which every CPU can compute
            raise
        return Finding(subject=subject, result="not run", detail=error.what)
    with_device = engine.device
    engine.close()
    return Finding(subject=subject, result="passed", detail=f"compiles and fits its contract on {with_device}")


def _check_accuracy(bundle: Bundle) -> list[Finding]:
    """Run every engine that this machine can run over the proof frames that the bundle carries."""
    proof = proof_of(bundle)
    if proof is None:
        return [Finding(subject="accuracy", result="not run", detail="the bundle carries no proof frames")]
    return [_judged(bundle, target, proof) for target in bundle.manifest.targets]


def _judged(bundle: Bundle, target: Target, proof: ProofSet) -> Finding:
    subject = f"accuracy of {target.kind} {target.precision}" + (f" {target.device}" if target.device else "")
    if target.kind != "openvino":
        return Finding(subject=subject, result="not run", detail="this version has no session for it")
    try:
        accuracy = judge(bundle, target, proof)
    except DeviceError as error:
        if target.precision in ("fp32", "int8"):  # which every CPU can compute
            raise
        return Finding(subject=subject, result="not run", detail=error.what)
    figures = f"alpha MAD {accuracy.alpha_mad:.5f}, budget {proof.budget:g}"
    return Finding(subject=subject, result="passed", detail=f"{figures}, {accuracy.frames} frames of {proof.source}")


def _check_kernels(bundle: Bundle) -> list[Finding]:
    """Compare what the CUDA kernels were compiled from with this version's: a GPU is given no others."""
    return [_check_cubin(cubin) for cubin in bundle.manifest.cubins]


def _check_cubin(cubin: Cubin) -> Finding:
    subject = f"CUDA kernels {cubin.device}"
    if cubin.source != sources_digest():
        detail = "they are those of another version of Cutline: rebuild the bundle before it runs on a GPU"
        return Finding(subject=subject, result="not run", detail=detail)
    detail = f"compiled from this version's kernels by CUDA {cubin.toolkit[0]}.{cubin.toolkit[1]}"
    return Finding(subject=subject, result="passed", detail=detail)


CHECKS: tuple[Check, ...] = (_check_signature, _check_digests, _check_kernels, _check_networks, _check_accuracy)
"""What `verify` does, in order."""


def _tables(bundle: Bundle) -> Group:
    manifest, signer = bundle.manifest, bundle.signer
    head = Table(show_header=False, box=None)
    signed = f"{signer.id} ({signer.origin})" if signer else "nobody: this bundle is not signed"
    facts = {
        "bundle": f"{manifest.name}, version {manifest.version}, {manifest.created}",
        "file": f"{bundle.path}, {_size(bundle.path.stat().st_size)}",
        "licence": manifest.licence,
        "signed by": signed,
        manifest.contract.task: "\n".join(in_words(manifest.contract)),
    }
    for name, value in facts.items():
        head.add_row(name, _plain(value))
    parts: list[RenderableType] = [head, _targets(bundle)]
    if manifest.cubins:
        parts.append(_cubins(bundle))
    for title in ("accuracy", "calibration", "provenance"):
        block: Mapping[str, Any] | None = getattr(manifest, title)
        if block is not None:
            table = _table(title, "what", "value")
            for name, value in _flat(block):
                table.add_row(_plain(name), _plain(value))
            parts.append(table)
    members = _table("members", "name", "size", "sha256")
    for member in manifest.members:
        members.add_row(member.name, _size(member.size), member.sha256[:16])
    return Group(*parts, members)


def _targets(bundle: Bundle) -> Table:
    table = _table("targets", "kind", "precision", "device", "proven", "size", "facts")
    for target in bundle.manifest.targets:
        size = _size(bundle.manifest.member(target.member).size)
        facts = ", ".join(f"{name} {value}" for name, value in _flat(target.facts))
        proven = "yes" if target.proven else "not run"
        table.add_row(target.kind, target.precision, target.device or "any", proven, size, _plain(facts))
    return table


def _cubins(bundle: Bundle) -> Table:
    table = _table("CUDA kernels", "device", "size", "compiled by", "most registers", "kernels that spill")
    for cubin in bundle.manifest.cubins:
        spilling = [name for name, figures in cubin.kernels.items() if figures.spilled_bytes]
        most = max((figures.registers for figures in cubin.kernels.values()), default=0)
        size = _size(bundle.manifest.member(cubin.member).size)
        toolkit = f"CUDA {cubin.toolkit[0]}.{cubin.toolkit[1]}"
        table.add_row(cubin.device, size, toolkit, str(most), _plain(", ".join(spilling) or "none"))
    return table


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    for column in columns:
        table.add_column(column, overflow="fold")
    return table


def _flat(block: Mapping[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Turn nested records into rows with dotted names."""
    rows: list[tuple[str, str]] = []
    for name, value in block.items():
        if isinstance(value, Mapping):
            rows += _flat(value, f"{prefix}{name}.")
        else:
            rows.append((prefix + name, f"{value:.6g}" if isinstance(value, float) else str(value)))
    return rows


def _plain(text: str) -> Text:
    """Show a stranger's text as it is: no markup, no control characters that could drive the terminal."""
    return Text("".join(c if c.isprintable() or c == "\n" else repr(c)[1:-1] for c in text))


def _image(image: Image) -> str:
    return f"{image.tensor!r}, {image.width}x{image.height} {image.order}, {image.dtype} {image.layout}"


def _output(output: Output) -> str:
    if output.meaning == "classes":
        return f"alpha (classes {list(output.foreground_channels)} of {output.channels})"
    return {"alpha": "alpha", "logits": "alpha (logits)"}.get(output.meaning, output.meaning)


def _size(count: int) -> str:
    size, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB"):
        if size < 1024:
            break
        size, unit = size / 1024, larger
    return f"{size:.0f} {unit}" if unit == "B" else f"{size:.1f} {unit}"


def _print_json(document: object) -> None:
    text = json.dumps(msgspec.to_builtins(document), indent=2, sort_keys=True)  # ASCII: safe on a terminal too
    write_document(text)
