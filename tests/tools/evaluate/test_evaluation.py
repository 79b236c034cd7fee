from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray
from rich.console import Console

from cutline.runtime.errors import BadInputError, UsageError
from cutline.tools.evaluate.cases import Case, CaseOptions, category_mask, held_out_cases, held_out_clips
from cutline.tools.evaluate.command import _write, figures_tables
from cutline.tools.evaluate.evaluation import Evaluation, evaluate, moving_dtssd, static_flicker
from cutline.tools.evaluate.sheet import WorstSheet
from cutline.tools.scenes import Shot

U8 = NDArray[np.uint8]
F32 = NDArray[np.float32]


def shot() -> Shot:
    """A can (item 1) on the left, a bottle of alpha 0.4 (item 2) on the right."""
    alpha, items = np.zeros((32, 64), np.float32), np.zeros((32, 64), np.uint8)
    alpha[8:24, 8:24], items[8:24, 8:24] = 1.0, 1
    alpha[8:24, 40:56], items[8:24, 40:56] = 0.4, 2
    picture = np.full((32, 64, 3), 120, np.uint8)
    return Shot(
        rgb=picture,
        alpha=alpha,
        foreground=picture,
        plate=picture,
        items=items,
        tags=frozenset({"opaque", "transparent"}),
        item_tags={1: frozenset({"opaque"}), 2: frozenset({"transparent"})},
    )


class Fixed:
    """A network that always answers the same matte."""

    name = "fixed"

    def __init__(self, alpha: F32) -> None:
        self.alpha = alpha

    def matte(self, frame: U8, plate: U8 | None = None) -> F32:  # noqa: ARG002
        return self.alpha


def judged(alpha: F32) -> Evaluation:
    return evaluate(Fixed(alpha), [Case("one", shot())])


def test_what_no_shot_shows_is_not_measured_instead_of_perfect() -> None:
    bare = replace(shot(), item_tags={})
    found = evaluate(Fixed(bare.alpha), [Case("one", bare)])
    assert (found.flicker, found.raw_flicker, found.dtssd) == (None, None, None)


def test_the_truth_itself_has_no_faults() -> None:
    found = judged(shot().alpha)
    assert found.overall["iou"] == found.overall["f1"] == 1
    assert found.overall["mad"] == found.overall["band_mad"] == found.flicker == 0
    assert found.overall["psnr"] == 100


def test_a_lost_bottle_does_not_count_against_the_can() -> None:
    alpha = shot().alpha.copy()
    alpha[:, 40:56] = 0
    found = judged(alpha)
    assert found.categories["opaque"]["iou"] == 1
    assert found.categories["opaque"]["mad"] == 0
    assert found.categories["transparent"]["inside_mad"] == pytest.approx(0.4)
    assert found.overall["mad"] == pytest.approx(0.4 * 256 / 2048)


def test_ghosts_on_the_background_count_in_every_category() -> None:
    alpha = shot().alpha.copy()
    alpha[0:4] = 1
    found = judged(alpha)
    assert found.categories["opaque"]["iou"] == pytest.approx(256 / (256 + 256))
    assert found.categories["transparent"]["mad"] > 0


def test_categories_that_do_not_occur_are_left_out() -> None:
    assert set(judged(shot().alpha).categories) == {"opaque", "transparent"}
    assert category_mask(shot(), "thin") is None


def test_flicker_of_a_network_that_follows_noise_is_seen() -> None:
    class Nervous(Fixed):
        def matte(self, frame: U8, plate: U8 | None = None) -> F32:  # noqa: ARG002
            return np.asarray(frame[..., 0] / 255, np.float32)

    assert static_flicker(Fixed(shot().alpha), Case("one", shot()), seed=0) == (0, 0)
    raw, filtered = static_flicker(Nervous(shot().alpha), Case("one", shot()), seed=0)
    assert raw == pytest.approx(100 * 3 * 2**0.5 / 255, rel=0.1)  # two draws of three levels, subtracted
    assert filtered < 0.7 * raw


