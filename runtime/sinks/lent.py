"""Composites that lie on the GPU, lent to FFmpeg's encoder where they are, by DLPack.

Source: DLPack 0.8, dlpack.h: DLManagedTensor; PyAV 18.1: VideoFrame.from_dlpack, CudaContext.
"""

from __future__ import annotations

import ctypes
from typing import Final, final

import av

from cutline.runtime.errors import InternalError
from cutline.runtime.frame import Frame, FrameFormat, OnGpu

__all__ = ["Lender", "why_not_lent"]

CUDA, UNSIGNED = 2, 1  # kDLCUDA, kDLUInt
_NAME: Final = b"dltensor"
_new_capsule: Final = ctypes.PYFUNCTYPE(ctypes.py_object, ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p)(
    ("PyCapsule_New", ctypes.pythonapi)
)
# FFmpeg calls it from any thread and at any time when it lets go of a frame. What is lent is the slot's, and nobody
# frees it: so this is a function in C that only answers a question.
_KEEP: Final = ctypes.cast(ctypes.pythonapi.Py_IsInitialized, ctypes.c_void_p)


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
        ("deleter", ctypes.c_void_p),
    )


# for good, some hundred bytes a slot: FFmpeg looks at them when it lets go of a frame
_TENSORS: Final[dict[tuple[int, ...], _Tensor]] = {}


def why_not_lent() -> str:
    """Why composites cannot be encoded where they lie; empty: they can."""
    return "" if hasattr(av.VideoFrame, "sw_format") else f"PyAV {av.__version__} is too old for it"


@final
class Lender:
    """Makes FFmpeg's frames of composites on one GPU. Borrows the context that its program's streams run in."""

    def __init__(self, gpu: OnGpu, frame: FrameFormat) -> None:
        from av.video.frame import CudaContext  # PyAV 18.1

        self._gpu, self._frame = gpu, frame
        # not the primary context: FFmpeg refuses that where it was made with other flags than its own
        self._context = CudaContext(device_id=gpu.ordinal, primary_ctx=False, current_ctx=True)

    def lend(self, frame: Frame) -> av.VideoFrame:
        """Make a frame of a composite; it may be read until the composite's slot goes back.

        Raises:
            InternalError: the composite is not on the GPU.
        """
        if frame.surface is None:
            raise InternalError("a frame did not stay on the GPU", remedy="Report this.", index=frame.index)
        self._gpu.attach()
        (luma, chroma, pitch), ordinal = frame.surface, self._gpu.ordinal
        width, height = self._frame.width, self._frame.height
        tensors = _tensor(luma, height, width, pitch, ordinal), _tensor(chroma, height // 2, width, pitch, ordinal)
        planes = [_new_capsule(ctypes.addressof(tensor), _NAME, None) for tensor in tensors]
        return av.VideoFrame.from_dlpack(
            planes, "nv12", width, height, device_id=ordinal, cuda_context=self._context,
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
