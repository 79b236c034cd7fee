"""From a path to an `ImportedModel`: the parent's side of the import."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from cutline.engine.sandbox import Limits, run_in_child

__all__ = ["IMPORT_LIMITS", "ImportedModel", "import_model"]

IMPORT_LIMITS = Limits(seconds=20.0, memory=2_000_000_000)


class ImportedModel(msgspec.Struct, frozen=True, kw_only=True):
    """A checked model. `frozen` is what came, with fixed shapes; `clean` is equal to it, folded, opset 19, float32."""

    name: str
    frozen: bytes
    clean: bytes
    lines: tuple[str, ...]
    external: bool = False  # whether weights came from other files

    @property
    def digest(self) -> str:
        """SHA-256 of the clean model, in hexadecimal."""
        return hashlib.sha256(self.clean).hexdigest()


def import_model(
    path: Path,
    *,
    shapes: Mapping[str, Sequence[int]] | None = None,
    ratio: float | None = None,
    limits: Limits = IMPORT_LIMITS,
) -> ImportedModel:
    """Read one model from disk in a child process of 20 s and 2 GB; this process parses nothing of it.

    Args:
        path: the .onnx file; external weights must lie in its folder.
        shapes: fixed shapes by input name, for inputs that are open.
        ratio: RobustVideoMatting's downsample_ratio in 0..1, None for the authors' rule.
    Raises:
        NoInputError: no such file.
        BadInputError: not a usable model, or one that outgrew its limits.
        UsageError: `shapes` does not fit.
    """
    with tempfile.TemporaryDirectory(prefix="cutline-import-") as folder:
        request = {
            "path": str(path.absolute()),
            "shapes": {name: list(shape) for name, shape in (shapes or {}).items()},
            "ratio": ratio,
            "folder": folder,
        }
        result = run_in_child("import", request, limits=limits)
        return ImportedModel(
            name=path.stem,
            frozen=(Path(folder) / "frozen.onnx").read_bytes(),
            clean=(Path(folder) / "clean.onnx").read_bytes(),
            lines=tuple(result["lines"]),
            external=result["external"],
        )
