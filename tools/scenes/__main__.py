"""Look at synthetic scenes: python -m cutline.tools.scenes --out FOLDER --name kiosk --seed 1 --frames 8."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

import cv2
import numpy as np

from cutline.runtime.errors import CutlineError, OutputError, UsageError
from cutline.tools.results import write_whole
from cutline.tools.scenes.registry import SCENES, make_scene
from cutline.tools.scenes.sampler import Sampler
from cutline.tools.scenes.seeds import check_split
from cutline.tools.scenes.shot import U8, Shot

__all__ = ["main", "sheet_of"]

_EVERY = 25  # frames between two that are shown
_CHECKER = (96, 160)  # levels of the board on which the cut-out is shown


def sheet_of(shots: list[Shot]) -> U8:
    """Return a contact sheet, one row a shot: picture, alpha, cut-out on a checkerboard, plate."""
    rows = []
    for shot in shots:
        height, width = shot.alpha.shape
        alpha = np.repeat(shot.alpha[..., None], 3, axis=2)
        y, x = np.mgrid[0:height, 0:width] // max(8, height // 24)
        board = np.where((x + y) % 2 == 0, *_CHECKER)[..., None]
        cut = alpha * shot.foreground + (1 - alpha) * board
        rows.append(np.hstack([shot.rgb, (alpha * 255).astype(np.uint8), cut.astype(np.uint8), shot.plate]))
    return np.vstack(rows)


def _shots(arguments: argparse.Namespace) -> list[Shot]:
    """Draw what is asked for."""
    width, height = arguments.size
    split = check_split(arguments.split)
    if arguments.name == "stills":
        sampler = Sampler(width, height, split, products=arguments.products, scenes=arguments.scenes)
        return [sampler.shot(arguments.seed + number) for number in range(arguments.frames)]
    scene = make_scene(
        arguments.name,
        seed=arguments.seed,
        width=width,
        height=height,
        split=split,
        products=arguments.products,
        scenes=arguments.scenes,
    )
    return [scene.shot(number * _EVERY) for number in range(arguments.frames)]


def _write(path: Path, picture: U8) -> None:
    coded = cv2.cvtColor(picture, cv2.COLOR_RGB2BGR) if picture.ndim == 3 else picture
    _, packed = cv2.imencode(".png", coded)
    write_whole(path, packed.tobytes())


def _size(text: str) -> tuple[int, int]:
    width, _, height = text.partition("x")
    if not (width.isdigit() and height.isdigit() and 32 <= int(width) <= 4096 and 32 <= int(height) <= 4096):
        raise argparse.ArgumentTypeError(f"{text} is not WIDTHxHEIGHT")
    return int(width), int(height)


def _parse(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m cutline.tools.scenes", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder for sheet.png and the frames")
    parser.add_argument("--name", default="kiosk", choices=[*SCENES, "stills"])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--frames", type=int, default=8, help=f"how many; scenes show every {_EVERY}th")
    parser.add_argument("--size", type=_size, default=(640, 360), metavar="WIDTHxHEIGHT")
    parser.add_argument("--split", default="train", choices=["train", "test"])
    parser.add_argument("--products", type=Path, help="folder of packshots on white")
    parser.add_argument("--scenes", type=Path, help="folder of photographs to put them into")
    return parser.parse_args(argv)


def main(argv: list[str]) -> int:
    """Write the pictures; return the exit code."""
    try:
        arguments = _parse(argv)
    except SystemExit as error:  # argparse has printed what is wrong; its code for that is 2, ours is 64
        return UsageError.exit_code if error.code else 0
    try:
        try:
            arguments.out.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError("cannot make the folder", remedy="Name another one.", path=str(arguments.out)) from error
        shots = _shots(arguments)
        for number, shot in enumerate(shots):
            _write(arguments.out / f"frame-{number:03d}.png", shot.rgb)
            _write(arguments.out / f"alpha-{number:03d}.png", cv2.convertScaleAbs(shot.alpha, alpha=255.0))
        _write(arguments.out / "sheet.png", sheet_of(shots))
    except CutlineError as error:
        print(f"cutline: {error}", file=sys.stderr)
        return error.exit_code
    print(f"{len(shots)} frames and sheet.png in {arguments.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
