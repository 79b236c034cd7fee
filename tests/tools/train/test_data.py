from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from cutline.runtime.errors import InternalError, NoInputError
from cutline.tools.train import data
from cutline.tools.train.augment import AugmentOptions
from cutline.tools.train.data import Feed, FeedOptions

OPTIONS = FeedOptions(width=64, height=32, capacity=8, first=4, batch=2, uses=1, makers=2)
AUGMENT = AugmentOptions(width=32, height=32)


def test_a_seed_decides_every_batch_while_the_pool_is_renewed() -> None:
    def batches() -> list[np.ndarray]:
        feed = Feed(OPTIONS)
        try:
            return [feed.batch(step, 2, AUGMENT).frame for step in range(8)]  # 16 new composites through 8 slots
        finally:
            feed.close()
            feed.close()

    for one, two in zip(batches(), batches(), strict=True):
        assert np.array_equal(one, two)


def test_a_resumed_feed_goes_on_with_the_same_batches() -> None:
    whole = Feed(OPTIONS)
    wanted = [whole.batch(step, 2, AUGMENT).frame for step in range(9)][-2:]
    whole.close()
    resumed = Feed(replace(OPTIONS, done=7))
    assert resumed.options.base == OPTIONS.window(7)[0] > 8  # makers do not make again what is out of the window
    found = [resumed.batch(step, 2, AUGMENT).frame for step in (7, 8)]
    resumed.close()
    assert all(np.array_equal(a, b) for a, b in zip(found, wanted, strict=True))


def test_twins_share_the_matte_and_close_leaves_nothing_behind() -> None:
    feed = Feed(OPTIONS)
    batch = feed.batch(5, 4, AUGMENT)  # the sixth step
    assert batch.twins
    assert np.array_equal(batch.alpha[:2], batch.alpha[2:])
    assert not np.array_equal(batch.frame[:2], batch.frame[2:])
    feed.close()
    assert not feed._folder.exists()


def test_a_kill_leaves_no_pool_behind() -> None:
    feed = Feed(OPTIONS)
    assert not feed._folder.exists()  # the mappings live on without it
    feed.batch(0, 2, AUGMENT)
    feed.close()


def test_dead_makers_are_an_error_and_no_endless_wait() -> None:
    feed = Feed(OPTIONS)
    for process in feed._makers:
        process.terminate()
        process.join()
    with pytest.raises(InternalError, match="ended"):
        feed.batch(10_000, 2, AUGMENT)
    feed.close()


def test_a_missing_folder_is_reported_before_anything_starts(tmp_path: Path) -> None:
    with pytest.raises(NoInputError):
        Feed(FeedOptions(products=tmp_path / "none"))


@pytest.mark.parametrize("decoys", [True, False])
def test_only_who_sees_the_plate_learns_from_decoys(monkeypatch: pytest.MonkeyPatch, decoys: bool) -> None:
    asked = []
    monkeypatch.setattr(data, "Sampler", lambda *_, **more: asked.append(more["decoys"]))
    data.composite_maker(replace(OPTIONS, decoys=decoys))
    assert asked == [decoys]
