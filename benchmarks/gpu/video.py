"""Does the GPU decode what FFmpeg decodes, and do frames go from its decoder through the kernels to its encoder?

    python -m cutline.benchmarks.gpu.video ORDINAL

In a process of its own, which prints one Check as JSON: PyNvVideoCodec ends the process that it is in where its decoder
finds the driver at fault.
"""

from __future__ import annotations

import importlib.util
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing
from fractions import Fraction
from pathlib import Path
from typing import Any, Final

import av
import msgspec
import numpy as np
from numpy.typing import NDArray

from cutline.benchmarks.gpu.bed import Bed, SpinNetwork, kernels_for
from cutline.benchmarks.gpu.card import multiprocessors
from cutline.benchmarks.gpu.record import Check, NotRun
from cutline.runtime.bundle import open_bundle
from cutline.runtime.cuda.device_stream import DeviceStream
from cutline.runtime.cuda.driver import Stream
from cutline.runtime.cuda.nvcodec import MODULE, Packet, SurfaceDecoder, SurfaceEncoder, load_codec
from cutline.runtime.errors import CutlineError, DeviceError
from cutline.runtime.frame import FrameFormat, Timestamp
from cutline.runtime.options import StreamOptions
from cutline.runtime.sinks.codec import why_no_nvenc

__all__ = ["NAME", "check_video", "judge", "look_at", "luma_of", "measure", "write_clip"]

NAME: Final = "video on the device"
FORM: Final = FrameFormat(width=1920, height=1080)
FRAMES: Final = 240
COMPARED: Final = 8  # frames that are fetched from the device and compared byte by byte
RATE: Final = Fraction(30)
BITS_PER_S: Final = 8_000_000
LEAST_DB: Final = 25.0  # of what was encoded against what was composed; another frame of the clip is below 20
COST_MS: Final = 0.5  # of the network that stands in
LIMIT_S: Final = 120


