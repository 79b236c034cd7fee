"""Which peers there are: one file each in entries/, read as text, so that its libraries need not be here.

An entry is a module with a docstring and these names, literals all of them:

NAME          shown in the table
PACKAGES      the distributions that it imports, without versions or extras; ("cutline",) is this checkout
VARIANTS      variant -> precision: fp32, none (no network), or best (what Cutline chose here); "" for the only one
DIFFERS       in what its work is not the same as the others', one phrase
SAME_PICTURE  False when its composite is not to be compared with the others'; left out otherwise

and with `composites(job)`, a generator that goes on for ever, and yields when one more frame is done; and
`picture(composite)`, which makes uint8[H, W, 3] RGB of what was yielded, unless it has none. `job` is `worker.Job`.
"""

from __future__ import annotations

import ast
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import msgspec

from cutline.runtime.errors import BadInputError, UsageError

__all__ = ["ENTRIES", "Entry", "choose", "read_entries", "read_entry"]

ENTRIES: Final = Path(__file__).parent / "entries"
PRECISIONS: Final = ("fp32", "best", "none")


class _Names(msgspec.Struct, kw_only=True):
    NAME: str
    PACKAGES: tuple[str, ...]
    VARIANTS: dict[str, str]
    DIFFERS: str
    SAME_PICTURE: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One peer as its file describes it."""

    path: Path
    name: str
    about: str  # first line of its docstring
    packages: tuple[str, ...]
    variants: dict[str, str]
    differs: str
    same_picture: bool

    @property
    def key(self) -> str:
        """What the command line calls it."""
        return self.path.stem


def read_entry(path: Path) -> Entry:
    """Read one entry without running it.

    Raises:
        BadInputError: it is not Python, or a name is missing or not what it should be.
    """
    remedy = "See the top of benchmarks/peers/catalogue.py."
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = msgspec.convert(_literals(tree), _Names)
    except (SyntaxError, ValueError) as error:  # msgspec's and Unicode's errors are ValueErrors
        raise BadInputError(f"peer cannot be read: {error}", remedy=remedy, file=path.name) from error
    wrong = {p for p in names.VARIANTS.values() if p not in PRECISIONS}
    about = (ast.get_docstring(tree) or "").partition("\n")[0]
    if wrong or not names.VARIANTS or not about:
        raise BadInputError("peer has no docstring, no variant, or an unknown precision", remedy=remedy, file=path.name)
    return Entry(
        path=path,
        name=names.NAME,
        about=about,
        packages=names.PACKAGES,
        variants=names.VARIANTS,
        differs=names.DIFFERS,
        same_picture=names.SAME_PICTURE,
    )


def read_entries(folder: Path = ENTRIES) -> list[Entry]:
    """Every entry of a folder, by file name."""
    return [read_entry(path) for path in sorted(folder.glob("[!_]*.py"))]


def choose(entries: list[Entry], wanted: tuple[str, ...], *, always: str) -> list[Entry]:
    """Those that are wanted, all when none is named, and the one that all are compared with.

    Raises:
        UsageError: there is no entry of that name.
    """
    known = [entry.key for entry in entries]
    for key in wanted:
        if key not in known:
            raise UsageError("no such peer", remedy=f"Use {', '.join(known)}.", peer=key)
    return [entry for entry in entries if not wanted or entry.key in (*wanted, always)]


def _literals(tree: ast.Module) -> dict[str, Any]:
    found = {}
    for node in tree.body:
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name) and node.targets[0].id.isupper():
            try:
                found[node.targets[0].id] = ast.literal_eval(node.value)
            except ValueError:
                continue  # a constant of its own, computed
    return found
