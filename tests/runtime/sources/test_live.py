"""Live sources: they reconnect by themselves, whatever breaks, and leave nothing behind."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import pytest

from cutline.runtime.errors import BadInputError, NoInputError
from cutline.runtime.slots import SlotPool
from cutline.runtime.sources import End, Filled, Notice, Source, SourceOptions

from .conftest import Clips, children, open_pool, plane_view, recycle
from .feeds import Feed, HttpFeed, RtspFeed, SilentFeed

QUICK = SourceOptions(stall_timeout_s=1.0, open_timeout_s=20)


class Watch:
    """Takes from a source until something is seen, and remembers everything."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.pool: SlotPool = open_pool(source)
        self.filled: list[Filled] = []
        self.notices: list[Notice] = []
        self.end: End | None = None

    def until(self, seen: Callable[[], bool], *, patience_s: float = 60) -> None:
        deadline = time.monotonic() + patience_s
        while not seen():
            assert time.monotonic() < deadline, self.notices
            event = self.source.take(0.2)
            if isinstance(event, Filled):
                self.filled.append(event)
                recycle(self.source, self.pool, event)
            elif isinstance(event, Notice):
                self.notices.append(event)
            elif isinstance(event, End):
                self.end = event

    def frames(self, count: int) -> None:
        """Take so many more frames."""
        wanted = len(self.filled) + count
        self.until(lambda: len(self.filled) >= wanted)

    def reconnect(self) -> None:
        """Wait for one more reconnect, and three frames after it."""
        wanted = self.count("reconnected") + 1
        self.until(lambda: self.count("reconnected") >= wanted)
        self.frames(3)

    def count(self, kind: str) -> int:
        return sum(notice.kind == kind for notice in self.notices)

    def assert_in_order(self) -> None:
        indexes = [filled.index for filled in self.filled]
        times = [filled.time.pts for filled in self.filled]
        assert indexes == sorted(set(indexes))
        assert times == sorted(set(times))
        assert len(indexes) + sum(filled.skipped for filled in self.filled) == indexes[-1] + 1
        counts = self.pool.counts()
        assert counts.frames_in == counts.frames_out + counts.dropped + counts.in_flight


@pytest.fixture
def stream(clips: Clips) -> Path:
    return clips.make("stream.ts", frames=50, options={"g": "5"})


@pytest.fixture
def watch() -> Iterator[Callable[[str, SourceOptions], Watch]]:
    """Open sources, and close them with their slots afterwards."""
    opened: list[Watch] = []

    def start(uri: str, options: SourceOptions = QUICK) -> Watch:
        opened.append(Watch(Source(uri, options)))
        return opened[-1]

    yield start
    for each in opened:
        each.source.close()
        each.pool.close()


Opener = Callable[..., Watch]


def white_edges(_: int, frame: av.VideoFrame) -> None:
    """Black with a white stripe at the left and right edge."""
    for plane, value in zip(frame.planes, (16, 128, 128), strict=True):
        plane_view(plane)[:] = value
    plane_view(frame.planes[0])[:, :16] = 235
    plane_view(frame.planes[0])[:, -16:] = 235


def descriptors() -> set[str]:
    return {str(path.readlink()) for path in Path("/proc/self/fd").iterdir() if path.is_symlink() and path.exists()}


def test_a_stream_gives_the_newest_frames_and_says_that_it_is_live(stream: Path, watch: Opener) -> None:
    with Feed(stream) as feed:
        seen = watch(feed.uri)
        assert seen.source.info.live
        assert seen.source.info.duration_s is None
        seen.frames(60)  # more than the clip has: the server begins again, and so do its timestamps
        seen.assert_in_order()


def test_dropped_connections_are_made_again(stream: Path, watch: Opener) -> None:
    with Feed(stream) as feed:
        feed.drop_after = 60_000
        seen = watch(feed.uri)
        for _ in range(3):
            seen.reconnect()
        assert feed.connections >= 4
        assert seen.count("reconnecting") >= 3
        assert seen.end is None
        seen.assert_in_order()


def test_frames_that_a_connection_lost_before_it_broke_are_counted_afterwards(stream: Path) -> None:
    with Feed(stream) as feed:
        feed.drop_after = 150_000
        source = Source(feed.uri, QUICK)
        pool = open_pool(source, depth=1)
        held = source.take(30)
        assert isinstance(held, Filled)
        deadline = time.monotonic() + 60
        while feed.drops == 0:  # meanwhile frames come, and find no slot
            assert time.monotonic() < deadline
            time.sleep(0.02)
        recycle(source, pool, held)
        seen = [held.index]
        lost = held.skipped
        while len(seen) < 4:
            event = source.take(30)
            if isinstance(event, Filled):
                seen.append(event.index)
                lost += event.skipped
                recycle(source, pool, event)
        assert lost > 0
        assert len(seen) + lost == seen[-1] + 1
        source.close()
        pool.close()


def test_a_stream_that_falls_silent_is_opened_anew(stream: Path, watch: Opener) -> None:
    with Feed(stream) as feed:
        feed.silent_after = 100_000
        seen = watch(feed.uri)
        seen.reconnect()
        seen.assert_in_order()
        assert "no frame" in next(n.text for n in seen.notices if n.kind == "reconnecting")