def check_video(ordinal: int) -> Check:
    """Run the check in a process of its own."""
    if importlib.util.find_spec(MODULE) is None:
        raise NotRun(f"{MODULE} is not installed")
    words = [sys.executable, "-m", "cutline.benchmarks.gpu.video", str(ordinal)]
    done = subprocess.run(words, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    if done.returncode == DeviceError.exit_code:
        raise NotRun(done.stderr.strip().splitlines()[-1])
    if done.returncode:
        lines = (done.stderr + done.stdout).strip().splitlines()[-3:]
        return Check(name=NAME, verdict="failed", notes=(f"the process ended with {done.returncode}", *lines))
    return msgspec.json.decode(done.stdout.splitlines()[-1], type=Check)


def measure(bed: Bed, clip: Path, form: FrameFormat, refusal: str = "") -> tuple[Check, list[Packet]]:
    """Compare the first frames with FFmpeg's, then send all of them through; the packets are the encoder's.

    Args:
        refusal: why this GPU encodes nothing; frames then end as composites.
    """
    wrong = [index for index, same in enumerate(_compare(bed, clip, form)) if not same]
    packets: list[Packet] = []
    began, host = time.perf_counter(), time.thread_time()
    frames = _run(bed, clip, form, None if refusal else packets)
    took, host = time.perf_counter() - began, time.thread_time() - host
    wanted = _count(clip)
    faults = [f"frame {index} is not what FFmpeg decodes" for index in wrong]
    faults += [f"{frames} of {wanted} frames were decoded"] if frames != wanted else []
    if not refusal and [packet.pts for packet in packets] != sorted({packet.pts for packet in packets}):
        faults.append("packets are not in the order of frames")
    if not refusal and len(packets) != frames:
        faults.append(f"{len(packets)} packets for {frames} frames")
    check = Check(
        name=NAME,
        verdict="failed" if faults else "measured",
        goal="decoded bytes are FFmpeg's; as many packets as frames",
        figures={
            f"fps from file to {'composites' if refusal else 'packets'}": frames / took,
            "host us per frame": 1e6 * host / max(frames, 1),
            "frames": frames,
            "kB": sum(len(packet.data) for packet in packets) / 1e3,
        },
        notes=(*faults, f"not encoded: {refusal}") if refusal else tuple(faults),
    )
    return check, packets


def write_clip(path: Path, form: FrameFormat, frames: int) -> None:
    """H.264 with B-frames: a bright block that crosses slight noise, which is lighter or darker in every frame."""
    rng = np.random.default_rng(1)
    noise = rng.integers(20, 30, (form.height * 3 // 2, form.width), np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=RATE, options={"preset": "ultrafast", "bf": "2"})
        stream.width, stream.height, stream.pix_fmt = form.width, form.height, "yuv420p"
        for index in range(frames):
            picture = noise + np.uint8(37 * index % 100)
            left = index * form.width // (2 * frames)
            picture[form.height // 4 : form.height // 2, left : left + form.width // 4] = 220
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="yuv420p")))
        container.mux(stream.encode(None))


def _compare(bed: Bed, clip: Path, form: FrameFormat) -> Iterator[bool]:
    """Whether each of the first frames is, byte by byte, the one that FFmpeg decodes: H.264 leaves no choice."""
    with av.open(str(clip)) as container, closing(SurfaceDecoder(bed.driver, clip, stream=bed.stream)) as decoder:
        for _, (surface, _), picture in zip(range(COMPARED), decoder, container.decode(video=0), strict=False):
            bed.settle()
            luma = bed.get(surface.y, (form.height, surface.luma_pitch), np.uint8)[:, : form.width]
            chroma = bed.get(surface.u, (form.chroma_height, surface.chroma_pitch), np.uint8)[:, : form.width]
            wanted: NDArray[Any] = picture.reformat(format="nv12").to_ndarray()
            yield bool(np.array_equal(np.vstack([luma, chroma]), wanted))


def _run(bed: Bed, clip: Path, form: FrameFormat, packets: list[Packet] | None) -> int:
    """Decoder, kernels, encoder: everything on the device, each on a stream of its own. How many frames came out.

    Args:
        packets: receives what is encoded; None: nothing is.
    """
    driver, frames = bed.driver, 0
    with ExitStack() as undo:

        def stream() -> Stream:
            made = driver.stream()
            undo.callback(driver.release, made)
            return made

        encoding, decoding = stream(), stream()
        decoder = undo.enter_context(closing(SurfaceDecoder(driver, clip, stream=decoding)))
        encoder: SurfaceEncoder | None = None
        if packets is not None:
            encoder = SurfaceEncoder(driver, form, stream=encoding, rate=RATE, bits_per_s=BITS_PER_S)
            undo.callback(encoder.close)
        undo.callback(_settle, bed, encoding, decoding)
        between: DeviceStream | None = None

        def take(composed: DeviceStream) -> None:
            frame = composed.finish()
            if encoder is not None and packets is not None:
                packets.extend(encoder.encode(frame.composite, frame.time.pts))
            composed.give_back(frame, stream=encoding)

        for surface, pts in decoder:
            if between is None:
                between = _between(bed, form, surface.luma_pitch)
                undo.callback(between.close)
                undo.callback(_settle, bed, encoding, decoding)  # before its slots go
            if not between.room:
                take(between)
            between.start(surface, Timestamp(pts, decoder.time_base, 0), stream=decoding)
            frames += 1
        while between is not None and between.running:
            take(between)
        if encoder is not None and packets is not None:
            packets.extend(encoder.finish())
    return frames


def _count(clip: Path) -> int:
    """Frames that FFmpeg decodes."""
    with av.open(str(clip)) as container:
        return sum(1 for _ in container.decode(video=0))


def _between(bed: Bed, form: FrameFormat, pitch: int) -> DeviceStream:
    return DeviceStream(bed.engine, form, StreamOptions(input="-", background="#00ff00"), pitch=pitch)


def _settle(bed: Bed, *streams: Stream) -> None:
    """Wait for what the codecs queued."""
    mark = bed.driver.event()
    for stream in streams:
        bed.driver.record(mark, stream=stream)
        bed.driver.synchronise(mark)
    bed.driver.release(mark)


def luma_of(bed: Bed, clip: Path, form: FrameFormat) -> list[NDArray[np.uint8]]:
    """The first composites' luma, fetched one after the other: what the encoder should have seen."""
    found: list[NDArray[np.uint8]] = []
    with closing(SurfaceDecoder(bed.driver, clip, stream=bed.stream)) as decoder, ExitStack() as undo:
        between: DeviceStream | None = None
        for _, (surface, pts) in zip(range(COMPARED), decoder, strict=False):
            between = between or undo.enter_context(closing(_between(bed, form, surface.luma_pitch)))
            between.start(surface, Timestamp(pts, decoder.time_base, 0), stream=bed.stream)
            frame = between.finish()
            pitch = frame.composite.luma_pitch
            found.append(bed.get(frame.composite.y, (form.height, pitch), np.uint8)[:, : form.width])
            between.give_back(frame, stream=bed.stream)
        bed.settle()
    return found


def look_at(path: Path, wanted: Sequence[NDArray[np.uint8]]) -> tuple[int, float]:
    """Frames that FFmpeg decodes, and the lowest PSNR in dB of the luma of those that are known."""
    count, lowest = 0, math.inf
    with av.open(str(path)) as container:
        for picture in container.decode(video=0):
            if count < len(wanted):
                luma = picture.to_ndarray()[: picture.height, : picture.width].astype(np.float64)
                error = float(np.mean((luma - wanted[count]) ** 2))
                lowest = min(lowest, 10 * math.log10(255**2 / error) if error else math.inf)
            count += 1
    return count, lowest


def judge(check: Check, count: int, lowest_db: float) -> Check:
    """The check with what became of its packets."""
    notes = list(check.notes)
    notes += [] if count == FRAMES else [f"{count} of {FRAMES} frames can be decoded again"]
    notes += [] if lowest_db >= LEAST_DB else ["what was encoded is not what was composed"]
    return msgspec.structs.replace(
        check,
        verdict="failed" if notes else check.verdict,
        figures={**check.figures, "lowest PSNR dB": lowest_db if math.isfinite(lowest_db) else str(lowest_db)},
        notes=tuple(notes),
    )


def main(ordinal: int) -> int:
    """Measure on a real device; print the Check. 69 where the machine lacks what it takes, 1 where that fails."""
    from cutline.runtime.cuda.cuda_python import CudaPython

    try:
        load_codec()
    except DeviceError as error:
        print(error, file=sys.stderr)
        return DeviceError.exit_code
    refusal = why_no_nvenc()
    try:
        with tempfile.TemporaryDirectory() as folder, open_bundle("cutout") as bundle, CudaPython(ordinal) as driver:
            clip = Path(folder) / "clip.mp4"
            write_clip(clip, FORM, FRAMES)
            contract = bundle.manifest.contract
            with closing(Bed(driver, kernels_for(driver.device, bundle), contract)) as bed:
                count = multiprocessors(ordinal)
                bed.take(SpinNetwork(driver, contract, cost_ms=COST_MS, multiprocessors=count), "stand-in")
                with bed.scope():
                    check, packets = measure(bed, clip, FORM, refusal)
                    wanted = [] if refusal else luma_of(bed, clip, FORM)
            if not refusal:
                out = Path(folder) / "out.h264"
                out.write_bytes(b"".join(packet.data for packet in packets))
                check = judge(check, *look_at(out, wanted))
    except CutlineError as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        return 1
    print(msgspec.json.encode(check).decode())
    return 0


if __name__ == "__main__":
    sys.exit(main(int(sys.argv[1])))
