"""The clean plate: a picture of the empty scene, given or learnt, and kept in step with slow changes of the light."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, final

import numpy as np
from numpy.typing import NDArray

from cutline.runtime.branch import window_of
from cutline.runtime.contract import Image
from cutline.runtime.errors import UsageError
from cutline.runtime.frame import Colour, FrameFormat, Timestamp
from cutline.runtime.kernels import Pre
from cutline.runtime.options import StreamOptions
from cutline.runtime.path import FramePath
from cutline.runtime.plate_fit import empty_part, relit, shift_of
from cutline.runtime.sessions import Engine
from cutline.runtime.sources import load_picture

__all__ = ["PlateKeeper", "check_plate", "read_plate", "tensor_from_codes"]

U8 = NDArray[np.uint8]

ADAPT_EVERY_S: Final = 1.0  # light that matters here changes over minutes
ADAPT_SHARE: Final = 0.1  # of the difference, each time: half of a change is followed in 7 s
MOVED_AFTER: Final = 3  # looks in a row: somebody who leans on the table for a moment is no news
EMPTY_BELOW: Final = 0.02  # alpha under which a pixel is taken for background


def check_plate(options: StreamOptions, engine: Engine) -> None:
    """Refuse a network that needs a plate and gets none, or the reverse.

    Raises:
        UsageError: it is so.
    """
    given = options.plate is not None or options.learn_plate is not None
    if engine.contract.plate is not None and not given:
        raise UsageError(
            "this network needs a clean plate",
            remedy="Give --plate FILE or --learn-plate SECONDS.",
            model=engine.name,
        )
    if engine.contract.plate is None and given:
        raise UsageError("this network takes no plate", remedy="Use --model cutout-plate.", model=engine.name)


def read_plate(path: str, options: StreamOptions, image: Image, frame: FrameFormat) -> U8:
    """Give a picture of the empty scene as the network sees it: uint8[3, h, w], Y, Cb, Cr.

    Raises:
        NoInputError, BadInputError: the picture is missing, cannot be read, or has not the shape of the frames.
    """
    codes = np.empty((3, image.height, image.width), np.uint8)
    scratch = np.empty(image.shape, "uint16" if image.dtype == "bfloat16" else image.dtype)
    Pre(frame, image, window_of(image, frame, options)).run(load_picture(path, frame, whole=True), scratch, codes)
    return codes


def tensor_from_codes(codes: NDArray[Any], image: Image, colour: Colour) -> NDArray[Any]:
    """Turn a small Y, Cb, Cr picture into a network input, as the pre kernel does.

    Args:
        codes: uint8 or float32[3, h, w] of 8-bit codes, at the network's size.
    Returns:
        image.shape, float32.
    """
    kr, kb = colour.matrix.kr_kb
    y, cb, cr = codes.astype(np.float32)
    black, luma, chroma = (0.0, 255.0, 255.0) if colour.full_range else (16.0, 219.0, 224.0)
    y, cb, cr = (y - black) / luma, (cb - 128) / chroma, (cr - 128) / chroma
    red, blue = y + 2 * (1 - kr) * cr, y + 2 * (1 - kb) * cb
    green = (y - kr * red - kb * blue) / (1 - kr - kb)
    planes = [(np.clip(c, 0, 1) - m) / s for c, m, s in zip((red, green, blue), image.mean, image.std, strict=True)]
    stacked = np.stack(planes if image.order == "RGB" else planes[::-1])
    return (stacked if image.layout == "NCHW" else stacked.transpose(1, 2, 0))[None]


@final
class PlateKeeper:
    """Owns the plate of one stream; moves it towards what is seen where nothing stands, and tells when it fits no more.

    A light that was switched is followed at once, slow changes slowly. The plate as it was given is kept: after a night
    without light nothing else knows the scene. A camera that was moved is told once, and again when it moves on after
    it had been back.
    """

    def __init__(self, codes: U8, image: Image, colour: Colour, path: FramePath, notify: Callable[[str], None]) -> None:
        self._given = codes.astype(np.float32)
        self._codes = self._given.copy()
        self._image, self._colour, self._path, self._notify = image, colour, path, notify
        self._adapted_s: float | None = None
        self._elsewhere = 0  # looks in a row at which the scene lay elsewhere
        path.set_plate(tensor_from_codes(self._codes, image, colour))

    def adapt(self, guide: U8, matte: NDArray[np.float32], time: Timestamp) -> None:
        """Once a second, follow the light where the matte calls the scene empty, and look whether it still is there."""
        if self._adapted_s is not None and abs(time.seconds - self._adapted_s) < ADAPT_EVERY_S:
            return
        self._adapted_s = time.seconds
        empty = empty_part(matte)
        lit = relit((self._codes, self._given), guide, empty, black=0.0 if self._colour.full_range else 16.0)
        if lit is not None:
            self._codes = lit
        self._look_for_movement(guide, empty)
        share = np.where(matte < EMPTY_BELOW, np.float32(ADAPT_SHARE), np.float32(0))
        self._codes += share * (guide - self._codes)
        self._path.set_plate(tensor_from_codes(self._codes, self._image, self._colour))

    def _look_for_movement(self, guide: U8, empty: NDArray[np.bool_]) -> None:
        shift = shift_of(self._codes, guide, empty)
        self._elsewhere = 0 if shift is None else self._elsewhere + 1
        if shift is not None and self._elsewhere == MOVED_AFTER:
            right, down = shift
            self._notify(
                f"the camera seems to have moved: the scene lies {right:+d} pixels right and {down:+d} down of the "
                f"plate (of {self._image.width}x{self._image.height}). Give a new --plate, or start again to learn it"
            )
