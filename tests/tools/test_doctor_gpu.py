"""`cutline doctor` on GPUs, with a driver library that is not there, broken, or has cards."""

from __future__ import annotations

import ctypes
from typing import Any

import pytest

from cutline.tools import doctor_gpu


class Library:
    """libcuda.so.1 with some cards."""

    def __init__(self, cards: list[tuple[bytes, int, int, int]], *, fails: int = 0) -> None:
        self.cards, self.fails, self.version = cards, fails, 13000

    def cuInit(self, flags: int) -> int:  # noqa: N802, ARG002 - the driver's names
        return self.fails

    def cuDriverGetVersion(self, found: Any) -> int:  # noqa: N802
        return self._put(found, self.version)

    def cuDeviceGetCount(self, found: Any) -> int:  # noqa: N802
        return self._put(found, len(self.cards))

    def cuDeviceGet(self, found: Any, ordinal: int) -> int:  # noqa: N802
        return self._put(found, ordinal)

    def cuDeviceGetName(self, name: Any, size: int, device: int) -> int:  # noqa: N802, ARG002
        name.value = self.cards[device][0]
        return 0

    def cuDeviceTotalMem_v2(self, found: Any, device: int) -> int:  # noqa: N802, ARG002
        found._obj.value = 8 << 30
        return 0

    def cuDeviceGetAttribute(self, found: Any, kind: int, device: int) -> int:  # noqa: N802
        return self._put(found, self.cards[device][{75: 1, 76: 2, 18: 3}[kind]])

    @staticmethod
    def _put(found: Any, value: int) -> int:
        found._obj.value = value
        return 0


def use(monkeypatch: pytest.MonkeyPatch, library: Library | None) -> None:
    def load(name: str) -> Library:
        if library is None:
            raise OSError(f"{name}: not found")
        return library

    monkeypatch.setattr(ctypes, "CDLL", load)


@pytest.mark.parametrize(
    ("version", "state", "remedy"), [(12060, "optional", "pip install 'cuda-bindings<13'"), (13000, "ok", "")]
)
def test_bindings_of_a_newer_cuda_than_the_driver_s_are_told(
    monkeypatch: pytest.MonkeyPatch, version: int, state: str, remedy: str
) -> None:
    library = Library([(b"Orin", 8, 7, 1)])
    library.version = version
    use(monkeypatch, library)
    monkeypatch.setattr(doctor_gpu, "_version", {"cuda-bindings": "13.5.0"}.get)
    found = doctor_gpu.cuda_packages()
    assert (found.state, found.remedy) == (state, remedy)


def test_without_a_driver_the_cpu_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, None)
    assert doctor_gpu.nvidia().seen == "no libcuda.so.1: the CPU is used"
    assert doctor_gpu.gpu_engine().state == "optional"


def test_every_card_is_named_with_its_capability(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, Library([(b"RTX 4070", 8, 9, 0), (b"Orin", 8, 7, 1)]))
    found = doctor_gpu.nvidia()
    assert found.state == "ok"
    assert found.seen == "runs CUDA up to 13.0; cuda:0 RTX 4070, sm89, 8 GiB; cuda:1 Orin, sm87, 8 GiB, shares memory"


@pytest.mark.parametrize(("library", "said"), [(Library([], fails=999), "error 999"), (Library([]), "shows no GPU")])
def test_a_driver_that_does_not_start_is_told_from_one_without_cards(
    monkeypatch: pytest.MonkeyPatch, library: Library, said: str
) -> None:
    use(monkeypatch, library)
    found = doctor_gpu.nvidia()
    assert said in found.seen
    assert found.remedy == "Run nvidia-smi."


def test_a_model_without_an_engine_comes_with_the_command_that_makes_one(monkeypatch: pytest.MonkeyPatch) -> None:
    use(monkeypatch, Library([(b"RTX 4070", 8, 9, 0)]))
    found = doctor_gpu.gpu_engine()
    assert found.seen == "cutout has no engine for sm89"
    assert found.remedy.startswith("cutline build cutout --target tensorrt")
    assert found.remedy.endswith("-o cutout-sm89.cutline")


RTX, ORIN = (b"RTX 4070", 8, 9, 0), (b"Orin", 8, 7, 1)


@pytest.mark.parametrize(
    ("card", "lacks", "decoder", "encoder", "package", "said", "remedy"),
    [
        (None, "", "", "", None, "encodes on the CPU; there is no GPU for it", ""),
        (ORIN, "", "", "", None, "encodes on the CPU; an Orin's decoder can feed it by a pipe", "nvv4l2decoder"),
        (RTX, "libnvcuvid.so.1", "", "", None, "the driver came without libnvcuvid.so.1", "NVIDIA_DRIVER_CAPABILITIES"),
        (RTX, "libnvidia-encode.so.1", "", "", None, "the driver came without libnvidia-encode.so.1", "video"),
        (RTX, "", "", "no such device", None, "with --decoder nvdec, encodes on the CPU (no such device)", "PyAV"),
        (
            RTX,
            "",
            "too old",
            "",
            None,
            "decodes on the CPU (too old), encodes H.264 on the GPU with --encoder nvenc",
            "PyAV",
        ),
        (RTX, "", "", "", "2.2.4", "with --encoder nvenc; PyNvVideoCodec 2.2.4 is there", ""),
    ],
)
def test_what_the_gpu_does_of_the_video_is_said_and_what_can_be_done(
    monkeypatch: pytest.MonkeyPatch,
    card: tuple[bytes, int, int, int] | None,
    lacks: str,
    decoder: str,
    encoder: str,
    package: str | None,
    said: str,
    remedy: str,
) -> None:
    def load(name: str) -> Library:
        if card is None or name == lacks:
            raise OSError(f"{name}: not found")
        return Library([card])

    monkeypatch.setattr(ctypes, "CDLL", load)
    monkeypatch.setattr(doctor_gpu, "_version", lambda name: package)
    monkeypatch.setattr(doctor_gpu, "why_no_nvenc", lambda: encoder)
    monkeypatch.setattr(doctor_gpu, "why_no_nvdec", lambda: decoder)
    found = doctor_gpu.gpu_video()
    assert said in found.seen
    assert remedy in (found.remedy or "")
