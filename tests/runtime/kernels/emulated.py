"""CUDA kernels on the host: the grid emulator, and memory beside which nothing can be touched."""

from __future__ import annotations

import ctypes
import mmap
import subprocess
from pathlib import Path
from typing import Any, final

import numpy as np
from numpy.typing import NDArray

from cutline.runtime.cuda.launches import DevicePlanes, Launch
from cutline.runtime.frame import FrameFormat, Planes

FOLDER = Path(__file__).parent / "emulator"
KERNELS = Path(__file__).parents[3] / "runtime/kernels"
FLAGS = (
    "-std=c++17",
    "-O1",
    "-fPIC",
    "-shared",
    "-Wall",
    "-Wextra",
    "-Wno-clobbered",
    "-Wno-unknown-pragmas",
    "-U_FORTIFY_SOURCE",
)
CHECKS = ("-fsanitize=undefined", "-fsanitize-undefined-trap-on-error")  # alignment and array bounds stop a launch
PAGE = mmap.PAGESIZE
U8 = NDArray[np.uint8]


def compile_emulator(folder: Path) -> Path:
    """Compile the kernels and the emulator into a library in `folder`."""
    library = folder / "grid.so"
    command = ["g++", *FLAGS, *CHECKS, f"-I{KERNELS}", str(FOLDER / "grid.cpp"), "-o", str(library)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr, done.stderr
    return library


@final
class Emulator:
    """Runs launches in order; `backwards` lets the threads of a block run in the opposite order."""

    def __init__(self, library: Path) -> None:
        self._library = ctypes.CDLL(str(library))
        self._library.launch.restype = ctypes.c_char_p
        self._library.kernel_names.restype = ctypes.c_char_p
        self.backwards = False

    @property
    def kernels(self) -> set[str]:
        """Names of all kernels."""
        return set(self._library.kernel_names().decode().split())

    def run(self, launches: tuple[Launch, ...]) -> None:
        """Run launches; a fault in one fails the test."""
        for launch in launches:
            three = ctypes.c_uint * 3
            fault = self._library.launch(
                launch.kernel.encode(),
                three(*launch.grid),
                three(*launch.block),
                launch.params,
                ctypes.c_size_t(len(launch.params)),
                int(self.backwards),
            )
            assert fault is None, fault.decode()


_libc = ctypes.CDLL(None, use_errno=True)
_libc.mmap.restype = ctypes.c_void_p
_libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, *[ctypes.c_int] * 3, ctypes.c_long]
_libc.mprotect.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int]
_libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]


@final
class Guarded:
    """Owns bytes with a page before and after them that nobody may touch; they end (or begin) right at that page."""

    def __init__(self, nbytes: int, *, at_end: bool = True, fill: int = 0xFF, align: int = 1) -> None:
        pages = -(-nbytes // PAGE)
        self._length = (pages + 2) * PAGE
        base = _libc.mmap(
            None, self._length, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0
        )
        assert base not in (None, ctypes.c_void_p(-1).value)
        self._base = base
        assert _libc.mprotect(base, PAGE, 0) == 0
        assert _libc.mprotect(base + (pages + 1) * PAGE, PAGE, 0) == 0
        inside = (ctypes.c_uint8 * (pages * PAGE)).from_address(base + PAGE)
        start = (pages * PAGE - nbytes) // align * align if at_end else 0
        whole = np.frombuffer(inside, np.uint8)
        whole[:] = fill
        self.bytes: U8 = whole[start : start + nbytes]
        self.address = base + PAGE + start

    def view(self, dtype: Any, shape: tuple[int, ...]) -> NDArray[Any]:
        """The first bytes as an array."""
        count = int(np.prod(shape)) * np.dtype(dtype).itemsize
        return self.bytes[:count].view(dtype).reshape(shape)

    def __del__(self) -> None:
        _libc.munmap(self._base, self._length)


def uploaded(array: NDArray[Any]) -> Guarded:
    """A copy of an array in guarded memory."""
    memory = Guarded(array.nbytes, align=array.dtype.itemsize)
    memory.bytes[:] = np.ascontiguousarray(array).reshape(-1).view(np.uint8)
    return memory


FILLER = 77


def rounded(count: int) -> int:
    """Up to the next multiple of what the kernels move at once."""
    return (count + 15) // 16 * 16


@final
class Surface:
    """A picture in guarded memory, I420 or NV12, its pitches drawn at random."""

    def __init__(self, form: FrameFormat, rng: np.random.Generator, *, interleaved: bool) -> None:
        self._memory: list[tuple[Guarded, U8, U8]] = []
        pitch = rounded(form.width) + 16 * int(rng.integers(3))
        y = self._plane(form.width, form.height, pitch, rng)
        columns = form.chroma_width * (2 if interleaved else 1)
        chroma_pitch = rounded(columns) + 16 * int(rng.integers(3))
        first = self._plane(columns, form.chroma_height, chroma_pitch, rng)
        second = first if interleaved else self._plane(columns, form.chroma_height, chroma_pitch, rng)
        self.planes = Planes(y, first[:, 0::2], first[:, 1::2]) if interleaved else Planes(y, first, second)
        at = [memory.address for memory, _, _ in self._memory]
        self.device = DevicePlanes(
            y=at[0],
            u=at[1],
            v=at[1] + 1 if interleaved else at[2],
            luma_pitch=pitch,
            chroma_pitch=chroma_pitch,
            interleaved=interleaved,
        )

    def _plane(self, columns: int, rows: int, pitch: int, rng: np.random.Generator) -> U8:
        memory = Guarded(pitch * rows, at_end=bool(rng.integers(2)), fill=FILLER)
        whole = memory.bytes.reshape(rows, pitch)
        self._memory.append((memory, whole[:, :columns], whole[:, rounded(columns) :]))
        return self._memory[-1][1]

    @property
    def arrays(self) -> tuple[U8, U8, U8]:
        return self.planes.y, self.planes.u, self.planes.v

    def draw(self, planes: Planes) -> None:
        """Take over a picture."""
        for mine, theirs in zip(self.arrays, (planes.y, planes.u, planes.v), strict=True):
            mine[:] = theirs

    def intact(self) -> bool:
        """Whether nothing was written behind the rows, up to the pitch."""
        return all((beside == FILLER).all() for _, _, beside in self._memory)
