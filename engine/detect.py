"""Finds out what a clean model is: which input is the picture and how it is scaled, and what each output means.

What the graph cannot tell is taken from the family that it belongs to, or from model.toml; what is assumed is said.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import onnx
from onnx import TensorProto

from cutline.engine.families import Family, find_family
from cutline.engine.graph_view import GraphView, TensorInfo
from cutline.engine.hints import RANGES, Hints, ImageHint, OutputHint, Three
from cutline.engine.model_shapes import pair_states
from cutline.runtime.contract import DType, Image, ModelContract, Output, State
from cutline.runtime.errors import ContractError

__all__ = ["Detection", "describe", "detect"]

Layout = Literal["NCHW", "NHWC"]
STATE_IN_TOML = "State the contract in model.toml beside the model."
PLATE_WORDS = ("plate", "background", "bgr", "clean", "empty")
DTYPES: dict[int, DType] = {TensorProto.FLOAT: "float32", TensorProto.UINT8: "uint8", TensorProto.INT8: "int8"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Detection:
    """The contract of a model, the family it was taken for, and what to tell the user, one line a finding."""

    contract: ModelContract
    family: str
    lines: tuple[str, ...]


def detect(model: onnx.ModelProto, hints: Hints | None = None) -> Detection:
    """Work out the contract of a clean model (see `model_clean`).

    Raises:
        ContractError: an input or output cannot be understood, or model.toml contradicts the graph.
    """
    hints = hints or Hints()
    view = GraphView(model)
    _check_names(view, hints)
    states = _states(view, hints)
    family = find_family(view)
    frame, plate, strength = _sort_inputs(view, hints, {s.input for s in states})
    scaling, why = _scaling(view, frame, hints.frame, family)
    image = _image(frame, hints.frame, scaling)
    plate_image = _image(plate, hints.plate or hints.frame, _plate_scaling(hints, scaling)) if plate else None
    outputs, task = _outputs(view, hints, {s.output for s in states}, image)
    contract = ModelContract(
        task=task, frame=image, plate=plate_image, outputs=outputs, states=states, strength=strength
    )
    lines = [f"family: {family.title}", *describe(contract, why)]
    unread = [o.name for o in view.outputs if o.name not in contract.output_names]
    if unread:
        lines.append(f"dropped outputs: {', '.join(unread)}")
    return Detection(contract=contract, family=family.name, lines=tuple(lines))


def _check_names(view: GraphView, hints: Hints) -> None:
    inputs, outputs = {i.name for i in view.inputs}, {o.name for o in view.outputs}
    stated_inputs = [hints.frame.tensor, hints.plate.tensor if hints.plate else None, hints.strength]
    stated_inputs += [s.input for s in hints.states or ()]
    stated_outputs = [o.tensor for o in hints.outputs] + [s.output for s in hints.states or ()]
    for kind, stated, known in (("input", stated_inputs, inputs), ("output", stated_outputs, outputs)):
        for name in stated:
            if name is not None and name not in known:
                raise ContractError(
                    f"model.toml names an {kind} that the model does not have",
                    remedy=f"Use one of: {', '.join(sorted(known))}.",
                    tensor=name,
                )


def _states(view: GraphView, hints: Hints) -> tuple[State, ...]:
    inputs, outputs = {i.name: i for i in view.inputs}, {o.name: o for o in view.outputs}
    if hints.states is not None:
        pairs = [(s.input, s.output) for s in hints.states]
    else:
        pairs = pair_states(list(inputs), list(outputs))
    for before, after in pairs:
        if inputs[before].shape != outputs[after].shape:
            raise ContractError(
                "a state does not come out in the shape in which it goes in",
                remedy="Correct --shape, or the states in model.toml.",
                input=f"{before} {inputs[before].shape}",
                output=f"{after} {outputs[after].shape}",
            )
    return tuple(State(input=i, output=o, shape=inputs[i].shape) for i, o in pairs)


def _sort_inputs(view: GraphView, hints: Hints, states: set[str]) -> tuple[TensorInfo, TensorInfo | None, str | None]:
    """Tell frame, plate and strength apart."""
    left = [i for i in view.inputs if i.name not in states]
    strength = hints.strength or next((i.name for i in left if i.name == "strength" and i.shape in ((1,), ())), None)
    pictures = [i for i in left if i.name != strength and len(i.shape) == 4 and 3 in (i.shape[1], i.shape[3])]
    odd = [i for i in left if i.name != strength and i not in pictures]
    if odd:
        raise ContractError(
            "the model has an input that is neither a three-channel picture nor a known state",
            remedy=STATE_IN_TOML if len(odd[0].shape) != 4 else "Export it with three-channel picture inputs.",
            input=odd[0].name,
            shape=odd[0].shape,
        )
    plate_name = hints.plate.tensor if hints.plate else None
    named = [i for i in pictures if any(word in i.name.lower() for word in PLATE_WORDS)]
    plate = next((i for i in pictures if i.name == plate_name), named[0] if named and len(pictures) == 2 else None)
    frames = [i for i in pictures if i is not plate]
    if hints.frame.tensor is not None:
        frames = [i for i in frames if i.name == hints.frame.tensor]
    if len(frames) != 1:
        raise ContractError(
            "it is not clear which input is the picture",
            remedy="Name `frame` and `plate` in model.toml beside the model.",
            found=[i.name for i in pictures],
        )
    return frames[0], plate, strength


def _layout(tensor: TensorInfo, stated: Layout | None) -> Layout:
    fits: list[Layout] = [layout for layout, axis in (("NCHW", 1), ("NHWC", 3)) if tensor.shape[axis] == 3]  # type: ignore[misc]
    if stated is not None and stated not in fits:
        raise ContractError(
            "model.toml states a layout that does not fit", remedy="Correct it.", tensor=tensor.name, shape=tensor.shape
        )
    return stated or fits[0]


def _image(tensor: TensorInfo, hint: ImageHint, scaling: tuple[Three, Three]) -> Image:
    layout = _layout(tensor, hint.layout)
    height, width = tensor.shape[2:] if layout == "NCHW" else tensor.shape[1:3]
    if tensor.elem_type not in DTYPES:
        raise ContractError(
            "the picture input has a type that frames cannot be written in",
            remedy="Export it with a float32 or uint8 input.",
            tensor=tensor.name,
            type=TensorProto.DataType.Name(tensor.elem_type),
        )
    return Image(
        tensor=tensor.name,
        width=width,
        height=height,
        layout=layout,
        order=hint.order or "RGB",
        mean=scaling[0],
        std=scaling[1],
        dtype=DTYPES[tensor.elem_type],
    )


def _plate_scaling(hints: Hints, frame: tuple[Three, Three]) -> tuple[Three, Three]:
    return (hints.plate.scaling() if hints.plate else None) or frame


def _scaling(view: GraphView, frame: TensorInfo, hint: ImageHint, family: Family) -> tuple[tuple[Three, Three], str]:
    """(mean, std) of the input and where that is known from."""
    if (stated := hint.scaling()) is not None:
        return stated, "stated in model.toml"
    if frame.elem_type == TensorProto.UINT8:
        return RANGES["0..255"], "the input is uint8"
    if (inside := _scaled_inside(view, frame.name)) is not None:
        return RANGES[inside], "the graph scales it itself"
    if family.range is not None:
        return RANGES[family.range], f"as {family.title} was trained"
    return RANGES["0..1"], "ASSUMED: the graph does not say; state `range` in model.toml if it is another"


def _scaled_inside(view: GraphView, name: str) -> str | None:
    """Range that the first steps of a graph expect, when they normalise: `0..255` or `0..1`."""
    for node in view.first_steps(name):
        if node.op_type in ("Conv", "Concat", "MatMul", "Gemm"):
            return None
        if node.op_type not in ("Sub", "Add", "Mul", "Div") or len(node.input) != 2:
            continue
        value = view.constant(node.input[1])
        if value is None or not value.size or value.size > 3:
            continue
        size = abs(float(value.astype("float64").max()))
        if node.op_type in ("Sub", "Add"):
            return "0..255" if size > 2 else "0..1"
        factor = size if node.op_type == "Mul" else 1 / max(size, 1e-12)
        return "0..255" if factor < 0.05 else "0..1"
    return None


def _outputs(
    view: GraphView, hints: Hints, states: set[str], frame: Image
) -> tuple[tuple[Output, ...], Literal["matte", "style"]]:
    candidates = [o for o in view.outputs if o.name not in states and len(o.shape) == 4]
    if hints.outputs:
        by_name = {o.name: o for o in view.outputs}
        found = [_output(view, by_name[h.tensor], h, frame) for h in hints.outputs]
    else:
        found = [_output(view, o, OutputHint(tensor=o.name), frame) for o in _plausible(candidates)]
    mattes = [o for o in found if o.meaning in ("alpha", "logits", "classes")]
    pictures = [o for o in found if o.meaning == "picture"]
    task = hints.task or ("style" if pictures and not mattes else "matte")
    if task == "style":
        return tuple(pictures[:1]), task
    if not mattes:
        raise ContractError(
            "no output of the model looks like a matte",
            remedy=STATE_IN_TOML,
            outputs=[f"{o.name} {o.shape}" for o in view.outputs],
        )
    colours = [o for o in found if o.meaning == "foreground"]
    return (*mattes[:1], *colours[:1]), task  # several mattes: the first is the fine one, the others served training


def _plausible(outputs: list[TensorInfo]) -> list[TensorInfo]:
    """Leave out feature maps that training exports carry along: they are much smaller than the largest output."""
    largest = max((max(o.shape[1:]) for o in outputs), default=0)
    return [o for o in outputs if max(o.shape[1:]) * 8 >= largest]


def _output(view: GraphView, tensor: TensorInfo, hint: OutputHint, frame: Image) -> Output:
    layout = hint.layout or _output_layout(tensor, frame)
    channels = tensor.shape[1] if layout == "NCHW" else tensor.shape[3]
    height, width = tensor.shape[2:] if layout == "NCHW" else tensor.shape[1:3]
    meaning, softmax = _meaning(view, tensor, channels)
    meaning = hint.meaning or meaning
    if meaning is None:
        raise ContractError(
            "it is not clear what an output means",
            remedy="State `meaning` of that output in model.toml beside the model.",
            output=tensor.name,
            shape=tensor.shape,
        )
    everything_but_ground = tuple(range(1, channels)) if channels > 1 else (0,)
    foreground = everything_but_ground if meaning == "classes" else (0,)
    return Output(
        tensor=tensor.name,
        meaning=meaning,
        width=width,
        height=height,
        channels=channels,
        layout=layout,
        foreground_channels=foreground if hint.foreground_channels is None else hint.foreground_channels,
        softmax=meaning == "classes" and (softmax if hint.softmax is None else hint.softmax),
    )


def _output_layout(tensor: TensorInfo, frame: Image) -> Layout:
    """Channels are the axis that is small while the two others have the picture's proportions."""

    def misfit(height: int, width: int) -> float:
        return abs(height * frame.width - width * frame.height) / (width * frame.height)

    nchw, nhwc = misfit(*tensor.shape[2:]), misfit(*tensor.shape[1:3])
    if abs(nchw - nhwc) < 1e-6:
        return frame.layout
    return "NCHW" if nchw < nhwc else "NHWC"


