"""What a style is, in numbers: Gram matrices of a picture's features.

Features come from a fixed bank of random filters, for which nothing has to be downloaded, or from VGG-19 where the
user has its weights.

Source: Ustyuzhaninov, Brendel, Gatys, Bethge, What does it take to generate natural textures?, 2017 (random shallow
filters at several scales as a texture model); Gatys, Ecker, Bethge, Image style transfer using CNNs, 2016 (VGG-19).
"""

from __future__ import annotations

import pickle
import zipfile
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar, Protocol

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from cutline.runtime.errors import BadInputError, NoInputError
from cutline.tools.train.checkpoint import why_unread

__all__ = ["Features", "RandomBank", "StyleTargets", "Vgg", "gram", "gram_distance", "load_vgg"]

_UNUSABLE = (pickle.UnpicklingError, zipfile.BadZipFile, zlib.error, EOFError)


class Features(Protocol):
    """Turns pictures float[N, 3, H, W] in 0..1 into maps float[N, C, h, w], one per scale or layer."""

    def __call__(self, pictures: Tensor) -> list[Tensor]: ...


class RandomBank(nn.Module):
    """Owns random filters, fixed by a seed and brought to one strength on the style image.

    At each of four scales, halved in between: 5x5 filters without mean, which see strokes, dots and grain, and
    thresholded random mixtures of the three channels, which see the palette.
    """

    SCALES = 4
    SHAPES, COLOURS = 28, 12
    SIDE = 5

    def __init__(self, style: Tensor, *, seed: int = 7) -> None:
        """Draw the filters.

        Args:
            style: float[1, 3, H, W], the style image; on it every filter answers with an RMS of 1.
            seed: another seed is another bank: one to learn with, one to judge with.
        """
        super().__init__()
        random = torch.Generator().manual_seed(seed)
        shapes = torch.randn(self.SHAPES, 3, self.SIDE, self.SIDE, generator=random)
        shapes -= shapes.mean((1, 2, 3), keepdim=True)
        colours = torch.randn(self.COLOURS, 3, 1, 1, generator=random)
        level = torch.rand(self.COLOURS, 3, 1, 1, generator=random)  # the colour at which a mixture begins to answer
        self.register_buffer("shapes", shapes / shapes.flatten(1).norm(dim=1)[:, None, None, None])
        self.register_buffer("colours", colours)
        self.register_buffer("offsets", -(colours * level).sum((1, 2, 3)))
        self.register_buffer("strength", torch.ones(self.SCALES, self.SHAPES + self.COLOURS))
        with torch.no_grad():
            power = [level.square().mean((0, 2, 3)) for level in self._answers(style)]
        self.strength = 1 / torch.stack(power).sqrt().clamp_min(1e-3)

    def forward(self, pictures: Tensor) -> list[Tensor]:
        """One map per scale: 40 rectified answers."""
        return [
            functional.relu(answer * strength[:, None, None])
            for answer, strength in zip(self._answers(pictures), self.strength, strict=True)
        ]

    def _answers(self, pictures: Tensor) -> list[Tensor]:
        found, trim = [], self.SIDE // 2
        for scale in range(self.SCALES):
            if scale:
                pictures = functional.avg_pool2d(pictures, 2)
            inner = pictures[:, :, trim:-trim, trim:-trim]
            coloured = functional.conv2d(inner, self.colours, self.offsets)
            found.append(torch.cat([functional.conv2d(pictures, self.shapes), coloured], 1))
        return found


class Vgg(nn.Module):
    """Owns the first layers of VGG-19, up to relu4_1; its maps are relu1_1, relu2_1, relu3_1 and relu4_1."""

    PLAN: ClassVar = {
        0: 64,
        2: 64,
        5: 128,
        7: 128,
        10: 256,
        12: 256,
        14: 256,
        16: 256,
        19: 512,
    }  # torchvision's features.N
    POOLED = (5, 10, 19)  # layers with a pooling before them
    TAKEN = (0, 5, 10, 19)
    MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)

    def __init__(self, weights: dict[str, Tensor]) -> None:
        super().__init__()
        self.layers = nn.ModuleDict()
        before = 3
        for number, width in self.PLAN.items():
            layer = nn.Conv2d(before, width, 3, 1, 1)
            layer.weight.data, layer.bias.data = (
                weights[f"features.{number}.{kind}"].float() for kind in ("weight", "bias")
            )
            self.layers[str(number)], before = layer, width
        self.requires_grad_(False)
        self.register_buffer("mean", torch.tensor(self.MEAN)[:, None, None])
        self.register_buffer("std", torch.tensor(self.STD)[:, None, None])

    def forward(self, pictures: Tensor) -> list[Tensor]:
        """Four maps, from full size to an eighth."""
        x, taken = (pictures - self.mean) / self.std, []
        for number in self.PLAN:
            if number in self.POOLED:
                x = functional.max_pool2d(x, 2)
            x = functional.relu(self.layers[str(number)](x))
            if number in self.TAKEN:
                taken.append(x)
        return taken


