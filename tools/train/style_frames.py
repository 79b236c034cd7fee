"""The pictures that a style is learned on: generated product scenes and, where given, the user's photographs."""

from __future__ import annotations

from pathlib import Path
from typing import final

import cv2
import numpy as np
from numpy.typing import NDArray

from cutline.tools.scenes import sample
from cutline.tools.scenes.packshots import load_photographs

__all__ = ["StyleFrames", "filling"]

U8 = NDArray[np.uint8]
_KEPT = 0.75  # of the network's size: what is held in memory
_ZOOM = 1.8  # a crop shows up to this many pixels of a frame in one of its own


@final
class StyleFrames:
    """Owns frames in memory and gives out random crops of them: a step and a seed always give the same ones."""

    def __init__(
        self,
        *,
        width: int,
        height: int,
        crop: tuple[int, int],
        count: int,
        scenes: Path | None = None,
        seed: int = 0,
    ) -> None:
        """Make the frames.

        Args:
            width, height: of the network's input, pixels.
            crop: width and height of the crops, pixels.
            count: frames to generate; with `scenes`, half of them are photographs.
        Raises:
            NoInputError: the folder is missing.
            BadInputError: it has no usable photograph.
        """
        (self.width, self.height), self._seed = crop, seed
        size = (max(crop[0], int(width * _KEPT)), max(crop[1], int(height * _KEPT)))
        photographs = load_photographs(scenes, "train") if scenes else ()
        drawn = count // 2 if photographs else count
        self._frames: list[U8] = [sample(seed * 65_536 + k, *size).rgb for k in range(drawn)]
        rng = np.random.default_rng((seed, 1))
        for k in range(count - drawn):
            self._frames.append(filling(rng, photographs[k % len(photographs)], *size))

    def batch(self, step: int, size: int) -> NDArray[np.float32]:
        """Return float32[size, 3, height, width] in 0..1: crops, varied in size and tone."""
        rng = np.random.default_rng((self._seed, 2, step))
        crops = np.empty((size, self.height, self.width, 3), np.float32)
        for crop in crops:
            frame = self._frames[int(rng.integers(len(self._frames)))]
            scale = float(rng.uniform(1.0, min(_ZOOM, frame.shape[1] / self.width, frame.shape[0] / self.height)))
            wide, high = int(self.width * scale), int(self.height * scale)
            x, y = int(rng.integers(frame.shape[1] - wide + 1)), int(rng.integers(frame.shape[0] - high + 1))
            part = cv2.resize(
                frame[y : y + high, x : x + wide], (self.width, self.height), interpolation=cv2.INTER_AREA
            )
            part = part[:, ::-1] if rng.random() < 0.5 else part
            crop[:] = np.clip(part / np.float32(255), 0, 1) ** float(np.exp(rng.normal(0, 0.25)))
        return np.ascontiguousarray(crops.transpose(0, 3, 1, 2))


def filling(rng: np.random.Generator, photograph: NDArray[np.uint8], width: int, height: int) -> U8:
    """Cut a part of that shape out of the photograph and bring it to size."""
    scale = max(width / photograph.shape[1], height / photograph.shape[0])
    wide, high = (
        min(side, int(want / scale)) for side, want in zip(photograph.shape[1::-1], (width, height), strict=True)
    )
    x = int(rng.integers(photograph.shape[1] - wide + 1))
    y = int(rng.integers(photograph.shape[0] - high + 1))
    part = photograph[y : y + high, x : x + wide]
    return np.asarray(cv2.resize(part, (width, height), interpolation=cv2.INTER_AREA), np.uint8)
