"""Which kernels run for a frame, in which order, with which bytes: plain data for whoever drives the GPU.

Nothing here needs a CUDA package or a GPU. A driver uploads `tables` once, takes `scratch_bytes` and `state_bytes` of
device memory, and launches what `launches` returns, in order, on one stream. Addresses in the parameters are final: the
same launches serve every frame of a slot and can be captured in a graph. What may change from frame to frame without
new launches lies in device memory: the planes themselves, `nans` and `strengths`.
"""

from __future__ import annotations

import math
import struct
from ctypes import c_uint64
from typing import Final, final

import numpy as np

from cutline.runtime.contract import Image, Output
from cutline.runtime.cuda import params, tables
from cutline.runtime.cuda.launch import Launch, Layout, aligned, blocks, launch
from cutline.runtime.cuda.planes import Behind, DevicePlanes, demand_rows, picture
from cutline.runtime.cuda.pyramid import Pyramid
from cutline.runtime.errors import UsageError
from cutline.runtime.frame import FrameFormat
from cutline.runtime.kernels.post import (
    KINDS,
    READINGS,
    SOFTMAX,
    BackgroundKind,
    PostOptions,
    StyleOn,
    demand_matte,
    demand_picture,
)
from cutline.runtime.kernels.pre import NUMBERS, demand_window
from cutline.runtime.kernels.window import Window

__all__ = ["RESET_BYTE", "Behind", "DevicePlanes", "Launch", "PostLaunches", "PreLaunches", "strengths"]

RESET_BYTE: Final = 0xC6  # state filled with it remembers nothing: as a float it is -25443, which no luma comes near
ROWS: Final = (32, 8, 1)  # low-resolution kernels: one thread is one pixel
LINE: Final = (256, 1, 1)
TILE: Final = (32, 16, 1)  # of kernels whose threads make two outputs each
TILE_BLOCK: Final = (32, 8, 1)
COMPOSE_TILE: Final = (128, 16, 1)  # luma pixels
COMPOSE_BLOCK: Final = (32, 4, 1)
BYTES: Final = {"float32": 4, "float16": 2, "bfloat16": 2, "int8": 1, "uint8": 1}


def strengths(strength: float, style_on: StyleOn, kind: BackgroundKind) -> bytes:
    """The 8 bytes at PostLaunches.launches' `strengths`. strength: 0 to 1; it may change from frame to frame."""
    own_scene = kind in ("blur", "original")
    product = strength if style_on != "background" else 0.0
    scene = strength if own_scene and style_on != "product" else 0.0
    return struct.pack("<2f", product, scene)


@final
class PreLaunches:
    """pre for one stream, as runtime.kernels.Pre does it on the CPU: one launch. Owns nothing on the device.

    tables: to be uploaded once

    Raises:
        ContractError: image and window differ in size.
    """

    __slots__ = ("_frame", "_least_bytes", "_record", "tables")

    def __init__(self, frame: FrameFormat, image: Image, window: Window) -> None:
        demand_window(image, window)
        space = tables.TableSpace()
        luma, chroma = tables.resize(space, frame, window)
        integer = image.dtype in ("int8", "uint8")
        scale, zero = (image.scale, image.zero_point) if integer else (1.0, 0)
        self._record = params.Pre(
            luma=luma,
            chroma=chroma,
            matrix=tables.matrix(frame.colour),
            gain=tuple(1.0 / (s * scale) for s in image.std),
            offset=tuple(-m / (s * scale) + zero for m, s in zip(image.mean, image.std, strict=True)),
            frame_width=frame.width,
            width=window.width,
            height=window.height,
            number=NUMBERS.index(image.dtype),
            channels_first=int(image.layout == "NCHW"),
            reversed=int(image.order == "BGR"),
        )
        self.tables, self._frame = space.joined(), frame
        seen = 1.5 * window.source.width * window.source.height
        self._least_bytes = math.ceil(seen) + 3 * window.width * window.height * (BYTES[image.dtype] + 1)

    def launches(self, *, tables: int, frame: DevicePlanes, tensor: int, guide: int) -> tuple[Launch, ...]:
        """Launches for one slot.

        Args:
            tables: address of the uploaded tables, 256-byte aligned.
            frame: the frame.
            tensor: receives image.shape in image.dtype, contiguous; 0: only the guide is wanted.
            guide: receives uint8[3, h, w] = Y, Cb, Cr of the resized picture; 0: only the tensor is wanted.
        """
        record = params.Pre.from_buffer_copy(self._record)
        record.frame = picture(frame, self._frame)
        record.tensor, record.guide = tensor, guide
        _based(tables, record.luma, record.chroma)
        return (_pre_launch(record, self._least_bytes),)