@pytest.mark.parametrize("blow", [signal.SIGKILL, signal.SIGSTOP, signal.SIGSEGV])
def test_a_decoder_that_crashes_or_hangs_is_replaced(stream: Path, watch: Opener, blow: signal.Signals) -> None:
    with Feed(stream) as feed:
        seen = watch(feed.uri)
        seen.frames(3)
        (child,) = children()
        os.kill(child, blow)
        seen.reconnect()
        assert child not in children()
        seen.assert_in_order()


def test_a_camera_that_comes_back_with_another_size_keeps_the_first(clips: Clips, stream: Path, watch: Opener) -> None:
    with Feed(stream) as feed:
        feed.drop_after = 60_000
        seen = watch(feed.uri)
        first = seen.source.info
        feed.clip = clips.make("larger.ts", size=(128, 96), frames=50, options={"g": "5"}, paint=white_edges)
        seen.reconnect()
        assert seen.source.info == first
        assert seen.count("resized") >= 1
        for slot in seen.pool.slots:
            slot.source.y[:] = 0
        seen.frames(6)
        pictures = [slot.source.y.copy() for slot in seen.pool.slots if slot.source.y.any()]
        assert pictures
        for luma in pictures:  # scaled, not cut: both edges are there
            assert luma[24, 1] > 200
            assert luma[24, 62] > 200
            assert luma[24, 32] < 30
        seen.assert_in_order()


def test_an_absent_server_is_tried_until_it_returns(stream: Path, watch: Opener) -> None:
    with Feed(stream) as feed:
        feed.drop_after = 60_000
        seen = watch(feed.uri)
        seen.frames(3)
        feed.clip = stream.with_name("empty")
        feed.clip.write_bytes(b"\0" * 1000)
        feed.drop_after = 500
        seen.until(lambda: seen.count("reconnecting") >= 1)
        before = feed.connections
        seen.until(lambda: feed.connections >= before + 2)
        feed.clip, feed.drop_after = stream, 1 << 40
        seen.reconnect()
        assert seen.count("reconnecting") <= 2  # told once, not at every attempt
        seen.assert_in_order()


def test_a_server_that_says_nothing_is_given_up_in_time(stream: Path) -> None:
    with SilentFeed(stream) as feed, pytest.raises(NoInputError, match="no frame"):
        Source(feed.uri, SourceOptions(open_timeout_s=1.5))
    assert children() == set()


def test_nothing_is_left_after_many_reconnects_and_a_close(stream: Path) -> None:
    with Feed(stream) as feed:
        feed.drop_after = 60_000
        open_before, children_before = descriptors(), children()
        seen = Watch(Source(feed.uri, QUICK))
        for _ in range(2):
            seen.reconnect()
        seen.source.close()
        seen.source.close()
        seen.pool.close()
        assert children() == children_before
        left = {name for name in descriptors() - open_before if "socket:" not in name}  # the server's own come and go
        assert left == set()


def test_a_password_shows_nowhere(stream: Path, watch: Opener) -> None:
    with HttpFeed(stream) as feed:
        feed.drop_after = 60_000
        seen = watch(feed.uri)
        assert "hunter2secret" in feed.uri
        assert "hunter2secret" not in repr(seen.source.info)
        for child in children():
            for name in ("cmdline", "environ"):
                assert b"hunter2secret" not in Path(f"/proc/{child}/{name}").read_bytes()
        seen.reconnect()
        assert not [notice for notice in seen.notices if "hunter2" in notice.text]


def test_a_refused_password_is_no_input_and_shows_nowhere(stream: Path) -> None:
    with HttpFeed(stream) as feed:
        wrong = feed.uri.replace("http://viewer:hunter2secret@", "http://") + "?token=sesame99"
        with pytest.raises(NoInputError) as caught:
            Source(wrong, QUICK)
        assert "sesame99" not in str(caught.value)


def test_an_rtsp_camera_is_read_over_tcp_and_comes_back(stream: Path, watch: Opener) -> None:
    with RtspFeed(stream) as feed:
        seen = watch(feed.uri)
        assert seen.source.info.decoder == "h264"
        assert seen.source.info.name == f"rtsp://127.0.0.1:{feed.port}/live"
        for _ in range(2):
            seen.reconnect()
        assert feed.methods.count("PLAY") >= 3
        seen.assert_in_order()
        assert not [notice for notice in seen.notices if "hunter2" in notice.text]


def test_a_live_source_drops_what_nobody_takes_and_counts_it(stream: Path, watch: Opener) -> None:
    with Feed(stream, pause_s=0.001) as feed:
        seen = watch(feed.uri)
        seen.frames(3)
        deadline = time.monotonic() + 30
        while not any(filled.skipped for filled in seen.filled):
            time.sleep(0.3)  # all slots are offered, and filled by now; what follows finds none
            seen.frames(6)
            assert time.monotonic() < deadline
        seen.assert_in_order()


@pytest.mark.parametrize(("blow", "words"), [(signal.SIGKILL, "crashed"), (signal.SIGSTOP, "hangs")])
def test_a_file_whose_decoder_dies_or_hangs_ends_with_an_error(
    clips: Clips, watch: Opener, blow: signal.Signals, words: str
) -> None:
    seen = watch(str(clips.make("plain.mp4")), SourceOptions(stall_timeout_s=1.0, loop=True))
    seen.frames(3)
    (child,) = children()
    os.kill(child, blow)
    seen.until(lambda: seen.end is not None)
    assert seen.end is not None
    assert isinstance(seen.end.error, BadInputError)
    assert words in str(seen.end.error)
    assert seen.end.frames >= 3
    assert children() == set()
    assert seen.source.take(0) is None
