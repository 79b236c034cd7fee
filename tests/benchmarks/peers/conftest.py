from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

ENTRY = '''"""A toy that counts."""
import time

NAME = "toy"
PACKAGES = ("numpy",)
VARIANTS = {"": "none"}
DIFFERS = "does nothing"


def composites(job):
    number = 0
    while True:
        time.sleep(0.002)
        yield number
        number += 1
'''


@pytest.fixture
def entry(tmp_path: Path) -> Callable[..., Path]:
    """Write the toy entry, with other words in the place of some and more at its end."""

    def write(more: str = "", **changes: str) -> Path:
        text = ENTRY
        for name, value in changes.items():
            assert f"\n{name} = " in text
            text = "\n".join(
                f"{name} = {value}" if line.startswith(f"{name} = ") else line for line in text.split("\n")
            )
        path = tmp_path / "toy.py"
        path.write_text(text + more, encoding="utf-8")
        return path

    return write
