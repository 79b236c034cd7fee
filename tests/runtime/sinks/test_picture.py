"""The frame that is handed to FFmpeg again and again."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import av
import numpy as np
import pytest

from cutline.runtime.frame import Colour
from cutline.runtime.sinks.picture import Picture, plane_rows


def test_a_picture_is_not_overwritten_while_an_encoder_still_holds_it(clip: Any) -> None:
    made = clip(count=12)
    picture = Picture(96, 64, "yuv420p", Colour())
    encoder = av.VideoCodecContext.create("ffvhuff", "w")  # lossless, and works on several frames at a time
    encoder.width, encoder.height, encoder.pix_fmt, encoder.time_base = 96, 64, "yuv420p", Fraction(1, 30)
    encoder.thread_count, encoder.thread_type = 4, "FRAME"
    encoder.open()
    packets = []
    for frame in made.frames():
        filled = picture.fill(frame.composite)
        filled.pts, filled.time_base = frame.index, Fraction(1, 30)
        packets += encoder.encode(filled)
    if len(packets) == 12:
        pytest.skip("this FFmpeg's encoder holds no frames back")
    packets += encoder.encode(None)
    decoder = av.VideoCodecContext.create("ffvhuff", "r")
    decoder.width, decoder.height, decoder.pix_fmt = 96, 64, "yuv420p"
    decoder.extradata = encoder.extradata
    shown = [frame for packet in [*packets, None] for frame in decoder.decode(packet)]
    assert len(shown) == 12
    for index, frame in enumerate(shown):
        assert np.array_equal(plane_rows(frame.planes[0])[:, :96], made.frame(index).composite.y)


def test_planes_of_any_pitch_are_copied_and_the_padding_is_left_alone(clip: Any) -> None:
    for width, height in ((2, 2), (7, 5), (97, 63), (130, 2)):
        made = clip(width=width, height=height, count=1)
        source = made.frame(0)
        frame = Picture(width, height, "yuva420p", Colour()).fill(source.composite, source.alpha)
        wanted = (source.composite.y, source.composite.u, source.composite.v, source.alpha)
        for plane, expected in zip(frame.planes, wanted, strict=True):
            assert np.array_equal(plane_rows(plane)[:, : plane.width], expected)
