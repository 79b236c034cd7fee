"""Kinds of round goods: what cans, bottles, jars and glasses look like, as profiles and materials."""

from __future__ import annotations

import colorsys
from collections.abc import Callable

import numpy as np

from cutline.tools.scenes.labels import draw_design
from cutline.tools.scenes.seeds import Split
from cutline.tools.scenes.shot import F32, f32
from cutline.tools.scenes.turned import Clear, Skin, Turned, held_back

__all__ = ["VESSELS"]

Maker = Callable[[np.random.Generator, Split, int], Turned]


def _hsv(hue: float, saturation: float, value: float) -> F32:
    return np.array(colorsys.hsv_to_rgb(hue % 1, saturation, value), np.float32)


def _plastic(rng: np.random.Generator) -> F32:
    tone = _hsv(rng.random(), rng.uniform(0.5, 1), rng.uniform(0.3, 1))
    return tone if rng.random() < 0.7 else np.full(3, rng.choice([0.06, 0.93]), np.float32)


def _steel(rng: np.random.Generator) -> Skin:
    tone = np.array([0.85, 0.86, 0.88], np.float32) if rng.random() < 0.7 else np.array([0.9, 0.75, 0.45], np.float32)
    return Skin(colour=tone, metal=0.85, gloss=0.7)


def _glass(rng: np.random.Generator, *, full: bool | None = None) -> Clear:
    """Clear or tinted, empty or full of something one can see through."""
    pale = rng.random() < 0.6
    tint = (
        _hsv(rng.uniform(0.45, 0.62), rng.uniform(0.03, 0.3), rng.uniform(0.65, 0.95))
        if pale
        else _hsv(rng.choice([0.08, 0.3, 0.33, 0.55, 0.95]), rng.uniform(0.3, 0.9), rng.uniform(0.3, 0.8))
    )
    filled = bool(rng.random() < 0.6) if full is None else full
    return Clear(
        tint=tint,
        density=held_back(tint),
        filtering=float(rng.uniform(0.75, 0.95)),
        bend=float(rng.uniform(0.1, 0.4)),
        lens=float(rng.uniform(0.4, 1)) if filled else 0.0,
    )


def _label(
    rng: np.random.Generator, split: Split, pixels: int, width: float, height: float, gloss: float = 0.4
) -> Skin:
    """A printed label for a zone of this width (all the way round) and height, in the good's heights."""
    design = draw_design(rng, split)
    print_height = max(12, int(pixels * height))
    return Skin(
        colour=design.ground, gloss=gloss, print=design.wrap(max(24, int(print_height * width / height)), print_height)
    )


def drink_can(rng: np.random.Generator, split: Split, pixels: int) -> Turned:
    """A drink can of printed metal."""
    r = rng.uniform(0.2, 0.28)
    label = _label(rng, split, pixels, 2 * np.pi * r, 0.86, 0.7)
    metal = _steel(rng)
    label = Skin(colour=label.colour, gloss=0.75, metal=0.35, print=label.print)
    profile = [(0, r * 0.82), (0.025, r * 0.82), (0.09, r), (0.93, r), (0.98, r * 0.84), (1, r * 0.8)]
    return Turned(profile, [(0.05, metal), (0.94, label), (1, metal)], tags=("opaque",), tilt=_tilt(rng), lid=metal)


def food_tin(rng: np.random.Generator, split: Split, pixels: int) -> Turned:
    """A food tin with a paper label and ribs."""
    r = rng.uniform(0.33, 0.8)
    steel = _steel(rng)
    profile = [(0, r), (0.03, r), (0.035, r * 0.96), (0.96, r * 0.96), (0.965, r), (1, r)]
    zones = [(0.07, steel), (0.93, _label(rng, split, pixels, 2 * np.pi * r, 0.86, 0.15)), (1, steel)]
    return Turned(profile, zones, tags=("opaque",), tilt=_tilt(rng), lid=steel, smooth=0.003)


