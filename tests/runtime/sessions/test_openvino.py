"""What OpenVINO does to a process beside inference."""

from __future__ import annotations

import subprocess
import sys

SCRIPT = """
import os, signal
from cutline.runtime import open_bundle
from cutline.runtime.sessions import open_engine
with open_bundle("ink") as bundle:
    first, second = open_engine(bundle), open_engine(bundle)
    first.close()
    second.close()
    del first, second
signal.signal(signal.SIGUSR1, lambda *_: print("told"))
os.kill(os.getpid(), signal.SIGUSR1)
"""


def test_a_signal_finds_its_stack_after_engines_went_in_the_order_in_which_they_came() -> None:
    done = subprocess.run([sys.executable, "-c", SCRIPT], capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode, done.stdout) == (0, "told\n"), done.stderr
