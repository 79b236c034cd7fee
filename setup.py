"""Builds the kernels: the same loops once per instruction set. Everything else is in pyproject.toml."""

from __future__ import annotations

import platform
import shutil
import subprocess
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NoReturn

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

FOLDER = Path("runtime/kernels")
LOOPS = ("pre.cpp", "matte.cpp", "colour.cpp", "post.cpp")
ONCE = ("plans.cpp", "dispatch.cpp", "module.cpp")
HEADERS = ("pixel.h", "plan.h", "plans.h", "simd.h", "enlarge.h", "stages.h", "dispatch.h")

# Flags per object file, so that nothing but the loops needs more than the oldest supported processor.
ISAS = {
    "x86_64": {
        "baseline": ["-march=x86-64-v2"],
        "avx2": ["-march=x86-64-v3"],
        # GCC's own header passes undefined registers on purpose, and GCC then warns of them
        "avx512": ["-march=x86-64-v4", "-mprefer-vector-width=512", "-Wno-uninitialized", "-Wno-maybe-uninitialized"],
    },
    "aarch64": {"neon": ["-march=armv8-a"]},
}
MACHINES = {"amd64": "x86_64", "x86_64": "x86_64", "arm64": "aarch64", "aarch64": "aarch64"}
COMMON = ["-O3", "-std=c++17", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra"]
# What frees the vectoriser and changes no rounding. A NaN is looked for by its bits (pixel.h).
MATHS = ["-fno-math-errno", "-fno-trapping-math", "-ffinite-math-only", "-fno-signed-zeros"]


def stop(message: str) -> NoReturn:
    """End the build with one line and no traceback."""
    print(f"error: {message}", file=sys.stderr)
    raise SystemExit(1)


def find_compiler() -> str:
    """Return the C++ compiler's path."""
    return shutil.which("g++") or shutil.which("clang++") or stop("no C++ compiler. Install it: sudo apt install g++")


def find_headers() -> list[str]:
    """Return the folders of Python's headers."""
    paths = sysconfig.get_paths()
    folders = [paths["include"], paths["platinclude"]]
    if not any((Path(folder) / "Python.h").is_file() for folder in folders):
        stop("no Python headers (Python.h). Install them: sudo apt install python3-dev")
    return folders


def find_isas() -> dict[str, list[str]]:
    """Return this machine's instruction sets and their flags."""
    machine = MACHINES.get(platform.machine().lower())
    if machine is None:
        stop(f"no kernels for a {platform.machine()} processor; x86-64 and aarch64 are supported")
    return ISAS[machine]


def run(command: list[str]) -> None:
    """Run one compiler, show what it says, stop where it fails."""
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    if done.stderr:
        print(done.stderr, file=sys.stderr)
    if done.returncode:
        stop(f"{Path(command[0]).name} failed on {command[-3]}")


class BuildKernels(build_ext):
    """Compiles each loop file once per instruction set, in parallel, and links one extension."""

    def build_extension(self, ext: Extension) -> None:
        compiler, headers, isas = find_compiler(), find_headers(), find_isas()
        objects = Path(self.build_temp) / "kernels"
        objects.mkdir(parents=True, exist_ok=True)
        jobs = [(name, isa, [*flags, *MATHS]) for isa, flags in isas.items() for name in LOOPS]
        jobs += [(name, "", ["-ffp-contract=off"]) for name in ONCE]  # tables are the same on every processor

        def build(job: tuple[str, str, list[str]]) -> str:
            name, isa, flags = job
            target = objects / f"{Path(name).stem}{'-' if isa else ''}{isa}.o"
            extra = [f"-DCUTLINE_ISA={isa}"] if isa else [f"-I{folder}" for folder in headers]
            run([compiler, *COMMON, *flags, *extra, "-c", str(FOLDER / name), "-o", str(target)])
            return str(target)

        with ThreadPoolExecutor() as pool:
            built = list(pool.map(build, jobs))
        output = Path(self.get_ext_fullpath(ext.name))
        output.parent.mkdir(parents=True, exist_ok=True)
        run([compiler, "-shared", "-s", *built, "-o", str(output)])


setup(
    ext_modules=[
        Extension(
            "cutline.runtime.kernels._kernels",
            sources=[str(FOLDER / name) for name in (*LOOPS, *ONCE)],
            depends=[str(FOLDER / name) for name in HEADERS],
        )
    ],
    cmdclass={"build_ext": BuildKernels},
)
