"""The camera: what stands between a scene and the pixels that software gets."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import final

import cv2
import numpy as np

from cutline.tools.scenes.canvas import Canvas
from cutline.tools.scenes.seeds import Split, generator
from cutline.tools.scenes.shot import F32, U8
from cutline.tools.scenes.textures import cloud

__all__ = ["Camera", "CameraSettings", "draw_settings"]

_NEUTRAL = np.ones(3, np.float32)
_SHARP = 0.25  # sigma under which a blur would change nothing
_TILE_MARGIN = 97  # the noise field is larger than the frame by this, and every frame takes another window of it


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraSettings:
    """How bad a camera is. All deviations are shares of full scale unless they say otherwise."""

    exposure: float = 1.0
    balance: tuple[float, float, float] = (1.0, 1.0, 1.0)  # factor of each channel
    drift: float = 0.01  # slow swing of exposure and balance
    drift_hz: float = 0.1
    flicker: float = 0.0  # swing of mains light, in bands because of the rolling shutter
    flicker_hz: float = 3.0  # its beat with the frame rate
    bands: float = 1.5  # of flicker, in one frame height
    noise: float = 1.5  # sigma, code values of 255
    grain: float = 0.0  # sigma of the blur of the noise, pixels: denoised or scaled pictures have coarse noise
    softness: float = 0.4  # sigma of the lens, pixels
    vignette: float = 0.1
    quality: int = 90  # of the compression, as JPEG counts it; 100: none
    deblock: float = 0.0  # sigma of the smoothing after the compression, pixels: video codecs smooth block edges
    shake: float = 0.0  # pixels
    aged: float = 0.01  # by how much exposure and balance of the plate differ from the frame's
    stain: float = 0.0  # uneven light on the plate alone: people stood elsewhere, the sun was lower


def draw_settings(rng: np.random.Generator, width: int) -> CameraSettings:
    """Draw a camera as they come: mostly decent, now and then bad. Blur and shake grow with `width`, in pixels."""
    unit = width / 512
    tint = rng.normal(0, 0.05)
    return CameraSettings(
        exposure=float(np.exp(rng.normal(0, 0.16))),
        balance=(float(1 + tint), 1.0, float(1 - tint + rng.normal(0, 0.02))),
        drift=float(rng.uniform(0, 0.02)),
        drift_hz=float(rng.uniform(0.05, 0.5)),
        flicker=float(rng.uniform(0, 0.03)) if rng.random() < 0.3 else 0.0,
        flicker_hz=float(rng.uniform(0.3, 9)),
        bands=float(rng.uniform(0.5, 3)),
        noise=float(rng.gamma(1.6, 1.6)),
        grain=float(rng.uniform(0.4, 0.8)) if rng.random() < 0.4 else 0.0,
        softness=float(unit * rng.uniform(0.4, 1.4)),
        vignette=float(rng.uniform(0, 0.3)),
        quality=int(rng.choice([100, 95, 85, 70, 50, 30], p=[0.25, 0.2, 0.2, 0.2, 0.1, 0.05])),
        deblock=float(rng.uniform(0.3, 0.6)) if rng.random() < 0.4 else 0.0,
        shake=float(unit * rng.uniform(0, 1.2)) if rng.random() < 0.4 else 0.0,
        aged=float(abs(rng.normal(0, 0.03)) if rng.random() < 0.8 else rng.uniform(0, 0.12)),
        stain=float(rng.uniform(0.02, 0.12)) if rng.random() < 0.25 else 0.0,
    )


@final
class Camera:
    """Owns the fixed parts of one camera: vignette, noise field, and the random phases of its drifts."""

    def __init__(self, settings: CameraSettings, width: int, height: int, split: Split, seed: int) -> None:
        self.settings, self.width, self.height = settings, width, height
        self._split, self._seed = split, seed
        self._plate: F32 | None = None
        self._behind: F32 | None = None  # the background that _soft is the blurred copy of
        self._soft: F32 = np.empty((0, 0, 3), np.float32)
        rng = generator(split, "camera", seed)
        self._phases = rng.uniform(0, 2 * np.pi, 6)
        x = np.linspace(-1, 1, width, dtype=np.float32)
        y = np.linspace(-1, 1, height, dtype=np.float32)[:, None] * (height / width)
        self._fall: F32 = (1 - settings.vignette * (x * x + y * y) / (1 + (height / width) ** 2)).astype(np.float32)
        self._noise = _noise(width, height, round(settings.grain, 1))

    def sway(self, seconds: float) -> tuple[float, float]:
        """Return the offset of the picture by shake at this time, pixels."""
        amount, phases = self.settings.shake, self._phases
        x = np.sin(seconds * 2 * np.pi * 1.3 + phases[0]) + 0.5 * np.sin(seconds * 2 * np.pi * 4.1 + phases[1])
        y = np.sin(seconds * 2 * np.pi * 1.7 + phases[2]) + 0.5 * np.sin(seconds * 2 * np.pi * 3.3 + phases[3])
        return float(amount * x / 1.5), float(amount * y / 1.5)

    def gains(self, seconds: float, tint: F32 = _NEUTRAL, uneven: F32 | float = 1.0) -> F32:
        """Return the factor of every pixel at this time, float32[H, W, 3]; by `tint` and an `uneven` light besides."""
        settings, turn = self.settings, 2 * np.pi * seconds
        slow = np.sin(turn * settings.drift_hz + self._phases[4:6]) * settings.drift
        lines = np.arange(self.height, dtype=np.float32) / np.float32(self.height)
        mains = 1 + settings.flicker * np.sin(2 * np.pi * settings.bands * lines + turn * settings.flicker_hz)
        fall = self._fall * (settings.exposure * (1 + slow[0]) * mains).astype(np.float32)[:, None]
        fall = fall * uneven
        red, green, blue = (float(v) for v in settings.balance * (1 + slow[1] * np.array([1, 0, -1])) * tint)
        factors: F32 = cv2.merge([fall * np.float32(red), fall * np.float32(green), fall * np.float32(blue)])
        return factors

    def picture(self, canvas: Canvas, index: int, seconds: float) -> U8:
        """Photograph a finished canvas; return rgb alone."""
        (colour,) = self._through_lens(canvas, canvas.colour)
        return self._develop(
            cv2.multiply(colour, self.gains(seconds)), generator(self._split, "frame", self._seed, index)
        )

    def take(self, canvas: Canvas, index: int, seconds: float) -> tuple[U8, U8, F32]:
        """Photograph a finished canvas; return rgb, straight foreground and alpha.

        The lens blurs colour and alpha alike, so the three still agree.
        """
        colour, over, alpha = self._through_lens(canvas, canvas.colour, canvas.over, canvas.alpha)
        gains = self.gains(seconds)
        rgb = self._develop(cv2.multiply(colour, gains), generator(self._split, "frame", self._seed, index))
        _, alpha = cv2.threshold(alpha, 1 / 1024, 0, cv2.THRESH_TOZERO)
        alpha[alpha > 1 - 1 / 1024] = 1
        weight = cv2.compare(alpha, 0, cv2.CMP_GT) / np.maximum(
            alpha, np.float32(1 / 255)
        )  # 255 / alpha, 0 where it is 0
        straight = cv2.multiply(cv2.multiply(over, gains), cv2.merge([weight] * 3))
        return rgb, cv2.convertScaleAbs(straight), alpha

    def _through_lens(self, canvas: Canvas, *planes: F32) -> list[F32]:
        """Blur the planes of a canvas, colour first, where anything was put; the place around it is blurred once."""
        sigma = self.settings.softness
        if sigma <= _SHARP:
            return list(planes)
        if self._behind is not canvas.background:
            self._behind, self._soft = canvas.background, cv2.GaussianBlur(canvas.background, (0, 0), sigma)
        top, bottom, left, right = canvas.touched
        reach = int(np.ceil(4 * sigma)) + 1
        outer = (slice(max(0, top - 2 * reach), bottom + 2 * reach), slice(max(0, left - 2 * reach), right + 2 * reach))
        inner = (slice(max(0, top - reach), bottom + reach), slice(max(0, left - reach), right + reach))
        shift = (inner[0].start - outer[0].start, inner[1].start - outer[1].start)
        blurred = []
        for number, plane in enumerate(planes):
            whole = self._soft.copy() if number == 0 else np.zeros_like(plane)
            if bottom > top:
                part = cv2.GaussianBlur(plane[outer], (0, 0), sigma)[shift[0] :, shift[1] :]
                target = whole[inner]
                target[...] = part[: target.shape[0], : target.shape[1]]
            blurred.append(whole)
        return blurred

    def take_plate(self, background: F32, index: int) -> U8:
        """Photograph the empty scene at some other time than any frame; frames `index` differ in their noise alone."""
        settings, rng = self.settings, generator(self._split, "plate", self._seed)
        if self._plate is None:
            dx, dy = self.sway(float(rng.uniform(1000, 2000)))
            moved = shifted(background, dx, dy) if settings.shake > 0 else background
            aged = 1 + settings.aged * rng.uniform(-1, 1, 4)
            tint = (aged[0] * (0.7 + 0.3 * aged[1:])).astype(np.float32)
            soft = cv2.GaussianBlur(moved, (0, 0), settings.softness) if settings.softness > _SHARP else moved
            uneven: F32 | float = 1.0
            if settings.stain > 0:
                uneven = 1 + settings.stain * (cloud(rng, self.width, self.height, self.height / 1.5, 2) - 0.5)
            self._plate = cv2.multiply(soft, self.gains(float(rng.uniform(1000, 2000)), tint, uneven))
        return self._develop(self._plate, generator(self._split, "plate", self._seed, index))

    def _develop(self, picture: F32, rng: np.random.Generator) -> U8:
        """Noise, 8 bits, compression."""
        settings = self.settings
        top, left = (int(v) for v in rng.integers(0, _TILE_MARGIN, 2))
        noise = self._noise[top : top + self.height, left : left + self.width]
        code: U8 = cv2.addWeighted(picture, 255.0, np.ascontiguousarray(noise), settings.noise, 0.0, dtype=cv2.CV_8U)
        if settings.quality < 100:
            swapped = cv2.cvtColor(code, cv2.COLOR_RGB2BGR)
            _, packed = cv2.imencode(".jpg", swapped, (cv2.IMWRITE_JPEG_QUALITY, settings.quality))
            code = cv2.cvtColor(cv2.imdecode(packed, cv2.IMREAD_COLOR), cv2.COLOR_BGR2RGB)
        if settings.deblock > 0:
            code = cv2.GaussianBlur(code, (0, 0), settings.deblock)
        return code


@lru_cache(maxsize=24)
def _noise(width: int, height: int, grain: float) -> F32:
    """Return a field of noise, sigma 1, larger than the frame. All cameras share it; a frame sees a window of it."""
    shape = (height + _TILE_MARGIN, width + _TILE_MARGIN, 3)
    field: F32 = np.random.default_rng(20260101).standard_normal(shape, np.float32)
    if grain > 0.2:
        field = cv2.GaussianBlur(field, (0, 0), grain)
        field *= np.float32(1 / field.std())
    return field


def shifted(picture: F32, dx: float, dy: float) -> F32:
    """Return the picture moved by a fraction of pixels, edges repeated."""
    matrix = np.array([[1, 0, dx], [0, 1, dy]], np.float32)
    size = (picture.shape[1], picture.shape[0])
    moved: F32 = cv2.warpAffine(picture, matrix, size, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    return moved
