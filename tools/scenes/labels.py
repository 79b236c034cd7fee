"""Printed matter: made-up brands, logos, pictures, small print and barcodes, for packages and labels."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass

import cv2
import numpy as np

from cutline.tools.scenes.seeds import Split
from cutline.tools.scenes.shot import F32, U8
from cutline.tools.scenes.textures import cloud, lerp

__all__ = ["Design", "draw_design"]

_FONTS: dict[Split, tuple[int, ...]] = {
    "train": (
        cv2.FONT_HERSHEY_SIMPLEX,
        cv2.FONT_HERSHEY_DUPLEX,
        cv2.FONT_HERSHEY_COMPLEX,
        cv2.FONT_HERSHEY_SCRIPT_SIMPLEX,
    ),
    "test": (cv2.FONT_HERSHEY_TRIPLEX, cv2.FONT_HERSHEY_SCRIPT_COMPLEX, cv2.FONT_HERSHEY_PLAIN),
}
_SYLLABLES: dict[Split, tuple[str, ...]] = {
    "train": ("al", "bo", "ca", "di", "fru", "lo", "mi", "na", "ri", "so", "ta", "vel", "zen", "ora"),
    "test": ("ber", "gu", "hix", "ja", "ke", "plu", "qua", "sty", "tor", "ump", "wy", "yel"),
}
_KINDS = (
    "juice",
    "tea",
    "crisps",
    "soap",
    "milk",
    "coffee",
    "oats",
    "sauce",
    "water",
    "biscuits",
    "cream",
    "soup",
    "glue",
)
_SMALL = (
    "net 500 ml",
    "net wt 250 g",
    "best before end: see lid",
    "store cool and dry",
    "100% natural",
    "made with care",
    "12 x 40 g",
)


@dataclass(frozen=True, slots=True)
class Design:
    """One brand's look: its colours, letters and marks; draws any number of faces that belong together."""

    ground: F32
    accent: F32
    ink: F32
    font: int
    slant: bool
    brand: str
    kind: str
    motif: int
    seed: int

    def face(self, width: int, height: int, *, side: bool = False) -> U8:
        """Print one face, uint8[height, width, 3]. A side face has small print and a barcode in place of the brand."""
        rng = np.random.default_rng([self.seed, int(side)])
        picture: U8 = cv2.convertScaleAbs(self._ground(rng, width, height), alpha=255.0)
        if side:
            self._small_print(picture, rng, (0.08, 0.08, 0.92, 0.6))
            _barcode(picture, rng, (0.15, 0.7, 0.85, 0.92))
            return picture
        band = rng.uniform(0.08, 0.3)
        if rng.random() < 0.6:
            self._motif(picture, rng, (0.1, 0.42, 0.9, 0.9))
        if rng.random() < 0.5:
            top = int(height * band)
            cv2.rectangle(picture, (0, top), (width, top + int(height * 0.26)), _code(self.accent), -1)
            ink = self.ground if rng.random() < 0.5 else self.ink
        else:
            ink = self.ink
        self._words(picture, self.brand, (0.07, band + 0.02, 0.93, band + 0.2), ink)
        self._words(picture, self.kind, (0.15, band + 0.22, 0.85, band + 0.31), self.ink)
        self._small_print(picture, rng, (0.1, 0.88, 0.9, 0.98))
        return picture

    def wrap(self, width: int, height: int) -> U8:
        """Print a label that goes all the way round, uint8[height, width, 3]: front, side, front, side."""
        wide, narrow = int(width * 0.33), width - width // 2 - int(width * 0.33)
        faces = [self.face(wide, height), self.face(max(2, narrow), height, side=True)]
        half = np.hstack(faces)
        return np.ascontiguousarray(np.hstack([half, half, half[:, :1]])[:, :width])

    def _ground(self, rng: np.random.Generator, width: int, height: int) -> F32:
        style = rng.integers(0, 5)
        picture = np.empty((height, width, 3), np.float32)
        picture[:] = self.ground
        if style == 0:
            ramp = np.linspace(0, 1, height, dtype=np.float32)[:, None] + np.zeros((1, width), np.float32)
            picture = lerp(self.ground, self.accent, ramp)
        elif style == 1:
            split = int(height * rng.uniform(0.3, 0.7))
            picture[split:] = self.accent
        elif style == 2:
            count = int(rng.integers(3, 12))
            for stripe in range(0, count, 2):
                left = width * stripe // count
                picture[:, left : width * (stripe + 1) // count] = self.ground * 0.5 + self.accent * 0.5
        elif style == 3:
            patches = np.clip(6 * (cloud(rng, width, height, height / 4, 2) - 0.45), 0, 1)
            picture = lerp(self.ground, self.accent, patches * 0.6)
        return picture

    def _motif(self, picture: U8, rng: np.random.Generator, box: tuple[float, float, float, float]) -> None:
        """Draw the brand's picture: fruit-like discs, leaves, a sun, hills, a badge or waves."""
        height, width = picture.shape[:2]
        left, top, right, bottom = (int(v * s) for v, s in zip(box, (width, height) * 2, strict=True))
        centre, reach = ((left + right) // 2, (top + bottom) // 2), max(2, min(right - left, bottom - top) // 2)
        warm = np.array(colorsys.hsv_to_rgb(rng.uniform(0, 0.35), 0.8, 0.9), np.float32)
        if self.motif == 0:
            for _ in range(int(rng.integers(2, 6))):
                spot = tuple(int(c + rng.normal(0, reach * 0.4)) for c in centre)
                radius = int(reach * rng.uniform(0.25, 0.5))
                cv2.circle(picture, spot, radius, _code(warm * 0.75), -1, cv2.LINE_AA)
                shine = (spot[0] - radius // 5, spot[1] - radius // 5)
                cv2.circle(picture, shine, int(radius * 0.75), _code(warm), -1, cv2.LINE_AA)
        elif self.motif == 1:
            for angle in rng.uniform(0, 180, int(rng.integers(3, 8))):
                axes = (max(1, int(reach * 0.8)), max(1, int(reach * 0.2)))
                cv2.ellipse(picture, centre, axes, float(angle), 0, 360, _code(self.accent * 0.8), -1, cv2.LINE_AA)
        elif self.motif == 2:
            for angle in np.arange(0, 2 * np.pi, np.pi / 8):
                tip = (int(centre[0] + reach * np.cos(angle)), int(centre[1] + reach * np.sin(angle)))
                cv2.line(picture, centre, tip, _code(warm), max(1, reach // 10), cv2.LINE_AA)
            cv2.circle(picture, centre, reach // 2, _code(warm), -1, cv2.LINE_AA)
        elif self.motif == 3:
            for layer in range(3):
                line = bottom - int(reach * (0.9 - 0.3 * layer))
                points = [
                    (left, bottom),
                    *((x, line + int(rng.normal(0, reach * 0.2))) for x in np.linspace(left, right, 6).astype(int)),
                    (right, bottom),
                ]
                tone = self.accent * (0.9 - 0.25 * layer)
                cv2.fillPoly(picture, [np.array(points, np.int32)], _code(tone), cv2.LINE_AA)
        elif self.motif == 4:
            cv2.circle(picture, centre, reach, _code(self.ink), -1, cv2.LINE_AA)
            cv2.circle(picture, centre, int(reach * 0.85), _code(self.accent), max(1, reach // 12), cv2.LINE_AA)
            self._words(
                picture,
                self.brand[:2],
                (box[0] + 0.2, (box[1] + box[3]) / 2 - 0.1, box[2] - 0.2, (box[1] + box[3]) / 2 + 0.1),
                self.ground,
            )
        else:
            xs = np.arange(left, right, max(1, width // 60))
            for line in range(top, bottom, max(3, reach // 5)):
                ys = line + reach * 0.1 * np.sin(xs * (8 / max(1, right - left)) + line)
                cv2.polylines(
                    picture,
                    [np.stack([xs, ys], 1).astype(np.int32)],
                    False,
                    _code(self.accent),
                    max(1, reach // 20),
                    cv2.LINE_AA,
                )

    def _words(self, picture: U8, text: str, box: tuple[float, float, float, float], ink: F32) -> None:
        """Set one line of text as large as the box allows."""
        height, width = picture.shape[:2]
        left, top, right, bottom = box[0] * width, box[1] * height, box[2] * width, box[3] * height
        font = self.font | (cv2.FONT_ITALIC if self.slant else 0)
        (wide, high), _ = cv2.getTextSize(text, font, 1.0, 2)
        scale = min((right - left) / max(wide, 1), (bottom - top) / max(high, 1))
        if scale < 0.12:
            return
        thick = max(1, round(scale * 2.5))
        origin = (int((left + right - wide * scale) / 2), int((top + bottom + high * scale) / 2))
        cv2.putText(picture, text, origin, font, scale, _code(ink), thick, cv2.LINE_AA)

    def _small_print(self, picture: U8, rng: np.random.Generator, box: tuple[float, float, float, float]) -> None:
        """Lines of small text; where they would be too small to read, grey bars as they look from afar."""
        height, width = picture.shape[:2]
        step = max(3.0, height * 0.035)
        y, left, right = box[1] * height + step, int(box[0] * width), int(box[2] * width)
        while y < box[3] * height:
            if step >= 7:
                text = _SMALL[int(rng.integers(len(_SMALL)))]
                cv2.putText(
                    picture, text, (left, int(y)), cv2.FONT_HERSHEY_SIMPLEX, step / 32, _code(self.ink), 1, cv2.LINE_AA
                )
            else:
                end = left + int((right - left) * rng.uniform(0.5, 1))
                tone = self.ink * 0.6 + self.ground * 0.4
                cv2.line(picture, (left, int(y)), (end, int(y)), _code(tone), max(1, int(step / 3)))
            y += step


def _code(tone: F32) -> list[int]:
    return [int(v) for v in np.clip(tone * 255, 0, 255)]


def _barcode(picture: U8, rng: np.random.Generator, box: tuple[float, float, float, float]) -> None:
    height, width = picture.shape[:2]
    left, top, right, bottom = (int(v * s) for v, s in zip(box, (width, height) * 2, strict=True))
    if right - left < 8 or bottom - top < 3:
        return
    picture[top:bottom, left:right] = 255
    modules = np.repeat(rng.random(48) < 0.5, rng.integers(1, 4, 48)).astype(np.float32)
    lines = cv2.resize(modules[None], (right - left - 4, bottom - top - 2), interpolation=cv2.INTER_AREA)
    picture[top + 1 : bottom - 1, left + 2 : right - 2] = (255 - 240 * lines)[..., None].astype(np.uint8)


def draw_design(rng: np.random.Generator, split: Split) -> Design:
    """Draw one brand of this split."""
    hue, scheme = rng.random(), rng.random()
    if scheme < 0.35:  # white or pale package
        ground = np.array(colorsys.hsv_to_rgb(hue, rng.uniform(0, 0.2), rng.uniform(0.85, 1)), np.float32)
        ink = np.array(colorsys.hsv_to_rgb(hue, rng.uniform(0.5, 1), rng.uniform(0.1, 0.6)), np.float32)
    elif scheme < 0.5:  # dark
        ground = np.array(colorsys.hsv_to_rgb(hue, rng.uniform(0, 0.8), rng.uniform(0.03, 0.25)), np.float32)
        ink = np.array(colorsys.hsv_to_rgb(rng.random(), rng.uniform(0, 0.4), rng.uniform(0.8, 1)), np.float32)
    else:
        ground = np.array(colorsys.hsv_to_rgb(hue, rng.uniform(0.4, 1), rng.uniform(0.4, 1)), np.float32)
        ink = np.ones(3, np.float32) if rng.random() < 0.6 else ground * np.float32(0.15)
    accent = np.array(
        colorsys.hsv_to_rgb((hue + rng.choice([0.08, 0.33, 0.5])) % 1, rng.uniform(0.4, 1), rng.uniform(0.4, 1)),
        np.float32,
    )
    syllables, fonts = _SYLLABLES[split], _FONTS[split]
    brand = "".join(syllables[int(i)] for i in rng.integers(0, len(syllables), int(rng.integers(2, 4))))
    return Design(
        ground=ground,
        accent=accent,
        ink=ink,
        font=int(fonts[int(rng.integers(len(fonts)))]),
        slant=bool(rng.random() < 0.2),
        brand=brand.upper() if rng.random() < 0.5 else brand.capitalize(),
        kind=_KINDS[int(rng.integers(len(_KINDS)))],
        motif=int(rng.integers(0, 3) if split == "train" else rng.integers(3, 6)),
        seed=int(rng.integers(1 << 31)),
    )
