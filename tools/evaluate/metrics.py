"""Measures of one matte against the truth: float[H, W], 0..1, both.

SAD, MSE, Grad and Conn are those of the matting benchmark, over the whole picture instead of a trimap's unknown part.
Source: Rhemann, Rother, Wang, Gelautz, Kohli, Rott, A Perceptually Motivated Online Benchmark for Image Matting, 2009.
"""

from __future__ import annotations

from itertools import pairwise

import cv2
import numpy as np
from numpy.typing import NDArray

__all__ = [
    "band_mad",
    "boundary_band",
    "compose",
    "conn",
    "dtssd",
    "f1",
    "grad",
    "iou",
    "mad",
    "mse",
    "psnr",
    "sad",
    "ssim",
]

F32 = NDArray[np.float32]
Mask = NDArray[np.bool_]

_GRAD_SIGMA = 1.4  # pixels
_CONN_STEP = 0.1
_CONN_SLACK = 0.15  # a smaller loss of connectivity is not seen
_BAND = 128  # the boundary band reaches width / 128 pixels to each side


def iou(alpha: F32, truth: F32, where: Mask | None = None) -> float:
    """Intersection over union of alpha >= 0.5; 1 when both are empty."""
    found, wanted = _covered(alpha, truth, where)
    union = int((found | wanted).sum())
    return float((found & wanted).sum() / union) if union else 1.0


def f1(alpha: F32, truth: F32, where: Mask | None = None) -> float:
    """Harmonic mean of precision and recall of alpha >= 0.5; 1 when both are empty."""
    found, wanted = _covered(alpha, truth, where)
    both = int(found.sum()) + int(wanted.sum())
    return float(2 * (found & wanted).sum() / both) if both else 1.0


def sad(alpha: F32, truth: F32) -> float:
    """Sum of absolute differences, in thousands."""
    return float(np.abs(alpha - truth).sum(dtype=np.float64) / 1000)


def mse(alpha: F32, truth: F32) -> float:
    """Mean squared difference."""
    return float(np.square(alpha - truth, dtype=np.float64).mean())


def mad(alpha: F32, truth: F32, where: Mask | None = None) -> float:
    """Mean absolute difference, over `where` if given; 0 when that is empty."""
    difference = np.abs(alpha - truth)
    if where is not None:
        difference = difference[where]
    return float(difference.mean(dtype=np.float64)) if difference.size else 0.0


def grad(alpha: F32, truth: F32) -> float:
    """Squared difference of Gaussian gradient magnitudes (sigma 1.4), summed, in thousands."""
    return float(np.square(_gradient(alpha) - _gradient(truth)).sum(dtype=np.float64) / 1000)


def conn(alpha: F32, truth: F32) -> float:
    """Difference of connectedness to the largest region that both mattes cover fully, summed, in thousands."""
    level = np.full(alpha.shape, -1.0)
    steps = np.arange(0, 1 + _CONN_STEP / 2, _CONN_STEP)
    for below, step in pairwise(steps):
        omega = _largest((alpha >= step) & (truth >= step))
        level[(level < 0) & ~omega] = below
    level[level < 0] = 1

    def connectedness(matte: F32) -> NDArray[np.float64]:
        distance = matte - level
        return np.asarray(1 - distance * (distance >= _CONN_SLACK), np.float64)

    return float(np.abs(connectedness(alpha) - connectedness(truth)).sum() / 1000)


def boundary_band(truth: F32) -> Mask:
    """Pixels within width / 128 (at least one) of the outline of what is covered at all (truth > 0.1)."""
    reach = max(1, round(truth.shape[1] / _BAND))
    covered = (truth > 0.1).astype(np.uint8)
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * reach + 1, 2 * reach + 1))
    outer = cv2.dilate(covered, disc, borderValue=0)
    inner = cv2.erode(covered, disc, borderValue=1)
    return np.asarray(outer != inner)


def band_mad(alpha: F32, truth: F32, where: Mask | None = None) -> float | None:
    """MAD in the boundary band; None when nothing is covered."""
    band = boundary_band(truth)
    if where is not None:
        band &= where
    return mad(alpha, truth, band) if band.any() else None


def compose(foreground: F32, alpha: F32, backdrop: F32) -> F32:
    """`foreground` over `backdrop`, float[H, W, 3], 0..1."""
    a = alpha[..., None]
    return np.asarray(foreground * a + backdrop * (1 - a), np.float32)


def psnr(picture: F32, truth: F32) -> float:
    """Peak signal to noise ratio in dB of pictures in 0..1; 100 when they are equal."""
    error = mse(picture, truth)
    return 100.0 if error == 0 else min(100.0, float(-10 * np.log10(error)))


def ssim(picture: F32, truth: F32) -> float:
    """Structural similarity of luma, 11x11 Gaussian window with sigma 1.5.

    Source: Wang, Bovik, Sheikh, Simoncelli, Image Quality Assessment, 2004.
    """
    weights = np.array([0.2126, 0.7152, 0.0722], np.float32)
    x, y = picture @ weights, truth @ weights

    def local(values: F32) -> F32:
        return np.asarray(cv2.GaussianBlur(values, (11, 11), 1.5), np.float32)

    mx, my = local(x), local(y)
    vx, vy, cxy = local(x * x) - mx * mx, local(y * y) - my * my, local(x * y) - mx * my
    c1, c2 = 0.01**2, 0.03**2
    index = (2 * mx * my + c1) * (2 * cxy + c2) / ((mx * mx + my * my + c1) * (vx + vy + c2))
    return float(index.mean(dtype=np.float64))


def dtssd(mattes: F32, truths: F32) -> float:
    """Root mean square of the change from frame to frame that the truth does not have; frames float[T, H, W], T > 1.

    Source: Erofeev, Gitman, Vatolin, Fedorov, Wang, Perceptually Motivated Benchmark for Video Matting, 2015.
    """
    error = np.diff(mattes.astype(np.float64), axis=0) - np.diff(truths.astype(np.float64), axis=0)
    return float(np.sqrt(np.square(error).mean(axis=(1, 2))).mean())


def _covered(alpha: F32, truth: F32, where: Mask | None) -> tuple[Mask, Mask]:
    found, wanted = alpha >= 0.5, truth >= 0.5
    return (found, wanted) if where is None else (found & where, wanted & where)


def _gradient(matte: F32) -> F32:
    half = int(np.ceil(_GRAD_SIGMA * np.sqrt(-2 * np.log(np.sqrt(2 * np.pi) * _GRAD_SIGMA * 0.01))))
    at = np.arange(-half, half + 1, dtype=np.float64)
    bell = np.exp(-(at**2) / (2 * _GRAD_SIGMA**2)) / (_GRAD_SIGMA * np.sqrt(2 * np.pi))
    slope = -at * bell / _GRAD_SIGMA**2
    norm = np.sqrt(np.square(np.outer(bell, slope)).sum())
    matte = matte.astype(np.float32)
    x = cv2.sepFilter2D(matte, cv2.CV_32F, slope / norm, bell, borderType=cv2.BORDER_REPLICATE)
    y = cv2.sepFilter2D(matte, cv2.CV_32F, bell, slope / norm, borderType=cv2.BORDER_REPLICATE)
    return np.asarray(np.hypot(x, y), np.float32)


def _largest(mask: Mask) -> Mask:
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    if count < 2:
        return np.zeros_like(mask)
    return np.asarray(labels == 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA])))
