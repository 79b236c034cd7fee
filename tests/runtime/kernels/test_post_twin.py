"""post against its float64 twin: every reading, background, window, layout, style and instruction set."""

from __future__ import annotations

import numpy as np
import pytest
from draws import KINDS, agree, answer, backgrounds, options, outputs, styles
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pictures import Canvas, blobs, draw_frame, formats, seeds, windows

from cutline.runtime.frame import FrameFormat
from cutline.runtime.kernels import Post, PostOptions, reference_post, tolerances

each_isa = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


@pytest.mark.usefixtures("isa")
@each_isa
@given(data=st.data(), form=formats(), kind=KINDS, option=options, seed=seeds)
def test_post_agrees_with_its_twin(
    data: st.DataObject, form: FrameFormat, kind: str, option: PostOptions, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    window = data.draw(windows(form))
    output = data.draw(outputs(window))
    style = data.draw(st.none() | styles(rng))
    on = data.draw(
        st.sampled_from(["product", "background", "all"] if kind in ("blur", "original") else ["product", "all"])
    )
    strength = data.draw(st.floats(0, 1))
    size = (window.height, window.width)
    plan = Post(form, output, window, option, style=style[1:] if style else None)
    out = Canvas(form, rng, interleaved=bool(rng.integers(2)))
    alpha, matte, state, nans = np.zeros((form.height, form.width), np.uint8), np.zeros(size, np.float32), None, 0
    frame = draw_frame(form, rng, interleaved=bool(rng.integers(2)))
    guide = np.stack([np.round(blobs(rng, *size) * 255) for _ in range(3)]).astype(np.uint8)
    for _ in range(2):
        raw = answer(output, rng)
        guide[0] = np.clip(guide[0] + rng.integers(-8, 9, size), 0, 255)
        background = backgrounds(kind, form, rng)
        plan.run(
            frame.planes,
            raw,
            guide,
            background=background,
            out=out.planes,
            matte=matte,
            alpha=alpha,
            style=style[0] if style else None,
            style_strength=strength,
            style_on=on,
        )
        twin = reference_post.post(
            frame.planes,
            raw,
            guide,
            frame=form,
            output=output,
            window=window,
            options=option,
            background=background,
            state=state,
            style=style,
            style_strength=strength,
            style_on=on,
        )
        state, nans = twin.state, nans + twin.nans
        agree("matte", matte, twin.matte, tolerances.MATTE)
        agree("alpha", alpha, twin.alpha * 255, tolerances.HALF + tolerances.ALPHA * 255)
        for name, plane, wanted in zip("yuv", out.arrays, twin.planes, strict=True):
            agree(name, plane, np.clip(wanted, 0, 255), tolerances.HALF + tolerances.COMPOSITE)
    assert plan.nans == nans
    assert out.intact()
    assert frame.intact()
