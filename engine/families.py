"""The published matting networks that are known by their structure, and the input range that each was trained with."""

from __future__ import annotations

from dataclasses import dataclass

from cutline.engine.graph_view import GraphView

__all__ = ["Family", "find_family"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Family:
    """One family. `range` is a name of `hints.RANGES`, None when the family says nothing about it."""

    name: str
    title: str
    range: str | None


# Sources of the ranges: each project's own inference code (u2net_test.py, IS-Net inference.py, BiRefNet inference.py,
# MODNet onnx/inference_onnx.py, RobustVideoMatting inference.py, MediaPipe selfie segmentation model card).
U2NET = Family(name="u2net", title="U2Net", range="imagenet")
ISNET = Family(name="isnet", title="IS-Net (DIS)", range="-0.5..0.5")
BIREFNET = Family(name="birefnet", title="BiRefNet", range="imagenet")
MODNET = Family(name="modnet", title="MODNet", range="-1..1")
RVM = Family(name="rvm", title="RobustVideoMatting", range="0..1")
SELFIE = Family(name="mediapipe-selfie", title="MediaPipe selfie segmentation", range="0..1")
CLASS_MAP = Family(name="class-map", title="a class map", range=None)
PLAIN = Family(name="plain", title="no known family", range=None)

SIDE_OUTPUTS = 5  # U2Net and IS-Net supervise six scales; exporters drop at most one


def find_family(view: GraphView) -> Family:
    """Tell the family by inputs, outputs and the operators in between."""
    names = {i.name for i in view.inputs} | {o.name for o in view.outputs}
    if {"src", "r1i", "r4i", "pha", "r1o", "r4o"} <= names:
        return RVM
    pictures = [i for i in view.inputs if len(i.shape) == 4]
    maps = [o for o in view.outputs if len(o.shape) == 4]
    if len(pictures) != 1 or not maps:
        return PLAIN
    singles = [o for o in maps if o.shape[1] == 1]
    if len(singles) >= SIDE_OUTPUTS:
        return _deeply_supervised(view, [o.name for o in singles])
    first = maps[0]
    if len(singles) == 1 and "InstanceNormalization" in view.kinds:
        return MODNET
    if len(singles) >= 1 and _is_transformer(view) and _first_is_square(pictures[0].shape):
        return BIREFNET
    if first.shape[3] == 2 and pictures[0].shape[1:] == (*first.shape[1:3], 3):
        return SELFIE
    if min(first.shape[1], first.shape[3]) > 1 and max(first.shape[1], first.shape[3]) != 3:
        return CLASS_MAP
    return PLAIN


def _deeply_supervised(view: GraphView, names: list[str]) -> Family:
    """U2Net's first output is fused from all the others; IS-Net's is simply the finest of them."""
    made_from = view.ancestors(names[0])
    raw = [node.input[0] for node in (view.behind(name) for name in names[1:]) if node is not None]
    fused = sum(name in made_from for name in (*raw, *names[1:]))
    return U2NET if fused >= SIDE_OUTPUTS - 1 else ISNET


def _is_transformer(view: GraphView) -> bool:
    norm = "LayerNormalization" in view.kinds or {"ReduceMean", "Sqrt"} <= view.kinds
    return norm and {"MatMul", "Softmax"} <= view.kinds


def _first_is_square(shape: tuple[int, ...]) -> bool:
    return len(shape) == 4 and shape[2] == shape[3]
