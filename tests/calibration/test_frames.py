"""Choosing frames from footage, and turning them into network inputs."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import onnx
import pytest
from numpy.typing import NDArray

from cutline.calibration import clips as clips_module
from cutline.calibration.calibrate import calibrate
from cutline.calibration.clips import Clip, Recording, find_footage, public_name
from cutline.calibration.feeds import Feeds
from cutline.calibration.frames import FrameSet, choose_frames
from cutline.calibration.variety import DUPLICATE, Looker, distances, looks_random, spread
from cutline.runtime.contract import Image, ModelContract, Output
from cutline.runtime.errors import BadInputError, NoInputError, UsageError
from cutline.runtime.frame import FrameFormat, Planes
from cutline.runtime.kernels import Pre, place

U8 = NDArray[np.uint8]
WIDTH, HEIGHT = 64, 48
FORMAT = FrameFormat(width=WIDTH, height=HEIGHT)


def _picture(number: int, *, noise: float = 1.0) -> U8:
    """Luma of a scene: a gradient, a bright box whose place depends on the number, sensor noise."""
    rng = np.random.default_rng(number)
    y = np.linspace(60, 120, WIDTH)[None, :] + np.zeros((HEIGHT, 1))
    left, top = number * 7 % (WIDTH - 16), number * 5 % (HEIGHT - 12)
    y[top : top + 12, left : left + 16] = 150 + number * 13 % 80
    return np.clip(y + rng.normal(0, noise, y.shape), 0, 255).astype(np.uint8)


def _clip(path: Path, frames: Sequence[U8]) -> str:
    """Write raw video that every decoder reads."""
    grey = bytes([128]) * (WIDTH * HEIGHT // 2)
    data = [f"YUV4MPEG2 W{WIDTH} H{HEIGHT} F25:1 Ip A1:1 C420jpeg\n".encode()]
    data += [b"FRAME\n" + frame.tobytes() + grey for frame in frames]
    path.write_bytes(b"".join(data))
    return str(path)


@pytest.fixture(scope="module")
def kiosk(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Sixty frames: each of thirty pictures shown twice."""
    return _clip(tmp_path_factory.mktemp("footage") / "kiosk.y4m", [_picture(n // 2) for n in range(60)])


def _planes(luma: U8) -> Planes:
    return Planes(luma, *(np.full((HEIGHT // 2, WIDTH // 2), 128, np.uint8) for _ in range(2)))


def test_chosen_frames_are_distinct_also_across_the_two_parts(kiosk: str) -> None:
    with choose_frames([kiosk], count=20, held_out=6) as frames:
        assert (frames.count("calibration"), frames.count("held-out")) == (20, 6)
        picked = [r.index for part in ("calibration", "held-out") for r in frames.records(part)]  # type: ignore[arg-type]
    looker = Looker(FORMAT)
    thumbnails = np.stack([looker.look(_planes(_picture(i // 2))).thumbnail for i in picked])
    for number, one in enumerate(thumbnails):
        others = np.delete(thumbnails, number, axis=0)
        assert distances(one, others).min() > DUPLICATE


def test_the_same_footage_and_seed_give_the_same_frames_and_another_seed_others(kiosk: str) -> None:
    chosen = []
    for seed in (1, 1, 2):
        with choose_frames([kiosk], count=16, held_out=4, seed=seed) as frames:
            chosen.append([r.index for r in frames.records("calibration")])
    assert chosen[0] == chosen[1] != chosen[2]


def test_fewer_are_used_and_said_when_no_more_are_distinct(kiosk: str) -> None:
    with choose_frames([kiosk], count=100, held_out=25) as frames:
        found = frames.count("calibration") + frames.count("held-out")
        assert 25 <= found <= 31
        assert any(f"only {found} frames differ" in notice for notice in frames.notices)


def test_frames_all_alike_are_refused(tmp_path: Path) -> None:
    still = _clip(tmp_path / "still.y4m", [_picture(3) for _ in range(40)])
    with pytest.raises(BadInputError, match=r"all alike: 40 were looked at, 1 differ.* at least 17"):
        choose_frames([still])


def test_too_few_frames_are_refused_with_the_number_needed(tmp_path: Path) -> None:
    short = _clip(tmp_path / "short.y4m", [_picture(n) for n in range(5)])
    with pytest.raises(BadInputError, match=r"too few calibration frames .*found=5.* Give at least 17"):
        choose_frames([short])


def test_random_data_is_refused(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 256, (HEIGHT, WIDTH), dtype=np.uint8) for _ in range(40)]
    with pytest.raises(BadInputError, match="random noise"):
        choose_frames([_clip(tmp_path / "noise.y4m", noise)])


@pytest.mark.parametrize(("noise", "random"), [(2.0, False), (12.0, False), (80.0, True)])
def test_noise_is_told_from_pictures_however_noisy(noise: float, random: bool) -> None:
    assert looks_random(_picture(4, noise=noise)) is random


def test_an_empty_wall_with_sensor_noise_is_a_picture() -> None:
    wall = np.clip(np.random.default_rng(1).normal(120, 4, (HEIGHT, WIDTH)), 0, 255).astype(np.uint8)
    assert not looks_random(wall)


def test_a_product_in_a_corner_makes_another_picture_and_noise_does_not() -> None:
    looker = Looker(FORMAT)
    empty, same, product = (_picture(4).copy() for _ in range(3))
    same = np.clip(same + np.random.default_rng(2).normal(0, 2, same.shape), 0, 255).astype(np.uint8)
    product[40:, :10] = 200
    looks = [looker.look(_planes(p)).thumbnail for p in (empty, same, product)]
    between = distances(looks[0], np.stack(looks[1:]))
    assert between[0] < DUPLICATE < between[1]


def test_rare_light_is_among_the_chosen() -> None:
    thumbnails = np.random.default_rng(3).normal(100, 8, (300, 50)).astype(np.float32)
    thumbnails[[17, 200]] += [[90.0], [-80.0]]
    assert {17, 200} <= set(spread(thumbnails, 20, seed=0))


def test_a_folder_gives_its_videos_pictures_and_subfolders(tmp_path: Path) -> None:
    (tmp_path / "deep").mkdir()
    _clip(tmp_path / "b.y4m", [_picture(0)])
    _clip(tmp_path / "deep" / "a.y4m", [_picture(0)])
    (tmp_path / "one.png").write_bytes(b"x")
    (tmp_path / "notes.txt").write_text("not footage")
    found = find_footage([str(tmp_path)])
    assert [Path(c.uri).name for c in found] == [tmp_path.name, "b.y4m", "a.y4m"]
    assert [c.stills for c in found] == [True, False, False]


def test_plates_beside_their_clips_are_no_footage(tmp_path: Path) -> None:
    _clip(tmp_path / "a.y4m", [_picture(0)])
    (tmp_path / "a-plate.png").write_bytes(b"x")
    assert [Path(c.uri).name for c in find_footage([str(tmp_path)])] == ["a.y4m"]
    (tmp_path / "b-plate.png").write_bytes(b"x")  # of no clip here
    assert [c.stills for c in find_footage([str(tmp_path)])] == [True, False]


def test_nothing_to_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(NoInputError):
        choose_frames([str(tmp_path)])
    with pytest.raises(NoInputError):
        choose_frames([str(tmp_path / "missing.mp4")])
    with pytest.raises(NoInputError):
        choose_frames([])


def test_credentials_do_not_reach_the_records() -> None:
    (clip,) = find_footage(["https://user:secret@host/clip.mp4"])
    assert "secret" not in clip.name


def test_records_name_no_folder_and_no_host(kiosk: str, tmp_path: Path) -> None:
    with choose_frames([kiosk], count=16, held_out=4) as frames:
        assert {record.source for record in frames.records("calibration")} == {"kiosk.y4m"}
    names = {
        str(tmp_path): "pictures",
        f"{tmp_path}/*.png": "*.png",
        f"file://{tmp_path}/a%20b.mp4": "a b.mp4",
        "/dev/video0": "video0",
        "rtsp://camera-3.shop.example/shelf?channel=1": "rtsp",
        "synthetic://kiosk?seed=1": "synthetic",
    }
    assert {name: public_name(name) for name in names} == names


def test_folders_of_one_name_with_other_pictures_have_other_tables(unet: onnx.ModelProto, tmp_path: Path) -> None:
    path = tmp_path / "table.json"
    keys = []
    for number in (0, 100):
        folder = tmp_path / str(number) / "site"
        folder.mkdir(parents=True)
        clip = _clip(folder / "shelf.y4m", [_picture(number + n) for n in range(20)])
        with choose_frames([clip], count=16, held_out=2) as frames:
            keys.append(calibrate(unet, _contract(), frames, path=path).key)
            assert calibrate(unet, _contract(), frames, path=path).key == keys[-1]
    assert keys[0] != keys[1]


def test_another_plate_makes_another_table(tmp_path: Path) -> None:
    clip = _clip(tmp_path / "scene.y4m", [_picture(n) for n in range(30)])
    records = []
    with choose_frames([clip], count=16, held_out=2) as frames:
        for level in (255, 255, 40):
            plate = np.full((HEIGHT, WIDTH), level, np.uint8)
            (tmp_path / "scene-plate.pgm").write_bytes(f"P5\n{WIDTH} {HEIGHT}\n255\n".encode() + plate.tobytes())
            records.append(Feeds(frames, "calibration", _contract(plate=True)).records())
        plain = Feeds(frames, "calibration", _contract()).records()
    assert records[0] == records[1]
    assert {r.digest for r in records[0]}.isdisjoint(r.digest for r in records[2])
    assert plain == frames.records("calibration")


def test_a_clip_that_cannot_be_read_among_good_ones_is_left_out_and_said(kiosk: str, tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_bytes(b"this is no video" * 50)
    with choose_frames([str(broken), kiosk], count=16, held_out=4) as frames:
        assert frames.count("calibration") == 16
        assert any("broken.mp4 was left out" in notice for notice in frames.notices)


@pytest.mark.parametrize("numbers", [{"count": 3}, {"held_out": 0}, {"run_length": 0}])
def test_numbers_out_of_range_are_refused(kiosk: str, numbers: dict[str, int]) -> None:
    with pytest.raises(UsageError):
        choose_frames([kiosk], **numbers)  # type: ignore[arg-type]


def _contract(*, plate: bool = False) -> ModelContract:
    image = Image(tensor="image", width=32, height=32, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))
    return ModelContract(
        task="matte",
        frame=image,
        plate=Image(tensor="plate", width=32, height=32) if plate else None,
        outputs=(Output(tensor="alpha", meaning="alpha", width=32, height=32),),
    )


def test_feeds_are_what_the_runtime_would_give_the_network_every_time(kiosk: str) -> None:
    contract = _contract()
    with choose_frames([kiosk], count=16, held_out=4) as frames:
        feeds = Feeds(frames, "held-out", contract)
        values = [[next(iter(run))["image"] for run in feeds] for _ in range(2)]
        indices = [r.index for r in frames.records("held-out")]
    np.testing.assert_array_equal(values[0], values[1])
    expected = np.empty(contract.frame.shape, np.float32)
    moment = next(m for m in clips_module.read_uri(kiosk) if m.index == indices[2])
    Pre(moment.format, contract.frame, place(WIDTH, HEIGHT, 32, 32)).run(moment.planes, expected, None)
    np.testing.assert_array_equal(values[0][2], expected)


def test_recurrent_networks_get_runs_of_following_frames(kiosk: str) -> None:
    with choose_frames([kiosk], count=16, held_out=2, run_length=2) as frames:
        starts = [r.index for r in frames.records("calibration")]
        lengths = [[m.index for m in run] for _, run in frames.runs("calibration")]
    assert lengths == [[start, start + 1] for start in starts]
    assert all(start % 2 == 0 for start in starts)


def test_a_plate_is_found_beside_its_clip(tmp_path: Path) -> None:
    clip = _clip(tmp_path / "scene.y4m", [_picture(n) for n in range(30)])
    white = np.full((HEIGHT, WIDTH), 255, np.uint8)
    (tmp_path / "scene-plate.pgm").write_bytes(f"P5\n{WIDTH} {HEIGHT}\n255\n".encode() + white.tobytes())
    with choose_frames([clip], count=16, held_out=2) as frames:
        feeds = Feeds(frames, "calibration", _contract(plate=True))
        plate = next(iter(next(iter(feeds))))["plate"]
    assert feeds.plates_learnt == []
    assert plate.min() > 0.97


def test_a_clip_without_a_plate_gets_the_median_of_its_frames_and_says_so(kiosk: str) -> None:
    with choose_frames([kiosk], count=16, held_out=2) as frames:
        feeds = Feeds(frames, "calibration", _contract(plate=True))
        plate = next(iter(next(iter(feeds))))["plate"]
    assert feeds.plates_learnt == [kiosk]
    assert 0.2 < np.median(plate) < 0.5  # the gradient, without any of the boxes
    assert plate.std() < 0.15


def test_a_plate_network_refuses_single_pictures() -> None:
    frames = FrameSet([Clip("folder", "folder", stills=True)], [], [], 1, [])
    with pytest.raises(UsageError, match="empty scene"):
        Feeds(frames, "calibration", _contract(plate=True))


def test_footage_that_changed_in_between_is_noticed(tmp_path: Path) -> None:
    clip = _clip(tmp_path / "c.y4m", [_picture(n) for n in range(40)])
    with choose_frames([clip], count=16, held_out=2) as frames:
        _clip(tmp_path / "c.y4m", [_picture(n) for n in range(10)])
        with pytest.raises(BadInputError, match="changed while"):
            list(Feeds(frames, "calibration", _contract()))


def test_a_camera_is_recorded_once_and_read_again(kiosk: str) -> None:
    recording = Recording(Clip(kiosk, "camera"), most=10, seconds=0.1)
    try:
        first, again = ([m.planes.y.copy() for m in recording.read()] for _ in range(2))
        assert 1 <= len(first) <= 10
        np.testing.assert_array_equal(first, again)
        np.testing.assert_array_equal(first[0], _picture(0))
    finally:
        recording.close()
        recording.close()


def test_no_source_process_is_left_when_footage_is_not_read_to_its_end(kiosk: str) -> None:
    before = threading.active_count()
    moments = clips_module.read_uri(kiosk)
    next(moments)
    moments.close()
    assert threading.active_count() == before


def test_calibrating_twice_on_the_same_frames_reads_the_table(
    unet: onnx.ModelProto, kiosk: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    contract = _contract()
    path = tmp_path / "table.json"
    told: list[tuple[int, int | None]] = []
    with choose_frames([kiosk], count=16, held_out=2) as frames:
        table = calibrate(
            unet, contract, frames, path=path, progress=lambda done, total, text: told.append((done, total))
        )
        assert told[-1] == (16, 16)
        assert len(table.frames) == 16
        monkeypatch.setattr("cutline.calibration.calibrate.collect", None)
        assert calibrate(unet, contract, frames, path=path) == table
