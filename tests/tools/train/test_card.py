from __future__ import annotations

from cutline.tools.evaluate.evaluation import Evaluation
from cutline.tools.train.card import CardFacts, Floor, model_card


def card(flicker: float = 0.5) -> str:
    evaluation = Evaluation(
        model="m",
        shots=12,
        overall={
            "iou": 0.931,
            "mad": 0.0215,
            "psnr": 31.25,
            "shots": 12.0,
            "mse": 0.0123,
            "sad": 1.5,
            "grad": 0.75,
            "conn": 1.25,
        },
        categories={"transparent": {"inside_mad": 0.18, "shots": 1.0}},
        flicker=flicker,
        raw_flicker=1.5,
        frames=(),
    )
    facts = CardFacts(
        name="m",
        purpose="Cuts.",
        weights=1_300_000,
        gflop=1.99,
        width=512,
        height=288,
        data=["Made here."],
        training=["An hour."],
        measured_on="On 12 shots.",
        limits=["Glass on glass."],
        licence="Apache-2.0",
        floors=[
            Floor("MAD", "all", "mad", 0.02),
            Floor("IoU", "all", "iou", 0.92, at_least=True),
            Floor("inside", "transparent", "inside_mad", 0.2),
            Floor("thin", "thin", "iou", 0.9, at_least=True),
            Floor("flicker", "flicker", "", 1.0),
        ],
    )
    return model_card(facts, evaluation)


def test_a_missed_floor_says_missed_and_a_reached_one_reached() -> None:
    text = card()
    assert "| MAD | at most 0.02 | 0.0215 | **missed** |" in text
    assert "| IoU | at least 0.92 | 0.9310 | reached |" in text
    assert "| inside | at most 0.2 | 0.1800 | reached |" in text
    assert "| thin | at least 0.9 | not measured | |" in text
    assert "| flicker | at most 1 | 0.5000 | reached |" in text
    assert "| flicker | at most 1 | 1.5 | **missed** |" in card(flicker=1.5)


def test_the_card_has_every_section_and_the_figures_by_category() -> None:
    text = card()
    for title in ("## Data", "## Training", "## Figures", "## Where it fails"):
        assert title in text
    assert "| transparent | 1 |  |  |  |  | 0.1800 |  |  |" in text
    assert "1.30 M weights, 1.99 GFLOP" in text
