"""The source synthetic://: a scene by name, as a camera would give it."""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from typing import final
from urllib.parse import parse_qsl, urlsplit

from cutline.runtime.errors import UsageError
from cutline.tools.scenes.camera import CameraSettings
from cutline.tools.scenes.registry import STAGES
from cutline.tools.scenes.seeds import check_split
from cutline.tools.scenes.shot import U8
from cutline.tools.scenes.stage import Stage

__all__ = ["Generated", "open_scene"]

_EXAMPLE = "synthetic://kiosk?seed=1&size=1280x720&frames=300&fps=30"
_KNOWN = ("seed", "size", "frames", "fps", "split")
_LARGEST = 4096  # pixels a side


@final
class Generated:
    """Owns one scene and hands out its pictures in order, RGB uint8[H, W, 3]; every iteration begins anew."""

    live = False

    def __init__(self, scene: Stage, frames: int | None, frame_rate: Fraction) -> None:
        self.scene, self.frames, self.frame_rate = scene, frames, frame_rate
        self.width, self.height = scene.width, scene.height

    def __iter__(self) -> Iterator[U8]:
        index = 0
        while self.frames is None or index < self.frames:
            yield self.scene.picture(index)
            index += 1


def open_scene(uri: str) -> Generated:
    """Open a scene by its URI.

    Args:
        uri: synthetic://NAME?seed=1&size=1280x720&frames=300&fps=30&split=train. frames=0 goes on for ever; all
            parameters may be left out.
    Raises:
        UsageError: an unknown name or parameter, or a value that makes no sense.
    """
    parts = urlsplit(uri)
    name = parts.netloc + parts.path.rstrip("/")
    if name not in STAGES:
        raise UsageError(
            "no such scene", remedy=f"Use one of {', '.join(STAGES)}, as in {_EXAMPLE}.", scene=name, uri=uri
        )
    given: dict[str, str] = {}
    for key, value in parse_qsl(parts.query, keep_blank_values=True):
        if key not in _KNOWN or key in given:
            word = "given twice" if key in given else "not known"
            raise UsageError(f"parameter {key} is {word}", remedy=f"Use {', '.join(_KNOWN)}, each once.", uri=uri)
        given[key] = value
    width, height = _size(given.get("size", "1280x720"), uri)
    frames = _whole(given, "frames", 300, 0, uri)
    rate = _rate(given.get("fps", "30"), uri)
    settings = CameraSettings(softness=0.5 * height / 720, vignette=0.15, noise=1.8, quality=92)
    scene = STAGES[name](
        seed=_whole(given, "seed", 1, 0, uri),
        width=width,
        height=height,
        split=check_split(given.get("split", "train")),
        settings=settings,
        frame_rate=rate,
    )
    return Generated(scene, frames or None, rate)


def _whole(given: dict[str, str], key: str, default: int, least: int, uri: str) -> int:
    text = given.get(key, str(default))
    if not text.isascii() or not text.isdigit() or not least <= int(text) < 2**63:
        raise UsageError(
            f"{key} is not a whole number", remedy=f"Use {key}={default}, for example.", value=text, uri=uri
        )
    return int(text)


def _size(text: str, uri: str) -> tuple[int, int]:
    sides = text.lower().split("x")
    if len(sides) != 2 or not all(side.isascii() and side.isdigit() and 32 <= int(side) <= _LARGEST for side in sides):
        raise UsageError(
            "size makes no sense", remedy=f"Use WIDTHxHEIGHT with sides of 32 to {_LARGEST}.", value=text, uri=uri
        )
    return int(sides[0]), int(sides[1])


def _rate(text: str, uri: str) -> Fraction:
    try:
        rate = Fraction(text)
    except (ValueError, ZeroDivisionError):
        rate = Fraction(0)
    if not 1 <= rate <= 240:
        raise UsageError(
            "fps makes no sense", remedy="Use a rate from 1 to 240, as 30 or 30000/1001.", value=text, uri=uri
        )
    return rate
