from __future__ import annotations

import re
from pathlib import Path

from cutline.benchmarks.peers.catalogue import read_entries, read_entry

README = Path(__file__).parents[3] / "benchmarks" / "README.md"


def test_the_example_of_a_peer_is_one(tmp_path: Path) -> None:
    (example,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    path = tmp_path / "example.py"
    path.write_text(example, encoding="utf-8")
    assert read_entry(path).variants == {"": "fp32"}


def test_every_peer_is_in_the_tables() -> None:
    text = README.read_text(encoding="utf-8")
    assert [entry.name for entry in read_entries() if f"| {entry.name}" not in text] == []
