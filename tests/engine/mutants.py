"""The child of the fuzz test: imports one mutated model after another and says so, so that a crash has a name.

python mutants.py FOLDER FIRST LAST
"""

from __future__ import annotations

import json
import random
import resource
import sys
from pathlib import Path

import onnx
import small_models
from onnx import TensorProto

from cutline.engine.detect import detect
from cutline.engine.model_reader import read_model
from cutline.runtime.errors import CutlineError

SEEDS = (
    lambda: small_models.unet(width=16, height=8, channels=2),
    lambda: small_models.selfie_like(),
    lambda: small_models.class_map(3),
    lambda: small_models.unet(width=16, height=8, channels=2, plate=True, opset=13),
)


def mutant(number: int) -> bytes:
    """The same bytes for the same number: damage to the file, to the structure, or to both."""
    chance = random.Random(number)
    model = SEEDS[number % len(SEEDS)]()
    if chance.random() < 0.7:
        for _ in range(chance.randint(1, 3)):
            chance.choice(STRUCTURAL)(model, chance)
    data = bytearray(model.SerializeToString())
    if chance.random() < 0.4:
        for _ in range(chance.choice((1, 1, 4, 32))):
            data[chance.randrange(len(data))] = chance.randrange(256)
    if chance.random() < 0.1:
        del data[chance.randrange(len(data)) :]
    return bytes(data)


def _node(model: onnx.ModelProto, chance: random.Random) -> onnx.NodeProto:
    return chance.choice(model.graph.node)


def _rename_operator(model: onnx.ModelProto, chance: random.Random) -> None:
    kinds = [
        "Relu",
        "Conv",
        "Concat",
        "Loop",
        "If",
        "Add",
        "Reshape",
        "ConvTranspose",
        "Tile",
        "ConstantOfShape",
        "NoOp",
    ]
    _node(model, chance).op_type = chance.choice(kinds)


def _rewire(model: onnx.ModelProto, chance: random.Random) -> None:
    node = _node(model, chance)
    names = [n for other in model.graph.node for n in (*other.input, *other.output)]
    if node.input:
        node.input[chance.randrange(len(node.input))] = chance.choice([*names, "", "nowhere"])


def _drop_node(model: onnx.ModelProto, chance: random.Random) -> None:
    del model.graph.node[chance.randrange(len(model.graph.node))]


def _change_shape(model: onnx.ModelProto, chance: random.Random) -> None:
    value = chance.choice([*model.graph.input, *model.graph.output])
    for d in value.type.tensor_type.shape.dim:
        if chance.random() < 0.5:
            d.dim_value = chance.choice((0, -1, 1, 2, 3, 7, 65536, 2**40))


def _change_type(model: onnx.ModelProto, chance: random.Random) -> None:
    value = chance.choice([*model.graph.input, *model.graph.output])
    value.type.tensor_type.elem_type = chance.choice(list(TensorProto.DataType.values()))


def _change_weight(model: onnx.ModelProto, chance: random.Random) -> None:
    tensor = chance.choice(model.graph.initializer)
    way = chance.randrange(4)
    if way == 0 and tensor.dims:
        tensor.dims[chance.randrange(len(tensor.dims))] = chance.choice((0, -5, 1, 10**9))
    elif way == 1:
        tensor.data_type = chance.choice(list(TensorProto.DataType.values()))
    elif way == 2:
        tensor.raw_data = tensor.raw_data[: chance.randrange(len(tensor.raw_data) + 1)]
    else:
        tensor.data_location = TensorProto.EXTERNAL
        tensor.external_data.add(key="location", value=chance.choice(["../x", "/etc/passwd", "model.onnx", ""]))


def _change_attribute(model: onnx.ModelProto, chance: random.Random) -> None:
    node = _node(model, chance)
    if node.attribute:
        attribute = chance.choice(node.attribute)
        attribute.i = chance.choice((-1, 0, 2**31, -(2**63)))
        if attribute.ints:
            attribute.ints[0] = chance.choice((-7, 0, 99, 2**40))


def _change_opset(model: onnx.ModelProto, chance: random.Random) -> None:
    model.opset_import[0].version = chance.choice((-1, 0, 1, 6, 9, 99, 2**40))


STRUCTURAL = (
    _rename_operator,
    _rewire,
    _drop_node,
    _change_shape,
    _change_type,
    _change_weight,
    _change_attribute,
    _change_opset,
)


def main() -> None:
    folder, first, last = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    resource.setrlimit(resource.RLIMIT_AS, (2_000_000_000, 2_000_000_000))
    for number in range(first, last):
        path = folder / "mutant.onnx"
        path.write_bytes(mutant(number))
        print(json.dumps({"begin": number}), flush=True)
        try:
            detect(onnx.ModelProto.FromString(read_model(path, {}, None).clean))
            outcome = "accepted"
        except CutlineError as error:
            outcome = "refused" if "\n" not in str(error) and error.exit_code in (64, 65) else f"wrong words: {error!r}"
        except MemoryError:
            outcome = "refused"  # the worker turns it into one line
        except Exception as error:
            outcome = f"bug: {type(error).__name__}: {error}"
        print(json.dumps({"end": number, "outcome": outcome}), flush=True)


if __name__ == "__main__":
    main()
