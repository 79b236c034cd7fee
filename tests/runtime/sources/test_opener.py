"""A source that is not there yet is tried until it comes, and not longer than anybody wants it."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import pytest

from cutline.runtime.errors import NoInputError, UsageError
from cutline.runtime.sources import Opener, Source, SourceOptions

from .conftest import Clips
from .feeds import Feed, SilentFeed

PLAIN = SourceOptions()


@pytest.fixture
def stream(clips: Clips) -> Path:
    return clips.make("stream.ts", frames=50, options={"g": "5"})


def test_without_patience_what_is_missing_is_an_error_at_once(unused_port: int) -> None:
    said: list[str] = []
    opener = Opener()
    with pytest.raises(NoInputError):
        opener.open(f"tcp://127.0.0.1:{unused_port}", PLAIN, said.append)
    assert said == []


def test_a_source_that_comes_late_is_opened_then_and_both_are_told(stream: Path, unused_port: int) -> None:
    said: list[str] = []
    missing = threading.Event()

    def notify(text: str) -> None:
        said.append(text)
        missing.set()

    opener = Opener(patient=True)
    opened: list[Source] = []
    uri = f"tcp://someone:hunter2secret@127.0.0.1:{unused_port}"
    thread = threading.Thread(target=lambda: opened.append(opener.open(uri, PLAIN, notify)))
    thread.start()
    assert missing.wait(60)
    time.sleep(1.2)  # two tries more, which are not told again
    with Feed(stream, port=unused_port):
        thread.join(60)
        assert len(opened) == 1
        opened[0].close()
    assert len(said) == 2
    assert "cannot be reached; it is tried again until it is there" in said[0]
    assert "there after" in said[1]
    assert "hunter2secret" not in "".join(said)
    assert opener.waited_s > 1


def test_wrong_words_are_not_tried_again() -> None:
    with pytest.raises(UsageError):
        Opener(patient=True).open("gopherette://x", PLAIN, lambda text: None)


@pytest.mark.parametrize("patient", [True, False])
def test_what_says_nothing_is_given_up_when_asked_to(stream: Path, patient: bool) -> None:
    opener = Opener(patient=patient)
    ended = threading.Event()

    def body(uri: str) -> None:
        with pytest.raises(NoInputError):
            opener.open(uri, SourceOptions(open_timeout_s=300), lambda text: None)
        ended.set()

    with SilentFeed(stream) as feed:
        thread = threading.Thread(target=body, args=(feed.uri,))
        thread.start()
        while feed.connections == 0:
            time.sleep(0.02)
        assert not ended.is_set()
        opener.stop()
        assert ended.wait(30)
        thread.join()