def test_a_matte_of_another_size_is_measured_at_the_size_of_the_shot() -> None:
    assert judged(np.ones((8, 16), np.float32)).overall["mad"] == pytest.approx(1 - float(shot().alpha.mean()))


def test_nan_and_no_shots_are_errors() -> None:
    with pytest.raises(BadInputError, match="NaN"):
        judged(np.full((32, 64), np.nan, np.float32))
    with pytest.raises(BadInputError, match="no shots"):
        evaluate(Fixed(shot().alpha), [])
    with pytest.raises(UsageError):
        CaseOptions(shots=0)


def test_held_out_shots_are_the_same_every_time_and_unlike_those_of_training() -> None:
    options = CaseOptions(shots=6, width=64, height=32)
    one, two = list(held_out_cases(options)), list(held_out_cases(options))
    assert [c.name for c in one] == [c.name for c in two]
    assert all(np.array_equal(a.shot.rgb, b.shot.rgb) for a, b in zip(one, two, strict=True))
    assert len({c.name for c in one}) == 6


def test_the_sheet_keeps_the_worst_first() -> None:
    sheet = WorstSheet(keep=2)
    for k, wrong in enumerate((0.0, 0.9, 0.5)):
        alpha = np.full((32, 64), wrong, np.float32)
        evaluate(Fixed(alpha), [Case(f"case-{k}", shot())], seen=sheet.add)
    assert [name for _, name, _ in sheet._tiles] == ["case-1", "case-2"]
    assert sheet.picture().ndim == 3


def test_results_are_written_as_json_and_as_a_picture(tmp_path: Path) -> None:
    sheet = WorstSheet()
    found = evaluate(Fixed(shot().alpha), [Case("one", shot())], seen=sheet.add)
    _write(tmp_path / "new", found, sheet)
    assert json.loads((tmp_path / "new" / "fixed.json").read_text())["overall"]["iou"] == 1
    assert (tmp_path / "new" / "fixed-worst.png").read_bytes().startswith(b"\x89PNG")


def test_every_figure_can_be_read_where_nothing_is_wider_than_80_columns() -> None:
    clip = [replace(shot(), alpha=shot().alpha * k) for k in (1, 0.5, 1)]
    found = evaluate(Fixed(shot().alpha * 0.9), [Case("one", shot())], [clip])
    text = io.StringIO()
    Console(file=text, width=80).print(*figures_tables(found), sep="\n")
    assert "transparent" in text.getvalue()
    assert "│ opaque      │     1 │" in text.getvalue()
    assert "\u2026" not in text.getvalue()  # rich's sign of something cut off
    figures = {**found.overall, **found.categories["opaque"], "dtssd": found.dtssd}
    for name in ("iou", "mad", "inside_mad", "psnr", "ssim", "dtssd"):
        assert f"{figures[name]:.2f}"[:4] in text.getvalue(), name


def test_dtssd_of_video_is_that_of_the_change_that_the_truth_does_not_have() -> None:
    clip = [shot(), replace(shot(), alpha=shot().alpha * 0), shot()]
    raw, filtered = moving_dtssd(Fixed(shot().alpha), clip)
    assert raw == pytest.approx(100 * float(np.sqrt(np.square(shot().alpha).mean())))
    assert filtered == pytest.approx(raw, rel=1e-5)  # a matte that stands still stays as it is
    assert evaluate(Fixed(shot().alpha), [Case("one", shot())]).dtssd is None


def test_held_out_video_runs_frame_by_frame() -> None:
    clips = list(held_out_clips(CaseOptions(shots=24, width=64, height=32)))
    assert [len(clip) for clip in clips] == [8, 8, 8]
    again = next(held_out_clips(CaseOptions(shots=24, width=64, height=32)))
    assert all(np.array_equal(a.rgb, b.rgb) for a, b in zip(clips[0], again, strict=True))
