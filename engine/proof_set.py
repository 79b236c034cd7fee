"""Held-out frames that travel in a bundle, with the original's mattes: what `verify` and a rebuild prove against.

PNG files at the network's size: frames as they were seen (8 bits), mattes in 16 bits. Reading needs neither ONNX nor
the original network.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import cv2
import msgspec
import numpy as np
from numpy.typing import NDArray

from cutline.engine.pictures import picture_to_tensor, tensor_to_picture
from cutline.runtime.contract import ModelContract
from cutline.runtime.errors import BundleError

__all__ = ["MAX_FRAMES", "ProofSet", "quantised", "read_proof_set", "write_proof_set"]

F32 = NDArray[np.float32]
Feed = Mapping[str, NDArray[Any]]
INDEX = "proof/index.json"
MAX_FRAMES = 16


class Index(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """proof/index.json."""

    sequences: tuple[int, ...]  # frames in each; states begin anew with each
    source: str  # footage or patterns
    budget: float  # the gate's limit of the mean absolute difference
    mattes: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofSet:
    """Feeds by sequence, and the original's mattes in the same order (empty for style networks)."""

    sequences: list[list[Feed]]
    wanted: list[F32]
    source: str
    budget: float


def quantised(sequences: Sequence[Sequence[Feed]], contract: ModelContract) -> list[list[Feed]]:
    """The first frames of every sequence, MAX_FRAMES in all, rounded to what 8-bit pictures hold."""
    share = max(1, MAX_FRAMES // max(len(sequences), 1))
    kept = list(sequences)[:MAX_FRAMES]
    return [[_rounded(feed, contract) for feed in list(sequence)[:share]] for sequence in kept]


def _rounded(feed: Feed, contract: ModelContract) -> Feed:
    result = {}
    for image in (contract.frame, contract.plate):
        if image is not None:
            picture = tensor_to_picture(feed[image.tensor], image)
            result[image.tensor] = picture_to_tensor(np.asarray(picture, np.float32) / np.float32(255), image)
    return result


def write_proof_set(proof: ProofSet, contract: ModelContract) -> dict[str, bytes]:
    """Members of a bundle by name. The feeds must come from `quantised`."""
    members: dict[str, bytes] = {}
    feeds = [feed for sequence in proof.sequences for feed in sequence]
    mattes = bool(proof.wanted) and proof.wanted[0].ndim == 2
    for i, feed in enumerate(feeds):
        members[f"proof/{i:03}-frame.png"] = _png(tensor_to_picture(feed[contract.frame.tensor], contract.frame))
        if contract.plate is not None:
            members[f"proof/{i:03}-plate.png"] = _png(tensor_to_picture(feed[contract.plate.tensor], contract.plate))
        if mattes:
            members[f"proof/{i:03}-matte.png"] = _png(np.rint(proof.wanted[i] * 65535).astype(np.uint16))
    lengths = tuple(len(sequence) for sequence in proof.sequences)
    index = Index(sequences=lengths, source=proof.source, budget=proof.budget, mattes=mattes)
    members[INDEX] = msgspec.json.encode(index, order="sorted")
    return members


def read_proof_set(members: Mapping[str, bytes], contract: ModelContract) -> ProofSet | None:
    """Read what `write_proof_set` wrote; None when the bundle has none.

    Raises:
        BundleError: a part is missing or is not what it should be.
    """
    if INDEX not in members:
        return None
    try:
        index = msgspec.json.decode(members[INDEX], type=Index)
        feeds = [_read_feed(members, i, contract) for i in range(sum(index.sequences))]
        wanted = [_read_matte(members, i, contract) for i in range(len(feeds))] if index.mattes else []
    except (msgspec.DecodeError, KeyError, ValueError, cv2.error) as error:
        raise BundleError(
            f"the proof frames of the bundle cannot be used: {error}", remedy="Build the bundle again."
        ) from error
    starts = np.cumsum([0, *index.sequences])
    sequences = [feeds[a:b] for a, b in pairwise(starts.tolist())]
    return ProofSet(sequences=sequences, wanted=wanted, source=index.source, budget=index.budget)


def _read_feed(members: Mapping[str, bytes], number: int, contract: ModelContract) -> Feed:
    feed = {}
    for kind, image in (("frame", contract.frame), ("plate", contract.plate)):
        if image is not None:
            picture = _read_png(members[f"proof/{number:03}-{kind}.png"], (image.height, image.width, 3), np.uint8)
            feed[image.tensor] = picture_to_tensor(np.asarray(picture, np.float32) / np.float32(255), image)
    return feed


def _read_matte(members: Mapping[str, bytes], number: int, contract: ModelContract) -> F32:
    out = contract.primary
    stored = _read_png(members[f"proof/{number:03}-matte.png"], (out.height, out.width), np.uint16)
    return np.asarray(stored, np.float32) / np.float32(65535)


def _png(picture: NDArray[Any]) -> bytes:
    pixels = picture[..., ::-1] if picture.ndim == 3 else picture
    done, data = cv2.imencode(".png", np.ascontiguousarray(pixels))
    if not done:
        raise ValueError("a picture cannot be encoded")
    return bytes(data.tobytes())


def _read_png(data: bytes, shape: tuple[int, ...], dtype: type[np.generic]) -> NDArray[Any]:
    picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if picture is None or picture.shape != shape or picture.dtype != dtype:
        raise ValueError("a picture has the wrong size or type")
    return np.asarray(picture[..., ::-1] if picture.ndim == 3 else picture)
