"""The clip that peers are compared on: the demo's kiosk at 1080p, encoded once and kept."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Final

import av

from cutline.tools.scenes.source import open_scene

__all__ = ["KIOSK", "kiosk_clip"]

KIOSK: Final = "synthetic://kiosk?split=test&seed=8&size=1920x1080&frames=240&fps=30"
_OPTIONS: Final = {"preset": "medium", "crf": "20"}
# Tagged, and BT.601 although HD: OpenCV knows no other matrix, so every peer sees the same colours.
_SMPTE170M, _LIMITED = 6, 1


def kiosk_clip(folder: Path, tell: Callable[[str], None], uri: str = KIOSK) -> Path:
    """Return the clip's path, encoding it (H.264) where it is not in the folder yet."""
    digest = hashlib.sha256(f"{uri} {_OPTIONS} {_SMPTE170M}".encode()).hexdigest()[:12]
    kept = folder / f"kiosk-{digest}.mp4"
    if not kept.exists():
        tell("encoding the kiosk clip, once ...")
        folder.mkdir(parents=True, exist_ok=True)
        handle, part = tempfile.mkstemp(dir=folder, suffix=".mp4")
        os.close(handle)
        try:
            _encode(uri, part)
            Path(part).rename(kept)
        finally:
            Path(part).unlink(missing_ok=True)
    return kept


def _encode(uri: str, path: str) -> None:
    scene = open_scene(uri)
    with av.open(path, "w", format="mp4") as video:
        stream = video.add_stream("libx264", Fraction(scene.frame_rate), options=_OPTIONS)
        stream.width, stream.height, stream.pix_fmt = scene.width, scene.height, "yuv420p"
        stream.codec_context.colorspace, stream.codec_context.color_range = _SMPTE170M, _LIMITED
        for rgb in scene:
            picture = av.VideoFrame.from_ndarray(rgb, "rgb24").reformat(
                format="yuv420p", dst_colorspace="ITU601", dst_color_range="MPEG"
            )
            video.mux(stream.encode(picture))
        video.mux(stream.encode(None))
