"""How far a typed network's mattes are from the original's, measured once per variant and remembered on disk."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import final

import msgspec
import numpy as np
import onnx
from numpy.typing import NDArray

from cutline.calibration.runner import Runner
from cutline.runtime.errors import BadInputError, InternalError, StorageError

__all__ = ["MatteError", "Trials", "matte_error"]

F32 = NDArray[np.float32]
Make = Callable[[], onnx.ModelProto]


class MatteError(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Distance of a set of mattes from the reference, opacity in 0..1."""

    mad: float  # mean absolute difference over all frames
    worst_mad: float  # of the worst frame
    worst_frame: int  # its place in the set
    iou_loss: float  # 1 - intersection over union of alpha > 0.5, over all frames together; 0 where nothing is solid


def matte_error(results: Sequence[F32], reference: Sequence[F32]) -> MatteError:
    """Compare frame by frame.

    Raises:
        InternalError: the sets differ in length or shape, or are empty.
        BadInputError: a result holds NaN or infinity.
    """
    if not results or [a.shape for a in results] != [b.shape for b in reference]:
        raise InternalError("results do not match their reference", remedy="Report this model.")
    if bad := [i for i, a in enumerate(results) if not np.isfinite(a).all()]:
        raise BadInputError(
            "the typed network produced values that are not numbers",
            remedy="Keep more layers in float.",
            frame=bad[0],
        )
    mads = [float(np.abs(a - b).mean(dtype=np.float64)) for a, b in zip(results, reference, strict=True)]
    worst = int(np.argmax(mads))
    solid = [(a > 0.5, b > 0.5) for a, b in zip(results, reference, strict=True)]
    union = sum(int(np.count_nonzero(a | b)) for a, b in solid)
    shared = sum(int(np.count_nonzero(a & b)) for a, b in solid)
    iou_loss = 1.0 - shared / union if union else 0.0
    return MatteError(mad=float(np.mean(mads)), worst_mad=mads[worst], worst_frame=worst, iou_loss=iou_loss)


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
