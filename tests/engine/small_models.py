"""Small networks with random weights, each with the inputs, outputs and operators of the family that it stands for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

Shape = Sequence[int | str]


class Maker:
    """Collects nodes and weights; every method returns the name of the tensor that it made."""

    def __init__(self, seed: int = 1) -> None:
        self.random = np.random.default_rng(seed)
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.count = 0

    def node(self, kind: str, inputs: Sequence[str], *, to: str | None = None, **attributes: object) -> str:
        self.count += 1
        to = to or f"t{self.count}"
        self.nodes.append(helper.make_node(kind, list(inputs), [to], name=f"{kind}_{self.count}", **attributes))
        return to

    def weight(self, value: NDArray[np.generic] | Sequence[float], name: str | None = None) -> str:
        self.count += 1
        name = name or f"w{self.count}"
        array = np.asarray(value)
        array = array.astype(np.float32) if array.dtype == np.float64 else array
        self.weights.append(numpy_helper.from_array(array, name))
        return name

    def conv(self, x: str, cin: int, cout: int, *, k: int = 3, stride: int = 1, to: str | None = None) -> str:
        scale = 1.0 / np.sqrt(cin * k * k)
        w = self.weight(self.random.normal(0, scale, (cout, cin, k, k)))
        b = self.weight(self.random.normal(0, 0.05, cout))
        return self.node("Conv", [x, w, b], to=to, kernel_shape=[k, k], strides=[stride] * 2, pads=[k // 2] * 4)

    def relu(self, x: str) -> str:
        return self.node("Relu", [x])

    def up(self, x: str, factor: float = 2.0) -> str:
        scales = self.weight(np.array([1, 1, factor, factor], np.float32))
        kind = {"mode": "linear", "coordinate_transformation_mode": "half_pixel"}
        return self.node("Resize", [x, "", scales], **kind)

    def concat(self, *xs: str, axis: int = 1) -> str:
        return self.node("Concat", xs, axis=axis)

    def model(self, inputs: dict[str, Shape], outputs: dict[str, Shape | None], *, opset: int = 17) -> onnx.ModelProto:
        def value(name: str, shape: Shape | None) -> onnx.ValueInfoProto:
            return helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)

        graph = helper.make_graph(
            self.nodes,
            "small",
            [value(n, s) for n, s in inputs.items()],
            [value(n, s) for n, s in outputs.items()],
            self.weights,
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def unet(
    *, width: int = 64, height: int = 48, channels: int = 16, plate: bool = False, batch: int | str = 1, opset: int = 17
) -> onnx.ModelProto:
    """A plain U-Net with a sigmoid: `image` (and `plate`) -> `alpha`."""
    m = Maker()
    x = m.concat("image", "plate") if plate else "image"
    a = m.relu(m.conv(x, 6 if plate else 3, channels, stride=2))
    b = m.relu(m.conv(a, channels, 2 * channels, stride=2))
    b = m.relu(m.conv(b, 2 * channels, 2 * channels))
    c = m.relu(m.conv(m.concat(m.up(b), a), 3 * channels, channels))
    m.node("Sigmoid", [m.conv(m.up(c), channels, 1)], to="alpha")
    shape = (batch, 3, height, width)
    inputs = {"image": shape, "plate": shape} if plate else {"image": shape}
    return m.model(inputs, {"alpha": (batch, 1, height, width)}, opset=opset)


def u2net(side: int = 32) -> onnx.ModelProto:
    """Seven alphas; the first is fused from the six side outputs. Opset 11, names as rembg's file has them."""
    m = Maker(2)
    x, raws = "input.1", []
    for i in range(6):
        x = m.relu(m.conv(x, 3 if i == 0 else 8, 8))
        raws.append(m.conv(x, 8, 1))
    m.node("Sigmoid", [m.conv(m.concat(*raws), 6, 1, k=1)], to="1959")
    names = [str(1960 + i) for i in range(6)]
    for raw, name in zip(raws, names, strict=True):
        m.node("Sigmoid", [raw], to=name)
    shape = (1, 1, side, side)
    return m.model({"input.1": ("batch", 3, side, side)}, dict.fromkeys(["1959", *names], shape), opset=11)


