"""Where training starts: at what ImageNet taught the encoder, or at a network that was trained before."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import onnx

from cutline.runtime.bundle import open_bundle
from cutline.runtime.errors import BadInputError
from cutline.tools.train.encoder import WIDENED, load_encoder
from cutline.tools.train.export import network_from_onnx, read_onnx
from cutline.tools.train.networks import CutNet, preset
from cutline.tools.train.prune import narrow
from cutline.tools.train.style_network import StyleNet, style_from_onnx

__all__ = ["load_start", "load_style_start", "make_network"]

SOURCE = "source.onnx"  # the member of a bundle that holds the network as it was exported


def make_network(name: str) -> CutNet:
    """Build one of the shipped networks as training from scratch starts: its encoder knows ImageNet.

    Where its blocks are narrower than Google's, they keep the most important channels.

    Raises:
        UsageError: no network has that name.
        DeviceError: the encoder's weights are not installed.
    """
    shape = preset(name)
    whole = CutNet(replace(shape, inner=WIDENED))
    load_encoder(whole.encoder)
    kept = {f"encoder.blocks.{block}": channels for block, channels in enumerate(shape.inner)}
    network = CutNet(shape)
    network.load_state_dict(narrow(whole.state_dict(), (g for g in whole.shape.groups() if g.name in kept), kept))
    return network


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
