"""The graphs that may be shipped: one per precision, each with the precision of every layer and why."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec
import onnx

from cutline.calibration.table import CalibrationTable
from cutline.calibration.typed import TypedModel, typed_model
from cutline.engine.targets import BuildTarget, Precision, Wanted
from cutline.runtime.errors import DeviceError, UsageError

__all__ = ["Candidate", "as_candidate", "make_candidate", "wanted_precisions"]

ORDER: tuple[Precision, ...] = ("fp32", "bf16", "fp16", "int8")  # most precise first


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One typed graph. `bf16` is the float32 graph, computed in bfloat16 where the CPU has it.

    variant: names the placement of an INT8 graph that is for one library alone; empty for graphs that serve all.
    """

    precision: Precision
    variant: str = ""
    model: onnx.ModelProto
    layers: Mapping[str, str]
    reasons: Mapping[str, str]

    @property
    def member(self) -> str:
        """Its name in a bundle."""
        return "source.onnx" if self.precision in ("fp32", "bf16") else f"graphs/{self.label}.onnx"

    @property
    def label(self) -> str:
        """Precision, and the variant where there is one: int8-openvino."""
        return f"{self.precision}-{self.variant}" if self.variant else self.precision

    @property
    def data(self) -> bytes:
        """The graph, serialised the same way every time."""
        return bytes(self.model.SerializeToString(deterministic=True))


class Explained(msgspec.Struct, frozen=True, kw_only=True):
    """graphs/PRECISION.json: what `--explain` reads."""

    layers: dict[str, str]
    reasons: dict[str, str]


def make_candidate(model: onnx.ModelProto, precision: Precision, table: CalibrationTable | None) -> Candidate:
    """Type the original.

    Raises:
        UsageError: INT8 without a calibration table.
    """
    if precision == "bf16":
        plain = typed_model(model, "fp32")
        reasons = dict.fromkeys(plain.layers, "bf16: computed in bfloat16 by the CPU, stored in float32")
        return Candidate(
            precision="bf16", model=plain.model, layers=dict.fromkeys(plain.layers, "bf16"), reasons=reasons
        )
    return as_candidate(typed_model(model, precision, table=table))


def as_candidate(typed: TypedModel, variant: str = "") -> Candidate:
    """Wrap what calibration made."""
    return Candidate(
        precision=typed.precision, variant=variant, model=typed.model, layers=typed.layers, reasons=typed.reasons
    )


def wanted_precisions(
    target: BuildTarget, precision: Wanted, *, native: tuple[Precision, ...], calibrated: bool
) -> tuple[Precision, ...]:
    """Which graphs a target may get, most precise first.

    Args:
        native: float types of this CPU.
        calibrated: whether there is a calibration table.
    Raises:
        UsageError: INT8 demanded without calibration.
    """
    if precision == "int8" and not calibrated:
        raise UsageError("INT8 needs calibration", remedy="Give footage of the site with --calib.")
    if target.kind == "openvino":
        if precision == "auto":
            return tuple(p for p in ORDER if p in native or (p == "int8" and calibrated))
        if precision == "fp16":
            return (_half_of_cpu(native),)
        return (precision,)
    if precision == "auto":
        return ("fp32", "fp16", "int8") if calibrated else ("fp32", "fp16")
    return (precision,)


def _half_of_cpu(native: tuple[Precision, ...]) -> Precision:
    """A CPU's own 16-bit float type: float16, or bfloat16 where that is what it has."""
    for half in ("fp16", "bf16"):
        if half in native:
            return half
    raise DeviceError(
        "this CPU has no 16-bit float arithmetic", remedy="Use --precision auto or fp32 for openvino.", native=native
    )
