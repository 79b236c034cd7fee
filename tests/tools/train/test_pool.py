from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from cutline.runtime.errors import BadInputError, NoInputError, OutputError, StorageError
from cutline.tools.train.pool import Composite, create_pool, open_pool


def composite(value: int) -> Composite:
    random = np.random.default_rng(value)
    colours = random.integers(0, 256, (2, 6, 8, 3), np.uint8)
    return Composite(colours[0], colours[1], random.integers(0, 256, (6, 8), np.uint8))


def test_what_is_put_comes_out_in_another_handle_too(tmp_path: Path) -> None:
    pool, other = create_pool(tmp_path / "p", capacity=3, width=8, height=6), open_pool(tmp_path / "p")
    pool.put(1, composite(5))
    found = other.get(1)
    assert found is not None
    for name in ("frame", "plate", "alpha"):
        assert np.array_equal(getattr(found, name), getattr(composite(5), name))
    assert (other.round(1), other.round(0)) == (1, 0)
    pool.close()
    pool.close()
    other.close()


def test_an_empty_slot_and_one_being_written_give_nothing(tmp_path: Path) -> None:
    pool = create_pool(tmp_path / "p", capacity=2, width=8, height=6)
    assert pool.get(0) is None
    pool.put(0, composite(1))
    pool._stamps[0] |= 1
    assert pool.get(0) is None
    pool.put(0, composite(2))
    assert pool.get(0) is not None
    assert pool.round(0) == 2


def test_a_pool_of_another_shape_is_not_overwritten(tmp_path: Path) -> None:
    create_pool(tmp_path / "p", capacity=2, width=8, height=6).close()
    create_pool(tmp_path / "p", capacity=2, width=8, height=6).close()
    with pytest.raises(OutputError, match="another shape"):
        create_pool(tmp_path / "p", capacity=3, width=8, height=6)


def test_no_pool_and_a_damaged_one_say_so(tmp_path: Path) -> None:
    with pytest.raises(NoInputError):
        open_pool(tmp_path / "none")
    create_pool(tmp_path / "p", capacity=2, width=8, height=6).close()
    (tmp_path / "p" / "pool.json").write_text("{")
    with pytest.raises(BadInputError):
        open_pool(tmp_path / "p")


def test_a_full_disk_is_a_storage_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(StorageError, match="No space"):
        create_pool(tmp_path / "p", capacity=2, width=8, height=6)


def test_the_room_of_a_pool_is_taken_when_it_is_made(tmp_path: Path) -> None:
    create_pool(tmp_path / "p", capacity=64, width=64, height=32).close()
    assert (tmp_path / "p" / "pixels.u8").stat().st_blocks * 512 >= 64 * 64 * 32 * 7
