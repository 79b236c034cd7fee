"""Pictures that lie where the GPU can address them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from cutline.runtime.cuda import params
from cutline.runtime.errors import ContractError, UsageError
from cutline.runtime.frame import FrameFormat
from cutline.runtime.kernels.post import KINDS, BackgroundKind

__all__ = ["NV12_PITCH", "Behind", "DevicePlanes", "demand_rows", "nv12_at", "picture"]

ACCESS: Final = 16  # bytes that a thread moves at once
NV12_PITCH: Final = 256  # bytes that rows of our own NV12 are rounded up to: both planes are then well aligned


@dataclass(frozen=True, slots=True, kw_only=True)
class DevicePlanes:
    """Borrows one 4:2:0 picture that the GPU can address: I420, or NV12 (`interleaved`: v is u + 1).

    Addresses and pitches (in bytes) are multiples of 16, and rows are pitch bytes long, the last one too: they are read
    and written 16 bytes at a time, the padding up to the next multiple of 16 included.
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


def nv12_at(address: int, pitch: int, rows: int) -> DevicePlanes:
    """NV12 in one block, as encoders take it: chroma right behind `rows` of luma, with the same pitch."""
    chroma = address + pitch * rows
    return DevicePlanes(y=address, u=chroma, v=chroma + 1, luma_pitch=pitch, chroma_pitch=pitch, interleaved=True)


def demand_rows(what: str, address: int, pitch: int, row: int) -> None:
    """Refuse a plane whose rows of `row` bytes the kernels cannot read.

    Raises:
        ContractError: it is misaligned, or its pitch is smaller than a row.
    """
    if pitch < row:
        raise ContractError(
            "a pitch is smaller than a row", remedy="Give it in bytes.", plane=what, pitch=pitch, row=row
        )
    if address % ACCESS or pitch % ACCESS:
        raise ContractError(
            "a plane in GPU memory is misaligned",
            remedy=f"Start every row at a multiple of {ACCESS} bytes.",
            plane=what,
            address=hex(address),
            pitch=pitch,
        )


def picture(planes: DevicePlanes | None, frame: FrameFormat) -> params.Picture:
    """The planes as kernels take them; all zero for None.

    Raises:
        ContractError: rows are not as DevicePlanes says.
    """
    if planes is None:
        return params.Picture()
    demand_rows("Y", planes.y, planes.luma_pitch, frame.width)
    demand_rows("Cb", planes.u, planes.chroma_pitch, frame.chroma_width * (2 if planes.interleaved else 1))
    if not planes.interleaved:
        demand_rows("Cr", planes.v, planes.chroma_pitch, frame.chroma_width)
    return params.Picture(
        y=planes.y,
        u=planes.u,
        v=planes.v,
        luma_pitch=planes.luma_pitch,
        chroma_pitch=planes.chroma_pitch,
        interleaved=int(planes.interleaved),
    )
