"""How much of a style the runtime lays on: a strength of 0 is the frame itself, 1 the network's picture."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from cutline.runtime.bundle import open_bundle
from cutline.runtime.contract import Output
from cutline.runtime.errors import NoInputError
from cutline.runtime.frame import Colour, FrameFormat, Matrix, allocate_planes
from cutline.runtime.kernels import Background, Post, PostOptions, Pre, place
from cutline.tools.train.style_canvas import draw_canvas
from cutline.tools.train.style_images import STYLES
from cutline.tools.train.style_network import StyleNet, StyleShape, style_contract

Luma = NDArray[Any]
WIDTH, HEIGHT = 128, 96
LUMA = (0.2126, 0.7152, 0.0722)


@pytest.fixture(scope="module")
def styled() -> dict[float, tuple[Luma, Luma, Luma]]:
    """Strength -> luma of the composite, of the frame, and of the network's picture."""
    torch.manual_seed(3)
    network = StyleNet(StyleShape(widths=(8, 8, 16, 16), blocks=1)).eval()
    with torch.no_grad():
        network.head.weight.normal_(0, 0.1)
    contract = style_contract(WIDTH, HEIGHT)
    form = FrameFormat(width=WIDTH, height=HEIGHT, colour=Colour(Matrix.BT709, True))
    window = place(WIDTH, HEIGHT, WIDTH, HEIGHT)
    frame, out = allocate_planes(WIDTH, HEIGHT), allocate_planes(WIDTH, HEIGHT)
    y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
    frame.y[:] = 60 + x // 2 + y // 2
    frame.u[:], frame.v[:] = 120, 140
    tensor, guide = np.zeros(contract.frame.shape, np.float32), np.zeros((3, HEIGHT, WIDTH), np.uint8)
    Pre(form, contract.frame, window).run(frame, tensor, guide)
    with torch.no_grad():
        canvas = torch.from_numpy(draw_canvas(WIDTH, HEIGHT))[None]
        picture = network(torch.from_numpy(tensor), canvas).numpy()
    matte = Output(tensor="alpha", meaning="alpha", width=WIDTH, height=HEIGHT)
    found = {}
    for strength in (0.0, 0.5, 1.0):
        post = Post(form, matte, window, PostOptions(), style=(contract.primary, contract.frame))
        post.run(
            frame,
            np.zeros(matte.shape, np.float32),
            guide,
            background=Background(kind="original"),
            out=out,
            matte=np.zeros((HEIGHT, WIDTH), np.float32),
            style=picture,
            style_strength=strength,
        )
        wanted = np.tensordot(LUMA, np.clip(picture[0] * 0.5 + 0.5, 0, 1), 1) * 255
        found[strength] = (out.y.copy(), frame.y.copy(), wanted)
    return found


def test_strength_0_is_the_frame_bit_for_bit(styled: dict[float, tuple[Luma, ...]]) -> None:
    out, frame, _ = styled[0.0]
    assert np.array_equal(out, frame)


def test_strength_1_is_the_networks_picture(styled: dict[float, tuple[Luma, ...]]) -> None:
    out, frame, picture = styled[1.0]
    assert np.abs(picture - frame).mean() > 3  # the network does something
    assert np.abs(out - picture).max() <= 2


def test_half_the_strength_is_half_way(styled: dict[float, tuple[Luma, ...]]) -> None:
    out, frame, picture = styled[0.5]
    assert np.abs(out - (frame + picture) / 2).max() <= 2


@pytest.mark.parametrize("name", STYLES)
def test_shipped_styles_are_signed_small_and_carry_their_figures(name: str) -> None:
    try:
        bundle = open_bundle(name)
    except NoInputError:
        pytest.skip(f"the bundle of {name} is not installed")
    with bundle:
        manifest = bundle.manifest
        assert manifest.contract.task == "style"
        assert manifest.contract.strength is None
        assert sum(member.size for member in manifest.members) < 3_000_000
        assert manifest.accuracy is not None
        figures = manifest.accuracy["style"]
        assert figures["style_after"] < figures["style_before"]
        assert f"{figures['content_ssim']:.3f}" in bundle.read("card.md").decode()
