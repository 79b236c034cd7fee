"""Where fine-tuning starts: the source ONNX of a bundle, or an ONNX file."""

from __future__ import annotations

from pathlib import Path

import onnx

from cutline.runtime.bundle import open_bundle
from cutline.runtime.errors import BadInputError
from cutline.tools.train.export import network_from_onnx, read_onnx
from cutline.tools.train.networks import CutNet
from cutline.tools.train.style_network import StyleNet, style_from_onnx

__all__ = ["load_start", "load_style_start"]

SOURCE = "source.onnx"  # the member of a bundle that holds the network as it was exported


def load_start(name: str) -> CutNet:
    """Read a network, folded, from a shipped bundle's name, a .cutline file, or an .onnx file.

    Raises:
        NoInputError: nothing is there.
        BadInputError: damaged, or neither a bundle nor ONNX.
        TrustError: the bundle is signed by nobody who is trusted.
        ContractError: it holds another kind of network.
    """
    return network_from_onnx(_source(name))


def load_style_start(name: str) -> StyleNet:
    """Read a style network in the same way. Raises as load_start does."""
    return style_from_onnx(_source(name))


def _source(name: str) -> onnx.ModelProto:
    if name.endswith(".onnx"):
        return read_onnx(Path(name))
    with open_bundle(name) as bundle:
        data = bundle.read(SOURCE)
    try:
        return onnx.load_from_string(data)
    except Exception as error:  # protobuf's own exceptions
        raise BadInputError("the bundle holds no readable ONNX", remedy="Build it again.", bundle=name) from error
