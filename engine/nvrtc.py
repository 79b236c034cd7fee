"""NVIDIA's run-time compiler, by its C interface: CUDA source in, cubin out, with no GPU and no driver.

The library is loaded by path, so that several major releases can be installed side by side: a cubin runs on drivers of
the compiler's own major release and of newer ones.
"""

from __future__ import annotations

import ctypes
import importlib.util
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, final

from cutline.runtime.errors import DeviceError, InternalError

__all__ = ["Compiled", "Nvrtc", "find_compilers"]

WHEELS = ("cuda_nvrtc/lib", "cu13/lib")  # under site-packages/nvidia: of CUDA 12, of CUDA 13
SYSTEM = (Path("/usr/local/cuda/lib64"), Path("/usr/local/cuda/targets/aarch64-linux/lib"))  # as on Jetson
LIBRARY = re.compile(r"libnvrtc\.so\.\d+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiled:
    """A cubin and what the compiler said while it made it."""

    image: bytes
    log: str


@final
class Nvrtc:
    """One release of the compiler. Owns nothing: the library stays loaded."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._library = ctypes.CDLL(str(path))
        self._library.nvrtcGetErrorString.restype = ctypes.c_char_p
        major, minor = ctypes.c_int(), ctypes.c_int()
        self._check(self._library.nvrtcVersion(ctypes.byref(major), ctypes.byref(minor)))
        self.version = (major.value, minor.value)
        count = ctypes.c_int()
        self._check(self._library.nvrtcGetNumSupportedArchs(ctypes.byref(count)))
        numbers = (ctypes.c_int * count.value)()
        self._check(self._library.nvrtcGetSupportedArchs(numbers))
        self.devices = tuple(f"sm{number}" for number in numbers)

    def __str__(self) -> str:
        return f"NVRTC {self.version[0]}.{self.version[1]}"

    def compile(self, main: str, sources: Mapping[str, bytes], device: str, options: Sequence[str]) -> Compiled:
        """Compile `main`, which may include the others by name.

        Raises:
            InternalError: the source does not compile; the first line of what the compiler said is in the message.
        """
        headers = {name: text for name, text in sources.items() if name != main}
        strings = ctypes.c_char_p * len(headers)
        program = ctypes.c_void_p()
        self._check(
            self._library.nvrtcCreateProgram(
                ctypes.byref(program),
                sources[main],
                main.encode(),
                len(headers),
                strings(*headers.values()),
                strings(*(name.encode() for name in headers)),
            )
        )
        try:
            flags = [f"--gpu-architecture=sm_{device.removeprefix('sm')}", *options]
            array = (ctypes.c_char_p * len(flags))(*(flag.encode() for flag in flags))
            status = self._library.nvrtcCompileProgram(program, len(flags), array)
            log = self._text(program, "ProgramLog").decode(errors="replace")
            if status:
                said = next((line for line in log.splitlines() if "error" in line), self._reason(status))
                raise InternalError(
                    f"the CUDA kernels do not compile for {device}: {said.strip()}",
                    remedy="Report it, with the compiler's version.",
                    compiler=str(self),
                )
            return Compiled(image=self._text(program, "CUBIN"), log=log)
        finally:
            self._library.nvrtcDestroyProgram(ctypes.byref(program))

    def _text(self, program: Any, what: str) -> bytes:
        size = ctypes.c_size_t()
        self._check(getattr(self._library, f"nvrtcGet{what}Size")(program, ctypes.byref(size)))
        buffer = ctypes.create_string_buffer(size.value)
        self._check(getattr(self._library, f"nvrtcGet{what}")(program, buffer))
        return buffer.raw.rstrip(b"\0") if what == "ProgramLog" else buffer.raw

    def _reason(self, status: int) -> str:
        return str(self._library.nvrtcGetErrorString(status).decode())

    def _check(self, status: int) -> None:
        if status:
            raise DeviceError(
                f"NVRTC failed: {self._reason(status)}",
                remedy="Install nvidia-cuda-nvrtc anew.",
                library=str(self.path),
            )


def find_compilers() -> list[Nvrtc]:
    """Every release of NVRTC on this machine, the oldest first."""
    found: dict[tuple[int, int], Nvrtc] = {}
    for folder in _folders():
        for path in sorted(folder.glob("libnvrtc.so.*")):
            if LIBRARY.fullmatch(path.name) is None:  # links to minor releases, and the variant for old hosts
                continue
            try:
                compiler = Nvrtc(path)
            except OSError:  # of another processor, or without its companions
                continue
            found.setdefault(compiler.version, compiler)
    return [found[version] for version in sorted(found)]


def _folders() -> list[Path]:
    spec = importlib.util.find_spec("nvidia")
    roots = list(spec.submodule_search_locations or []) if spec is not None else []
    wheels = [Path(root) / folder for root in roots for folder in WHEELS]
    return [folder for folder in (*wheels, *SYSTEM) if folder.is_dir()]
