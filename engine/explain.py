"""Why a layer has the precision it has: read from a bundle, where the build wrote it down."""

from __future__ import annotations

import difflib

import msgspec

from cutline.engine.candidates import Explained
from cutline.runtime.bundle import Bundle
from cutline.runtime.errors import BundleError, UsageError

__all__ = ["explain"]


def explain(bundle: Bundle, layer: str) -> list[str]:
    """One line for each reduced graph of a bundle.

    Raises:
        UsageError: no graph of the bundle has such a layer.
        BundleError: the bundle has no reduced graph, or its record is damaged.
    """
    names = [m.name for m in bundle.manifest.members if m.name.startswith("graphs/") and m.name.endswith(".json")]
    lines: list[str] = []
    known: list[str] = []
    for name in names:
        try:
            record = msgspec.json.decode(bundle.read(name), type=Explained)
        except msgspec.DecodeError as error:
            raise BundleError("the record of layers is damaged", remedy="Build the bundle again.") from error
        known += record.reasons
        if layer in record.reasons:
            precision = name.removeprefix("graphs/").removesuffix(".json")
            lines.append(f"{precision} graph: {record.reasons[layer]}")
    if lines:
        return lines
    if not names:
        return [f"every graph of the bundle is FP32 or BF16 throughout, {layer} too"]
    close = difflib.get_close_matches(layer, known, n=3, cutoff=0.4) or known[:3]
    raise UsageError("no such layer", remedy=f"Did you mean {' or '.join(dict.fromkeys(close))}?", layer=layer)
