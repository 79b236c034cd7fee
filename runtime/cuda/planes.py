"""Pictures that lie where the GPU can address them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cutline.runtime.cuda import params
from cutline.runtime.errors import ContractError, UsageError
from cutline.runtime.frame import FrameFormat
from cutline.runtime.kernels.post import KINDS, BackgroundKind

__all__ = ["Behind", "DevicePlanes", "is_wide", "picture"]

WIDE_LUMA, WIDE_CHROMA = 1, 2  # as in cuda_plan.cuh
ACCESS: Final = 16  # bytes that a thread moves at once


@dataclass(frozen=True, slots=True, kw_only=True)
class DevicePlanes:
    """Borrows one 4:2:0 picture that the GPU can address: I420, or NV12 (`interleaved`: v is u + 1).

    Pitches are in bytes. Rows are pitch bytes long, the last one too: where address and pitch are multiples of 16, rows
    are read 16 bytes at a time. What lies beyond a row's samples is never written.
    """

    y: int
    u: int
    v: int
    luma_pitch: int
    chroma_pitch: int
    interleaved: bool = False

    def __post_init__(self) -> None:
        if self.interleaved and self.v != self.u + 1:
            raise ContractError("NV12 has each Cr beside its Cb", remedy="Give v as u + 1.", u=self.u, v=self.v)


@dataclass(frozen=True, slots=True, kw_only=True)
class Behind:
    """What lies behind the product, on the GPU. The fields are those of runtime.kernels.Background."""

    kind: BackgroundKind
    colour: tuple[int, int, int] = (16, 128, 128)  # Y, Cb, Cr codes
    planes: DevicePlanes | None = None
    radius: float = 12.0  # frame pixels, one sigma

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise UsageError("unknown kind of background", remedy=f"Use one of {', '.join(KINDS)}.", kind=self.kind)
        if self.kind == "picture" and self.planes is None:
            raise UsageError("a picture background needs planes", remedy="Give planes of the frame's size.")


def is_wide(address: int, pitch: int) -> bool:
    """Whether a plane's rows can be accessed by 16 bytes."""
    return address % ACCESS == 0 and pitch % ACCESS == 0


def picture(planes: DevicePlanes | None, frame: FrameFormat) -> params.Picture:
    """The planes as kernels take them; all zero for None.

    Raises:
        ContractError: a pitch is smaller than a row.
    """
    if planes is None:
        return params.Picture()
    row = frame.chroma_width * (2 if planes.interleaved else 1)
    if planes.luma_pitch < frame.width or planes.chroma_pitch < row:
        raise ContractError(
            "a pitch is smaller than a row",
            remedy="Give pitches in bytes.",
            luma=(planes.luma_pitch, frame.width),
            chroma=(planes.chroma_pitch, row),
        )
    chroma = is_wide(planes.u, planes.chroma_pitch) and (planes.interleaved or is_wide(planes.v, planes.chroma_pitch))
    return params.Picture(
        y=planes.y,
        u=planes.u,
        v=planes.v,
        luma_pitch=planes.luma_pitch,
        chroma_pitch=planes.chroma_pitch,
        interleaved=int(planes.interleaved),
        wide=(WIDE_LUMA if is_wide(planes.y, planes.luma_pitch) else 0) | (WIDE_CHROMA if chroma else 0),
    )
