"""Energy, where the machine tells: RAPL (Intel, AMD), NVML (NVIDIA GPUs), INA3221 (Jetson boards)."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, final

from cutline.benchmarks.nvml import Gpu

__all__ = ["EnergyMeter"]

PERIOD_S: Final = 0.05  # between two readings of a power sensor
ROOT: Final = Path("/")


@dataclass(frozen=True, slots=True)
class _Counter:
    """A RAPL zone: energy that only rises, until it begins anew at its range."""

    path: Path
    range_uj: int

    def read_uj(self) -> int:
        return int(self.path.read_text(encoding="ascii"))


@final
class EnergyMeter:
    """Owns a thread that reads power sensors, where there are only sensors, until stop(). Counters cost nothing."""

    def __init__(self, gpus: Sequence[Gpu] = (), root: Path = ROOT) -> None:
        self._zones = _rapl(root)
        self._gpus = [gpu for gpu in gpus if gpu.energy_mj() is not None]
        self._rails = _ina3221(root)
        self._stopped = threading.Event()
        self._sensed_mj = 0.0
        self._start_uj = [zone.read_uj() for zone in self._zones]
        self._start_mj = [gpu.energy_mj() or 0 for gpu in self._gpus]
        self._thread = threading.Thread(target=self._watch, name="power", daemon=True) if self._rails else None
        if self._thread:
            self._thread.start()

    def stop(self) -> dict[str, float]:
        """End; mJ since the beginning, by who told."""
        self._stopped.set()
        if self._thread:
            self._thread.join()
        found = {}
        if self._zones:
            ends = [zone.read_uj() for zone in self._zones]
            spent = zip(self._zones, self._start_uj, ends, strict=True)
            found["RAPL"] = sum((end - start) % zone.range_uj for zone, start, end in spent) / 1000
        if self._gpus:
            spent_mj = [(gpu.energy_mj() or 0) - start for gpu, start in zip(self._gpus, self._start_mj, strict=True)]
            found["NVML"] = float(sum(spent_mj))
        if self._rails:
            found["INA3221"] = self._sensed_mj
        return found

    def _watch(self) -> None:
        last, power = time.monotonic(), self._power_mw()
        while not self._stopped.wait(PERIOD_S):
            now, new = time.monotonic(), self._power_mw()
            self._sensed_mj += (now - last) * (power + new) / 2
            last, power = now, new

    def _power_mw(self) -> float:
        return sum(_number(volts) * _number(amperes) / 1000 for volts, amperes in self._rails)


def _rapl(root: Path) -> list[_Counter]:
    """Packages, without the zones below them, which are parts of the same energy."""
    found = []
    for zone in sorted((root / "sys/class/powercap").glob("intel-rapl:?")):
        try:
            counter = _Counter(zone / "energy_uj", int((zone / "max_energy_range_uj").read_text(encoding="ascii")))
            counter.read_uj()
        except (OSError, ValueError):
            continue  # mostly: for root alone
        found.append(counter)
    return found


def _ina3221(root: Path) -> list[tuple[Path, Path]]:
    """The board's main supply, as (millivolts, milliamperes): VDD_IN where there is one, else every rail."""
    rails = []
    for chip in sorted((root / "sys/class/hwmon").glob("hwmon*")):
        if _text(chip / "name") != "ina3221":
            continue
        for label in sorted(chip.glob("in*_label")):
            number = label.name[2:-6]
            pair = (chip / f"in{number}_input", chip / f"curr{number}_input")
            if all(path.is_file() for path in pair):
                rails.append((_text(label), pair))
    whole = [pair for name, pair in rails if name == "VDD_IN"]
    return whole or [pair for _, pair in rails]


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return ""


def _number(path: Path) -> float:
    text = _text(path)
    return float(text) if text.lstrip("-").isdigit() else 0.0
