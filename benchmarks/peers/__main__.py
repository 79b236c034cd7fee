"""python -m cutline.benchmarks.peers [CLIP]: Cutline and other programs on the same frames, with ratios."""

from __future__ import annotations

import argparse
import sys
from datetime import datetime, timezone
from pathlib import Path
from typing import Final, NoReturn

import cv2
import numpy as np

from cutline.benchmarks.clips import open_clip
from cutline.benchmarks.machine import describe_machine, source_commit
from cutline.benchmarks.peers.catalogue import Entry, choose, read_entries
from cutline.benchmarks.peers.contest import Contestant, hold, summarise
from cutline.benchmarks.peers.environment import default_folder, find_interpreter
from cutline.benchmarks.peers.rival import Rival
from cutline.benchmarks.peers.setting import Setting, open_setting
from cutline.benchmarks.peers.table import Contest, to_json, to_markdown
from cutline.runtime.errors import CutlineError, DeviceError, OutputError, UsageError

INTERRUPTED: Final = 130
OURS: Final = "cutline_pipeline"  # what ratios are frames of
REFERENCE: Final = "usual_script"  # what composites are compared with
FRAME: Final = 20  # of the clip, counted from 0, whose composite is compared and shown


class _Parser(argparse.ArgumentParser):
    """Raises instead of ending the process."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message, remedy="See --help.")


def tell(text: str) -> None:
    """Progress goes to standard error."""
    print(text, file=sys.stderr, flush=True)


def read_words(words: list[str]) -> argparse.Namespace:
    """Parse the command line.

    Raises:
        UsageError: an unknown word, or a number that makes no sense.
    """
    parser = _Parser(prog="python -m cutline.benchmarks.peers", description=__doc__)
    parser.add_argument("clip", nargs="?", default="synthetic://", help="a clip (default: the demo's kiosk at 1080p)")
    parser.add_argument("--only", default="", metavar="PEER,...", help="these, and Cutline; files of entries/")
    parser.add_argument("--bundle", default="cutout", help="whose network is used (default: cutout)")
    parser.add_argument("--rounds", type=int, default=6)
    parser.add_argument("--seconds", type=float, default=3.0, help="length of a turn (default: 3)")
    parser.add_argument("--no-install", action="store_true", help="leave out what is not installed")
    parser.add_argument("--pictures", type=Path, metavar="FOLDER", help="write each one's composite as PNG")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write everything, single turns too")
    given = parser.parse_args(words)
    if given.rounds < 1 or not 0.1 <= given.seconds <= 3600:
        raise UsageError("nothing can be measured so", remedy="Give --rounds from 1 and --seconds from 0.1 to 3600.")
    return given


def compare(words: list[str]) -> bool:
    """Do what the command line says; False when it was interrupted, which leaves what there is.

    Raises:
        CutlineError: the clip, the bundle or Cutline itself fails, or the result cannot be written.
    """
    given, created, commit = read_words(words), datetime.now(timezone.utc), source_commit()
    wanted = tuple(key for key in given.only.split(",") if key)
    entries = choose(read_entries(), wanted, always=OURS)
    clip = open_clip(given.clip, tell)
    with open_setting(clip, given.bundle) as setting:
        contestants = [_contestant(e, v, setting) for e in entries for v in setting.variants(e)]
        interpreters = _interpreters(contestants, install=not given.no_install)
        complete = True
        try:
            hold(
                contestants,
                lambda c: Rival(interpreters[c.entry.key], c.entry.path, setting.job(c.entry, c.variant)),
                rounds=given.rounds,
                seconds=given.seconds,
                frame=FRAME,
                tell=tell,
            )
        except KeyboardInterrupt:
            complete = False
        contest = Contest(
            command=" ".join(["python -m cutline.benchmarks.peers", *words]),
            created=created.strftime("%Y-%m-%d %H:%M UTC"),
            commit=commit,
            machine=describe_machine((), None),
            clip=clip.info.name,
            width=clip.info.width,
            height=clip.info.height,
            bundle=setting.bundle,
            rounds=given.rounds,
            seconds=given.seconds,
            complete=complete,
            results=summarise(contestants, reference=REFERENCE, base=_base(contestants, complete)),
            left_out={c.name: c.failure for c in contestants if c.failure},
        )
    print(to_markdown(contest), end="")
    try:
        if given.json:
            _write(given.json, to_json(contest, contestants))
        if given.pictures:
            _write_pictures(given.pictures, contestants)
    except OSError as error:
        raise OutputError(
            f"the result cannot be written: {error.strerror}", remedy="Choose another place.", path=error.filename
        ) from error
    return complete


def _contestant(entry: Entry, variant: str, setting: Setting) -> Contestant:
    return Contestant(entry=entry, variant=variant, precision=setting.precision_of(entry, variant))


def _interpreters(contestants: list[Contestant], *, install: bool) -> dict[str, Path]:
    """By entry; who has none is marked as left out."""
    found: dict[str, Path] = {}
    for contestant in contestants:
        entry = contestant.entry
        try:
            if entry.key not in found:
                found[entry.key] = find_interpreter(entry.packages, folder=default_folder(), install=install, tell=tell)
        except CutlineError as error:
            contestant.failure = str(error)
            tell(f"{contestant.name} is left out: {error}")
    return found


def _base(contestants: list[Contestant], complete: bool) -> Contestant:
    """Cutline, which ratios are frames of."""
    base = next(c for c in contestants if c.entry.key == OURS)
    if not base.turns and complete:
        raise DeviceError(f"Cutline itself failed: {base.failure}", remedy="Run `cutline verify` on the bundle.")
    return base


def _write(path: Path, data: bytes) -> None:
    part = path.with_name(f"{path.name}.part")
    part.write_bytes(data)
    part.replace(path)


def _write_pictures(folder: Path, contestants: list[Contestant]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for contestant in contestants:
        if contestant.picture is not None:
            name = contestant.name.lower().replace(",", "").replace("+", "").split()
            done, data = cv2.imencode(".png", np.ascontiguousarray(contestant.picture[..., ::-1]))
            assert done
            _write(folder / f"{'-'.join(name)}.png", bytes(data))


def main() -> None:
    """Run the command; errors are one line."""
    try:
        complete = compare(sys.argv[1:])
    except CutlineError as error:
        tell(f"peers: {error}")
        sys.exit(error.exit_code)
    except KeyboardInterrupt:  # before there was anything to show
        complete = False
    if not complete:
        tell("peers: interrupted")
        sys.exit(INTERRUPTED)


if __name__ == "__main__":
    main()