def _tilt(rng: np.random.Generator) -> float:
    return float(rng.choice([0.0, 1.0], p=[0.25, 0.75]) * rng.uniform(0.05, 0.3))


def water_bottle(rng: np.random.Generator, split: Split, pixels: int) -> Turned:
    """A clear plastic bottle with cap and waist, full or half full, with or without a label."""
    r = rng.uniform(0.13, 0.19)
    neck = r * rng.uniform(0.3, 0.42)
    shoulder = rng.uniform(0.28, 0.42)
    cap = Skin(colour=_plastic(rng), gloss=0.4, ribs=int(rng.integers(30, 60)))
    waist = rng.uniform(0.55, 0.75)
    profile = [
        (0, neck * 1.12), (0.07, neck * 1.12), (0.071, neck), (0.11, neck), (0.12, neck * 1.15), (0.13, neck),
        (0.5 * (0.13 + shoulder), (neck + r) * 0.52), (shoulder, r), (waist - 0.06, r),
        (waist, r * rng.uniform(0.86, 1)), (waist + 0.06, r), (0.95, r), (1, r * 0.82),
    ]  # fmt: skip
    glass, level = _glass(rng), rng.uniform(0.12, 0.7)
    dry = f32(1 - 0.5 * (1 - glass.tint))
    empty = Clear(tint=dry, density=held_back(dry), filtering=glass.filtering, bend=glass.bend)
    full = Clear(
        tint=glass.tint, density=glass.density, filtering=glass.filtering, bend=glass.bend, lens=rng.uniform(0.5, 1)
    )
    gloss = float(rng.uniform(0.5, 0.95))
    wet = Skin(colour=glass.tint, gloss=gloss, clear=full)
    zones: list[tuple[float, Skin]] = [(0.075, cap), (level, Skin(colour=glass.tint, gloss=gloss, clear=empty))]
    top = max(level, shoulder) + rng.uniform(0.02, 0.1)
    if rng.random() < 0.6 and top < 0.6:
        bottom = top + rng.uniform(0.12, 0.28)
        zones += [(top, wet), (bottom, _label(rng, split, pixels, 2 * np.pi * r, bottom - top))]
    zones.append((1, wet))
    return Turned(zones=zones, profile=profile, tags=("transparent",), tilt=_tilt(rng) * 0.6, lid=cap, smooth=0.012)


def wine_bottle(rng: np.random.Generator, split: Split, pixels: int) -> Turned:
    """A tall bottle of dark or green glass with a foil neck and a paper label."""
    r = rng.uniform(0.115, 0.15)
    tint = _hsv(rng.choice([0.07, 0.25, 0.33]), rng.uniform(0.5, 0.95), rng.uniform(0.12, 0.4))
    clear = Clear(tint=tint, density=held_back(tint), bend=0.3, lens=0.6)
    glass = Skin(colour=tint, gloss=0.85, clear=clear)
    foil = Skin(colour=_plastic(rng), gloss=0.5, metal=0.4)
    neck = r * 0.36
    profile = [
        (0, neck * 1.1),
        (0.03, neck * 1.1),
        (0.04, neck),
        (0.26, neck * 1.05),
        (0.42, r),
        (0.98, r),
        (1, r * 0.94),
    ]
    zones = [(0.17, foil), (0.52, glass), (0.84, _label(rng, split, pixels, 2 * np.pi * r, 0.32, 0.1)), (1, glass)]
    return Turned(profile, zones, tags=("transparent",), tilt=_tilt(rng) * 0.6, lid=foil, smooth=0.015)


