from typing import Any, final

from numpy.typing import NDArray

Plane = NDArray[Any]

@final
class PrePlan:
    def __new__(
        cls,
        frame: tuple[int, int],
        source: tuple[float, float, float, float],
        target: tuple[float, float, float, float],
        size: tuple[int, int],
        colour: tuple[float, float, bool],
        tensor: tuple[bool, bool, tuple[float, float, float], tuple[float, float, float], int, float, float],
        /,
    ) -> PrePlan: ...
    def run(self, y: Plane, u: Plane, v: Plane, tensor: NDArray[Any], guide: Plane | None, /) -> None: ...

@final
class PostPlan:
    nans: int
    def __new__(
        cls,
        frame: tuple[int, int],
        source: tuple[float, float, float, float],
        target: tuple[float, float, float, float],
        size: tuple[int, int],
        colour: tuple[float, float, bool],
        raw: tuple[int, int, int, bool, int, tuple[int, ...]],
        matte: tuple[bool, int, float, bool, float, float, float],
        style: tuple[int, int, bool, bool, tuple[float, float, float], tuple[float, float, float]],
        /,
    ) -> PostPlan: ...
    def run(
        self,
        y: Plane,
        u: Plane,
        v: Plane,
        raw: NDArray[Any],
        guide: Plane,
        matte: NDArray[Any],
        out_y: Plane,
        out_u: Plane,
        out_v: Plane,
        background: tuple[int, int, int, int, float],
        back_y: Plane | None,
        back_u: Plane | None,
        back_v: Plane | None,
        alpha: Plane | None,
        style: NDArray[Any] | None,
        style_use: tuple[float, int],
        /,
    ) -> None: ...
    def reset(self) -> None: ...

def isa() -> str: ...
def isas() -> tuple[str, ...]: ...
def set_isa(name: str, /) -> None: ...
