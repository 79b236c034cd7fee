"""A matting network for measuring: picture in, matte out, by ONNX Runtime.

Slow and plain on purpose; `cutline run` is the fast way.
"""

from __future__ import annotations

from pathlib import Path
from typing import final

import cv2
import numpy as np
from numpy.typing import NDArray

from cutline.runtime.bundle import open_bundle
from cutline.runtime.contract import Image, ModelContract, Output, contract_from_json
from cutline.runtime.errors import BadInputError, ContractError, DeviceError, NoInputError, UsageError

__all__ = ["Matter", "guess_contract", "open_matter"]

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]


@final
class Matter:
    """Owns one ONNX Runtime session of a matting network without recurrent states."""

    def __init__(self, onnx: bytes, contract: ModelContract | None, *, name: str) -> None:
        """Build the session; without a contract it is read off the shapes.

        Raises:
            BadInputError: no ONNX model.
            ContractError: the contract and the network do not fit, or the network is none for matting.
            DeviceError: ONNX Runtime is not installed.
        """
        try:
            import onnxruntime
        except ImportError as error:
            raise DeviceError("ONNX Runtime is missing", remedy="Run `pip install cutline[build]`.") from error
        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # leave the cores to whoever works
        try:
            self._session = onnxruntime.InferenceSession(onnx, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # its exceptions have no common base of their own
            raise BadInputError("not a usable ONNX model", remedy="Check the file.", model=name) from error
        shapes = {i.name: i.shape for i in self._session.get_inputs()}
        outputs = {o.name: o.shape for o in self._session.get_outputs()}
        self.name, self.contract = name, contract or guess_contract(shapes, outputs)
        if self.contract.task != "matte" or self.contract.states or self.contract.strength:
            raise ContractError(
                "not a plain matting network", remedy="Name one that turns a frame into a matte.", model=name
            )
        for image in (self.contract.frame, self.contract.plate):
            if image and _sides(shapes.get(image.tensor)) != image.shape:
                raise ContractError(
                    "the network's input has another shape than its contract",
                    remedy="Use the contract that was written with the network.",
                    tensor=image.tensor,
                    found=shapes.get(image.tensor),
                )
        if self.contract.primary.tensor not in outputs:
            raise ContractError(
                "the network has no output of the name in its contract",
                remedy="Use the contract that was written with the network.",
                tensor=self.contract.primary.tensor,
                found=sorted(outputs),
            )

    def matte(self, frame: U8, plate: U8 | None = None) -> F32:
        """Cut out one frame, uint8[H, W, 3] R'G'B'; `plate` is of the same size. Returns float32[h, w] at network size.

        Raises:
            UsageError: the network needs a plate and got none.
            ContractError: it does not run as its contract says.
        """
        contract = self.contract
        feeds = {contract.frame.tensor: _tensor(frame, contract.frame)}
        if contract.plate is not None:
            if plate is None:
                raise UsageError("the network needs a clean plate", remedy="Give one.", model=self.name)
            feeds[contract.plate.tensor] = _tensor(plate, contract.plate)
        for constant, value in contract.constants.items():
            feeds[constant] = np.array(value, np.float32)
        try:
            (raw,) = self._session.run([contract.primary.tensor], feeds)
            return _alpha(np.asarray(raw, np.float32), contract.primary)
        except Exception as error:  # ONNX Runtime's have no common base; an output of other shape is an IndexError
            raise ContractError(
                "the network does not run as its contract says", remedy="Export it again.", model=self.name
            ) from error


def open_matter(name: str) -> Matter:
    """Open an ONNX file (with NAME.contract.json beside it, if there is one), a .cutline file, or a shipped bundle.

    Raises:
        NoInputError: nothing is there.
        BadInputError: neither an ONNX model nor a bundle.
        ContractError: not a matting network.
        TrustError: the bundle is signed by nobody who is trusted.
    """
    if not name.endswith(".onnx"):
        with open_bundle(name) as bundle:
            return Matter(bundle.read("source.onnx"), bundle.manifest.contract, name=bundle.manifest.name)
    path = Path(name)
    try:
        data = path.read_bytes()
        beside = path.with_name(path.stem + ".contract.json")
        contract = contract_from_json(beside.read_bytes()) if beside.is_file() else None
    except OSError as error:
        raise NoInputError(
            f"the model cannot be read: {error.strerror}", remedy="Check the path.", path=name
        ) from error
    return Matter(data, contract, name=path.stem)


def guess_contract(inputs: dict[str, list[object]], outputs: dict[str, list[object]]) -> ModelContract:
    """Read a contract off the shapes: one picture in (or two of one shape), one or two channels out.

    Raises:
        ContractError: the shapes are none of a matting network.
    """
    shapes = [_sides(shape) for shape in (*inputs.values(), *outputs.values())]
    if len(inputs) not in (1, 2) or not outputs or None in shapes:
        raise ContractError(
            "the shapes are not those of a matting network",
            remedy="Write a contract file beside the model.",
            inputs=inputs,
            outputs=outputs,
        )
    pictures = [_image(name, shape) for name, shape in zip(inputs, shapes, strict=False) if shape]
    if len({image.shape for image in pictures}) != 1:
        raise ContractError(
            "frame and plate have other shapes", remedy="Write a contract file beside the model.", inputs=inputs
        )
    frame = pictures[0]
    name, shape = next(iter(outputs)), shapes[len(inputs)] or (0, 0, 0, 0)
    last = shape[3] in (1, 2) and frame.layout == "NHWC"
    channels, (height, width) = (shape[3], shape[1:3]) if last else (shape[1], shape[2:])
    if channels not in (1, 2):
        raise ContractError("the output is no matte", remedy="Write a contract file beside the model.", outputs=outputs)
    return ModelContract(
        task="matte",
        frame=frame,
        plate=pictures[1] if len(pictures) == 2 else None,
        outputs=(
            Output(
                tensor=name,
                meaning="alpha" if channels == 1 else "classes",
                width=width,
                height=height,
                channels=channels,
                layout="NHWC" if last else "NCHW",
                foreground_channels=(channels - 1,),
                softmax=channels == 2,
            ),
        ),
    )


def _image(name: str, shape: tuple[int, int, int, int]) -> Image:
    if shape[1] == 3:
        return Image(tensor=name, width=shape[3], height=shape[2])
    if shape[3] == 3:
        return Image(tensor=name, width=shape[2], height=shape[1], layout="NHWC")
    raise ContractError(
        "an input is no picture", remedy="Write a contract file beside the model.", tensor=name, shape=shape
    )


def _sides(shape: list[object] | None) -> tuple[int, int, int, int] | None:
    """Four known sides, batch 1, or None."""
    if shape is None or len(shape) != 4 or not all(isinstance(side, int) for side in shape[1:]):
        return None
    a, b, c = (int(str(side)) for side in shape[1:])
    return 1, a, b, c


def _tensor(picture: U8, image: Image) -> F32:
    """Resize and normalise by the contract; integer inputs are not known here."""
    if image.dtype != "float32":
        raise ContractError("only float32 inputs are measured here", remedy="Use the float32 model.", dtype=image.dtype)
    wider = picture.shape[1] > image.width
    sized = picture
    if picture.shape[:2] != (image.height, image.width):
        method = cv2.INTER_AREA if wider else cv2.INTER_LINEAR
        sized = cv2.resize(picture, (image.width, image.height), interpolation=method)
    values = (sized.astype(np.float32) / 255 - np.array(image.mean, np.float32)) / np.array(image.std, np.float32)
    if image.order == "BGR":
        values = values[..., ::-1]
    return np.ascontiguousarray(values.transpose(2, 0, 1)[None] if image.layout == "NCHW" else values[None])


def _alpha(raw: F32, output: Output) -> F32:
    """float32[h, w], 0..1, from the primary output."""
    planes = raw[0] if output.layout == "NCHW" else raw[0].transpose(2, 0, 1)
    if output.meaning == "classes":
        if output.softmax:
            planes = np.exp(planes - planes.max(axis=0))
            planes = planes / planes.sum(axis=0)
        matte = planes[list(output.foreground_channels)].sum(axis=0)
    else:
        matte = planes[0]
        if output.meaning == "logits":
            matte = 1 / (1 + np.exp(-matte))
    return np.asarray(np.clip(matte, 0, 1), np.float32)