@final
class PostLaunches:
    """post for one stream, as runtime.kernels.Post does it on the CPU. Owns nothing on the device.

    tables: to be uploaded once
    scratch_bytes: device memory for one frame at a time; slots whose launches share a stream may share it
    state_bytes: device memory that outlives the frame; fill it with RESET_BYTE at first, and to forget the past

    Raises:
        ContractError: the output is no matte, or the style output no picture.
    """

    def __init__(
        self,
        frame: FrameFormat,
        output: Output,
        window: Window,
        options: PostOptions,
        *,
        style: tuple[Output, Image] | None = None,
    ) -> None:
        demand_matte(output)
        self._frame, self._window, self._options = frame, window, options
        space, scratch = tables.TableSpace(), Layout()
        self._layout(space, scratch, frame, window)
        self._plan_matte(space, scratch, output)
        self._style = _style_record(space, frame, window, style) if style else None
        self.tables, self.scratch_bytes = space.joined(), scratch.size
        self._plane = aligned(4 * window.width * window.height)
        self.state_bytes = 2 * self._plane

    def _layout(self, space: tables.TableSpace, scratch: Layout, frame: FrameFormat, window: Window) -> None:
        """Grids, pyramids and scratch."""
        pixels = window.width * window.height
        s = window.source
        self._inside = {
            "left": _edge(s.x, frame.width),
            "right": _edge(s.x + s.width, frame.width),
            "top": _edge(s.y, frame.height),
            "bottom": _edge(s.y + s.height, frame.height),
        }
        self._net, self._tone = tables.grid(space, frame, window, 1), tables.grid(space, frame, window, 2)
        self._near = Pyramid(scratch, window.width, window.height)
        self._places = {name: scratch.take(4 * pixels) for name in ("slope", "base", "fit")}
        self._places |= {"matte12": scratch.take(2 * pixels), "verdict": scratch.take(pixels)}
        self._places |= {"line": scratch.take(8 * pixels), "delta_y": scratch.take(4 * pixels)}
        self._places |= {"delta_uv": scratch.take(8 * pixels)}
        self._wide: _Wide | None = None
        if tuple(self._inside.values()) != (0, frame.width, 0, frame.height):
            self._wide = _Wide(space, scratch, frame, window)

    def _plan_matte(self, space: tables.TableSpace, scratch: Layout, output: Output) -> None:
        o, window = self._options, self._window
        resized = (output.width, output.height) != (window.width, window.height)
        self._places["decoded"] = scratch.take(4 * output.width * output.height if resized else 0)
        softmax = output.meaning == "classes" and output.softmax
        gain = 1.0 / (o.alpha_ceiling - o.alpha_floor)
        self._matte = params.Matte(
            chosen=space.add(np.array(output.foreground_channels, np.int32)),
            raw_across=tables.centred(space, window.width, output.width),
            raw_down=tables.centred(space, window.height, output.height),
            raw_width=output.width,
            raw_height=output.height,
            raw_resized=int(resized),
            channels=output.channels,
            channels_first=int(output.layout == "NCHW"),
            reading=SOFTMAX if softmax else READINGS[output.meaning],
            chosen_count=len(output.foreground_channels),
            width=window.width,
            height=window.height,
            refine=int(o.refine),
            radius=o.radius,
            temporal=o.temporal,
            level_gain=gain,
            level_offset=-o.alpha_floor * gain,
            epsilon=o.epsilon,
        )

    def launches(
        self,
        *,
        tables: int,
        scratch: int,
        state: int,
        frame: DevicePlanes,
        raw: int,
        guide: int,
        behind: Behind,
        out: DevicePlanes,
        matte: int,
        nans: int,
        alpha: int = 0,
        alpha_pitch: int = 0,
        style: int = 0,
        strengths: int = 0,
    ) -> tuple[Launch, ...]:
        """Launches for one slot, in order.

        Args:
            tables, scratch, state: addresses, see above; 256-byte aligned.
            frame: the frame; it must not share memory with `out`.
            raw: the network's primary output, float32, contiguous.
            guide: uint8[3, h, w] as cutline_pre left it.
            behind: the background. Its planes are read when the launches run.
            out: receives the composite, in either layout.
            matte: receives float32[h, w].
            nans: a uint64 that counts values of the network's output that were not a number; zero it once.
            alpha: receives uint8[H, W], rows as DevicePlanes says; 0: not wanted.
            style: the style network's picture, float32; 0: no style.
            strengths: two floats, see strengths(); read when the launches run.
        Raises:
            UsageError: transparent without alpha, or a style without a network for it.
            ContractError: rows are not as DevicePlanes says.
        """
        if behind.kind == "transparent" and not alpha:
            raise UsageError("a transparent background needs an alpha plane", remedy="Pass alpha.")
        if style and (self._style is None or not strengths):
            raise UsageError("a style picture came, but no style network was named", remedy="Make it with style=.")
        if alpha:
            demand_rows("alpha", alpha, alpha_pitch, self._frame.width)
        clean = self._options.decontaminate and behind.kind != "original"
        untouched = behind.kind == "original" and not style and not alpha
        found = self._matte_launches(tables, scratch, state, raw, guide, matte, nans, refine=not untouched)
        colours = [] if untouched else self._colour_launches(tables, scratch, frame, guide, matte, behind, clean)
        found += colours
        if style and self._style is not None:
            found.append(self._style_launch(tables, scratch, style, guide))
        record = self._compose_record(tables, scratch, behind, clean=clean, styled=bool(style))
        if untouched:
            record.line = 0
        record.frame, record.out = picture(frame, self._frame), picture(out, self._frame)
        record.background = picture(behind.planes if behind.kind == "picture" else None, self._frame)
        record.alpha, record.alpha_pitch = alpha, alpha_pitch
        record.strengths = strengths
        found.append(self._compose_launch(record))
        return tuple(found)

    def _matte_launches(
        self, tables: int, scratch: int, state: int, raw: int, guide: int, matte: int, nans: int, *, refine: bool
    ) -> list[Launch]:
        record = params.Matte.from_buffer_copy(self._matte)
        record.raw, record.guide, record.matte, record.nans = raw, guide, matte, nans
        record.past_alpha, record.past_luma = state, state + self._plane
        record.chosen += tables
        _based(tables, record.raw_across, record.raw_down)
        for name in ("decoded", "matte12", "slope", "base", "fit", "line", "verdict"):
            setattr(record, name, scratch + self._places[name])
        grid, pixels = blocks(record.width, record.height, ROWS), record.width * record.height
        answer = record.raw_width * record.raw_height
        found = []
        if record.raw_resized:
            moved = 4 * answer * (record.channels + 1)
            found.append(launch("cutline_decode", (-(-answer // LINE[0]), 1, 1), LINE, record, moved))
        read = 4 * answer * (1 if record.raw_resized else record.channels)
        found.append(launch("cutline_steady", grid, ROWS, record, read + pixels * (1 + 16 + 4 + 2)))
        if refine and record.refine:
            tiles = blocks(record.width, record.height, TILE)
            found.append(launch("cutline_fit", tiles, TILE_BLOCK, record, pixels * (1 + 2 + 12)))
            found.append(launch("cutline_average", tiles, TILE_BLOCK, record, pixels * (12 + 1 + 4 + 9)))
        return found

    def _colour_launches(
        self, tables: int, scratch: int, frame: DevicePlanes, guide: int, matte: int, behind: Behind, clean: bool
    ) -> list[Launch]:
        blur = behind.kind == "blur"
        apart = self._wide if blur else None
        near_scale = 0.5 * self._window.target.width / self._window.source.width
        level, sigma = self._near.blur_level(behind.radius * near_scale)
        found: list[Launch] = []
        if clean or (blur and not apart):
            wanted = level if blur and not apart else None
            found += self._near.fill(scratch, guide, matte, scene_level=wanted, tones=clean)
        if apart is not None:
            found += apart.launches(tables, scratch, frame, matte, behind.radius)
        elif blur:
            found += self._near.blur(scratch, level, sigma)
        return found

    def _style_launch(self, tables: int, scratch: int, style: int, guide: int) -> Launch:
        assert self._style is not None
        record = params.Style.from_buffer_copy(self._style)
        record.style, record.guide = style, guide
        record.luma, record.chroma = scratch + self._places["delta_y"], scratch + self._places["delta_uv"]
        _based(tables, record.across, record.down)
        pixels, answer = record.width * record.height, record.style_width * record.style_height
        return launch(
            "cutline_style", blocks(record.width, record.height, ROWS), ROWS, record, 15 * pixels + 12 * answer
        )

    def _compose_record(
        self, tables: int, scratch: int, behind: Behind, *, clean: bool, styled: bool
    ) -> params.Compose:
        near, wide = self._near.places, self._wide
        blur = wide.pyramid.places if wide else near
        record = params.Compose(
            line=scratch + self._places["line"],
            verdict=scratch + self._places["verdict"],
            tone_luma=scratch + near.tone_luma,
            tone_chroma=scratch + near.tone_chroma,
            blur_luma=scratch + blur.blur_luma,
            blur_chroma=scratch + blur.blur_chroma,
            style_luma=scratch + self._places["delta_y"],
            style_chroma=scratch + self._places["delta_uv"],
            net=self._net,
            tone=self._tone,
            blur=wide.grid if wide else self._tone,
            width=self._frame.width,
            height=self._frame.height,
            kind=KINDS[behind.kind],
            clean=int(clean),
            styled=int(styled),
            colour=(*behind.colour, 0),
            **self._inside,
        )
        for grid in (record.net, record.tone, record.blur):
            _based(tables, grid.luma_x, grid.luma_y, grid.chroma_x, grid.chroma_y)
        return record

    def _compose_launch(self, record: params.Compose) -> Launch:
        frame = self._frame
        luma, planes = frame.width * frame.height, 2 + (1 if record.background.y else 0)
        moved = planes * (luma + 2 * frame.chroma_width * frame.chroma_height) + (luma if record.alpha else 0)
        variant = ("_blur" if record.kind == KINDS["blur"] else "") + ("_style" if record.styled else "")
        return launch(
            f"cutline_post{variant}", blocks(frame.width, frame.height, COMPOSE_TILE), COMPOSE_BLOCK, record, moved
        )


class _Wide:
    """The scene on a small picture of the whole frame, where the window leaves parts of the frame out."""

    def __init__(self, space: tables.TableSpace, scratch: Layout, frame: FrameFormat, window: Window) -> None:
        whole = tables.whole_frame(frame)
        width, height = whole.width, whole.height
        self._frame = frame
        self.scale = 0.5 * width / frame.width  # cells per frame pixel
        self.grid = tables.grid(space, frame, whole, 2)
        self.pyramid = Pyramid(scratch, width, height)
        self._guide, self._matte = scratch.take(3 * width * height), scratch.take(4 * width * height)
        luma, chroma = tables.resize(space, frame, whole)
        self._pre = params.Pre(luma=luma, chroma=chroma, frame_width=frame.width, width=width, height=height)
        s, fx, fy = window.source, frame.width / width, frame.height / height
        across, down = tables.spread(space, frame, window, whole)
        self._spread = params.Spread(
            across=across,
            down=down,
            net_width=window.width,
            net_height=window.height,
            width=width,
            height=height,
            left=_edge(s.x / fx, width),
            right=_edge((s.x + s.width) / fx, width),
            top=_edge(s.y / fy, height),
            bottom=_edge((s.y + s.height) / fy, height),
        )

    def launches(self, tables: int, scratch: int, frame: DevicePlanes, matte: int, radius: float) -> list[Launch]:
        """Guide, matte, colours and blur on the small picture."""
        pre = params.Pre.from_buffer_copy(self._pre)
        pre.frame, pre.guide = picture(frame, self._frame), scratch + self._guide
        _based(tables, pre.luma, pre.chroma)
        spread = params.Spread.from_buffer_copy(self._spread)
        spread.matte, spread.wide = matte, scratch + self._matte
        _based(tables, spread.across, spread.down)
        grid, pixels = blocks(pre.width, pre.height, ROWS), pre.width * pre.height
        moved = 3 * self._frame.width * self._frame.height // 2 + 3 * pixels
        level, sigma = self.pyramid.blur_level(radius * self.scale)
        filled = self.pyramid.fill(
            scratch, scratch + self._guide, scratch + self._matte, scene_level=level, tones=False
        )
        return [
            _pre_launch(pre, moved),
            launch("cutline_spread", grid, ROWS, spread, 4 * pixels + 4 * spread.net_width * spread.net_height),
            *filled,
            *self.pyramid.blur(scratch, level, sigma),
        ]


def _pre_launch(record: params.Pre, moved: int) -> Launch:
    return launch("cutline_pre", blocks(record.width, record.height, TILE), TILE_BLOCK, record, moved)


def _style_record(
    space: tables.TableSpace, frame: FrameFormat, window: Window, style: tuple[Output, Image]
) -> params.Style:
    output, image = style
    demand_picture(output)
    return params.Style(
        across=tables.centred(space, window.width, output.width),
        down=tables.centred(space, window.height, output.height),
        matrix=tables.matrix(frame.colour),
        gain=image.std,
        offset=image.mean,
        width=window.width,
        height=window.height,
        style_width=output.width,
        style_height=output.height,
        channels_first=int(output.layout == "NCHW"),
        reversed=int(image.order == "BGR"),
    )


def _based(tables: int, *records: params.Axis | params.Resize) -> None:
    """Turn the offsets of tables into addresses."""
    for record in records:
        for name in (field[0] for field in record._fields_ if field[1] is c_uint64):
            setattr(record, name, tables + getattr(record, name))


def _edge(position: float, limit: int) -> int:
    """The first pixel whose centre lies at or behind `position`."""
    return min(max(math.ceil(position - 0.5), 0), limit)
