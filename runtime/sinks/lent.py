"""Composites that lie on the GPU, lent to FFmpeg's encoder where they are, by DLPack.

Source: DLPack 0.8, dlpack.h: DLManagedTensor; PyAV 18.1: VideoFrame.from_dlpack, CudaContext.
"""

from __future__ import annotations

import ctypes
from typing import Any, Final, final

import av
from av.codec.hwaccel import HWAccel

from cutline.runtime.frame import FrameFormat, OnGpu, Surface

__all__ = ["Lender", "why_not_lent"]

CUDA, UNSIGNED = 2, 1  # kDLCUDA, kDLUInt
_NAME: Final = b"dltensor"
_Deleter: Final = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_KEEP: Final = _Deleter(lambda tensor: None)  # what is lent is the slot's; nobody frees it


class _Tensor(ctypes.Structure):
    """DLManagedTensor."""

    _fields_ = (
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
        ("manager", ctypes.c_void_p),
        ("deleter", _Deleter),
    )


_TENSORS: Final[dict[tuple[int, ...], _Tensor]] = {}  # for good: FFmpeg looks at them when it lets go of a frame


def why_not_lent(frame: FrameFormat) -> str:
    """Why composites of this format cannot be encoded where they lie; empty: they can."""
    if not hasattr(av.VideoFrame, "sw_format"):
        return f"PyAV {av.__version__} is too old for it"
    if frame.width % 2 or frame.height % 2:
        return f"the size {frame.width}x{frame.height} is odd"
    return ""


@final
class Lender:
    """Makes FFmpeg's frames of composites on one GPU. Borrows the context that its program's streams run in."""

    def __init__(self, gpu: OnGpu, frame: FrameFormat) -> None:
        from av.video.frame import CudaContext  # PyAV 18.1

        self._gpu, self._frame = gpu, frame
        self._context = CudaContext(device_id=gpu.ordinal, primary_ctx=False, current_ctx=True)
        self._capsule: Any = ctypes.pythonapi.PyCapsule_New
        self._capsule.restype = ctypes.py_object
        self._capsule.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]

    def encoding(self) -> HWAccel:
        """Settings of an encoder that takes these frames; the context is current in the calling thread now."""
        self._gpu.attach()
        return HWAccel("cuda", str(self._gpu.ordinal), options={"current_ctx": "1"})

    def lend(self, surface: Surface) -> av.VideoFrame:
        """Make a frame of a composite; it may be read until the composite's slot goes back."""
        self._gpu.attach()
        width, height = self._frame.width, self._frame.height
        planes = [
            self._capsule(ctypes.addressof(_tensor(at, rows, width, surface.pitch, self._gpu.ordinal)), _NAME, None)
            for at, rows in ((surface.luma, height), (surface.chroma, height // 2))
        ]
        return av.VideoFrame.from_dlpack(
            planes, "nv12", width, height, device_id=self._gpu.ordinal, cuda_context=self._context,
            primary_ctx=False, current_ctx=True,
        )  # fmt: skip


def _tensor(address: int, rows: int, columns: int, pitch: int, ordinal: int) -> _Tensor:
    """Describe a plane; a slot's are always the same few."""
    known = (address, rows, columns, pitch, ordinal)
    if known not in _TENSORS:
        shape, strides = (ctypes.c_int64 * 2)(rows, columns), (ctypes.c_int64 * 2)(pitch, 1)
        _TENSORS[known] = _Tensor(
            data=address, device_type=CUDA, device_id=ordinal, ndim=2, code=UNSIGNED, bits=8, lanes=1,
            shape=shape, strides=strides, deleter=_KEEP,
        )  # fmt: skip
    return _TENSORS[known]
