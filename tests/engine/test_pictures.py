"""Pictures into tensors and back, proof frames in and out of a bundle, footage in and out of the cache."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from cutline.engine.footage_cache import footage_digest, pack_feeds, unpack_feeds
from cutline.engine.patterns import pattern_sequences
from cutline.engine.pictures import picture_to_tensor, tensor_to_picture
from cutline.engine.proof_set import ProofSet, quantised, read_proof_set, write_proof_set
from cutline.runtime.contract import Image, ModelContract, Output
from cutline.runtime.errors import BundleError, NoInputError

IMAGES = [
    Image(tensor="x", width=6, height=4),
    Image(tensor="x", width=6, height=4, layout="NHWC", order="BGR", mean=(0.485, 0.456, 0.406), std=(0.2, 0.3, 0.4)),
    Image(tensor="x", width=6, height=4, dtype="uint8", std=(1 / 255, 1 / 255, 1 / 255)),
    Image(tensor="x", width=6, height=4, dtype="int8", scale=1 / 127),
]
CONTRACT = ModelContract(
    task="matte",
    frame=Image(tensor="x", width=24, height=16, mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5)),
    plate=Image(tensor="p", width=24, height=16),
    outputs=(Output(tensor="a", meaning="alpha", width=24, height=16),),
)


@pytest.mark.parametrize("image", IMAGES)
def test_a_picture_survives_the_way_there_and_back(image: Image) -> None:
    picture = np.random.default_rng(0).integers(0, 256, (4, 6, 3), np.uint8)
    tensor = picture_to_tensor(picture.astype(np.float32) / 255, image)
    assert tensor.shape == image.shape
    assert tensor.dtype == image.dtype
    allowed = 2 if image.dtype == "int8" else 0  # 128 levels instead of 256
    assert np.abs(tensor_to_picture(tensor, image).astype(int) - picture).max() <= allowed


def test_channels_and_scale_are_the_contract_s() -> None:
    red = np.zeros((4, 6, 3), np.float32)
    red[..., 0] = 1.0
    tensor = picture_to_tensor(red, IMAGES[1])
    assert tensor[0, 0, 0, 2] == pytest.approx((1 - 0.485) / 0.2)
    assert tensor[0, 0, 0, 0] == pytest.approx(-0.406 / 0.4)


def proof() -> ProofSet:
    sequences = quantised(pattern_sequences(CONTRACT), CONTRACT)
    wanted = [np.full((16, 24), i / 20, np.float32) for i in range(sum(map(len, sequences)))]
    return ProofSet(sequences=sequences, wanted=wanted, source="patterns", budget=0.005)


def test_proof_frames_come_back_as_they_went() -> None:
    one = proof()
    other = read_proof_set(write_proof_set(one, CONTRACT), CONTRACT)
    assert other is not None
    assert (other.source, other.budget) == ("patterns", 0.005)
    for a, b in zip(one.sequences, other.sequences, strict=True):
        for x, y in zip(a, b, strict=True):
            assert set(x) == set(y) == {"x", "p"}
            np.testing.assert_array_equal(x["x"], y["x"])
    for wanted, found in zip(one.wanted, other.wanted, strict=True):
        np.testing.assert_allclose(found, wanted, atol=1e-5)


def test_damaged_proof_frames_are_a_bundle_error() -> None:
    for name, data in (("proof/000-frame.png", b"no picture"), ("proof/index.json", b"{")):
        with pytest.raises(BundleError):
            read_proof_set(write_proof_set(proof(), CONTRACT) | {name: data}, CONTRACT)
    members = write_proof_set(proof(), CONTRACT)
    del members["proof/003-matte.png"]
    with pytest.raises(BundleError):
        read_proof_set(members, CONTRACT)


def test_patterns_are_the_same_every_time_and_move() -> None:
    one, other = pattern_sequences(CONTRACT), pattern_sequences(CONTRACT)
    np.testing.assert_array_equal(one[2][3]["x"], other[2][3]["x"])
    assert np.abs(one[0][0]["x"] - one[0][3]["x"]).max() > 0.1
    assert np.abs(one[0][0]["p"] - one[0][3]["p"]).max() == 0


def test_the_digest_of_footage_follows_its_content(tmp_path: Path) -> None:
    for number in range(3):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((8, 8, 3), number, np.uint8))
    before = footage_digest([str(tmp_path)])
    assert before == footage_digest([str(tmp_path)])
    cv2.imwrite(str(tmp_path / "1.png"), np.full((8, 8, 3), 99, np.uint8))
    assert footage_digest([str(tmp_path)]) != before


def test_a_new_plate_beside_a_clip_changes_the_digest(tmp_path: Path) -> None:
    (tmp_path / "clip.mp4").write_bytes(b"video")
    before = footage_digest([str(tmp_path / "clip.mp4")])
    (tmp_path / "clip-plate.png").write_bytes(b"plate")
    assert footage_digest([str(tmp_path / "clip.mp4")]) != before


def test_cameras_have_no_digest_and_nothing_is_an_error() -> None:
    assert footage_digest(["rtsp://camera/stream"]) is None
    with pytest.raises(NoInputError):
        footage_digest([])


def test_feeds_survive_the_cache() -> None:
    feeds = pattern_sequences(CONTRACT, sequences=2, frames=2)
    back = unpack_feeds(pack_feeds(feeds))
    np.testing.assert_array_equal(back[1][1]["x"], feeds[1][1]["x"])
    assert back[0][0]["p"].dtype == np.float32
