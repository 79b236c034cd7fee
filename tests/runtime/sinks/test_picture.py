"""The frame that is handed to FFmpeg again and again."""

from __future__ import annotations

from fractions import Fraction
from typing import Any

import av
import av.filter
import numpy as np

from cutline.runtime.frame import Colour
from cutline.runtime.sinks.picture import Picture, plane_rows


def test_a_picture_is_not_overwritten_while_somebody_still_holds_it(clip: Any) -> None:
    made = clip(count=6)
    picture = Picture(96, 64, "yuv420p", Colour())
    graph = av.filter.Graph()
    holder = graph.add("reverse")  # keeps every frame until the last has come
    graph.add_buffer(width=96, height=64, format="yuv420p", time_base=Fraction(1, 30)).link_to(holder)
    holder.link_to(graph.add("buffersink"))
    graph.configure()
    for frame in made.frames():
        filled = picture.fill(frame.composite)
        filled.pts, filled.time_base = frame.index, Fraction(1, 30)
        graph.push(filled)
    graph.push(None)
    for index in reversed(range(6)):
        shown = graph.pull()
        assert isinstance(shown, av.VideoFrame)
        assert np.array_equal(plane_rows(shown.planes[0])[:, :96], made.frame(index).composite.y)


def test_planes_of_any_pitch_are_copied_and_the_padding_is_left_alone(clip: Any) -> None:
    for width, height in ((2, 2), (7, 5), (97, 63), (130, 2)):
        made = clip(width=width, height=height, count=1)
        source = made.frame(0)
        frame = Picture(width, height, "yuva420p", Colour()).fill(source.composite, source.alpha)
        wanted = (source.composite.y, source.composite.u, source.composite.v, source.alpha)
        for plane, expected in zip(frame.planes, wanted, strict=True):
            assert np.array_equal(plane_rows(plane)[:, : plane.width], expected)
