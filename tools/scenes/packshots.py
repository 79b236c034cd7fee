"""Real packshots and real scenes from folders: products keyed from white, photographs as backgrounds."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from cutline.runtime.errors import BadInputError, NoInputError
from cutline.tools.scenes.seeds import Split, in_split
from cutline.tools.scenes.shot import F32, U8
from cutline.tools.scenes.sprite import Sprite

__all__ = ["key_from_white", "load_packshots", "load_photographs", "read_picture"]

_SUFFIXES = {".jpg", ".jpeg", ".png", ".webp", ".bmp", ".tif", ".tiff"}
_CLEAR = {".png", ".webp", ".tif", ".tiff"}  # may have an alpha channel
_PLAIN = 14  # code values a border pixel may differ from the border's median for the border to be plain
_SOFT = 40  # difference from white from which an edge pixel is all product
_GAP = 0.035  # of the shorter side: background does not reach through gaps narrower than this into white packaging
_NAMED = 5  # files named in a message
_LONGEST = 720  # pixels; larger pictures are reduced when they are read


def read_picture(path: Path) -> U8:
    """Return uint8[H, W, 3], RGB, its longer side at most 720 pixels; what is transparent becomes white.

    Raises:
        BadInputError: it is no picture.
    """
    try:
        data = np.frombuffer(path.read_bytes() or b"\0", np.uint8)
        picture = _on_white(data) if path.suffix.lower() in _CLEAR else None
        picture = cv2.imdecode(data, cv2.IMREAD_COLOR) if picture is None else picture
    except (OSError, cv2.error):  # OpenCV raises where a header promises more pixels than it allows
        picture = None
    if picture is None:
        raise BadInputError("not a readable picture", remedy="Remove the file or store it again.", path=str(path))
    reduce = _LONGEST / max(picture.shape[:2])
    if reduce < 1:
        picture = cv2.resize(picture, None, fx=reduce, fy=reduce, interpolation=cv2.INTER_AREA)
    rgb: U8 = cv2.cvtColor(picture, cv2.COLOR_BGR2RGB)
    return rgb


def _on_white(data: U8) -> U8 | None:
    """A coded picture with alpha, before white, uint8[H, W, 3], BGR; None when it has no alpha."""
    picture = cv2.imdecode(data, cv2.IMREAD_UNCHANGED)
    if picture is None or picture.dtype.kind != "u" or picture.shape[2:] != (4,):
        return None
    parts = picture.astype(np.float32) * np.float32(255 / np.iinfo(picture.dtype).max)
    alpha = parts[..., 3:] / 255
    return np.asarray(np.rint(parts[..., :3] * alpha + 255 * (1 - alpha)), np.uint8)


def key_from_white(picture: U8) -> tuple[F32, F32] | None:
    """Cut a product out of its white background.

    What is as bright as the border and connected to it is background; at the border of the two, alpha follows the
    distance from white, and the white is taken out of the colour.

    Args:
        picture: uint8[H, W, 3], RGB.
    Returns:
        straight colour float32[h, w, 3] and alpha float32[h, w], 0..1, cropped to the product; None when the border is
        not plain and bright, or nothing or everything is product.
    """
    border = np.concatenate([picture[0], picture[-1], picture[:, 0], picture[:, -1]]).astype(np.int16)
    white = np.median(border, axis=0)
    off = np.abs(border - white).max(axis=1)
    if white.min() < 200 or (off <= _PLAIN).mean() < 0.7:
        return None
    white_to = int(
        np.clip(np.percentile(off, 80) + 2, 2, _PLAIN)
    )  # white packaging differs from pure white by less than noise would
    distance = np.abs(picture.astype(np.int16) - white.astype(np.int16)).max(axis=2).astype(np.uint8)
    background = _connected(distance <= _PLAIN)
    size = max(3, int(_GAP * min(distance.shape)) | 1)
    strict = _connected(_opened(_connected(distance <= white_to), size))
    lost = (background & ~strict).astype(np.uint8)  # halos, which are narrow, and white packaging, which is not
    disc = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    background &= (cv2.morphologyEx(lost, cv2.MORPH_OPEN, disc) & _hull(~background)) == 0
    background = _connected(background)
    around = cv2.dilate((~background).astype(np.uint8), np.ones((3, 3), np.uint8))
    inside = cv2.erode((~background).astype(np.uint8), np.ones((3, 3), np.uint8))
    alpha = np.clip((distance.astype(np.float32) - _PLAIN / 2) / (_SOFT - _PLAIN / 2), 0, 1) * around
    alpha[inside > 0] = 1
    share = float(alpha.mean())
    if not 0.01 < share < 0.97:
        return None
    straight = _without_white(picture, alpha)
    rows, columns = np.nonzero(alpha.max(axis=1) > 0.1)[0], np.nonzero(alpha.max(axis=0) > 0.1)[0]
    window = (slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1))
    return straight[window], alpha[window]


def _connected(near_white: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return the part of a mask that touches the picture's border."""
    framed = cv2.copyMakeBorder(near_white.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=1)
    cv2.floodFill(framed, None, (0, 0), 2)
    touching: NDArray[np.bool_] = framed[1:-1, 1:-1] == 2
    return touching


