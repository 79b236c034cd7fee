from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from cutline.benchmarks.peers.__main__ import OURS, REFERENCE
from cutline.benchmarks.peers.catalogue import choose, read_entries, read_entry
from cutline.runtime.errors import BadInputError, UsageError

Write = Callable[..., Path]


def test_every_shipped_entry_can_be_read_and_makes_composites() -> None:
    entries = {entry.key: entry for entry in read_entries()}
    assert {OURS, REFERENCE} <= set(entries)
    for entry in entries.values():
        assert "def composites(" in entry.path.read_text(encoding="utf-8")
    assert entries[OURS].packages[0] == "cutline"
    assert entries[OURS].same_picture


def test_an_entry_is_read_without_its_libraries(entry: Write) -> None:
    found = read_entry(entry("import no_such_library\nraise SystemExit\n"))
    assert (found.key, found.name, found.about) == ("toy", "toy", "A toy that counts.")
    assert found.packages == ("numpy",)
    assert found.same_picture


def test_a_computed_constant_is_the_entrys_own_matter(entry: Write) -> None:
    assert read_entry(entry("SIZE = 2 * len(NAME)\n")).name == "toy"


@pytest.mark.parametrize(
    ("name", "value"),
    [("NAME", "7"), ("VARIANTS", "{}"), ("VARIANTS", '{"": "fp64"}'), ("PACKAGES", '"numpy"'), ("DIFFERS", "None")],
)
def test_a_name_that_is_not_what_it_should_be_is_refused(entry: Write, name: str, value: str) -> None:
    with pytest.raises(BadInputError, match=r"toy\.py"):
        read_entry(entry(**{name: value}))


def test_what_is_no_python_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "broken.py"
    path.write_bytes(b"NAME = 'x\xff")
    with pytest.raises(BadInputError, match=r"broken\.py"):
        read_entry(path)


def test_the_one_that_all_are_compared_with_is_always_chosen() -> None:
    entries = read_entries()
    assert {e.key for e in choose(entries, ("floor",), always=OURS)} == {"floor", OURS}
    assert choose(entries, (), always=OURS) == entries
    with pytest.raises(UsageError, match="usual_script"):
        choose(entries, ("flor",), always=OURS)
