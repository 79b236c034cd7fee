"""The child side of `sandbox`: sets its own limits, runs one task, answers on a pipe of its own.

The request comes as JSON on stdin; answers are JSON, one message a line, on what was stdout.
"""

from __future__ import annotations

import ctypes
import errno
import importlib
import math
import os
import resource
import signal
import sys
from pathlib import Path
from typing import Any

import msgspec

from cutline.engine.sandbox import describe_error, out_of_memory
from cutline.runtime.errors import CutlineError, InternalError

TASKS = {  # task -> module with a function `task(request, tell)`; imported late, so that limits come first
    "import": "cutline.engine.model_reader",
    "trial": "cutline.engine.trial",
    "plan": "cutline.engine.plan_worker",
}
NEARLY = 0.8  # of the memory limit
PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main(arguments: list[str]) -> int:
    """Run the named task; the exit status only says whether an answer was given."""
    pipe = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)  # what libraries print must not mix with the answers
    _die_with_parent()
    asked = msgspec.json.decode(sys.stdin.buffer.read(), type=dict[str, Any])
    limits = asked["limits"]
    _set_limits(limits["seconds"], limits["memory"])

    def send(message: dict[str, Any]) -> None:
        pipe.write(msgspec.json.encode(message) + b"\n")

    try:
        module = importlib.import_module(TASKS[arguments[0]])
        answer = {"result": module.task(asked["request"], lambda news: send({"progress": news}))}
    except CutlineError as error:
        answer = {"error": describe_error(error)}
    except MemoryError:
        answer = {"error": describe_error(out_of_memory(limits["memory"]))}
    except Exception as error:  # the boundary: anything else is ours, and crosses as one line
        full = getattr(error, "errno", None) == errno.ENOMEM or _is_full(limits["memory"])
        answer = {"error": describe_error(out_of_memory(limits["memory"]) if full else _bug(arguments[0], error))}
    send(answer)
    return 0


def _is_full(memory: int | None) -> bool:
    """Whether the limit was nearly reached: libraries that get no memory fail in ways of their own."""
    if memory is None or sys.platform != "linux":
        return False
    peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmPeak"))
    return int(peak.split()[1]) * 1024 > NEARLY * memory


def _bug(task: str, error: Exception) -> InternalError:
    text = f"{type(error).__name__}: {error}".splitlines()[0][:300]
    return InternalError(f"task `{task}` failed unexpectedly: {text}", remedy="Report this together with the model.")


def _set_limits(seconds: float, memory: int | None) -> None:
    cpu = max(1, math.ceil(seconds))  # of all threads together; the parent watches the clock
    resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if memory is not None:
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))


def _die_with_parent() -> None:
    """Linux only: a killed build leaves no child that eats the processor."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
