"""post against its float64 twin: every reading, background, window, layout, style and instruction set."""

from __future__ import annotations

import numpy as np
import pytest
from draws import Seen, cases, twin_agrees
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pictures import Canvas, draw_frame, formats, seeds, windows

from cutline.runtime.frame import FrameFormat
from cutline.runtime.kernels import Background, Post

each_isa = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.usefixtures("isa")
@each_isa
@given(data=st.data(), form=formats(), seed=seeds)
def test_post_agrees_with_its_twin(data: st.DataObject, form: FrameFormat, seed: int) -> None:
    rng = np.random.default_rng(seed)
    case = data.draw(cases(form, data.draw(windows(form)), rng))
    plan = Post(form, case.output, case.window, case.option, style=case.style_plan)
    out = Canvas(form, rng, interleaved=bool(rng.integers(2)))
    frame = draw_frame(form, rng, interleaved=bool(rng.integers(2)))
    alpha = np.zeros((form.height, form.width), np.uint8)
    matte = np.zeros((case.window.height, case.window.width), np.float32)

    def run(raw: NDArray[np.float32], guide: NDArray[np.uint8], background: Background) -> Seen:
        plan.run(
            frame.planes, raw, guide, background=background, out=out.planes, matte=matte, alpha=alpha,
            style=case.style_picture, style_strength=case.strength, style_on=case.on,
        )  # fmt: skip
        return matte, alpha, out.arrays

    nans = twin_agrees(case, frame.planes, rng, run)
    assert plan.nans == nans
    assert out.intact()
    assert frame.intact()
