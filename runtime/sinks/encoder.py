"""The encoder of a video file: frames in, packets out, by the processor or by a GPU."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from fractions import Fraction
from pathlib import Path
from typing import Any, final

import av
import numpy as np
from av.container import OutputContainer

from cutline.runtime.cuda.watchdog import Call
from cutline.runtime.errors import DeviceError, DeviceLostError, InternalError, OutputError
from cutline.runtime.frame import Frame
from cutline.runtime.sinks.base import SinkOptions, StreamInfo, alpha_of, composite_of, reason
from cutline.runtime.sinks.codec import explaining, said
from cutline.runtime.sinks.lent import Lender
from cutline.runtime.sinks.picture import Picture, colour_tags, convert, plane_rows
from cutline.runtime.sinks.recipes import NVENC, Recipe

__all__ = ["VideoEncoder"]

ASSUMED_RATE = Fraction(30)  # frames per second; a hint for the encoder's rate control when nobody knows better
SLOW_RATE = 8  # frames per second; below it, one frame held back by a second encoder thread is much to lose


@final
class VideoEncoder:
    """Owns a codec until close(); the container that it was made for must have been closed then.

    Composites that lie on a GPU are read there, while encode() runs; the codec is opened with the first of them.
    """

    def __init__(
        self, container: OutputContainer, info: StreamInfo, options: SinkOptions, recipe: Recipe, tick: Fraction,
        path: Path,
    ) -> None:  # fmt: skip
        """Add the container's first stream.

        Args:
            tick: the stream's unit of time, in seconds.
            path: the file, for errors.
        Raises:
            OutputError: the encoder refuses frames of this size.
            DeviceError: there is no GPU that encodes, or it refuses these frames.
        """
        self.alpha = recipe.transparent is not None and options.transparent
        self.notices: list[str] = []
        self._recipe, self._options, self._path, self._tick = recipe, options, path, tick
        self._colour = info.format.colour
        self._width, self._height = self._encoded_size(info.format.width, info.format.height)
        self._lender = Lender(info.gpu, info.format) if info.gpu is not None else None
        self._codec: Any = self._add_stream(container, info.frame_rate or ASSUMED_RATE)
        if self._lender is None:
            pixels = "yuva420p" if self.alpha and recipe.transparent == "yuva420p" else "yuv420p"
            self._picture = Picture(self._width, self._height, pixels, self._colour)
            with self._calling("opening the encoder"):
                self._codec.open()

    def encode(self, frame: Frame, tick: int, *, key: bool) -> list[Any]:
        """Encode one frame; get the packets that are ready.

        Args:
            key: it must be decodable by itself; else that is the encoder's own choice.
        Raises:
            DeviceError: the GPU refuses the first frame.
            DeviceLostError: the GPU's encoder failed.
        """
        with self._calling("encoding a frame"):
            picture = self._picture_of(frame) if self._lender is None else self._lender.lend(frame)
            picture.pts, picture.time_base = tick, self._tick
            picture.pict_type = 1 if key else 0  # AV_PICTURE_TYPE_I, or none in particular
            packets: list[Any] = self._codec.encode(picture)
        if self._lender is not None and len(packets) != 1:
            raise InternalError("the GPU's encoder kept a frame that was lent", remedy="Report this.", got=len(packets))
        return packets

    def finish(self) -> list[Any]:
        """Get the packets that are still inside.

        Raises:
            DeviceLostError: the GPU's encoder failed.
        """
        with self._calling("ending the encoder"):
            packets: list[Any] = self._codec.encode(None)
            return packets

    def close(self) -> None:
        """Free the codec: it must not outlive what it was lent. Works twice."""
        with self._noted("closing the encoder"):
            self._codec = None

    def _add_stream(self, container: OutputContainer, rate: Fraction) -> Any:
        recipe, options = self._recipe, self._options
        settings = recipe.settings(options, rate)
        if self._lender is not None:
            settings["delay"] = "0"  # each call gives its frame's packet, and the slot may go back then
        try:
            stream = container.add_stream(recipe.codec, rate=rate, options=settings)
        except ValueError as error:  # FFmpeg is built without NVENC for some processors
            raise self._refused(str(error)) from error
        if not isinstance(stream, av.VideoStream) or stream.index:
            raise InternalError("a video codec made no first video stream", remedy="Report this.", codec=recipe.codec)
        codec = stream.codec_context
        codec.width, codec.height = self._width, self._height
        pixels = recipe.transparent if recipe.transparent and self.alpha else recipe.opaque
        codec.pix_fmt = pixels if self._lender is None else "cuda"
        codec.time_base = stream.time_base = self._tick
        codec.thread_count = options.threads if rate >= SLOW_RATE else 1
        codec.thread_type = "SLICE" if recipe.codec == "prores_ks" else "FRAME"
        codec.gop_size = 1 << 20  # key frames are asked for
        tags = colour_tags(self._colour)
        codec.colorspace, codec.color_primaries, codec.color_trc = tags.matrix, tags.primaries, tags.transfer
        codec.color_range = tags.range if recipe.full_range else 1
        return codec

    def _encoded_size(self, width: int, height: int) -> tuple[int, int]:
        if not self._recipe.even or (width % 2 == 0 and height % 2 == 0):
            return width, height
        even = (width + width % 2, height + height % 2)
        self.notices.append(
            f"{self._recipe.title} cannot hold the odd size {width}x{height}: the last column or row is repeated, "
            f"the file is {even[0]}x{even[1]}"
        )
        return even

    def _picture_of(self, frame: Frame) -> av.VideoFrame:
        alpha = alpha_of(frame) if self.alpha else None
        picture = self._picture.fill(composite_of(frame), alpha if self._picture.has_alpha else None)
        wanted = self._codec.pix_fmt
        if wanted is None or wanted == picture.format.name:
            return picture
        converted = convert(picture, self._colour, wanted, full_range=False)
        if alpha is not None:
            rows = plane_rows(converted.planes[3]).view("<u2")[:, : converted.width]
            np.multiply(alpha, 4, out=rows, dtype=np.uint16)
            rows |= alpha >> 6  # 0 and 255 become exactly clear and opaque; swscale would make 1020 of 255
        return converted

    @contextmanager
    def _calling(self, doing: str) -> Iterator[None]:
        """Within: what the codec refuses while it opens, or a GPU fails with, becomes an error of ours."""
        opening = not self._codec.is_open
        try:
            with explaining() if opening else nullcontext(), self._noted(doing, opening=opening):
                yield
        except (av.FFmpegError, ValueError) as error:
            if opening:
                raise self._refused(said(error)) from error
            if self._recipe.codec != NVENC or not isinstance(error, av.FFmpegError):
                raise
            raise DeviceLostError(
                "the GPU's encoder failed",
                remedy="Look for an Xid line in `dmesg`; without --encoder the processor encodes.",
                path=str(self._path),
                reason=reason(error),
            ) from error

    def _noted(self, doing: str, *, opening: bool = False) -> AbstractContextManager[None]:
        """For the watchdog, which ends a process whose GPU does not answer."""
        return Call(doing, opening=opening) if self._recipe.codec == NVENC else nullcontext()

    def _refused(self, why: str) -> DeviceError | OutputError:
        facts = {"width": self._width, "height": self._height, "reason": why}
        if self._recipe.codec == NVENC:
            return DeviceError(
                "the GPU does not encode these frames",
                remedy="Leave --encoder out, and the processor does; `cutline doctor` says what the GPU lacks.",
                encoder=self._options.encoder,
                **facts,
            )
        return OutputError(
            f"{self._recipe.title} refuses these frames",
            remedy="Choose another kind of output, or scale the input.",
            **facts,
        )
