"""What `--target` and `--precision` may say."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, cast, get_args

from cutline.runtime.errors import UsageError

__all__ = [
    "CUDA_DEVICES",
    "RTX_DEVICES",
    "BuildTarget",
    "Ground",
    "Kind",
    "Precision",
    "Wanted",
    "parse_precision",
    "parse_targets",
]

Kind = Literal["openvino", "tensorrt", "tensorrt-rtx", "cuda"]
Precision = Literal["fp32", "bf16", "fp16", "int8"]
Ground = Literal["cpu", "gpu"]
Wanted = Literal["fp32", "fp16", "int8", "auto"]

RTX_DEVICES = ("sm75", "sm80", "sm86", "sm89", "sm120", "sm121")  # tensorrt_rtx.ComputeCapability, release 1.7
# Orin is sm87, Thor sm110
CUDA_DEVICES = ("sm75", "sm80", "sm86", "sm87", "sm89", "sm90", "sm100", "sm110", "sm120", "sm121")


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildTarget:
    """One engine to be built, or the CUDA kernels alone (`cuda`), which come with every TensorRT engine anyway.

    `device` is a compute capability such as sm89; None is whatever this machine has.
    """

    kind: Kind
    device: str | None = None

    @property
    def ground(self) -> Ground:
        """Where its arithmetic is proven: on this CPU itself, or with the roundings of a GPU."""
        return "cpu" if self.kind == "openvino" else "gpu"

    def __str__(self) -> str:
        return f"{self.kind}:{self.device}" if self.device else self.kind


def parse_targets(text: str) -> tuple[BuildTarget, ...]:
    """Read `openvino`, `tensorrt`, `tensorrt-rtx:sm86,sm89,cuda:sm87`: capabilities belong to the target before them.

    Raises:
        UsageError: an unknown target or device, a device where none belongs, or none where one is needed.
    """
    found: list[BuildTarget] = []
    open_kind = ""
    for word in (w.strip().lower() for w in text.split(",")):
        kind, colon, device = word.partition(":")
        if not colon and open_kind and re.fullmatch(r"sm\d+", kind):
            kind, device, colon = open_kind, kind, ":"
        open_kind = kind if kind in ("tensorrt-rtx", "cuda") else ""
        if kind in ("openvino", "tensorrt") and not colon:
            found.append(BuildTarget(kind="openvino" if kind == "openvino" else "tensorrt"))
        elif kind == "tensorrt-rtx":
            found.append(BuildTarget(kind="tensorrt-rtx", device=_rtx_device(device)))
        elif kind == "cuda":
            found.append(BuildTarget(kind="cuda", device=_cuda_device(device)))
        else:
            remedy = "Use openvino, tensorrt, tensorrt-rtx:sm86,sm89 or cuda:sm87."
            raise UsageError("unknown target", remedy=remedy, target=word or text)
    return tuple(dict.fromkeys(found))


def _rtx_device(device: str) -> str:
    if device not in RTX_DEVICES:
        raise UsageError(
            "TensorRT for RTX needs a compute capability that it builds for",
            remedy=f"Use one of {', '.join(RTX_DEVICES)}, as in tensorrt-rtx:sm89.",
            device=device or None,
        )
    return device


def _cuda_device(device: str) -> str:
    if device not in CUDA_DEVICES:
        raise UsageError(
            "the CUDA kernels need a compute capability that they are made for",
            remedy=f"Use one of {', '.join(CUDA_DEVICES)}, as in cuda:sm87.",
            device=device or None,
        )
    return device


def parse_precision(text: str) -> Wanted:
    """Read `--precision`.

    Raises:
        UsageError: none of fp32, fp16, int8, auto.
    """
    if text not in get_args(Wanted):
        raise UsageError("unknown precision", remedy="Use fp32, fp16, int8 or auto.", precision=text)
    return cast(Wanted, text)
