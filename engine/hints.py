"""`model.toml`: what a model's owner states about it where the graph cannot tell."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Literal

import msgspec

from cutline.runtime.errors import ContractError, StorageError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

__all__ = ["RANGES", "Hints", "ImageHint", "OutputHint", "StateHint", "find_hints", "read_hints"]

Three = tuple[float, float, float]

RANGES: dict[str, tuple[Three, Three]] = {  # name -> (mean, std), both in 0..1
    "0..1": ((0.0, 0.0, 0.0), (1.0, 1.0, 1.0)),
    "-1..1": ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
    "-0.5..0.5": ((0.5, 0.5, 0.5), (1.0, 1.0, 1.0)),
    "0..255": ((0.0, 0.0, 0.0), (1 / 255, 1 / 255, 1 / 255)),
    "imagenet": ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)),
}


class ImageHint(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One picture input. Either `range` or `mean` and `std`, in 0..1 per channel in R, G, B order."""

    tensor: str | None = None
    layout: Literal["NCHW", "NHWC"] | None = None
    order: Literal["RGB", "BGR"] | None = None
    range: str | None = None
    mean: Three | None = None
    std: Three | None = None

    def scaling(self) -> tuple[Three, Three] | None:
        """(mean, std) when stated."""
        if self.mean is not None or self.std is not None:
            if self.range is not None or self.mean is None or self.std is None:
                raise ContractError(
                    "model.toml states the input range by halves", remedy="Give `range`, or both `mean` and `std`."
                )
            return self.mean, self.std
        if self.range is None:
            return None
        if self.range not in RANGES:
            raise ContractError(
                "model.toml names an unknown range", remedy=f"Use one of {', '.join(RANGES)}.", range=self.range
            )
        return RANGES[self.range]


class OutputHint(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One output that is to be read, and its meaning."""

    tensor: str
    meaning: Literal["alpha", "logits", "classes", "foreground", "picture"] | None = None
    layout: Literal["NCHW", "NHWC"] | None = None
    foreground_channels: tuple[int, ...] | None = None
    softmax: bool | None = None


class StateHint(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One recurrent pair."""

    input: str
    output: str


class Hints(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All of `model.toml`. Everything is optional; what is not stated is detected."""

    task: Literal["matte", "style"] | None = None
    licence: str | None = None
    frame: ImageHint = ImageHint()
    plate: ImageHint | None = None
    outputs: tuple[OutputHint, ...] = ()
    states: tuple[StateHint, ...] | None = None
    strength: str | None = None
    shapes: dict[str, tuple[int, ...]] = {}
    downsample_ratio: float | None = None


def find_hints(model: Path) -> Path | None:
    """Beside NAME.onnx: `NAME.contract.json` (a whole contract), else `NAME.toml`, else `model.toml`, else None."""
    names = (f"{model.stem}.contract.json", f"{model.stem}.toml", "model.toml")
    return next((path for path in map(model.with_name, names) if path.is_file()), None)


def read_hints(path: Path) -> Hints:
    """Read one model.toml.

    Raises:
        StorageError: it cannot be read.
        ContractError: it is not TOML, or a field is unknown or of the wrong type.
    """
    try:
        return msgspec.convert(tomllib.loads(path.read_text("utf-8")), Hints, strict=False)
    except OSError as error:
        raise StorageError(f"{path.name} cannot be read: {error.strerror}", remedy="Check its permissions.") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, msgspec.ValidationError) as error:
        raise ContractError(f"{path.name} cannot be used: {error}", remedy="Correct that field.") from error