def load_vgg(path: Path) -> Vgg:
    """Read VGG-19 from a .npz or a PyTorch state dictionary with torchvision's names (features.0.weight ...).

    Raises:
        NoInputError: there is no such file.
        BadInputError: it cannot be read, or an array is missing or has another shape.
    """
    if not path.is_file():
        raise NoInputError("there are no such weights", remedy="Check the path given with --vgg.", path=str(path))
    try:
        if zipfile.is_zipfile(path) and path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                found = {name: torch.from_numpy(arrays[name]) for name in arrays.files if name.startswith("features.")}
        else:
            found = torch.load(path, map_location="cpu", weights_only=True)
        before = 3
        for number, width in Vgg.PLAN.items():
            for kind, shape in (("weight", (width, before, 3, 3)), ("bias", (width,))):
                name = f"features.{number}.{kind}"
                if tuple(found[name].shape) != shape:
                    raise ValueError(f"{name} has shape {tuple(found[name].shape)} instead of {shape}")
            before = width
        return Vgg(found)
    except (*_UNUSABLE, OSError, RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInputError(
            f"these are no weights of VGG-19: {why_unread(error)}",
            remedy="Give a .npz or a PyTorch state dictionary with torchvision's names.",
            path=str(path),
        ) from error


def gram(maps: Tensor) -> Tensor:
    """Mean products of the maps with each other and with one: float[N, C + 1, C + 1] from float[N, C, h, w]."""
    flat = maps.flatten(2).float()
    flat = torch.cat([flat, torch.ones_like(flat[:, :1])], 1)
    return flat @ flat.transpose(1, 2) / flat.shape[2]


class StyleTargets:
    """Holds the Gram matrices of parts of a style image, sorted by brightness, so that each picture finds its like.

    Dark pictures are to become like the dark parts of the style and bright ones like the bright: with one target for
    all, every batch would first of all be told that it is too dark or too bright.
    """

    PARTS = 48  # of the style image
    NEAR = 5  # parts to each side that are averaged into a target

    def __init__(self, features: Features, style: Tensor, *, width: int, height: int, seed: int = 0) -> None:
        """Cut and measure.

        Args:
            style: float[1, 3, H, W] in 0..1.
            width, height: of the parts (at most the style's own), as large as the pictures that are learned on.
        """
        rows, columns = style.shape[2:]
        high, wide = min(rows, height), min(columns, width)
        random = torch.Generator().manual_seed(seed)
        tops = torch.randint(rows - high + 1, (self.PARTS,), generator=random).tolist()
        lefts = torch.randint(columns - wide + 1, (self.PARTS,), generator=random).tolist()
        parts = [style[:, :, y : y + high, x : x + wide] for y, x in zip(tops, lefts, strict=True)]
        parts.sort(key=lambda part: float(part.mean()))
        with torch.no_grad():
            each = [[gram(maps)[0] for maps in features(part)] for part in parts]
        self._grams = [torch.stack(scale) for scale in zip(*each, strict=True)]
        self.sizes = [g.mean(0).square().sum() for g in self._grams]  # to which differences are related
        self._tones = torch.zeros(1)

    def learn_tones(self, pictures: Tensor) -> None:
        """Take the brightness of these pictures float[N, 3, H, W] as the usual one."""
        self._tones = pictures.mean((1, 2, 3)).cpu().sort().values

    def mean_for(self, pictures: Tensor) -> list[Tensor]:
        """Return, per scale, the mean of the matrices that these pictures should have."""
        rank = torch.searchsorted(self._tones, pictures.mean((1, 2, 3)).cpu()) / len(self._tones)
        middles = (rank * (self.PARTS - 1)).round().int().tolist()
        near = [slice(max(0, m - self.NEAR), m + self.NEAR + 1) for m in middles]
        return [torch.stack([grams[part].mean(0) for part in near]).mean(0) for grams in self._grams]


@torch.no_grad()
def gram_distance(features: Features, pictures: Iterable[Tensor], style: Tensor) -> float:
    """Relative difference (Frobenius) of the pictures' mean Gram matrices from the style's; 0 is the style itself."""
    each = [[gram(maps)[0] for maps in features(picture)] for picture in pictures]
    means = [torch.stack(scale).mean(0) for scale in zip(*each, strict=True)]
    terms = [(m - gram(s)[0]).norm() / gram(s)[0].norm() for m, s in zip(means, features(style), strict=True)]
    return float(torch.stack(terms).mean())
