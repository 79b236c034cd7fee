from __future__ import annotations

import itertools
import os
import threading
import time
from pathlib import Path

import av
import numpy as np
import pytest

from cutline.runtime import Pipeline, StreamOptions
from cutline.runtime.bundle import Bundle
from cutline.runtime.errors import BadInputError, ContractError, UsageError
from cutline.runtime.kernels import PostOptions

from .sources.feeds import Feed

FRAMES = 24
BOX = np.s_[80:110, 50:110]  # inside the red box of the first frames
ROOM = np.s_[20:50, 200:300]  # never covered by it


@pytest.fixture(scope="module")
def transport(clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The clip as cameras send it."""
    path = tmp_path_factory.mktemp("transport") / "box.ts"
    with av.open(str(clip)) as video, av.open(str(path), "w") as copy:
        stream = copy.add_stream_from_template(video.streams.video[0])
        for packet in video.demux(video=0):
            if packet.dts is not None:
                packet.stream = stream
                copy.mux(packet)
    return path


def source_pts(clip: Path) -> list[int]:
    with av.open(str(clip)) as video:
        return [frame.pts for frame in video.decode(video=0) if frame.pts is not None]


def test_every_frame_comes_out_in_order_with_its_own_time(red: Bundle, clip: Path) -> None:
    with Pipeline(red, StreamOptions(input=str(clip))) as pipeline:
        seen = [(frame.index, frame.time.pts) for frame in pipeline]
        counts = pipeline.counts()
    assert seen == list(enumerate(source_pts(clip)))
    assert (counts.frames_in, counts.frames_out, counts.dropped, counts.in_flight) == (FRAMES, FRAMES, 0, 0)


def test_the_product_stays_and_the_room_goes(red: Bundle, clip: Path) -> None:
    with Pipeline(red, StreamOptions(input=str(clip), background="#00ff00", smooth=False)) as pipeline:
        frame = next(iter(pipeline))
        assert frame.alpha is not None
        assert frame.alpha[BOX].min() == 255
        assert frame.alpha[ROOM].max() == 0
        np.testing.assert_array_equal(frame.composite.y[BOX], frame.source.y[BOX])
        assert np.ptp(frame.composite.y[ROOM]) == 0
        assert frame.matte.shape == (36, 64)


def test_original_background_returns_the_source(red: Bundle, clip: Path) -> None:
    with Pipeline(red, StreamOptions(input=str(clip), background="original")) as pipeline:
        for frame in pipeline:
            for ours, theirs in zip(
                (frame.composite.y, frame.composite.u, frame.composite.v),
                (frame.source.y, frame.source.u, frame.source.v),
                strict=True,
            ):
                assert np.abs(ours.astype(int) - theirs).max() <= 1


def test_a_video_lies_behind_the_product_at_its_own_time(red: Bundle, clip: Path) -> None:
    options = StreamOptions(input=str(clip), background=str(clip), smooth=False)
    with Pipeline(red, options) as pipeline:
        for frame in pipeline:  # both are the same clip, so behind the product is what the room shows
            difference = np.abs(frame.composite.y[ROOM].astype(int) - frame.source.y[ROOM])
            assert difference.max() <= 3


def test_a_plate_network_sees_what_differs_from_the_plate(with_plate: Bundle, clip: Path, empty_room: Path) -> None:
    options = StreamOptions(input=str(clip), plate=str(empty_room), smooth=False)
    with Pipeline(with_plate, options) as pipeline:
        frame = next(iter(pipeline))
        assert frame.matte[17:21, 11:21].min() == 1
        assert frame.matte[4:9, 41:59].max() < 0.35


def test_a_plate_network_without_a_plate_is_refused(with_plate: Bundle, clip: Path) -> None:
    with pytest.raises(UsageError, match="needs a clean plate"):
        Pipeline(with_plate, StreamOptions(input=str(clip)))


def test_a_plate_for_a_network_that_takes_none_is_refused(red: Bundle, clip: Path, empty_room: Path) -> None:
    with pytest.raises(UsageError, match="takes no plate"):
        Pipeline(red, StreamOptions(input=str(clip), plate=str(empty_room)))


def test_a_plate_is_learnt_from_a_camera_that_serves_one_at_a_time(with_plate: Bundle, transport: Path) -> None:
    with Feed(transport, pause_s=0.002) as camera:
        options = StreamOptions(input=camera.uri, learn_plate=2.0, smooth=False)
        with Pipeline(with_plate, options) as pipeline:
            frame = next(iter(pipeline))
            assert frame.matte[2:10, 4:60].max() < 0.5  # the wall above the box, which the plate knows
        assert camera.connections == 2


def test_no_plate_can_be_learnt_from_a_pipe(with_plate: Bundle, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(UsageError, match="read only once"):
        Pipeline(with_plate, StreamOptions(input=str(tmp_path / "pipe"), learn_plate=1.0))


def test_recurrent_state_follows_the_frames(counting: Bundle, clip: Path) -> None:
    with Pipeline(counting, StreamOptions(input=str(clip), smooth=False)) as pipeline:
        levels = [float(frame.matte.mean()) for frame in pipeline]
    options = PostOptions()
    expected = (np.arange(FRAMES) / 100 - options.alpha_floor) / (options.alpha_ceiling - options.alpha_floor)
    np.testing.assert_allclose(levels, np.clip(expected, 0, 1), atol=1e-3)


@pytest.mark.parametrize(("strength", "inverted"), [(0.0, False), (1.0, True)])
def test_a_style_changes_the_picture_by_its_strength(
    red: Bundle, inverting: Bundle, clip: Path, strength: float, inverted: bool
) -> None:
    options = StreamOptions(input=str(clip), background="original", style_strength=strength)
    with Pipeline(red, options, style=inverting) as pipeline:
        frame = next(iter(pipeline))
        change = np.abs(frame.composite.y[ROOM].astype(int) - frame.source.y[ROOM]).max()
    assert (change > 10) == inverted


def test_a_slow_taker_of_a_file_loses_nothing(red: Bundle, clip: Path) -> None:
    with Pipeline(red, StreamOptions(input=str(clip))) as pipeline:
        indices = []
        for frame in pipeline:
            time.sleep(0.01)
            indices.append(frame.index)
    assert indices == list(range(FRAMES))


def test_a_slow_taker_of_a_camera_loses_the_oldest_and_every_frame_is_accounted_for(red: Bundle, clip: Path) -> None:
    options = StreamOptions(input=str(clip), pace=200, loop=True, frames=60)
    with Pipeline(red, options) as pipeline:
        indices = []
        for frame in pipeline:
            indices.append(frame.index)
            counts = pipeline.counts()
            assert counts.frames_in == counts.frames_out + counts.dropped + counts.in_flight
            time.sleep(0.03)
        counts = pipeline.counts()
    assert indices == sorted(set(indices))
    assert counts.dropped > 0
    assert counts.frames_in == len(indices) + counts.dropped
    assert counts.in_flight == 0


def test_stop_delivers_what_was_accepted_and_ends(red: Bundle, clip: Path) -> None:
    with Pipeline(red, StreamOptions(input=str(clip), loop=True)) as pipeline:
        done = 0
        for _ in pipeline:
            done += 1
            if done == 5:
                pipeline.stop()
        counts = pipeline.counts()
    assert counts.frames_out == done == counts.frames_in
    assert counts.in_flight == 0


def test_leaving_early_leaves_no_thread_behind(red: Bundle, clip: Path) -> None:
    before = threading.active_count()
    with Pipeline(red, StreamOptions(input=str(clip), loop=True)) as pipeline:
        for _ in pipeline:
            break
    pipeline.close()
    assert threading.active_count() == before


def test_a_pipeline_runs_once(red: Bundle, clip: Path) -> None:
    with Pipeline(red, StreamOptions(input=str(clip), frames=1)) as pipeline:
        assert len(list(pipeline)) == 1
        with pytest.raises(UsageError, match="iterated once"):
            next(iter(pipeline))


def test_frames_limits_the_run(red: Bundle, clip: Path) -> None:
    with Pipeline(red, StreamOptions(input=str(clip), frames=7)) as pipeline:
        assert sum(1 for _ in pipeline) == 7


def test_an_input_that_is_no_video_is_refused_and_leaves_nothing(red: Bundle, tmp_path: Path) -> None:
    text = tmp_path / "notes.mp4"
    text.write_text("no video at all\n" * 100)
    before = threading.active_count()
    with pytest.raises(BadInputError):
        Pipeline(red, StreamOptions(input=str(text)))
    assert threading.active_count() == before


def test_a_contract_that_does_not_fit_the_network_is_refused(misfit: Bundle, clip: Path) -> None:
    with pytest.raises(ContractError, match="plate"):
        Pipeline(misfit, StreamOptions(input=str(clip)))


def test_every_frame_has_its_stamps_in_the_order_of_its_way(red: Bundle, clip: Path) -> None:
    with Pipeline(red, StreamOptions(input=str(clip))) as pipeline:
        count = sum(1 for _ in pipeline)
        frames = pipeline.telemetry.frames()
    assert frames["index"].tolist() == list(range(count))
    way = ("available", "filled", "taken", "prepared", "inferred", "composed", "delivered", "released")
    for earlier, later in itertools.pairwise(way):
        assert (frames[earlier] <= frames[later]).all(), (earlier, later)
    assert (frames["decode_began"] <= frames["decode_ended"]).all()
    assert (frames["decode_ended"] <= frames["filled"]).all()
    assert frames["decode_core"].sum() > 0  # the kernel counts a process in whole ticks while it limits its time
    assert (frames["pre_core"] > 0).all()
    assert (frames["post_core"] > 0).all()


def test_a_frame_that_nobody_took_has_no_stamps_of_a_taker(red: Bundle, clip: Path) -> None:
    with Pipeline(red, StreamOptions(input=str(clip), pace=100.0, loop=True, frames=60)) as pipeline:
        for number, _ in enumerate(pipeline):
            if number % 20 == 19:  # by then every slot has been taken once
                time.sleep(0.2)
        frames = pipeline.telemetry.frames()
    replaced = frames[frames["delivered"] == 0]
    assert len(replaced) > 0
    for name in ("released", "call_clock", "caller_core"):
        assert not replaced[name].any(), name


@pytest.mark.parametrize("query", [1, 4])
def test_a_closed_loop_sends_a_query_only_when_the_last_was_taken_back(red: Bundle, clip: Path, query: int) -> None:
    with Pipeline(red, StreamOptions(input=str(clip), frames=20), closed_loop=query) as pipeline:
        assert sum(1 for _ in pipeline) == 20
        frames = pipeline.telemetry.frames()
        assert pipeline.counts().peak_in_flight <= 2 * query
    for first in range(query, 20, query):
        assert frames["taken"][first] > frames["released"][first - query : first].max()
