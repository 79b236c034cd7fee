"""cutline_pre, through the grid emulator, against its float64 twin and the CPU's loops."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from draws import as_float, close, empty_tensor, images
from emulated import Emulator, Guarded, Surface, uploaded
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pictures import draw_frame, formats, seeds, windows

from cutline.runtime.contract import Image
from cutline.runtime.cuda import params
from cutline.runtime.cuda.launches import DevicePlanes, PreLaunches
from cutline.runtime.errors import ContractError
from cutline.runtime.frame import FrameFormat
from cutline.runtime.kernels import Pre, Window, place, reference, tolerances

often = settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])


class Rig:
    """One stream's pre on the emulator, in guarded memory."""

    def __init__(self, emulator: Emulator, form: FrameFormat, image: Image, window: Window) -> None:
        self._emulator, self._image = emulator, image
        self._plan = PreLaunches(form, image, window)
        self._tables = uploaded(np.frombuffer(self._plan.tables, np.uint8))
        itemsize = empty_tensor(image).dtype.itemsize
        self._tensor = Guarded(3 * image.width * image.height * itemsize, align=itemsize)
        self._guide = Guarded(3 * image.width * image.height)
        self.tensor = self._tensor.view(empty_tensor(image).dtype, image.shape)
        self.guide = self._guide.view(np.uint8, (3, image.height, image.width))

    def run(self, frame: DevicePlanes, *, tensor: bool = True, guide: bool = True) -> params.Pre:
        (launch,) = self._plan.launches(
            tables=self._tables.address,
            frame=frame,
            tensor=self._tensor.address if tensor else 0,
            guide=self._guide.address if guide else 0,
        )
        self._emulator.run((launch,))
        return params.Pre.from_buffer_copy(launch.params)


@often
@given(data=st.data(), form=formats(), interleaved=st.booleans(), seed=seeds)
def test_pre_agrees_with_its_twin(
    emulator: Emulator, data: st.DataObject, form: FrameFormat, interleaved: bool, seed: int
) -> None:
    window = data.draw(windows(form))
    image = data.draw(images(window.width, window.height))
    rng = np.random.default_rng(seed)
    frame = Surface(form, rng, interleaved=interleaved)
    frame.draw(draw_frame(form, rng).planes)
    rig = Rig(emulator, form, image, window)
    emulator.backwards = data.draw(st.booleans())
    rig.run(frame.device)
    wanted_tensor, wanted_guide = reference.pre(frame.planes, form, image, window)
    assert (abs(rig.guide - wanted_guide) <= tolerances.HALF + tolerances.GUIDE).all()
    assert close(as_float(rig.tensor, image), wanted_tensor, image)
    assert frame.intact()


@often
@given(data=st.data(), form=formats(400), interleaved=st.booleans(), seed=seeds)
def test_the_guide_is_the_cpu_s_to_the_bit(
    emulator: Emulator, data: st.DataObject, form: FrameFormat, interleaved: bool, seed: int
) -> None:
    """As long as rows are weighed in 128ths: with more taps both round in their own way."""
    window = data.draw(windows(form, largest=80))
    image = Image(tensor="x", width=window.width, height=window.height)
    rng = np.random.default_rng(seed)
    frame = Surface(form, rng, interleaved=interleaved)
    frame.draw(draw_frame(form, rng).planes)
    rig = Rig(emulator, form, image, window)
    record = rig.run(frame.device)
    tensor, guide = empty_tensor(image), np.zeros((3, window.height, window.width), np.uint8)
    Pre(form, image, window).run(frame.planes, tensor, guide)
    finer = record.luma.fine or record.chroma.fine
    assert abs(rig.guide.astype(int) - guide).max() <= (1 if finer else 0)


