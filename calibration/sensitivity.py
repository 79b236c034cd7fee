"""Which layers suffer most from INT8: each quantised alone, on real frames, judged by the matte."""

from __future__ import annotations

from dataclasses import dataclass

import onnx

from cutline.calibration.collect import Progress
from cutline.calibration.placement import POLICIES, Placement, Policy, Precision, place
from cutline.calibration.table import CalibrationTable
from cutline.calibration.thresholds import Method
from cutline.calibration.trials import MatteError, Trials
from cutline.calibration.typed import METHOD, TypedModel, typed_model

__all__ = ["LayerError", "Recipe", "rank_layers"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """Borrows what every INT8 variant of one model is made from."""

    model: onnx.ModelProto  # normalised, float32
    table: CalibrationTable
    policy: Policy = POLICIES["shared"]
    method: Method = METHOD
    keep: dict[str, Precision] | None = None  # decided beforehand, by name

    def placement(self) -> Placement:
        """With as much INT8 as the policy allows."""
        return place(self.model, self.policy, keep=self.keep)

    def typed(self, floats: tuple[str, ...]) -> TypedModel:
        """The variant in which the named layers are FP16 besides those that the policy leaves in float."""
        keep: dict[str, Precision] = {**dict.fromkeys(floats, "fp16"), **(self.keep or {})}
        return typed_model(self.model, "int8", table=self.table, policy=self.policy, method=self.method, keep=keep)

    def measure(self, trials: Trials, floats: tuple[str, ...], *, base: tuple[str, ...] | None = None) -> MatteError:
        """How far that variant is from the original, or from the variant with the layers `base` in FP16."""
        against = None if base is None else (self._name(base), lambda: self.typed(base).model)
        return trials.measure(self._name(floats), lambda: self.typed(floats).model, base=against)

    def _name(self, floats: tuple[str, ...]) -> str:
        return f"{self.policy.name};{self.method};{sorted(floats)};{sorted((self.keep or {}).items())}"


@dataclass(frozen=True, slots=True)
class LayerError:
    """What one layer costs when it alone is INT8."""

    layer: str
    error: MatteError


def rank_layers(recipe: Recipe, trials: Trials, *, progress: Progress | None = None) -> tuple[LayerError, ...]:
    """Quantise each layer alone and order them, most harmful first.

    Each is compared with the variant in which none is INT8: what 16 bits cost is no layer's fault, and would hide all
    but the worst of them.
    """
    layers = recipe.placement().int8
    found = []
    for number, layer in enumerate(layers):
        others = tuple(name for name in layers if name != layer)
        if progress is not None:
            progress(number, len(layers), f"sensitivity of {layer}")
        found.append(LayerError(layer, recipe.measure(trials, others, base=layers)))
    return tuple(sorted(found, key=lambda e: (-e.error.mad, e.layer)))
