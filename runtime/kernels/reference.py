"""The float64 twins of the kernels: slow, gathered, written from the formulas and not from the loops.

Every function takes and returns float64 (codes 0..255, opacity and R'G'B' 0..1) unless it says otherwise. tolerances.py
says how far the C++ may lie from them. The composition's twin is reference_post.py.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from cutline.runtime.contract import Image, Output
from cutline.runtime.frame import Colour, FrameFormat, Planes
from cutline.runtime.kernels.window import Window

__all__ = ["bilinear", "codes", "decode", "lines", "pre", "resize", "steady", "to_rgb", "to_yuv"]

F64 = NDArray[np.float64]
U8 = NDArray[np.uint8]

LUMA_STILL, LUMA_MOVED = 4.0, 16.0  # codes; pixel.h
ALPHA_STILL, ALPHA_MOVED = 0.1, 0.4
EDGE_FLOOR = 1e-4
ROW_TAPS = 16  # plan.h: 2 * MAX_PAIRS


def codes(value: F64) -> U8:
    """Round half up to 8-bit codes: the one rounding of the whole composition."""
    return np.floor(np.clip(value, 0, 255) + 0.5).astype(np.uint8)


def to_rgb(yuv: F64, colour: Colour) -> F64:
    """Turn Y, Cb, Cr codes [3, ...] into R'G'B' in 0..1, clamped. Source: BT.601-7, BT.709-6, BT.2020-2."""
    kr, kb = colour.matrix.kr_kb
    luma_span, black, chroma_span = (255, 0, 255) if colour.full_range else (219, 16, 224)
    y, cb, cr = (yuv[0] - black) / luma_span, (yuv[1] - 128) / chroma_span, (yuv[2] - 128) / chroma_span
    r = y + 2 * (1 - kr) * cr
    b = y + 2 * (1 - kb) * cb
    g = (y - kr * r - kb * b) / (1 - kr - kb)
    return np.asarray(np.clip(np.stack([r, g, b]), 0, 1))


def to_yuv(rgb: F64, colour: Colour) -> F64:
    """Turn R'G'B' [3, ...] in 0..1 into Y, Cb, Cr codes, not rounded."""
    kr, kb = colour.matrix.kr_kb
    luma_span, black, chroma_span = (255, 0, 255) if colour.full_range else (219, 16, 224)
    y = kr * rgb[0] + (1 - kr - kb) * rgb[1] + kb * rgb[2]
    cb, cr = (rgb[2] - y) / (2 * (1 - kb)), (rgb[0] - y) / (2 * (1 - kr))
    return np.stack([y * luma_span + black, cb * chroma_span + 128, cr * chroma_span + 128])


def ramp(count: int) -> F64:
    """Return 0, 1, 2, ..."""
    return np.arange(count, dtype=np.float64)


# Resize of the frame to the network's size


def _weights(positions: F64, step: float, low: int, high: int, samples: int) -> F64:
    """Dense resize matrix [outputs, samples]: a triangle as wide as the step, samples beyond low..high at the edge."""
    reach = max(1.0, step)
    matrix = np.zeros((len(positions), samples))
    for row, centre in enumerate(np.clip(positions, low - reach, high + reach)):
        for k in range(math.ceil(centre - reach), math.floor(centre + reach) + 1):
            matrix[row, min(max(k, low), high)] += max(0.0, 1 - abs(k - centre) / reach)
        if not matrix[row].any():
            matrix[row, low if centre < low else high] = 1.0
    return np.asarray(matrix / matrix.sum(axis=1, keepdims=True))


def _in_128ths(matrix: F64) -> F64:
    """Round each row's weights to 128ths that sum to 1, if no row has more than 16: what `pre` filters rows with."""
    used = [np.flatnonzero(row) for row in matrix]
    if max(span[-1] - span[0] + 1 for span in used) > ROW_TAPS:
        return matrix
    whole = np.floor(matrix * 128 + 0.5 - 1e-9)
    whole[np.arange(len(whole)), whole.argmax(axis=1)] += 128 - whole.sum(axis=1)
    return np.asarray(whole / 128)