def jar(rng: np.random.Generator, split: Split, pixels: int) -> Turned:
    """A glass jar with a metal lid: jam, honey, pickles."""
    r = rng.uniform(0.28, 0.42)
    content = _hsv(rng.choice([0.0, 0.04, 0.1, 0.14, 0.3, 0.95]), rng.uniform(0.5, 0.95), rng.uniform(0.25, 0.9))
    clear = Clear(tint=content, density=float(rng.uniform(0.6, 0.95)), filtering=0.5, bend=0.2, lens=0.5)
    glass = Skin(colour=content, gloss=0.85, clear=clear)
    air = Skin(colour=content, gloss=0.85, clear=Clear(tint=np.full(3, 0.85, np.float32), density=0.35))
    lid = Skin(colour=_plastic(rng), gloss=0.5, metal=0.3, ribs=int(rng.integers(0, 50)))
    profile = [(0, r * 0.88), (0.13, r * 0.9), (0.14, r * 0.82), (0.18, r * 0.85), (0.26, r), (0.95, r), (1, r * 0.9)]
    zones = [
        (0.14, lid),
        (0.22, air),
        (0.38, glass),
        (0.82, _label(rng, split, pixels, 2 * np.pi * r, 0.44, 0.2)),
        (1, glass),
    ]
    return Turned(profile, zones, tags=("transparent",), tilt=_tilt(rng), lid=lid, smooth=0.01)


def tumbler(rng: np.random.Generator, split: Split, pixels: int) -> Turned:
    """A drinking glass, empty or partly filled; open at the top."""
    del split, pixels
    r = rng.uniform(0.26, 0.4)
    glass = _glass(rng, full=False)
    shell = Skin(colour=glass.tint, gloss=0.9, clear=glass)
    rim = Skin(colour=glass.tint, gloss=0.9, clear=Clear(tint=np.full(3, 0.9, np.float32), density=0.5))
    drink = _hsv(rng.choice([0.05, 0.1, 0.14, 0.95]), rng.uniform(0.3, 0.95), rng.uniform(0.5, 0.95))
    liquid = Clear(tint=drink, density=held_back(drink), filtering=0.85, bend=0.2, lens=float(rng.uniform(0.4, 1)))
    level = rng.uniform(0.15, 0.9)
    profile = [(0, r), (0.95, r * rng.uniform(0.7, 1)), (1, r * 0.68)]
    zones = [(0.012, rim), (level, shell), (0.93, Skin(colour=drink, gloss=0.9, clear=liquid)), (1, rim)]
    return Turned(profile, zones, tags=("transparent",), tilt=_tilt(rng), lid=shell, smooth=0.004)


def spray_can(rng: np.random.Generator, split: Split, pixels: int) -> Turned:
    """A tall can with a cap: spray, deodorant, whipped cream."""
    r = rng.uniform(0.13, 0.17)
    cap = Skin(colour=_plastic(rng), gloss=0.35)
    profile = [(0, r * 0.7), (0.17, r * 0.85), (0.172, r * 0.98), (0.22, r), (0.98, r), (1, r * 0.95)]
    zones = [
        (0.171, cap),
        (0.2, _steel(rng)),
        (0.97, _label(rng, split, pixels, 2 * np.pi * r, 0.77, 0.7)),
        (1, _steel(rng)),
    ]
    return Turned(profile, zones, tags=("opaque",), tilt=_tilt(rng) * 0.6, lid=cap, smooth=0.012)


def yoghurt_cup(rng: np.random.Generator, split: Split, pixels: int) -> Turned:
    """A plastic cup, wider at the top, with a foil lid."""
    r = rng.uniform(0.34, 0.48)
    body = _label(rng, split, pixels, 2 * np.pi * r, 0.9, 0.3)
    white = Skin(colour=np.full(3, 0.95, np.float32), gloss=0.3)
    profile = [(0, r * 1.05), (0.03, r * 1.05), (0.04, r), (0.97, r * rng.uniform(0.7, 0.85)), (1, r * 0.68)]
    return Turned(
        profile, [(0.05, white), (0.95, body), (1, white)], tags=("opaque",), tilt=_tilt(rng), lid=_steel(rng)
    )