def _without_white(picture: U8, alpha: F32) -> F32:
    """Return the product's colour, float32[H, W, 3], 0..1.

    Along the edge it is carried over from inside, where no white is mixed in.
    """
    inside = cv2.erode((alpha > 0.99).astype(np.float32), np.ones((3, 3), np.uint8))[..., None]
    colour = picture.astype(np.float32) * np.float32(1 / 255)
    near = cv2.GaussianBlur(colour * inside, (0, 0), 2.0)
    weight = cv2.GaussianBlur(inside[..., 0], (0, 0), 2.0)[..., None]
    carried = np.where(weight > 1e-3, near / np.maximum(weight, 1e-3), colour)
    clean: F32 = np.where(inside > 0, colour, carried).astype(np.float32)
    return clean


def _hull(mask: NDArray[np.bool_]) -> U8:
    """Return the filled convex hull of a mask's largest part, 0 or 1."""
    outlines, _ = cv2.findContours(mask.astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_SIMPLE)
    filled: U8 = np.zeros(mask.shape, np.uint8)
    if outlines:
        largest = max(outlines, key=cv2.contourArea)
        cv2.fillConvexPoly(filled, cv2.convexHull(largest), 1)
    return filled


def _opened(background: NDArray[np.bool_], size: int) -> NDArray[np.bool_]:
    """Take narrow inlets out of a background mask, and what they alone connect."""
    ellipse = cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size, size))
    framed = cv2.copyMakeBorder(background.astype(np.uint8), *(size,) * 4, cv2.BORDER_CONSTANT, value=1)
    core = _connected(cv2.erode(framed, ellipse) > 0)
    grown = cv2.dilate(core.astype(np.uint8), cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (size + 4, size + 4)))
    opened: NDArray[np.bool_] = (grown & framed)[size:-size, size:-size] > 0
    return opened


@lru_cache(maxsize=4)
def load_packshots(folder: Path, split: Split) -> tuple[Sprite, ...]:
    """Return the products of this split in `folder`, keyed from white, in order of their names.

    Raises:
        NoInputError: the folder does not exist.
        BadInputError: it holds no picture of this split, an unreadable one, or some without a plain white background.
    """
    sprites, unfit = [], []
    for path, picture in _pictures(folder, split):
        cut = key_from_white(picture)
        if cut is None:
            unfit.append(path.name)
        else:
            sprites.append(Sprite.from_straight(*cut, ("opaque", "packshot")))
    if unfit:
        raise BadInputError(
            f"{_count(unfit)} without a plain white background to key: {_some(unfit)}",
            remedy="Remove them from the folder, or photograph them on white.",
            folder=str(folder),
        )
    return tuple(sprites)


def shows_hands(picture: U8) -> bool:
    """Tell whether a large patch of the photograph has the colour of skin: somebody may be holding goods into it."""
    small = cv2.resize(picture, (96, 72), interpolation=cv2.INTER_AREA)
    _, cr, cb = cv2.split(cv2.cvtColor(small, cv2.COLOR_RGB2YCrCb))
    hue, saturation, value = cv2.split(cv2.cvtColor(small, cv2.COLOR_RGB2HSV))
    skin = (cr > 137) & (cr < 162) & (cb > 98) & (cb < 126) & (hue < 16) & (saturation > 45) & (saturation < 150)
    rough = cv2.morphologyEx(value, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    smooth = (skin & (rough < 26) & (value > 60)).astype(np.uint8)
    _, _, parts, _ = cv2.connectedComponentsWithStats(
        cv2.morphologyEx(smooth, cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    )
    return bool(len(parts) > 1 and parts[1:, cv2.CC_STAT_AREA].max() > 0.006 * skin.size)


@lru_cache(maxsize=4)
def load_photographs(folder: Path, split: Split) -> tuple[U8, ...]:
    """Return the scenes of this split in `folder`, uint8[H, W, 3] each. Raises as load_packshots does."""
    return tuple(picture for _, picture in _pictures(folder, split))


def _pictures(folder: Path, split: Split) -> list[tuple[Path, U8]]:
    """Read the pictures of this split, in order of their names; complain about all that cannot be read at once."""
    if not folder.is_dir():
        raise NoInputError("no such folder of pictures", remedy="Name an existing folder.", folder=str(folder))
    try:
        paths = sorted(path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES and not path.is_dir())
    except OSError as error:
        raise NoInputError(
            f"the folder of pictures cannot be read: {error.strerror}",
            remedy="Check its permissions.",
            folder=str(folder),
        ) from error
    chosen = [path for path in paths if in_split(path.stem, split)]
    if not chosen:
        raise BadInputError(
            f"the folder has no picture for the {split} split",
            remedy="Put at least a dozen JPEG or PNG pictures there: one in five is held out for the test.",
            folder=str(folder),
            pictures=len(paths),
        )
    read, unread = [], []
    for path in chosen:
        try:
            read.append((path, read_picture(path)))
        except BadInputError:
            unread.append(path.name)
    if unread:
        raise BadInputError(
            f"{_count(unread)} cannot be read: {_some(unread)}",
            remedy="Remove them from the folder, or store them again.",
            folder=str(folder),
        )
    return read


def _count(names: list[str]) -> str:
    return "1 picture" if len(names) == 1 else f"{len(names)} pictures"


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(names[:_NAMED]) + more
