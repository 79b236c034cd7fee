"""Where every random number comes from: generators named by keys, and the wall between training and test."""

from __future__ import annotations

import zlib
from typing import Literal

import numpy as np

from cutline.runtime.errors import UsageError

__all__ = ["Split", "check_split", "generator", "in_split"]

Split = Literal["train", "test"]

_FAMILY = {"train": 0x7A11, "test": 0x7E57}  # first word of every key: the two splits never share a stream


def check_split(split: str) -> Split:
    """Return `split` if it is one. Raises UsageError for anything but "train" and "test"."""
    if split == "train":
        return "train"
    if split == "test":
        return "test"
    raise UsageError("no such split", remedy="Use train or test.", split=split)


def generator(split: Split, *keys: int | str) -> np.random.Generator:
    """Return the generator of this split and these keys; equal keys give equal numbers in every process."""
    words = (zlib.crc32(key.encode()) if isinstance(key, str) else key & 0xFFFFFFFFFFFFFFFF for key in keys)
    return np.random.default_rng([_FAMILY[split], *words])


def in_split(name: str, split: Split) -> bool:
    """Tell whether a file belongs to `split`: one in five, by a hash of the name, is held out for the test."""
    held_out = zlib.crc32(name.encode()) % 5 == 0
    return held_out == (split == "test")
