"""From chosen frames to what a network reads: the runtime's own kernel and placement, and the plate of each clip."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any, Final, final

import msgspec
import numpy as np
from numpy.typing import NDArray

from cutline.calibration.clips import Clip, Footage, Moment
from cutline.calibration.frames import FrameSet, Part
from cutline.calibration.runner import Feed
from cutline.calibration.table import FrameRecord
from cutline.runtime.contract import Image, ModelContract
from cutline.runtime.errors import UsageError
from cutline.runtime.frame import FrameFormat, Planes
from cutline.runtime.kernels import Pre, place
from cutline.runtime.sources import load_picture

__all__ = ["Feeds"]

PLATE_FRAMES: Final = 31  # of which the median is taken where a clip has no plate of its own

Array = NDArray[Any]


@final
class Feeds:
    """Borrows a FrameSet and gives its frames as network inputs; can be iterated again and again, decoding each time.

    A network with a plate input gets, for each clip, the picture beside it that is named like it with "-plate" before
    the ending (clip.mp4, clip-plate.png), or else the median of 31 frames of the clip.
    """

    def __init__(self, frames: FrameSet, part: Part, contract: ModelContract) -> None:
        """Remember what to read.

        Raises:
            UsageError: the network needs plates and a clip is a folder of pictures, whose scene changes.
        """
        self._frames, self._part, self._contract = frames, part, contract
        self._plates: dict[str, Array] = {}
        self.plates_learnt: list[str] = []  # clips whose plate was made from their own frames, once they were read
        if contract.plate is not None:
            for clip in frames.clips:
                if clip.stills:
                    raise UsageError(
                        "this network needs the empty scene, which single pictures do not have",
                        remedy="Give clips from fixed cameras, each with its NAME-plate.png.",
                        input=clip.name,
                    )

    def __iter__(self) -> Iterator[Iterable[Feed]]:
        """Sequences in the footage's order; each must be read before the next is asked for."""
        plates: dict[Footage, Array] = {}
        for clip, run in self._frames.runs(self._part):
            if self._contract.plate is not None and clip not in plates:
                plates = {clip: self._plate(clip, self._contract.plate)}
            yield self._sequence(run, plates.get(clip))

    def records(self) -> tuple[FrameRecord, ...]:
        """Provenance, one record for each sequence; its digest tells plates apart too."""
        records, image = self._frames.records(self._part), self._contract.plate
        if image is None:
            return records
        clips = self._frames.clips_of(self._part)
        plates = {clip: hashlib.sha256(self._plate(clip, image).tobytes()).hexdigest() for clip in dict.fromkeys(clips)}
        return tuple(
            msgspec.structs.replace(record, digest=f"{record.digest}+{plates[clip]}")
            for record, clip in zip(records, clips, strict=True)
        )

    def _sequence(self, run: Iterator[Moment], plate: Array | None) -> Iterator[Feed]:
        convert: Callable[[Planes], Array] | None = None
        for moment in run:
            convert = convert or _converter(moment.format, self._contract.frame)
            feed = {self._contract.frame.tensor: convert(moment.planes)}
            if plate is not None and self._contract.plate is not None:
                feed[self._contract.plate.tensor] = plate
            yield feed

    def _plate(self, clip: Footage, image: Image) -> Array:
        if clip.name not in self._plates:
            self._plates[clip.name] = self._given_plate(clip, image)
        return self._plates[clip.name]

    def _given_plate(self, clip: Footage, image: Image) -> Array:
        with closing(clip.read()) as moments:
            form = next(moments).format
        path = Path(clip.name)
        beside = sorted(path.parent.glob(f"{_escape(path.stem)}-plate.*")) if isinstance(clip, Clip) else []
        if beside:
            return _converter(form, image)(load_picture(beside[0], form))
        self.plates_learnt.append(clip.name)
        return _median(clip, image)


def _median(clip: Footage, image: Image) -> Array:
    """Median over frames spread evenly over the clip."""
    kept: list[Array] = []
    stride = 1
    for number, moment in enumerate(clip.read()):
        if number % stride == 0:
            kept.append(_converter(moment.format, image)(moment.planes))
            if len(kept) > 2 * PLATE_FRAMES:
                kept, stride = kept[::2], stride * 2
    picked = np.linspace(0, len(kept) - 1, min(PLATE_FRAMES, len(kept))).round().astype(int)
    median: Array = np.median(np.stack([kept[i] for i in picked]), axis=0).astype(kept[0].dtype)
    return median


def _converter(form: FrameFormat, image: Image) -> Callable[[Planes], Array]:
    """The runtime's own way from a frame to that input."""
    pre = Pre(form, image, place(form.width, form.height, image.width, image.height))

    def convert(planes: Planes) -> Array:
        tensor = np.empty(image.shape, np.uint16 if image.dtype == "bfloat16" else image.dtype)
        pre.run(planes, tensor, None)
        return tensor

    return convert


def _escape(text: str) -> str:
    return "".join(f"[{c}]" if c in "[]*?" else c for c in text)
