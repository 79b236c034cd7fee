"""What every peer is given alike: the clip, the network as a file of its own, the precision that Cutline chooses."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cutline.benchmarks.clips import Clip
from cutline.benchmarks.peers.catalogue import Entry
from cutline.benchmarks.peers.worker import Job
from cutline.runtime import open_bundle
from cutline.runtime.contract import ModelContract
from cutline.runtime.errors import DeviceError
from cutline.runtime.sessions import open_engine

__all__ = ["BACKGROUND", "Setting", "open_setting"]

BACKGROUND: Final = (232, 238, 242)  # no grey: channels in the wrong order would not show on it


@dataclass(frozen=True, slots=True, kw_only=True)
class Setting:
    """Equal for all peers."""

    clip: Clip
    bundle: str
    networks: Mapping[str, Path]  # ONNX by precision: fp32, and that of `precision`
    contract: ModelContract
    precision: str  # that Cutline chooses here

    def job(self, entry: Entry, variant: str) -> Job:
        """What one variant is given."""
        image, precision = self.contract.frame, self.precision_of(entry, variant)
        return Job(
            clip=str(self.clip.path.resolve()),
            network=str(self.networks.get(precision, self.networks["fp32"])),
            bundle=self.bundle,
            width=image.width,
            height=image.height,
            mean=image.mean,
            std=image.std,
            background=BACKGROUND,
            precision=precision,
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
def open_setting(clip: Clip, bundle_name: str) -> Iterator[Setting]:
    """Read the bundle; the network's file lives as long as the block.

    Raises:
        DeviceError: peers cannot be given this network.
    """
    with open_bundle(bundle_name) as bundle, tempfile.TemporaryDirectory() as folder:
        contract = bundle.manifest.contract
        members: dict[str, str] = {t.precision: t.member for t in bundle.manifest.targets if t.kind == "openvino"}
        if "fp32" not in members or not _plain(contract):
            raise DeviceError(
                "peers need an FP32 network with one RGB NCHW input and one alpha output",
                remedy="Choose another --bundle.",
                bundle=bundle_name,
            )
        engine = open_engine(bundle)
        precision = engine.precision
        engine.close()
        networks = {p: Path(folder) / f"{p}.onnx" for p in ("fp32", precision)}
        for name, path in networks.items():
            path.write_bytes(bundle.read(members[name]))
        yield Setting(clip=clip, bundle=bundle_name, networks=networks, contract=contract, precision=precision)


def _plain(contract: ModelContract) -> bool:
    image, primary = contract.frame, contract.primary
    inputs = image.layout == "NCHW" and image.order == "RGB" and image.dtype == "float32" and image.scale == 1.0
    return inputs and contract.input_names == (image.tensor,) and primary.meaning == "alpha" and primary.channels == 1