def pump_bottle(rng: np.random.Generator, split: Split, pixels: int) -> Turned:
    """Soap or shampoo in a translucent bottle with a long neck."""
    r = rng.uniform(0.15, 0.2)
    tone = _hsv(rng.random(), rng.uniform(0.2, 0.8), rng.uniform(0.6, 0.95))
    milky = Skin(
        colour=tone, gloss=0.5, clear=Clear(tint=tone, density=float(rng.uniform(0.7, 0.93)), filtering=0.3, bend=0.1)
    )
    white = Skin(colour=np.full(3, 0.94, np.float32), gloss=0.4)
    profile = [
        (0, 0.05),
        (0.05, 0.05),
        (0.055, 0.018),
        (0.17, 0.018),
        (0.175, 0.06),
        (0.24, 0.06),
        (0.25, 0.05),
        (0.33, r),
        (0.97, r),
        (1, r * 0.9),
    ]
    zones = [(0.24, white), (0.45, milky), (0.85, _label(rng, split, pixels, 2 * np.pi * r, 0.4, 0.3)), (1, milky)]
    return Turned(profile, zones, tags=("transparent", "thin"), tilt=_tilt(rng) * 0.6, lid=white, smooth=0.006)


def carafe(rng: np.random.Generator, split: Split, pixels: int) -> Turned:
    """A round glass vase or carafe."""
    del split, pixels
    r = rng.uniform(0.22, 0.32)
    glass = _glass(rng, full=False)
    shell = Skin(colour=glass.tint, gloss=0.95, clear=glass)
    soaked = f32(glass.tint * 0.8)
    wet = Skin(colour=glass.tint, gloss=0.95, clear=Clear(tint=soaked, density=held_back(soaked), lens=0.8))
    profile = [
        (0, r * 0.6),
        (0.1, r * 0.45),
        (0.3, r * 0.42),
        (0.55, r * 0.9),
        (0.75, r),
        (0.95, r * 0.85),
        (1, r * 0.7),
    ]
    return Turned(
        profile,
        [(rng.uniform(0.3, 0.7), shell), (1, wet)],
        tags=("transparent",),
        tilt=_tilt(rng),
        lid=shell,
        smooth=0.04,
    )


def wine_glass(rng: np.random.Generator, split: Split, pixels: int) -> Turned:
    """A stemmed glass."""
    del split, pixels
    r = rng.uniform(0.16, 0.24)
    glass = _glass(rng, full=False)
    shell = Skin(colour=glass.tint, gloss=0.95, clear=glass)
    drink = _hsv(rng.choice([0.97, 0.13]), rng.uniform(0.5, 0.9), rng.uniform(0.35, 0.9))
    wine = Skin(colour=drink, gloss=0.9, clear=Clear(tint=drink, density=held_back(drink), lens=0.8))
    stem = Skin(colour=glass.tint, gloss=0.9, clear=Clear(tint=np.full(3, 0.8, np.float32), density=0.45))
    level = rng.uniform(0.12, 0.4)
    profile = [
        (0, r * 0.75),
        (0.2, r),
        (0.35, r * 0.9),
        (0.48, r * 0.25),
        (0.52, 0.02),
        (0.93, 0.018),
        (0.97, r * 0.5),
        (1, r * 0.85),
    ]
    zones = [(level, shell), (0.48, wine if rng.random() < 0.6 else shell), (1, stem)]
    return Turned(profile, zones, tags=("transparent", "thin"), tilt=_tilt(rng) * 0.5, lid=shell, smooth=0.015)


