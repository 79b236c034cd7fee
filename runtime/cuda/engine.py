"""A compiled network on a GPU with Cutline's kernels beside it: what streams on that GPU share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from typing import Final, final

from cutline.runtime.contract import ModelContract
from cutline.runtime.cuda.driver import Driver, Kernel
from cutline.runtime.cuda.network import STARTING, Network
from cutline.runtime.cuda.path import CudaPath
from cutline.runtime.cuda.session import CudaSession
from cutline.runtime.errors import DeviceError
from cutline.runtime.frame import FrameFormat
from cutline.runtime.options import StreamOptions
from cutline.runtime.sessions import Engine
from cutline.runtime.slots import ArraySpec, Slot

__all__ = ["CudaEngine"]

IN_FLIGHT: Final = 2  # one frame computes while its neighbours are copied; the pipeline starts one more


@final
class CudaEngine:
    """Owns a network, the kernels and the driver, until close()."""

    in_flight = IN_FLIGHT
    chosen = ""

    def __init__(
        self, driver: Driver, network: Network, cubin: bytes, contract: ModelContract, *, name: str, precision: str,
        library: str,
    ) -> None:  # fmt: skip
        """Load the kernels.

        Args:
            cubin: the kernels, for this device.
            library: what runs the network, and its version.
        Raises:
            DeviceError: the driver cannot load the cubin.
        """
        self.contract, self.name, self.precision = contract, name, precision
        self.device, self.gpu = f"{driver.device} with {library}, {driver.name}", driver.device.ordinal
        self.driver, self.network = driver, network
        self._kernels: dict[str, Kernel] = {}
        with ExitStack() as undo:
            undo.callback(driver.close)
            undo.callback(network.close)
            with STARTING:
                self._module = driver.load(cubin)
            undo.callback(self._unload)
            self._undo = undo.pop_all()

    def attach(self) -> None:
        """Make the driver's context current in the calling thread."""
        self.driver.attach()

    def path(self, frame: FrameFormat, options: StreamOptions, style: Engine | None) -> CudaPath:
        """Make one stream's way through this network.

        Raises:
            DeviceError: the style network runs elsewhere.
        """
        here = self.driver.device
        if style is not None and not (isinstance(style, CudaEngine) and style.driver.device == here):
            raise DeviceError(
                f"the style network does not run on {here}",
                remedy="Build its bundle for this GPU too, or use --device cpu.",
                style=style.name,
                device=style.device,
            )
        painted = (style.contract, style.network) if style else None
        return CudaPath(self.driver, self._kernel, frame, options, (self.contract, self.network), painted)

    def arrays(self, prefix: str) -> Mapping[str, ArraySpec]:
        """The slot arrays that a session binds: the frame tensor and the primary output."""
        image, primary = self.contract.frame, self.contract.primary
        return {
            f"{prefix}input": ArraySpec(image.shape, image.dtype),
            f"{prefix}output": ArraySpec(primary.shape, "float32"),
        }

    def session(self, slots: Sequence[Slot], prefix: str) -> CudaSession:
        """Bind slots to the network alone."""
        return CudaSession(self.driver, self.contract, self.network, slots, prefix)

    def close(self) -> None:
        """Free network, kernels and driver. Works twice."""
        self.driver.attach()
        self._undo.close()

    def _unload(self) -> None:
        with STARTING:
            self.driver.release(self._module)

    def _kernel(self, name: str) -> Kernel:
        if name not in self._kernels:
            self._kernels[name] = self.driver.kernel(self._module, name)
        return self._kernels[name]
