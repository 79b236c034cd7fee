"""The CUDA kernels compile for every GPU with no GPU here, and what they take of one is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cutline.engine import cubins
from cutline.engine.cache import Cache
from cutline.engine.cubins import BuiltCubin, build_cubins, demand_compilers, listed, read_figures
from cutline.engine.nvrtc import Nvrtc, find_compilers
from cutline.engine.targets import CUDA_DEVICES
from cutline.runtime.errors import DeviceError, InternalError
from cutline.runtime.kernels.cuda_sources import MAIN, sources_digest

needs_nvrtc = pytest.mark.skipif(not find_compilers(), reason="needs nvidia-cuda-nvrtc")
LARGEST_SHARED = 48 * 1024  # bytes that every GPU gives a block without being asked
LOG = """
ptxas info    : 0 bytes gmem
ptxas info    : Compiling entry function 'cutline_post' for 'sm_89'
ptxas info    : Function properties for cutline_post
ptxas         .     16 bytes stack frame, 24 bytes spill stores, 8 bytes spill loads
ptxas info    : Used 80 registers, used 1 barriers, 816 bytes cmem[0], 24 bytes cmem[2]
ptxas info    : Compiling entry function 'cutline_pre' for 'sm_89'
ptxas info    : Function properties for cutline_pre
ptxas         .     0 bytes stack frame, 0 bytes spill stores, 0 bytes spill loads
ptxas info    : Used 78 registers, used 1 barriers, 9216 bytes smem, 608 bytes cmem[0]
"""


class Listener:
    def __init__(self) -> None:
        self.lines: list[str] = []

    def say(self, line: str) -> None:
        self.lines.append(line)

    def step(self, stage: str, fraction: float | None) -> None:
        del stage, fraction


class Compiler:
    """Stands for one release of NVRTC."""

    def __init__(self, version: tuple[int, int], *devices: str) -> None:
        self.version, self.devices = version, devices


def kept(device: str, source: str = "") -> BuiltCubin:
    return BuiltCubin(device=device, source=source or sources_digest(), toolkit=(12, 6), kernels={}, image=b"elf")


@needs_nvrtc
@pytest.mark.slow
def test_every_kernel_compiles_for_every_gpu_and_spills_nothing(tmp_path: Path) -> None:
    offered = [d for d in CUDA_DEVICES if any(d in compiler.devices for compiler in find_compilers())]
    assert {"sm75", "sm80", "sm86", "sm87", "sm89", "sm90", "sm100", "sm120", "sm121"} <= set(offered)
    listener = Listener()
    built = build_cubins(demand_compilers(offered, {}), Cache(tmp_path), listener)
    assert list(built) == offered
    assert len(listener.lines) == len(offered)
    names = {"pre", "decode", "steady", "fit", "average", "push", "top", "pull", "spread", "blur", "enlarge", "style"}
    names |= {"post", "post_blur", "post_style", "post_blur_style"}
    for device, cubin in built.items():
        assert cubin.image.startswith(b"\x7fELF")
        assert set(cubin.kernels) == {f"cutline_{name}" for name in names}
        assert all(name.encode() in cubin.image for name in cubin.kernels)
        assert max(figures.shared_bytes for figures in cubin.kernels.values()) <= LARGEST_SHARED
        for name, figures in cubin.kernels.items():
            assert not figures.spilled_bytes, (device, name, figures)
        assert listed(cubin).member == f"cubins/{device}.cubin"


@needs_nvrtc
def test_what_was_compiled_is_not_compiled_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = b'#include "pixel.h"\nextern "C" __global__ void cutline_pre(float* p) { *p = trust(*p); }'
    whole = cubins.read_sources()
    monkeypatch.setattr(cubins, "read_sources", lambda: whole | {MAIN: small})
    origins = demand_compilers(["sm86"], {})
    first = build_cubins(origins, Cache(tmp_path), Listener())
    monkeypatch.setattr(Nvrtc, "compile", None)
    assert build_cubins(origins, Cache(tmp_path), Listener()) == first
    assert first["sm86"].kernels["cutline_pre"].registers > 0


@needs_nvrtc
def test_kernels_that_do_not_compile_are_one_line() -> None:
    compiler = find_compilers()[-1]
    with pytest.raises(InternalError, match=r"do not compile for sm86.*nothing_of_that_name") as caught:
        compiler.compile("a.cu", {"a.cu": b"__device__ int x = nothing_of_that_name;"}, "sm86", ())
    assert "\n" not in str(caught.value)


def test_the_oldest_compiler_that_knows_a_gpu_compiles_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """JetPack 6 runs what CUDA 12 compiled, and newer drivers do too."""
    old, new = Compiler((12, 9), "sm75", "sm87"), Compiler((13, 0), "sm75", "sm87", "sm110")
    monkeypatch.setattr(cubins, "find_compilers", lambda: [old, new])
    found: dict[str, Any] = demand_compilers(["sm87", "sm110", "sm87"], {"sm87": kept("sm87")})
    assert found == {"sm87": old, "sm110": new}


def test_without_a_compiler_the_source_bundle_s_kernels_serve(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cubins, "find_compilers", list)
    assert demand_compilers(["sm87"], {"sm87": kept("sm87")}) == {"sm87": kept("sm87")}
    with pytest.raises(DeviceError, match="NVRTC is not installed"):
        demand_compilers(["sm87"], {"sm87": kept("sm87", "0" * 64)})  # of another version of the kernels
    assert demand_compilers([], {}) == {}


def test_a_gpu_that_no_compiler_knows_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cubins, "find_compilers", lambda: [Compiler((13, 0), "sm75")])
    with pytest.raises(DeviceError, match=r"no NVRTC here compiles for sm110.*sm75") as caught:
        demand_compilers(["sm110"], {})
    assert caught.value.exit_code == 69


def test_ptxas_s_figures_are_read() -> None:
    found = read_figures(LOG)
    post, pre = found["cutline_post"], found["cutline_pre"]
    assert (post.registers, post.spilled_bytes, post.stack_bytes, post.shared_bytes) == (80, 32, 16, 0)
    assert (pre.registers, pre.spilled_bytes, pre.stack_bytes, pre.shared_bytes) == (78, 0, 0, 9216)


@pytest.mark.parametrize("log", ["", LOG.replace("Used", "Took"), LOG.replace("spill loads", "spills")])
def test_a_log_of_another_form_is_no_figure(log: str) -> None:
    with pytest.raises(InternalError, match="cannot be read"):
        read_figures(log)


def test_spilling_kernels_are_told(tmp_path: Path) -> None:
    cubin = BuiltCubin(device="sm89", source=sources_digest(), toolkit=(13, 0), kernels=read_figures(LOG), image=b"elf")
    listener = Listener()
    build_cubins({"sm89": cubin}, Cache(tmp_path), listener)
    assert listener.lines == ["kernels for sm89: 0 kB by CUDA 13.0; registers do not suffice for cutline_post"]
