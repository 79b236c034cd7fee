"""What each kind of video file is made of, and the settings that let it survive a kill."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from fractions import Fraction

from cutline.runtime.sinks.base import ENCODER, SinkOptions

__all__ = ["FRAGMENT_S", "NVENC", "RECIPES", "X264", "Recipe", "by_gpu"]

# A killed process loses what is still in memory: a fragment and the frames inside the encoder. Together under 1 s.
FRAGMENT_S = 0.2
LOOK_AHEAD_S = 0.2
X264, NVENC = "libx264", "h264_nvenc"  # FFmpeg's names
PRORES_QUANTISER = 2
FF_QP2LAMBDA = 118  # unit of FFmpeg's global_quality (avutil.h)


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """One kind of file.

    tick: the container's own unit of time in seconds; None where it can take the source's.
    full_range: whether the file can say that its Y, Cb, Cr use all 256 values.
    intra: every frame is a key frame.
    """

    title: str
    container: str  # FFmpeg's name
    codec: str
    opaque: str  # pixel formats
    transparent: str | None
    even: bool  # sides must be even
    full_range: bool
    tick: Fraction | None
    intra: bool
    settings: Callable[[SinkOptions, Fraction], dict[str, str]]  # options, frames per second -> codec settings

    def muxing(self, tick: Fraction, *, wait: bool) -> dict[str, str]:
        """Muxer settings: see VideoFileSink about `wait`."""
        common = {"flush_packets": "1", "max_interleave_delta": "100000", "avoid_negative_ts": "disabled"}
        if self.container in ("matroska", "webm"):
            return {**common, "cluster_time_limit": str(round(FRAGMENT_S * 1e3))}
        flags = f"{'delay_moov' if wait else 'empty_moov+frag_discont'}+default_base_moof"
        return {
            **common,
            "movflags": flags + ("" if self.intra else "+frag_keyframe"),
            "frag_duration": str(round(FRAGMENT_S * 1e6)),
            "video_track_timescale": str(tick.denominator),
            "movie_timescale": str(tick.denominator * max(1, 10_000 // tick.denominator)),  # start times are in it
        }


def _x264(options: SinkOptions, rate: Fraction) -> dict[str, str]:
    ahead = min(10, int(float(rate) * LOOK_AHEAD_S))
    return {
        "preset": options.preset,
        "crf": str(options.crf),
        "forced-idr": "1",
        "bf": "0",  # coding order is presentation order: no delay, and no time stamps before zero
        "x264-params": f"cabac=1:force-cfr=1:rc-lookahead={ahead}",
    }


def _nvenc(options: SinkOptions, _rate: Fraction) -> dict[str, str]:
    """Names and values: FFmpeg 8, libavcodec/nvenc.c. It takes a key frame where one is asked for, as x264 does."""
    named = ENCODER.fullmatch(options.encoder)
    return {
        "preset": "p4",
        "tune": "ll",
        "rc": "vbr",
        "cq": str(max(1, options.crf)),  # 0 would be no wish at all
        "b": "0",  # no limit but the quality
        "forced-idr": "1",
        "bf": "0",
        "delay": "2",  # one frame is encoded while the next is made; the default fills all surfaces first
        "gpu": named[1] if named and named[1] else "any",
    }


def _vp9(_options: SinkOptions, _rate: Fraction) -> dict[str, str]:
    return {
        "deadline": "realtime",
        "cpu-used": "8",
        "row-mt": "1",
        "lag-in-frames": "0",
        "auto-alt-ref": "0",  # libvpx codes no alpha with them
        "crf": "15",
        "b": "0",
    }


def _prores(options: SinkOptions, _rate: Fraction) -> dict[str, str]:
    return {
        "profile": "4444",
        "vendor": "apl0",
        "alpha_bits": "16" if options.transparent else "0",
        # one quantiser for all: 27 core-ms per 1080p frame instead of 205 for the search by bit rate, at 64 dB
        "flags": "+qscale",
        "global_quality": str(PRORES_QUANTISER * FF_QP2LAMBDA),
    }


_MP4 = Recipe(
    title="H.264 in MP4",
    container="mp4",
    codec=X264,
    opaque="yuv420p",
    transparent=None,
    even=True,
    full_range=True,
    tick=None,
    intra=False,
    settings=_x264,
)

RECIPES = {
    ".mp4": _MP4,
    ".mkv": replace(_MP4, title="H.264 in Matroska", container="matroska", tick=Fraction(1, 1000)),
    ".mov": Recipe(
        title="ProRes 4444 in QuickTime",
        container="mov",
        codec="prores_ks",
        opaque="yuv444p10le",
        transparent="yuva444p10le",
        even=False,
        full_range=False,
        tick=None,
        intra=True,
        settings=_prores,
    ),
    ".webm": Recipe(
        title="VP9 in WebM",
        container="webm",
        codec="libvpx-vp9",
        opaque="yuv420p",
        transparent="yuva420p",
        even=False,
        full_range=True,
        tick=Fraction(1, 1000),
        intra=False,
        settings=_vp9,
    ),
}


def by_gpu(recipe: Recipe) -> Recipe:
    """The same kind of H.264 file, from the GPU's encoder."""
    return replace(recipe, codec=NVENC, settings=_nvenc)
