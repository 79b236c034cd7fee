"""`cutline doctor`: what this machine can run, what is missing, and the command that fixes it."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path

import msgspec
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from cutline.runtime.errors import CutlineError
from cutline.tools import doctor_gpu
from cutline.tools.document import write_document
from cutline.tools.finding import Finding

__all__ = ["examine", "findings"]


def examine(*, as_json: bool) -> int:
    """Print every finding; 0 when `cutline run` can work here, 69 when it cannot."""
    found = findings()
    able = all(f.state != "problem" for f in found)
    if as_json:
        document = msgspec.json.encode({"able": able, "findings": found})
        write_document(msgspec.json.format(document, indent=2).decode())
        return 0 if able else 69
    table = Table(box=None, pad_edge=False, show_header=False)
    marks = {"ok": "[green]ok[/]", "optional": "[yellow]absent[/]", "problem": "[red]problem[/]"}
    for f in found:
        told = f.seen + (f"\n→ {f.remedy}" if f.remedy else "")
        table.add_row(f.subject, marks[f.state], escape(told))  # 'cutline[cuda]' is no markup
    console = Console(highlight=False)
    console.print(table)
    console.print(
        "This machine can run Cutline." if able else "This machine cannot run Cutline yet: see the problems above."
    )
    return 0 if able else 69


def findings() -> list[Finding]:
    """Look at everything. A check that fails unexpectedly is itself a finding."""
    checks: list[Callable[[], Finding]] = [
        _python, _kernels, _openvino, _codecs, _bundles, _folders, _display, _cameras,
        doctor_gpu.nvidia, doctor_gpu.cuda_packages, doctor_gpu.tensorrt, doctor_gpu.gpu_engine, doctor_gpu.gpu_video,
    ]  # fmt: skip
    found = []
    for check in checks:
        try:
            found.append(check())
        except (CutlineError, ImportError, OSError, RuntimeError) as error:
            subject = check.__name__.strip("_").replace("_", " ")
            found.append(Finding(subject, "problem", f"{type(error).__name__}: {error}", "Reinstall Cutline."))
    return found


def _python() -> Finding:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return Finding("machine", "ok", f"Python {platform.python_version()}, {platform.machine()}, {cores} cores")


def _kernels() -> Finding:
    from cutline.runtime.kernels import isa

    chosen = isa()
    slow = chosen == "baseline"
    remedy = "This CPU has neither AVX2 nor NEON: expect a third of the speed." if slow else ""
    return Finding("kernels", "ok", f"instruction set: {chosen}", remedy)


def _openvino() -> Finding:
    import openvino

    from cutline.runtime.sessions.openvino import shared_core

    core = shared_core()
    name = str(core.get_property("CPU", "FULL_DEVICE_NAME")).strip()
    types = [c for c in core.get_property("CPU", "OPTIMIZATION_CAPABILITIES") if c in ("FP32", "BF16", "FP16", "INT8")]
    return Finding("OpenVINO", "ok", f"{openvino.__version__.split('-')[0]} on {name}: {', '.join(types)}")


def _codecs() -> Finding:
    import av

    wanted = ("h264", "hevc", "libx264", "prores_ks", "libvpx-vp9")
    missing = [name for name in wanted if name not in av.codecs_available]
    if missing:
        return Finding(
            "video", "problem", f"PyAV {av.__version__} lacks {', '.join(missing)}", "pip install --force-reinstall av"
        )
    return Finding("video", "ok", f"PyAV {av.__version__} with {', '.join(wanted)}")


def _bundles() -> Finding:
    from cutline.runtime.bundle import open_bundle

    with open_bundle("cutout") as bundle:
        targets = ", ".join(f"{t.kind} {t.precision}" for t in bundle.manifest.targets)
        return Finding("default model", "ok", f"{bundle.manifest.name} version {bundle.manifest.version}: {targets}")


def _folders() -> Finding:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "cutline"
    nearest = next(folder for folder in (cache, *cache.parents) if folder.exists())
    if not os.access(nearest, os.W_OK):
        return Finding("cache", "problem", f"{cache} cannot be written", "Set XDG_CACHE_HOME to a folder of yours.")
    return Finding("cache", "ok", str(cache))


def _display() -> Finding:
    if sys.platform == "linux" and not (os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")):
        return Finding("display", "optional", "no screen in this session", "Set DISPLAY, or write to a file.")
    return Finding("display", "ok", "a screen is there")


def _cameras() -> Finding:
    found = sorted(str(path) for path in Path("/dev").glob("video*"))
    if not found:
        return Finding("cameras", "optional", "no /dev/video*", "Plug a camera in, or use rtsp://...")
    blocked = [path for path in found if not os.access(path, os.R_OK | os.W_OK)]
    if blocked:
        return Finding("cameras", "optional", f"no permission: {', '.join(blocked)}", "sudo usermod -aG video $USER")
    return Finding("cameras", "ok", ", ".join(found))
