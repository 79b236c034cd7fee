"""Pictures and tensors: what a contract wants to be fed, and the way back for reports."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from cutline.runtime.contract import Image

__all__ = ["picture_to_tensor", "tensor_to_picture"]

Array = NDArray[Any]
F32 = NDArray[np.float32]


def picture_to_tensor(rgb: F32, image: Image) -> Array:
    """Turn a picture of the network's size into its input tensor.

    Args:
        rgb: float32[height, width, 3], 0..1.
    Returns:
        The tensor of image.shape in image.dtype (float32 or uint8).
    """
    values = (rgb - np.array(image.mean)) / np.array(image.std)
    if image.order == "BGR":
        values = values[..., ::-1]
    if image.dtype in ("uint8", "int8"):
        limits = np.iinfo(image.dtype)
        values = np.clip(np.rint(values / image.scale) + image.zero_point, limits.min, limits.max)
    if image.layout == "NCHW":
        values = np.moveaxis(values, -1, 0)
    return np.ascontiguousarray(values[None], dtype=image.dtype)


def tensor_to_picture(tensor: Array, image: Image) -> NDArray[np.uint8]:
    """The way back, for reports: uint8[height, width, 3] RGB."""
    values = np.asarray(tensor, np.float32)[0]
    if image.layout == "NCHW":
        values = np.moveaxis(values, 0, -1)
    if image.dtype in ("uint8", "int8"):
        values = (values - image.zero_point) * image.scale
    if image.order == "BGR":
        values = values[..., ::-1]
    rgb = values * np.array(image.std, np.float32) + np.array(image.mean, np.float32)
    return np.asarray(np.clip(np.rint(rgb * 255), 0, 255), np.uint8)
