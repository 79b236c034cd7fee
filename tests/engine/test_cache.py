"""The cache gives back exactly what was put, or nothing."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cutline.engine import cache as cache_module
from cutline.engine.cache import Cache


def test_a_key_tells_its_parts_apart(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    keys = {
        cache.key("plan", b"ab", b"c"),
        cache.key("plan", b"a", b"bc"),
        cache.key("plan", b"ab", "c"),
        cache.key("graph", b"ab", b"c"),
        cache.key("plan", b"ab", {"level": 3}),
    }
    assert len(keys) == 5
    assert cache.key("plan", {"a": 1, "b": 2}) == cache.key("plan", {"b": 2, "a": 1})


def test_what_was_put_comes_back(tmp_path: Path) -> None:
    cache = Cache(tmp_path)
    key = cache.key("plan", b"x")
    assert cache.get(key) is None
    cache.put(key, b"engine")
    assert Cache(tmp_path).get(key) == b"engine"


@pytest.mark.parametrize("damage", [b"", b"short", b"engine" + bytes(32)])
def test_a_damaged_entry_counts_as_absent(tmp_path: Path, damage: bytes) -> None:
    cache = Cache(tmp_path)
    key = cache.key("plan", b"x")
    cache.put(key, b"engine")
    (tmp_path / key).write_bytes(damage)
    assert cache.get(key) is None


def test_old_entries_make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cache_module, "LIMIT", 300)
    cache = Cache(tmp_path)
    keys = [cache.key("plan", number) for number in range(4)]
    for age, key in enumerate(keys):
        cache.put(key, bytes(100))
        os.utime(tmp_path / key, (age, age))
    assert cache.get(keys[0]) is None
    assert cache.get(keys[3]) is not None