def sundae_glass(rng: np.random.Generator, split: Split, pixels: int) -> Turned:
    """A footed glass: a wide bowl or a narrow one on a short foot, empty or with something in it."""
    del split, pixels
    r, foot = rng.uniform(0.2, 0.34), rng.uniform(0.1, 0.3)
    glass = _glass(rng, full=False)
    shell = Skin(colour=glass.tint, gloss=0.95, clear=glass)
    tone = _hsv(rng.random(), rng.uniform(0.1, 0.9), rng.uniform(0.4, 0.95))
    filled = Skin(colour=tone, gloss=0.9, clear=Clear(tint=tone, density=float(rng.uniform(0.5, 0.95)), bend=0.2))
    base = Skin(colour=glass.tint, gloss=0.9, clear=Clear(tint=np.full(3, 0.85, np.float32), density=0.4))
    bowl = 0.94 - foot
    profile = [
        (0, r),
        (bowl * 0.6, r * rng.uniform(0.6, 0.95)),
        (bowl, r * 0.25),
        (0.94, 0.05),
        (0.96, r * 0.6),
        (1, r * 0.7),
    ]
    zones = [(rng.uniform(0.1, 0.6) * bowl, shell), (bowl, filled if rng.random() < 0.6 else shell), (1, base)]
    return Turned(profile, zones, tags=("transparent",), tilt=_tilt(rng) * 0.7, lid=shell, smooth=0.02)


def canister(rng: np.random.Generator, split: Split, pixels: int) -> Turned:
    """A milky canister or tub of plastic with a screw lid, often with a label."""
    r = rng.uniform(0.2, 0.4)
    tone = _hsv(rng.random(), rng.uniform(0, 0.5), rng.uniform(0.75, 0.97))
    film = Clear(tint=tone, density=float(rng.uniform(0.5, 0.93)), filtering=float(rng.uniform(0.2, 0.6)), bend=0.1)
    milky, lid = Skin(colour=tone, gloss=0.4, clear=film), Skin(colour=_plastic(rng), gloss=0.35, ribs=40)
    profile = [
        (0, r * 0.8),
        (0.12, r * 0.8),
        (0.121, r * 0.7),
        (0.2, r),
        (0.96, r * rng.uniform(0.85, 1)),
        (1, r * 0.8),
    ]
    zones = [(0.12, lid), (1, milky)]
    if rng.random() < 0.6:
        zones[1:] = [(0.4, milky), (0.75, _label(rng, split, pixels, 2 * np.pi * r, 0.35, 0.2)), (1, milky)]
    return Turned(profile, zones, tags=("transparent",), tilt=_tilt(rng), lid=lid, smooth=0.01)


def ketchup_bottle(rng: np.random.Generator, split: Split, pixels: int) -> Turned:
    """A squeeze bottle standing on its wide cap."""
    r = rng.uniform(0.17, 0.22)
    body = Skin(colour=_plastic(rng), gloss=0.6)
    cap = Skin(colour=_plastic(rng), gloss=0.35, ribs=int(rng.integers(20, 40)))
    profile = [
        (0, r * 0.72),
        (0.03, r * 0.85),
        (0.4, r),
        (0.7, r * 0.8),
        (0.82, r * 0.6),
        (0.821, r * 0.68),
        (1, r * 0.72),
    ]
    zones = [(0.2, body), (0.6, _label(rng, split, pixels, 2 * np.pi * r, 0.4, 0.5)), (0.82, body), (1, cap)]
    return Turned(profile, zones, tags=("opaque",), tilt=_tilt(rng) * 0.4, lid=body, smooth=0.015)


VESSELS: dict[Split, dict[str, Maker]] = {
    "train": {
        "drink can": drink_can,
        "water bottle": water_bottle,
        "wine bottle": wine_bottle,
        "jar": jar,
        "tumbler": tumbler,
        "spray can": spray_can,
        "yoghurt cup": yoghurt_cup,
        "sundae glass": sundae_glass,
        "canister": canister,
    },
    "test": {
        "food tin": food_tin,
        "pump bottle": pump_bottle,
        "carafe": carafe,
        "wine glass": wine_glass,
        "ketchup bottle": ketchup_bottle,
    },
}
