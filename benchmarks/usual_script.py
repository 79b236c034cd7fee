"""The script that most people write first: OpenCV in, ONNX Runtime, NumPy composition. Kept as they write it."""

from __future__ import annotations

import time
from pathlib import Path

import cv2
import numpy as np
import onnxruntime as ort

__all__ = ["usual_script"]


def usual_script(clip: Path, network: Path, *, width: int, height: int, frames: int) -> float:
    """Cut out and compose the first `frames` frames of a clip; nothing is written.

    Args:
        network: ONNX with one RGB NCHW float32 input in 0..1 and one alpha output.
        width: of the network, in pixels.
        height: of the network, in pixels.
    Returns:
        Frames per second, decode to composite, without the time to load the network.
    """
    session = ort.InferenceSession(str(network), providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    video = cv2.VideoCapture(str(clip))
    done, began = 0, time.perf_counter()
    while done < frames:
        more, bgr = video.read()
        if not more:
            video.set(cv2.CAP_PROP_POS_FRAMES, 0)
            continue
        small = cv2.cvtColor(cv2.resize(bgr, (width, height)), cv2.COLOR_BGR2RGB)
        tensor = (small.astype(np.float32) / 255.0).transpose(2, 0, 1)[None]
        alpha = session.run(None, {name: tensor})[0][0, 0]
        alpha = cv2.resize(alpha, (bgr.shape[1], bgr.shape[0]))[:, :, None]
        background = np.full_like(bgr, 255)
        composite = (alpha * bgr + (1 - alpha) * background).astype(np.uint8)
        done += 1
    assert composite.shape == bgr.shape
    video.release()
    return done / (time.perf_counter() - began)
