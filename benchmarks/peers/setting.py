"""What every peer is given alike: the clip, the network as a file of its own, the precision that Cutline chooses."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import av

from cutline.benchmarks.peers.catalogue import Entry
from cutline.benchmarks.peers.worker import Job
from cutline.runtime import open_bundle
from cutline.runtime.contract import ModelContract
from cutline.runtime.errors import BadInputError, DeviceError, NoInputError
from cutline.runtime.sessions import open_engine

__all__ = ["BACKGROUND", "Setting", "open_setting"]

BACKGROUND: Final = (232, 238, 242)  # no grey: channels in the wrong order would not show on it


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Equal for all peers."""

    clip: Path
    width: int  # of a frame
    height: int
    bundle: str
    network: Path
    contract: ModelContract
    precision: str  # that Cutline chooses here

    def job(self, entry: Entry, variant: str) -> Job:
        """What one variant is given."""
        image = self.contract.frame
        return Job(
            clip=str(self.clip),
            network=str(self.network),
            bundle=self.bundle,
            width=image.width,
            height=image.height,
            mean=image.mean,
            std=image.std,
            background=BACKGROUND,
            precision=self.precision_of(entry, variant),
            variant=variant,
        )

    def precision_of(self, entry: Entry, variant: str) -> str:
        """The precision that this variant computes in."""
        wanted = entry.variants[variant]
        return self.precision if wanted == "best" else wanted

    def variants(self, entry: Entry) -> list[str]:
        """An entry's variants, without one in a precision that its best is anyway."""
        best = "best" in entry.variants.values()
        return [v for v, wanted in entry.variants.items() if not (best and wanted == self.precision)]


@contextmanager
def open_setting(clip: Path, bundle_name: str) -> Iterator[Setting]:
    """Read the clip and the bundle; the network's file lives as long as the block.

    Raises:
        NoInputError: there is no such clip.
        BadInputError: the clip holds no video.
        DeviceError: peers cannot be given this network.
    """
    width, height = _size(clip)
    with open_bundle(bundle_name) as bundle, tempfile.TemporaryDirectory() as folder:
        contract = bundle.manifest.contract
        target = next((t for t in bundle.manifest.targets if t.kind == "openvino" and t.precision == "fp32"), None)
        if target is None or not _plain(contract):
            raise DeviceError(
                "peers need an FP32 network with one RGB NCHW input and one alpha output",
                remedy="Choose another --bundle.",
                bundle=bundle_name,
            )
        network = Path(folder) / "network.onnx"
        network.write_bytes(bundle.read(target.member))
        engine = open_engine(bundle)
        precision = engine.precision
        engine.close()
        yield Setting(
            clip=clip.resolve(),
            width=width,
            height=height,
            bundle=bundle_name,
            network=network,
            contract=contract,
            precision=precision,
        )


def _plain(contract: ModelContract) -> bool:
    image, primary = contract.frame, contract.primary
    inputs = image.layout == "NCHW" and image.order == "RGB" and image.dtype == "float32" and image.scale == 1.0
    return inputs and contract.input_names == (image.tensor,) and primary.meaning == "alpha" and primary.channels == 1


def _size(clip: Path) -> tuple[int, int]:
    if not clip.is_file():
        raise NoInputError("the clip does not exist", remedy="Check the path.", clip=str(clip))
    try:
        with av.open(str(clip)) as video:
            stream = video.streams.video[0]
            return stream.width, stream.height
    except (av.FFmpegError, IndexError) as error:
        raise BadInputError(f"the clip holds no video: {error}", remedy="Convert it.", clip=str(clip)) from error
