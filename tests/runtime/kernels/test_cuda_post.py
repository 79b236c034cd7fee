"""The CUDA kernels of post, through the grid emulator, against their float64 twin and the CPU's loops."""

from __future__ import annotations

from typing import Any

import numpy as np
from draws import KINDS, agree, answer, backgrounds, options, outputs, styles
from emulated import FILLER, Emulator, Guarded, Surface, rounded, uploaded
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pictures import blobs, draw_frame, formats, seeds, windows

from cutline.runtime.contract import Image, Output
from cutline.runtime.cuda.launches import RESET_BYTE, Behind, Launch, PostLaunches, strengths
from cutline.runtime.frame import FrameFormat
from cutline.runtime.kernels import Background, PostOptions, Window, reference_post, tolerances

often = settings(deadline=None, max_examples=80, suppress_health_check=[HealthCheck.function_scoped_fixture])
Style = tuple[NDArray[Any], Output, Image]


class Rig:
    """One stream's post on the emulator, every plane in guarded memory."""

    def __init__(
        self,
        emulator: Emulator,
        form: FrameFormat,
        output: Output,
        window: Window,
        option: PostOptions,
        *,
        style: tuple[Output, Image] | None = None,
        seed: int = 1,
    ) -> None:
        rng = np.random.default_rng(seed)
        self._emulator = emulator
        self.plan = PostLaunches(form, output, window, option, style=style)
        self._tables = uploaded(np.frombuffer(self.plan.tables, np.uint8))
        self._scratch = Guarded(self.plan.scratch_bytes, align=256)  # all NaN: what was not written shows
        self._state = Guarded(self.plan.state_bytes, fill=RESET_BYTE, align=256)
        self._nans = Guarded(8, fill=0, align=8)
        self._matte = Guarded(4 * window.width * window.height, align=4)
        self.matte = self._matte.view(np.float32, (window.height, window.width))
        self._pitch = rounded(form.width) + 16 * int(rng.integers(2))
        self._alpha = Guarded(self._pitch * form.height, fill=FILLER)
        whole = self._alpha.view(np.uint8, (form.height, self._pitch))
        self.alpha, self._beside = whole[:, : form.width], whole[:, rounded(form.width) :]
        self.out = Surface(form, rng, interleaved=bool(rng.integers(2)))
        self.frame = Surface(form, rng, interleaved=bool(rng.integers(2)))
        self.behind = Surface(form, rng, interleaved=bool(rng.integers(2)))

    @property
    def nans(self) -> int:
        return int(self._nans.view(np.uint64, (1,))[0])

    def run(
        self,
        raw: NDArray[np.float32],
        guide: NDArray[np.uint8],
        background: Background,
        *,
        style: NDArray[Any] | None = None,
        knobs: bytes = b"",
        alpha: bool = True,
    ) -> tuple[Launch, ...]:
        memory = [uploaded(raw), uploaded(guide)]
        picture, turned = (
            (uploaded(style), uploaded(np.frombuffer(knobs, np.float32))) if style is not None else (None, None)
        )
        if background.planes is not None:
            self.behind.draw(background.planes)
        launches = self.plan.launches(
            tables=self._tables.address,
            scratch=self._scratch.address,
            state=self._state.address,
            frame=self.frame.device,
            raw=memory[0].address,
            guide=memory[1].address,
            behind=Behind(
                kind=background.kind, colour=background.colour, planes=self.behind.device, radius=background.radius
            ),
            out=self.out.device,
            matte=self._matte.address,
            nans=self._nans.address,
            alpha=self._alpha.address if alpha else 0,
            alpha_pitch=self._pitch if alpha else 0,
            style=picture.address if picture else 0,
            strengths=turned.address if turned else 0,
        )
        self._scratch.bytes[:] = 0xFF
        self._emulator.run(launches)
        return launches

    def intact(self) -> bool:
        return self.out.intact() and self.frame.intact() and bool((self._beside == FILLER).all())


@often
@given(data=st.data(), form=formats(), kind=KINDS, option=options, seed=seeds)
def test_post_agrees_with_its_twin(
    emulator: Emulator, data: st.DataObject, form: FrameFormat, kind: str, option: PostOptions, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    window = data.draw(windows(form))
    output = data.draw(outputs(window))
    style: Style | None = data.draw(st.none() | styles(rng))
    on = data.draw(
        st.sampled_from(["product", "background", "all"] if kind in ("blur", "original") else ["product", "all"])
    )
    strength = data.draw(st.floats(0, 1))
    size = (window.height, window.width)
    rig = Rig(emulator, form, output, window, option, style=style[1:] if style else None, seed=seed)
    emulator.backwards = data.draw(st.booleans())
    rig.frame.draw(draw_frame(form, rng).planes)
    state, nans = None, 0
    guide = np.stack([np.round(blobs(rng, *size) * 255) for _ in range(3)]).astype(np.uint8)
    for _ in range(2):
        raw = answer(output, rng)
        guide[0] = np.clip(guide[0] + rng.integers(-8, 9, size), 0, 255)
        background = backgrounds(kind, form, rng)
        knobs = strengths(strength, on, background.kind)
        rig.run(raw, guide, background, style=style[0] if style else None, knobs=knobs)
        twin = reference_post.post(
            rig.frame.planes,
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
        agree("matte", rig.matte, twin.matte, tolerances.MATTE)
        agree("alpha", rig.alpha, twin.alpha * 255, tolerances.HALF + tolerances.ALPHA * 255)
        for name, plane, wanted in zip("yuv", rig.out.arrays, twin.planes, strict=True):
            agree(name, plane, np.clip(wanted, 0, 255), tolerances.HALF + tolerances.COMPOSITE)
    assert rig.nans == nans
    assert rig.intact()
