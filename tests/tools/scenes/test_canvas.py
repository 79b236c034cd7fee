"""The canvas: composition holds exactly, shadows and reflections belong to the background."""

from __future__ import annotations

import numpy as np
import pytest

from cutline.tools.scenes.camera import Camera, CameraSettings, draw_settings
from cutline.tools.scenes.canvas import Canvas, streak
from cutline.tools.scenes.seeds import generator
from cutline.tools.scenes.shot import F32
from cutline.tools.scenes.sprite import Sprite, place

_QUIET = CameraSettings(noise=0.0, softness=0.0, drift=0.0, vignette=0.0, quality=100, aged=0.0)


def _backdrop() -> F32:
    return generator("test", "canvas").random((72, 96, 3), np.float32)


def _sprite(alpha: float, optics: F32 | None = None) -> Sprite:
    colour = np.empty((30, 20, 3), np.float32)
    colour[:] = (0.8, 0.5, 0.2)
    return Sprite.from_straight(colour, np.full((30, 20), alpha, np.float32), ("opaque",), optics)


@pytest.mark.parametrize("alpha", [1.0, 0.4])
@pytest.mark.parametrize("motion", [(0.0, 0.0), (5.0, 2.0)])
@pytest.mark.parametrize("defocus", [0.0, 1.5])
def test_colour_is_foreground_over_background_everywhere(
    alpha: float, motion: tuple[float, float], defocus: float
) -> None:
    background = _backdrop()
    canvas = Canvas(background)
    canvas.put(_sprite(alpha), place(_sprite(alpha), 50.3, 40.7, 33.0, turn=0.3), 1, motion=motion, defocus=defocus)
    canvas.put(_sprite(alpha), place(_sprite(alpha), 60.3, 35.7, 20.0), 2)
    expected = canvas.over + (1 - canvas.alpha[..., None]) * background
    assert np.abs(canvas.colour - expected).max() < 1e-5
    assert canvas.alpha.max() <= 1 + 1e-6
    assert set(np.unique(canvas.items)) == {0, 1, 2}


def test_clear_material_shows_what_is_behind_it_displaced_and_filtered() -> None:
    background = np.zeros((72, 96, 3), np.float32)
    background[:, :48] = 1
    optics = np.zeros((30, 20, 3), np.float32)
    optics[..., 0], optics[..., 1] = 1.0, 30.0  # a filter, whose light comes from 30 pixels to the right
    sprite = _sprite(0.5, optics)
    canvas = Canvas(background)
    canvas.put(sprite, place(sprite, 30.0, 36.0, 30.0), 1)
    centre = canvas.colour[36, 30]
    assert canvas.alpha[36, 30] == pytest.approx(0.5, abs=0.01)
    assert centre == pytest.approx((0, 0, 0), abs=0.01), "it sees the dark half, and a filter adds no light"
    assert canvas.colour[36, 10] == pytest.approx((1, 1, 1)), "outside of it nothing is displaced"


def test_shadows_and_reflections_change_the_background_and_no_alpha() -> None:
    background = np.full((72, 96, 3), 0.5, np.float32)
    for softness in (1.0, 6.0):
        canvas = Canvas(background)
        canvas.shade(_sprite(1.0), place(_sprite(1.0), 50.0, 40.0, 30.0), 0.6, softness)
        assert canvas.colour.min() < 0.4
        assert canvas.alpha.max() == 0
        assert canvas.items.max() == 0
    canvas = Canvas(background)
    canvas.mirror(_sprite(1.0), place(_sprite(1.0), 50.0, 40.0, 30.0), 0.5, 1.0, 40.0)
    assert np.abs(canvas.colour - background).max() > 0.05
    assert canvas.alpha.max() == 0


def test_a_shadow_on_one_item_spares_the_rest() -> None:
    canvas = Canvas(np.full((72, 96, 3), 0.5, np.float32))
    canvas.put(_sprite(1.0), place(_sprite(1.0), 40.0, 36.0, 30.0), 3)
    before = canvas.colour.copy()
    canvas.shade(_sprite(1.0), place(_sprite(1.0), 48.0, 36.0, 30.0), 0.8, 1.0, on_item=3)
    changed = np.abs(canvas.colour - before).max(axis=2) > 1e-6
    assert changed.any()
    assert (canvas.items[changed] == 3).all()


def test_what_is_put_outside_the_frame_changes_nothing() -> None:
    background = _backdrop()
    canvas = Canvas(background)
    canvas.put(_sprite(1.0), place(_sprite(1.0), -200.0, 40.0, 30.0), 1)
    canvas.shade(_sprite(1.0), place(_sprite(1.0), 40.0, 900.0, 30.0), 0.8, 5.0)
    assert np.array_equal(canvas.colour, background)
    assert canvas.alpha.max() == 0


def test_a_streak_has_weight_one_and_the_length_of_the_way() -> None:
    kernel = streak(9.0, 0.0)
    assert kernel.sum() == pytest.approx(1)
    middle = kernel.shape[0] // 2
    assert kernel[middle].sum() == pytest.approx(1, abs=1e-3)
    spread = np.sqrt((kernel[middle] * (np.arange(kernel.shape[1]) - middle) ** 2).sum())
    assert spread == pytest.approx(9.0 / np.sqrt(12), rel=0.1)


def test_the_camera_keeps_colour_foreground_and_alpha_in_agreement() -> None:
    background = np.full((72, 96, 3), 0.4, np.float32)
    settings = CameraSettings(noise=0.0, softness=1.2, drift=0.0, vignette=0.3, quality=100, exposure=1.1, flicker=0.05)
    camera = Camera(settings, 96, 72, "test", 5)
    canvas = Canvas(background)
    canvas.put(_sprite(0.9), place(_sprite(0.9), 48.0, 36.0, 30.0), 1)
    rgb, foreground, alpha = camera.take(canvas, 3, 0.1)
    empty = Camera(settings, 96, 72, "test", 5).take(Canvas(background), 3, 0.1)[0]
    mixed = alpha[..., None] * foreground + (1 - alpha[..., None]) * empty
    assert np.abs(mixed - rgb).max() <= 2
    assert ((alpha > 0.05) & (alpha < 0.85)).any(), "the lens makes the edge soft"
    assert np.array_equal(camera.picture(canvas, 3, 0.1), rgb)


def test_plates_of_a_still_camera_differ_by_noise_alone() -> None:
    background = _backdrop()
    camera = Camera(CameraSettings(noise=2.0, quality=100, drift=0.02), 96, 72, "test", 1)
    first, second = (camera.take_plate(background, index).astype(int) for index in (0, 7))
    difference = (first - second)[(first > 10) & (first < 245)]
    assert 2.0 < difference.std() < 4.0
    assert abs(difference.mean()) < 0.2
    quiet = Camera(_QUIET, 96, 72, "test", 1)
    assert np.array_equal(quiet.take_plate(background, 0), quiet.take_plate(background, 9))


def test_drawn_cameras_are_different_and_sane() -> None:
    settings = [draw_settings(generator("train", seed), 512) for seed in range(40)]
    assert len({one.exposure for one in settings}) == 40
    assert {one.quality for one in settings} >= {100, 70}
    assert all(0.5 < one.exposure < 2 and 0 <= one.noise < 20 and one.shake < 3 for one in settings)
