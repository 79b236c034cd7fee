"""Scenes: the same seed gives the same video, frame by frame in any order, and the truth about it is true."""

from __future__ import annotations

from fractions import Fraction
from itertools import product

import numpy as np
import pytest

from cutline.runtime.errors import UsageError
from cutline.tools.scenes import SCENES, Sampler, Shot, make_scene, sample
from cutline.tools.scenes.backdrops import PLACES, Painter
from cutline.tools.scenes.camera import CameraSettings
from cutline.tools.scenes.patterns import chequers, chips, masonry, mesh, motifs, panels, patches, paving
from cutline.tools.scenes.registry import STAGES
from cutline.tools.scenes.seeds import check_split, generator, in_split
from cutline.tools.scenes.source import open_scene

_SIZE = {"width": 128, "height": 72}
_QUIET = CameraSettings(noise=0.0, softness=0.0, drift=0.0, vignette=0.0, quality=100, aged=0.0)
_STAGED = sorted(STAGES)


def _same(first: Shot, second: Shot) -> bool:
    planes = ("rgb", "alpha", "foreground", "plate", "items")
    equal = all(np.array_equal(getattr(first, plane), getattr(second, plane)) for plane in planes)
    return equal and first.tags == second.tags and first.item_tags == second.item_tags


@pytest.mark.parametrize("name", _STAGED)
def test_frames_come_out_the_same_in_any_order_and_another_seed_is_another_video(name: str) -> None:
    forwards = make_scene(name, seed=3, **_SIZE)
    frames = [forwards.shot(index) for index in (0, 20, 40)]
    again = make_scene(name, seed=3, **_SIZE)
    assert all(_same(again.shot(index), frames[number]) for number, index in ((2, 40), (0, 0), (1, 20)))
    assert not np.array_equal(make_scene(name, seed=4, **_SIZE).shot(20).rgb, frames[1].rgb)
    assert not np.array_equal(make_scene(name, seed=3, split="test", **_SIZE).shot(20).rgb, frames[1].rgb)


@pytest.mark.parametrize("name", _STAGED)
@pytest.mark.parametrize("split", ["train", "test"])
def test_a_shot_has_the_promised_shapes_ranges_and_tags(name: str, split: str) -> None:
    scene = make_scene(name, seed=1, split=check_split(split), **_SIZE)
    assert (scene.width, scene.height, scene.frame_rate) == (128, 72, Fraction(30))
    seen = set()
    for index in (5, 45, 75, 100):
        shot = scene.shot(index)
        for picture in (shot.rgb, shot.foreground, shot.plate):
            assert picture.shape == (72, 128, 3)
            assert picture.dtype == np.uint8
        assert shot.alpha.shape == shot.items.shape == (72, 128)
        assert shot.alpha.dtype == np.float32
        assert np.isfinite(shot.alpha).all()
        assert shot.alpha.min() >= 0
        assert shot.alpha.max() <= 1
        assert (shot.foreground[shot.alpha == 0] == 0).all()
        assert set(np.unique(shot.items)) - {0} == set(shot.item_tags)
        assert name in shot.tags
        assert ("empty" in shot.tags) == (not shot.item_tags)
        seen |= shot.tags
    assert seen & {"opaque", "transparent"}


@pytest.mark.parametrize("name", _STAGED)
def test_inside_opaque_goods_the_picture_is_the_foreground_and_far_from_them_the_plate(name: str) -> None:
    scenes = [STAGES[name](seed=seed, split="train", settings=_QUIET, **_SIZE) for seed in (2, 3, 4)]
    solid = 0
    for scene, index in product(scenes, (20, 60, 100)):
        shot = scene.shot(index)
        inside = shot.alpha == 1
        solid += int(inside.sum())
        assert np.abs(shot.rgb[inside].astype(int) - shot.foreground[inside]).max(initial=0) <= 1
        if name in ("kiosk", "shelf"):  # in the others the background moves by itself
            untouched = shot.alpha == 0
            darker = shot.plate[untouched].astype(int) - shot.rgb[untouched]
            assert np.median(np.abs(darker)) == 0
            if name == "kiosk":
                assert np.abs(darker).max() <= 3  # light may be bent at an edge too thin to count
    assert solid > 100


def test_the_ground_under_goods_is_shadowed_and_not_part_of_the_cut_out() -> None:
    scene = STAGES["shelf"](seed=2, split="train", settings=_QUIET, **_SIZE)
    shot = scene.shot(0)
    darker = (shot.plate.astype(int) - shot.rgb).max(axis=2)
    assert ((darker > 8) & (shot.alpha == 0)).sum() > 10


def test_the_fast_picture_is_the_picture_of_the_shot() -> None:
    for name in _STAGED:
        scene = STAGES[name](seed=6, split="train", **_SIZE)
        assert np.array_equal(scene.picture(33), scene.shot(33).rgb)