def isnet(side: int = 32) -> onnx.ModelProto:
    """Six alphas, each from its own scale, and six feature maps."""
    m = Maker(3)
    x, outputs = m.relu(m.conv("input_image", 3, 8, stride=2)), {}
    for i in range(6):
        x = m.relu(m.conv(x, 8, 8))
        name = "output_image" if i == 0 else f"side_{i}"
        m.node("Sigmoid", [m.up(m.conv(x, 8, 1))], to=name)
        outputs[name] = (1, 1, side, side)
    m.node("Relu", [x], to="features")
    outputs["features"] = (1, 8, side // 2, side // 2)
    return m.model({"input_image": (1, 3, side, side)}, outputs)


def birefnet(side: int = 32) -> onnx.ModelProto:
    """A square transformer that ends in logits."""
    m = Maker(4)
    tokens = (side // 4) ** 2
    x = m.conv("input_image", 3, 16, k=3, stride=4)
    flat = m.node("Reshape", [x, m.weight(np.array([1, 16, tokens], np.int64))])
    seq = m.node("Transpose", [flat], perm=[0, 2, 1])
    seq = m.node("LayerNormalization", [seq, m.weight(np.ones(16)), m.weight(np.zeros(16))], axis=-1)
    scores = m.node("Softmax", [m.node("MatMul", [seq, m.node("Transpose", [seq], perm=[0, 2, 1])])], axis=-1)
    seq = m.node("MatMul", [scores, seq])
    back = m.node("Transpose", [seq], perm=[0, 2, 1])
    grid = m.node("Reshape", [back, m.weight(np.array([1, 16, side // 4, side // 4], np.int64))])
    m.conv(m.up(grid, 4.0), 16, 1, to="output_image")
    return m.model({"input_image": (1, 3, side, side)}, {"output_image": (1, 1, side, side)})


def modnet(height: int | str = 32, width: int | str = 64) -> onnx.ModelProto:
    """Instance normalisation beside batch normalisation, one sigmoid; open height and width as its export has them."""
    m = Maker(5)
    x = m.conv("input", 3, 16)
    x = m.node("InstanceNormalization", [x, m.weight(np.ones(16)), m.weight(np.zeros(16))])
    m.node("Sigmoid", [m.conv(m.relu(x), 16, 1)], to="output")
    return m.model({"input": ("batch_size", 3, height, width)}, {"output": ("batch_size", 1, height, width)}, opset=11)


def rvm(channels: tuple[int, ...] = (4, 4, 4, 4)) -> onnx.ModelProto:
    """src, four states, downsample_ratio -> fgr, pha, four states; every size is computed from the ratio."""
    m = Maker(6)
    ratio, none = "downsample_ratio", m.weight(np.zeros(0, np.float32))
    one = m.weight(np.array([1.0, 1.0], np.float32))
    small = m.node("Resize", ["src", none, m.concat(one, ratio, ratio, axis=0)], mode="linear")
    x, cin, states = small, 3, {}
    for i, count in enumerate(channels, 1):
        x = m.relu(m.conv(x, cin, count, stride=2))
        old = m.node("Expand", [f"r{i}i", m.node("Shape", [x])])
        gate = m.node("Sigmoid", [m.conv(m.concat(x, old), 2 * count, count)])
        keep = m.node("Sub", [m.weight(np.array(1.0, np.float32)), gate])
        new = m.node("Tanh", [m.conv(x, count, count)])
        x = m.node("Add", [m.node("Mul", [gate, old]), m.node("Mul", [keep, new])], to=f"r{i}o")
        states[f"r{i}i"] = ("batch", f"c{i}", f"h{i}", f"w{i}")
        cin = count
    head = m.conv(x, cin, 4, k=1)
    size = m.node("Shape", ["src"])
    hw = m.node("Slice", [size, m.weight(np.array([2])), m.weight(np.array([4])), m.weight(np.array([0]))])
    whole = m.concat(m.weight(np.array([1, 4])), hw, axis=0)
    full = m.node("Resize", [head, none, none, whole], mode="linear")
    axis = m.weight(np.array([1]))
    low, high = m.weight(np.array(0.0, np.float32)), m.weight(np.array(1.0, np.float32))
    residual = m.node("Slice", [full, m.weight(np.array([0])), m.weight(np.array([3])), axis])
    alpha = m.node("Slice", [full, m.weight(np.array([3])), m.weight(np.array([4])), axis])
    m.node("Clip", [m.node("Add", [residual, "src"]), low, high], to="fgr")
    m.node("Clip", [alpha, low, high], to="pha")
    inputs: dict[str, Shape] = {"src": ("batch", 3, "height", "width"), **states, ratio: (1,)}
    outputs: dict[str, Shape | None] = dict.fromkeys(["fgr", "pha", "r1o", "r2o", "r3o", "r4o"])
    outputs["fgr"], outputs["pha"] = (1, 3, "height", "width"), (1, 1, "height", "width")
    for i in range(1, 5):
        outputs[f"r{i}o"] = ("batch", f"c{i}", f"h{i}", f"w{i}")
    return m.model(inputs, outputs, opset=12)


def selfie_like() -> onnx.ModelProto:
    """NHWC in, NHWC two-class scores out, as tf2onnx writes it."""
    m = Maker(7)
    x = m.node("Transpose", ["input_1:0"], perm=[0, 3, 1, 2])
    x = m.relu(m.conv(x, 3, 8))
    m.node("Transpose", [m.conv(x, 8, 2)], to="segment:0", perm=[0, 2, 3, 1])
    return m.model({"input_1:0": (1, 24, 32, 3)}, {"segment:0": (1, 24, 32, 2)}, opset=12)


def class_map(classes: int = 21, *, softmax: bool = False, argmax: bool = False) -> onnx.ModelProto:
    """Scores of many classes, probabilities, or the index of the best one."""
    m = Maker(8)
    x = m.conv(m.relu(m.conv("input", 3, 8)), 8, classes, to=None if softmax or argmax else "out")
    if softmax:
        m.node("Softmax", [x], to="out", axis=1)
    if argmax:
        m.node("ArgMax", [x], to="out", axis=1, keepdims=0)
    shape = (1, 24, 32) if argmax else (1, classes, 24, 32)
    model = m.model({"input": (1, 3, 24, 32)}, {"out": shape}, opset=13)
    if argmax:
        model.graph.output[0].type.tensor_type.elem_type = TensorProto.INT64
    return model


def style() -> onnx.ModelProto:
    """A picture and a strength in, a picture out."""
    m = Maker(9)
    x = m.conv(m.relu(m.conv("image", 3, 8)), 8, 3)
    m.node("Add", ["image", m.node("Mul", [x, "strength"])], to="styled")
    return m.model({"image": (1, 3, 24, 32), "strength": (1,)}, {"styled": (1, 3, 24, 32)})


def save(model: onnx.ModelProto, folder: Path, name: str = "model.onnx") -> Path:
    path = folder / name
    path.write_bytes(model.SerializeToString())
    return path


def luma_matte(*, width: int = 64, height: int = 48, gain: float = 12.0) -> onnx.ModelProto:
    """Bright is product: layers of averages and a steep sigmoid, so that mattes are decided and INT8 is harmless."""
    m = Maker(10)
    spread = m.random.uniform(0.8, 1.2, (16, 1, 1, 1))
    first = np.tile(np.array([0.299, 0.587, 0.114]).reshape(1, 3, 1, 1) / 9, (16, 1, 3, 3)) * spread
    x = m.relu(m.node("Conv", ["image", m.weight(first)], pads=[1] * 4))
    second = np.full((16, 16, 3, 3), 1 / (16 * 9)) * m.random.uniform(0.8, 1.2, (16, 16, 1, 1))
    x = m.relu(m.node("Conv", [x, m.weight(second)], pads=[1] * 4))
    x = m.relu(m.node("Conv", [x, m.weight(second)], pads=[1] * 4))
    last = np.full((1, 16, 1, 1), gain / 16)
    m.node("Sigmoid", [m.node("Conv", [x, m.weight(last), m.weight([-0.5 * gain])])], to="alpha")
    return m.model({"image": (1, 3, height, width)}, {"alpha": (1, 1, height, width)})
