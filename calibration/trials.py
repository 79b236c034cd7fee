"""How far a typed network's mattes are from the original's, measured once per variant and remembered on disk."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import final

import msgspec
import numpy as np
import onnx
from numpy.typing import NDArray

from cutline.calibration.results import iou_loss
from cutline.calibration.runner import Runner
from cutline.runtime.errors import BadInputError, InternalError, StorageError, UsageError

__all__ = ["Limits", "MatteError", "Trials", "matte_error"]

F32 = NDArray[np.float32]
Make = Callable[[], onnx.ModelProto]


class MatteError(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Distance of a set of mattes from the reference, opacity in 0..1."""

    mad: float  # mean absolute difference over all frames
    worst_mad: float  # of the worst frame
    worst_frame: int  # its place in the set
    iou_loss: float  # 1 - intersection over union of the solid parts, over all frames; 0 with too little of them


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """What a variant may differ by, in the units of MatteError. What is not given is not judged."""

    mad: float
    worst_mad: float = math.inf
    iou_loss: float = math.inf

    def __post_init__(self) -> None:
        if not min(self.mad, self.worst_mad, self.iou_loss) >= 0:
            raise UsageError("the budget must not be negative", remedy="Give a number such as 0.003.", budget=self.mad)

    def admit(self, error: MatteError) -> bool:
        """Whether that is near enough."""
        return error.mad <= self.mad and error.worst_mad <= self.worst_mad and error.iou_loss <= self.iou_loss


def matte_error(results: Sequence[F32], reference: Sequence[F32]) -> MatteError:
    """Compare frame by frame. Where either side is not a number, all of it is as far off as can be.

    Raises:
        InternalError: the sets differ in length or shape, or are empty.
    """
    if not results or [a.shape for a in results] != [b.shape for b in reference]:
        raise InternalError("results do not match their reference", remedy="Report this model.")
    pairs = list(zip(results, reference, strict=True))
    if bad := [i for i, pair in enumerate(pairs) if not all(np.isfinite(side).all() for side in pair)]:
        return MatteError(mad=1.0, worst_mad=1.0, worst_frame=bad[0], iou_loss=1.0)
    mads = [float(np.abs(a - b).mean(dtype=np.float64)) for a, b in pairs]
    worst = int(np.argmax(mads))
    return MatteError(
        mad=float(np.mean(mads)),
        worst_mad=mads[worst],
        worst_frame=worst,
        iou_loss=iou_loss(results, reference) or 0.0,
    )


class _State(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    key: str
    errors: dict[str, MatteError]


@final
class Trials:
    """Owns the results measured so far, in memory and in the file at `path`, so that a search can go on after a kill.

    Args:
        model: the float32 original.
        run: gives every evaluation frame's result for a model.
        key: names all that decides the results: model, table, policy, method, frames, and what runs them.
        path: of the state file; a file with another key is begun anew. None keeps results in memory only.
    Raises:
        BadInputError: the file is there and is not a state file.
    """

    def __init__(self, model: onnx.ModelProto, run: Runner, *, key: str = "", path: Path | None = None) -> None:
        self._model, self._run, self._path = model, run, path
        self._state = _State(key=key, errors={})
        self._references: dict[str, list[F32]] = {}
        self.measured = 0  # variants really run
        if path is not None and path.exists():
            found = _load(path)
            if found.key == key:
                self._state = found

    def measure(self, name: str, make: Make, *, base: tuple[str, Make] | None = None) -> MatteError:
        """The error of one variant, from memory if it was measured before.

        Args:
            name: tells variants apart under one key.
            make: builds the variant; called only when it must be run.
            base: name and maker of what it is compared with; None for the original.
        Raises:
            StorageError: the state file cannot be written.
        """
        against, make_base = base or ("", lambda: self._model)
        digest = hashlib.sha256((f"{name};against {against}" if base else name).encode()).hexdigest()[:24]
        if digest not in self._state.errors:
            results = self._run(make())
            if against not in self._references:
                self._references[against] = self._run(make_base())
            self._state.errors[digest] = matte_error(results, self._references[against])
            self.measured += 1
            self._save()
        return self._state.errors[digest]

    def _save(self) -> None:
        if self._path is None:
            return
        part = self._path.with_name(self._path.name + ".part")
        try:
            part.write_bytes(msgspec.json.encode(self._state))
            part.replace(self._path)
        except OSError as error:
            raise StorageError(
                "the search's state cannot be written",
                remedy="Free space or choose another folder.",
                path=str(self._path),
            ) from error


def _load(path: Path) -> _State:
    try:
        return msgspec.json.decode(path.read_bytes(), type=_State)
    except (msgspec.DecodeError, OSError) as error:
        raise BadInputError(
            "the search's state file cannot be read", remedy="Delete it to begin anew.", path=str(path)
        ) from error
