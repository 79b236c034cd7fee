"""Runs one task on untrusted or crash-prone ground: a child process with bounded time and memory.

Models come from strangers, and their readers are C++: whatever a model does to its reader, the parent sees one error.
"""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import IO, Any

import msgspec

from cutline.runtime import errors

__all__ = ["Limits", "describe_error", "rebuild_error", "run_in_child"]

PATIENCE = 3
MAX_LINE = 4 << 20  # bytes of one message; payloads travel in files
# `-m` would look for modules in the current folder first, which may be the folder of a stranger's model
START = (
    "import sys; sys.path[:] = [p for p in sys.path if p]; "
    "from cutline.engine.worker import main; sys.exit(main(sys.argv[1:]))"
)
ERROR_KINDS = {name: getattr(errors, name) for name in errors.__all__}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a child may take.

    seconds: processor time; by the clock it may take PATIENCE times as long, since others may use the machine too.
    memory: address space in bytes; None for no limit, because GPU libraries reserve terabytes.
    """

    seconds: float
    memory: int | None


def run_in_child(
    task: str, request: object, *, limits: Limits, tell: Callable[[dict[str, Any]], None] | None = None
) -> dict[str, Any]:
    """Run one task of `cutline.engine.worker` in a child process and return its result.

    Args:
        task: name in the worker's table.
        request: anything that msgspec can encode as JSON; large data is passed as paths.
        tell: called with every progress message of the child, in order.
    Raises:
        BadInputError: the child passed its time or memory, or crashed: the model is to blame.
        CutlineError: whatever the task raised itself, rebuilt.
    """
    with tempfile.TemporaryFile() as noise:
        command = [sys.executable, "-c", START, task]
        child = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=noise, env=_environment()
        )
        try:
            _send(child, msgspec.json.encode({"limits": _as_dict(limits), "request": request}))
            final = _listen(child, time.monotonic() + PATIENCE * limits.seconds, tell)
        finally:
            if child.poll() is None:
                child.kill()
            child.wait()
            if child.stdout is not None:
                child.stdout.close()
        if final is None:
            raise _obituary(task, child.returncode, limits, _last_words(noise))
    if "error" in final:
        raise rebuild_error(final["error"])
    result = final["result"]
    if not isinstance(result, dict):
        raise errors.InternalError("a child gave no result", remedy="Report this.", task=task)
    return result


def describe_error(error: errors.CutlineError) -> dict[str, Any]:
    """Flatten an error so that it can cross to the parent; facts that JSON does not know become text."""
    facts = {name: value if _is_plain(value) else str(value) for name, value in error.facts.items()}
    return {"kind": type(error).__name__, "what": error.what, "remedy": error.remedy, "facts": facts}


def rebuild_error(data: dict[str, Any]) -> errors.CutlineError:
    """Make the error again that `describe_error` flattened."""
    kind = ERROR_KINDS.get(data["kind"], errors.InternalError)
    error = kind(data["what"], remedy=data["remedy"], **data["facts"])
    assert isinstance(error, errors.CutlineError)
    return error


def _is_plain(value: object) -> bool:
    if isinstance(value, (list, tuple)):
        return all(_is_plain(x) for x in value)
    return value is None or isinstance(value, (str, int, float, bool))


def _as_dict(limits: Limits) -> dict[str, float | int | None]:
    return {"seconds": limits.seconds, "memory": limits.memory}


def _environment() -> dict[str, str]:
    """One thread per maths library: each thread's stack and arena counts against the memory limit."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "PYTHONUNBUFFERED": "1"}


def _send(child: subprocess.Popen[bytes], data: bytes) -> None:
    assert child.stdin is not None
    try:
        child.stdin.write(data)
        child.stdin.close()
    except BrokenPipeError:
        pass  # the child died at once; its obituary says why


def _listen(
    child: subprocess.Popen[bytes], deadline: float, tell: Callable[[dict[str, Any]], None] | None
) -> dict[str, Any] | None:
    """Read messages until the final one, the end of the pipe or the deadline; None when there was no final one."""
    assert child.stdout is not None
    pending = b""
    with selectors.DefaultSelector() as ready:
        ready.register(child.stdout, selectors.EVENT_READ)
        while (left := deadline - time.monotonic()) > 0:
            if not ready.select(timeout=left):
                break
            chunk = os.read(child.stdout.fileno(), 1 << 16)
            if not chunk:
                child.wait()  # the pipe closed: it is about to be gone, and its status tells why
                return None
            pending += chunk
            if len(pending) > MAX_LINE:
                return None
            *lines, pending = pending.split(b"\n")
            for line in lines:
                message = msgspec.json.decode(line, type=dict[str, Any])
                if "progress" not in message:
                    return message
                if tell is not None:
                    tell(message["progress"])
    return None


def _last_words(noise: IO[bytes]) -> str:
    size = noise.seek(0, os.SEEK_END)
    noise.seek(max(0, size - 2000))
    lines = [line for line in noise.read().decode("utf-8", "replace").splitlines() if line.strip()]
    return lines[-1][:300] if lines else ""


def _obituary(task: str, status: int, limits: Limits, words: str) -> errors.BadInputError:
    if status in (-signal.SIGKILL, -signal.SIGXCPU):
        return errors.BadInputError(
            f"the model was not through `{task}` within {limits.seconds:g} s of processor time",
            remedy="Export it again without loops and without shapes computed at run time.",
        )
    if "MemoryError" in words or "bad_alloc" in words:
        return out_of_memory(limits.memory)
    how = signal.Signals(-status).name if status < 0 else f"exit {status}"
    return errors.BadInputError(
        f"the model crashed its reader during `{task}`: {words or how}",
        remedy="Export it again; the file may be damaged.",
        ended=how,
    )


def out_of_memory(memory: int | None) -> errors.BadInputError:
    """What a child says when its memory is used up."""
    limit = "the memory there is" if memory is None else f"{memory / 1e9:.3g} GB of memory"
    return errors.BadInputError(
        f"the model needs more than {limit} to be read", remedy="Use a smaller model, or a smaller `--shape`."
    )