@pytest.mark.parametrize("interleaved", [False, True])
def test_frames_much_larger_than_the_network_go_through_in_chunks(emulator: Emulator, interleaved: bool) -> None:
    form, rng = FrameFormat(width=4000, height=70), np.random.default_rng(3)
    frame = Surface(form, rng, interleaved=interleaved)
    frame.draw(draw_frame(form, rng).planes)
    image = Image(tensor="x", width=9, height=7)
    window = place(form.width, form.height, 9, 7, mode="stretch")
    rig = Rig(emulator, form, image, window)
    rig.run(frame.device)
    _, wanted = reference.pre(frame.planes, form, image, window)
    assert (abs(rig.guide - wanted) <= tolerances.HALF + tolerances.GUIDE).all()


def test_tensor_and_guide_are_written_only_where_they_are_wanted(emulator: Emulator) -> None:
    form, rng = FrameFormat(width=40, height=30), np.random.default_rng(1)
    frame = Surface(form, rng, interleaved=False)
    rig = Rig(emulator, form, Image(tensor="x", width=9, height=7), place(40, 30, 9, 7))
    rig.tensor[:], rig.guide[:] = 5, 5
    rig.run(frame.device, tensor=False)
    assert (rig.tensor == 5).all()
    assert not (rig.guide == 5).any()
    rig.guide[:] = 5
    rig.run(frame.device, guide=False)
    assert (rig.guide == 5).all()
    assert not (rig.tensor == 5).any()


def test_a_pitch_below_a_row_is_refused(emulator: Emulator) -> None:
    rig = Rig(emulator, FrameFormat(width=40, height=30), Image(tensor="x", width=9, height=7), place(40, 30, 9, 7))
    with pytest.raises(ContractError, match="smaller than a row"):
        rig.run(DevicePlanes(y=0, u=0, v=0, luma_pitch=32, chroma_pitch=32))


def test_nv12_with_its_chroma_apart_is_refused() -> None:
    with pytest.raises(ContractError, match="each Cr beside its Cb"):
        DevicePlanes(y=0, u=16, v=32, luma_pitch=16, chroma_pitch=16, interleaved=True)


@pytest.mark.parametrize(("y", "pitch"), [(8, 64), (0, 72)])
def test_a_misaligned_plane_is_refused(emulator: Emulator, y: int, pitch: int) -> None:
    rig = Rig(emulator, FrameFormat(width=40, height=30), Image(tensor="x", width=9, height=7), place(40, 30, 9, 7))
    with pytest.raises(ContractError, match="misaligned"):
        rig.run(DevicePlanes(y=y, u=0, v=0, luma_pitch=pitch, chroma_pitch=32))


def test_an_access_beyond_a_plane_is_caught(emulator: Emulator) -> None:
    """The emulator's own alarm: rows that are shorter than they claim end at memory that nobody may touch."""
    form = FrameFormat(width=64, height=16)
    luma, chroma = Guarded(64 * 15), Guarded(32 * 8)
    planes = DevicePlanes(y=luma.address, u=chroma.address, v=chroma.address, luma_pitch=64, chroma_pitch=32)
    rig = Rig(emulator, form, Image(tensor="x", width=16, height=8), place(64, 16, 16, 8))
    with pytest.raises(AssertionError, match="touched memory that is not its own"):
        rig.run(planes)


def test_a_misaligned_access_is_caught(emulator: Emulator) -> None:
    form = FrameFormat(width=64, height=16)
    luma, chroma = Guarded(64 * 16 + 16, at_end=False), Guarded(32 * 8)
    planes = DevicePlanes(y=luma.address, u=chroma.address, v=chroma.address, luma_pitch=64, chroma_pitch=32)
    plan = PreLaunches(form, Image(tensor="x", width=16, height=8), place(64, 16, 16, 8))
    tables, guide = uploaded(np.frombuffer(plan.tables, np.uint8)), Guarded(3 * 16 * 8)
    (launch,) = plan.launches(tables=tables.address, frame=planes, tensor=0, guide=guide.address)
    record = params.Pre.from_buffer_copy(launch.params)
    record.frame.y += 4  # and the record still says that 16 bytes can be read at once
    with pytest.raises(AssertionError, match="misaligned"):
        emulator.run((replace(launch, params=bytes(record)),))