Meaning = Literal["alpha", "logits", "classes", "foreground", "picture"]


def _meaning(view: GraphView, tensor: TensorInfo, channels: int) -> tuple[Meaning | None, bool]:
    """(meaning, softmax still to be applied) by the last operator that computes values."""
    node = view.behind(tensor.name)
    kind = node.op_type if node is not None else ""
    if channels == 3 and any(word in tensor.name.lower() for word in ("fgr", "foreground")):
        return "foreground", False
    if channels == 1:
        if kind in ("Sigmoid", "HardSigmoid", "Clip", "Min", "Max", "Softmax"):
            return "alpha", False
        raw = kind in ("Conv", "ConvTranspose", "Add", "BatchNormalization", "MatMul", "Gemm", "Sum", "Concat")
        return ("logits" if raw else None), False
    if channels == 3 and kind != "Softmax" and len(view.outputs) == 1:
        return "picture", False
    return "classes", kind not in ("Softmax", "Sigmoid", "HardSigmoid")


def describe(contract: ModelContract, why: str) -> list[str]:
    """A contract in lines; `why` says where the input's range is known from."""
    frame, lines = contract.frame, list[str]()
    size = f"{frame.width}x{frame.height} {frame.layout} {frame.order} {frame.dtype}"
    lines.append(f"input {frame.tensor}: {size}, {_range_name(frame)} ({why})")
    if contract.plate:
        lines.append(f"input {contract.plate.tensor}: the empty scene, same size and scaling")
    if contract.strength:
        lines.append(f"input {contract.strength}: strength of the style, 0..1")
    for out in contract.outputs:
        extra = f", foreground {list(out.foreground_channels)}" if out.meaning == "classes" else ""
        extra += ", softmax to be applied" if out.softmax else ""
        shape = f"{out.width}x{out.height}x{out.channels} {out.layout}"
        lines.append(f"output {out.tensor}: {out.meaning}, {shape}{extra}")
    lines += [f"state {s.input} <- {s.output}: {'x'.join(map(str, s.shape))}" for s in contract.states]
    return lines


def _range_name(image: Image) -> str:
    known = [name for name, scaling in RANGES.items() if scaling == (image.mean, image.std)]
    return f"range {known[0]}" if known else f"mean {image.mean} std {image.std}"
