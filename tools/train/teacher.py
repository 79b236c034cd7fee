"""Any ONNX matting network as a teacher, through ONNX Runtime."""

from __future__ import annotations

from pathlib import Path
from typing import final

import cv2
import numpy as np
from numpy.typing import NDArray

from cutline.runtime.errors import BadInputError, UsageError
from cutline.tools.evaluate.matter import Matter, open_matter

__all__ = ["OnnxTeacher"]


@final
class OnnxTeacher:
    """Owns an ONNX Runtime session of a finished network."""

    def __init__(self, path: Path, *, plate: bool) -> None:
        """Open the teacher of a network that gets a plate, or none.

        Raises:
            NoInputError: no such file.
            BadInputError: no ONNX model.
            ContractError: its inputs or outputs are none of a matting network.
            UsageError: it wants a plate that the student does not get.
        """
        self._matter: Matter = open_matter(str(path))
        if self._matter.contract.plate is not None and not plate:
            raise UsageError(
                "the teacher sees the empty scene and the student does not",
                remedy="Teach cutout-plate with it, or name another teacher.",
                teacher=str(path),
            )

    def mattes(self, frames: NDArray[np.uint8], plates: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Mattes float32[N, H, W] of frames uint8[N, H, W, 3], at the frames' size.

        Raises:
            BadInputError: the teacher gives NaN or infinity, which would look like training gone wrong.
            ContractError: it does not run as its contract says.
        """
        height, width = frames.shape[1:3]
        found = [self._matter.matte(frame, plate) for frame, plate in zip(frames, plates, strict=True)]
        if not all(np.isfinite(matte).all() for matte in found):
            raise BadInputError("the teacher gives NaN or infinity", remedy="Name another.", teacher=self._matter.name)
        return np.stack([cv2.resize(m, (width, height), interpolation=cv2.INTER_LINEAR) for m in found])