def test_transparent_goods_have_fractional_alpha_inside() -> None:
    sampler = Sampler(128, 72, "train")
    fractional = []
    for seed in range(60):
        shot = sampler.shot(seed)
        for item, tags in shot.item_tags.items():
            if "transparent" in tags and "hand-held" not in tags:
                own = shot.alpha[shot.items == item]
                fractional.append(np.mean((own > 0.1) & (own < 0.95)))
    assert len(fractional) > 5
    assert np.median(fractional) > 0.3


def test_stills_repeat_by_seed_and_cover_the_categories() -> None:
    sampler = Sampler(128, 72, "train")
    shots = [sampler.shot(seed) for seed in range(40)]
    again = Sampler(128, 72, "train")
    assert _same(again.shot(39), shots[39])
    assert _same(again.shot(7), shots[7])
    assert _same(sample(7, 128, 72), shots[7])
    tags = frozenset().union(*(shot.tags for shot in shots))
    assert tags >= {"opaque", "transparent", "thin", "hand-held", "hand"}
    assert len({shot.rgb.tobytes() for shot in shots}) == 40


def test_a_still_is_the_first_frame_of_a_video() -> None:
    sampler = Sampler(128, 72, "test")
    for seed in range(12):
        first, second = (sampler.scene(seed).shot(index) for index in (0, 1))
        assert _same(first, sampler.shot(seed))
        if "empty" not in first.tags and "empty" not in second.tags:
            assert np.abs(first.alpha - second.alpha).mean() < 0.25


def test_training_and_test_share_no_places_and_no_random_numbers() -> None:
    assert not set(PLACES["train"]) & set(PLACES["test"])
    assert generator("train", 1, "a").random() != generator("test", 1, "a").random()
    assert generator("train", 1, "a").random() == generator("train", 1, "a").random()
    names = [f"picture-{number}" for number in range(500)]
    held_out = [name for name in names if in_split(name, "test")]
    assert 60 < len(held_out) < 140
    assert all(in_split(name, "train") != in_split(name, "test") for name in names)


def test_wrong_names_and_splits_are_usage_errors() -> None:
    with pytest.raises(UsageError, match="no scene garden"):
        make_scene("garden", seed=1, **_SIZE)
    with pytest.raises(UsageError, match="no products"):
        make_scene("packshots", seed=1, **_SIZE)
    with pytest.raises(UsageError, match="no such split"):
        check_split("validation")
    assert set(SCENES) == {*STAGES, "packshots"}


def test_a_uri_opens_a_video_of_its_size_length_and_rate() -> None:
    video = open_scene("synthetic://kiosk?seed=5&size=160x90&frames=3&fps=30000/1001")
    assert (video.width, video.height, video.frames, video.live) == (160, 90, 3, False)
    assert video.frame_rate == Fraction(30000, 1001)
    pictures = list(video)
    assert len(pictures) == 3
    assert all(picture.shape == (90, 160, 3) and picture.dtype == np.uint8 for picture in pictures)
    assert np.array_equal(pictures[2], list(video)[2]), "it begins anew"
    assert open_scene("synthetic://shelf?frames=0&size=64x64").frames is None
    assert open_scene("synthetic://conveyor?size=64x48").frames == 300


@pytest.mark.parametrize(
    "uri",
    [
        "synthetic://",
        "synthetic://garden",
        "synthetic://packshots",
        "synthetic://kiosk?sed=1",
        "synthetic://kiosk?seed=1&seed=2",
        "synthetic://kiosk?seed=-1",
        "synthetic://kiosk?seed=",
        "synthetic://kiosk?seed=one",
        "synthetic://kiosk?size=1280",
        "synthetic://kiosk?size=0x0",
        "synthetic://kiosk?size=99999x2",
        "synthetic://kiosk?frames=-4",
        "synthetic://kiosk?fps=0",
        "synthetic://kiosk?fps=1/0",
        "synthetic://kiosk?fps=fast",
        "synthetic://kiosk?split=both",
    ],
)
def test_a_uri_that_makes_no_sense_is_a_usage_error(uri: str) -> None:
    with pytest.raises(UsageError) as caught:
        open_scene(uri)
    assert caught.value.exit_code == 64
    assert caught.value.remedy


@pytest.mark.parametrize("painter", [paving, masonry, mesh, panels, chequers, motifs, chips, patches])
def test_patterns_fill_the_picture_with_lines_or_spots_and_the_same_seed_gives_the_same(painter: Painter) -> None:
    for seed, (width, height) in enumerate([(96, 54), (54, 96), (17, 9)]):
        surface = painter(np.random.default_rng(seed), width, height)
        assert surface.shape == (height, width, 3)
        assert np.isfinite(surface).all()
        assert surface.std() > 1e-3
        assert np.array_equal(surface, painter(np.random.default_rng(seed), width, height))