def resize(planes: Planes, frame: FrameFormat, window: Window) -> F64:
    """Return the frame's Y, Cb, Cr codes at the network's size [3, h, w], not rounded."""
    source, target = window.source, window.target
    step_x, step_y = source.width / target.width, source.height / target.height
    xs = source.x + (ramp(window.width) + 0.5 - target.x) * step_x - 0.5  # luma columns
    ys = source.y + (ramp(window.height) + 0.5 - target.y) * step_y - 0.5
    left, right = _span(source.x, source.width, frame.width)
    top, bottom = _span(source.y, source.height, frame.height)
    luma_x = _weights(xs, step_x, left, right, frame.width)
    luma_y = _in_128ths(_weights(ys, step_y, top, bottom, frame.height))
    chroma_x = _weights(xs / 2, step_x / 2, left // 2, right // 2, frame.chroma_width)
    chroma_y = _in_128ths(_weights((ys - 0.5) / 2, step_y / 2, top // 2, bottom // 2, frame.chroma_height))
    out = [luma_y @ planes.y.astype(np.float64) @ luma_x.T]
    out += [chroma_y @ plane.astype(np.float64) @ chroma_x.T for plane in (planes.u, planes.v)]
    return np.stack(out)


def _span(start: float, length: float, limit: int) -> tuple[int, int]:
    low = min(max(math.floor(start), 0), limit - 1)
    return low, min(max(math.ceil(start + length) - 1, low), limit - 1)


def pre(planes: Planes, frame: FrameFormat, image: Image, window: Window) -> tuple[F64, F64]:
    """Return the tensor, image.shape, before rounding to image.dtype, and the guide [3, h, w] before rounding."""
    yuv = resize(planes, frame, window)
    rgb = to_rgb(yuv, frame.colour)
    tensor = (rgb - np.reshape(image.mean, (3, 1, 1))) / np.reshape(image.std, (3, 1, 1))
    if image.dtype in ("int8", "uint8"):
        tensor = tensor / image.scale + image.zero_point
    if image.order == "BGR":
        tensor = tensor[::-1]
    if image.layout == "NHWC":
        tensor = tensor.transpose(1, 2, 0)
    return tensor[None], yuv


# Matte at the network's size


def decode(raw: NDArray[Any], output: Output) -> tuple[F64, int]:
    """Return opacity [h, w] at the output's own size, and how many pixels were not a number (their opacity is 0)."""
    values = raw.astype(np.float64)[0]
    if output.layout == "NHWC":
        values = values.transpose(2, 0, 1)
    chosen = list(output.foreground_channels)
    with np.errstate(all="ignore"):
        if output.meaning == "classes":
            if output.softmax:
                values = np.exp(values - values.max(axis=0))
                values = values / values.sum(axis=0)
            alpha = values[chosen].sum(axis=0)
            alpha = np.where(np.isnan(raw.sum(axis=1 if output.layout == "NCHW" else 3)[0]), np.nan, alpha)
        elif output.meaning == "logits":
            alpha = 1 / (1 + np.exp(-values[chosen[0]]))
        else:
            alpha = values[chosen[0]]
    missing = np.isnan(alpha)
    return np.where(missing, 0, np.clip(alpha, 0, 1)), int(missing.sum())


def bilinear(image: F64, rows: F64, columns: F64) -> F64:
    """Sample `image` at positions in units of its own samples, edge repeated: [len(rows), len(columns)]."""

    def taps(at: F64, size: int) -> tuple[NDArray[np.intp], NDArray[np.intp], F64]:
        at = np.clip(at, 0, size - 1)
        low = np.floor(at).astype(np.intp)
        return low, np.minimum(low + 1, size - 1), at - low

    r0, r1, fr = taps(np.asarray(rows, np.float64), image.shape[0])
    c0, c1, fc = taps(np.asarray(columns, np.float64), image.shape[1])
    across = image[:, c0] * (1 - fc) + image[:, c1] * fc
    return np.asarray(across[r0] * (1 - fr[:, None]) + across[r1] * fr[:, None])


def centres(count: int, source: int) -> F64:
    """Positions of `count` evenly laid samples in a row of `source` samples."""
    return np.asarray((ramp(count) + 0.5) * source / count - 0.5)


def steady(fresh: F64, luma: F64, past: tuple[F64, F64] | None, temporal: float) -> tuple[F64, F64]:
    """Return the temporal filter's new state: opacity and luma codes, [h, w] each. `past` None: the first frame."""
    if past is None:
        return fresh, luma
    alpha, before = past
    still = np.clip((LUMA_MOVED - abs(luma - before)) / (LUMA_MOVED - LUMA_STILL), 0, 1)
    calm = np.clip((ALPHA_MOVED - abs(fresh - alpha)) / (ALPHA_MOVED - ALPHA_STILL), 0, 1)
    keep = temporal * still * calm
    return fresh + (alpha - fresh) * keep, luma + (before - luma) * keep


def levels(alpha: F64, floor: float, ceiling: float) -> F64:
    """Stretch opacity so that `floor` becomes 0 and `ceiling` 1, not clamped."""
    return (alpha - floor) / (ceiling - floor)


def _mean(image: F64, radius: int) -> F64:
    """Box mean over the part of each (2 radius + 1)^2 window that lies in the image."""
    height, width = image.shape
    sums = np.zeros((height + 1, width + 1))
    sums[1:, 1:] = image.cumsum(0).cumsum(1)
    top, bottom = np.maximum(np.arange(height) - radius, 0), np.minimum(np.arange(height) + radius + 1, height)
    left, right = np.maximum(np.arange(width) - radius, 0), np.minimum(np.arange(width) + radius + 1, width)
    total = sums[bottom][:, right] - sums[top][:, right] - sums[bottom][:, left] + sums[top][:, left]
    return np.asarray(total / np.outer(bottom - top, right - left))


def lines(matte: F64, luma: F64, *, radius: int, epsilon: float) -> tuple[F64, F64]:
    """Return a and b [h, w] with alpha = a * luma code + b at the frame's size.

    Guided filter (He, Sun 2015), but the line passes through a low-resolution alpha that mixes the averaged lines'
    value and the matte itself, by the share of the matte's variance that the lines explain, squared.
    """
    guide = luma / 255
    mean_i, mean_p = _mean(guide, radius), _mean(matte, radius)
    joint = _mean(guide * matte, radius) - mean_i * mean_p
    spread = _mean(guide * guide, radius) - mean_i**2 + epsilon
    slope = joint / spread
    fit = np.clip(slope * joint / (_mean(matte * matte, radius) - mean_p**2 + EDGE_FLOOR), 0, 1)
    slope, base, fit = (_mean(x, radius) for x in (slope, mean_p - slope * mean_i, fit))
    level = matte + (slope * guide + base - matte) * fit**2
    return slope / 255, level - slope * guide
