from __future__ import annotations

import ctypes
import os
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from cutline.benchmarks.clocks import ClockWatch
from cutline.benchmarks.energy import EnergyMeter
from cutline.benchmarks.machine import Conditions, Seen, busy_share, describe_machine, judge, look
from cutline.benchmarks.nvml import SM_CLOCK, Gpu


def put(root: Path, path: str, text: str) -> None:
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(text)


def seen(at_s: float, **changes: Any) -> Seen:
    plain: dict[str, Any] = {"busy_s": 0.0, "stolen_s": 0.0, "own_s": 0.0, "throttled": 0}
    return Seen(at_s=at_s, **(plain | changes))


def test_a_machine_that_others_leave_alone_gives_no_warning() -> None:
    assert judge(seen(0), seen(10, busy_s=18.2, own_s=18.0), 2) == []


@pytest.mark.parametrize(
    ("after", "said"),
    [
        ({"busy_s": 12.0, "own_s": 8.0}, "others took 20 % of the processors"),
        ({"stolen_s": 3.0}, "the hypervisor took 15 % of the processors"),
        ({"throttled": 4}, "the processor was throttled 4 times"),
    ],
)
def test_each_disturbance_has_its_warning(after: dict[str, Any], said: str) -> None:
    assert judge(seen(0), seen(10, **after), 2) == [said]


def test_what_this_process_and_its_children_do_is_not_laid_to_others() -> None:
    assert busy_share(seen(0, busy_s=100, own_s=50), seen(4, busy_s=106, own_s=55), 2) == pytest.approx(1 / 8)
    assert busy_share(seen(0, busy_s=None), seen(4, busy_s=None), 2) is None


def test_facts_are_read_and_absent_ones_stay_empty(tmp_path: Path) -> None:
    put(tmp_path, "proc/cpuinfo", "processor\t: 0\nmodel name\t: Some CPU @ 2 GHz\nflags\t\t: avx2 hypervisor fma\n")
    put(tmp_path, "proc/meminfo", "MemTotal:       8388608 kB\n")
    put(tmp_path, "sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", "powersave\n")
    machine = describe_machine([], 0.25, tmp_path)
    assert (machine.cpu, machine.memory_mib, machine.governor) == ("Some CPU @ 2 GHz", 8192, "powersave")
    assert (machine.virtual, machine.load_before, machine.busy_before) == (True, None, 0.25)
    assert {"cutline", "openvino"} <= set(machine.versions)
    assert describe_machine([], None, tmp_path / "nothing").memory_mib == 0


def test_a_board_goes_by_its_own_name(tmp_path: Path) -> None:
    put(tmp_path, "proc/device-tree/model", "NVIDIA Jetson Orin Nano\0")
    assert describe_machine([], None, tmp_path).cpu == "NVIDIA Jetson Orin Nano"


def test_counters_are_added_up_over_turns(tmp_path: Path) -> None:
    count = "sys/devices/system/cpu/cpu0/thermal_throttle/core_throttle_count"
    put(tmp_path, count, "3\n")
    conditions = Conditions(root=tmp_path)
    for text in ("4\n", "5\n"):
        with conditions.turn():
            put(tmp_path, count, text)
    assert conditions.warnings() == ("the processor was throttled 2 times",)


def test_clocks_are_looked_at_while_it_runs(tmp_path: Path) -> None:
    for core in (0, 1):
        put(tmp_path, f"sys/devices/system/cpu/cpu{core}/cpufreq/scaling_cur_freq", "3000000\n")
    watch = ClockWatch(root=tmp_path)
    watch.look()
    assert watch.warnings() == []
    put(tmp_path, "sys/devices/system/cpu/cpu1/cpufreq/scaling_cur_freq", "1000000\n")
    watch.look()
    assert watch.warnings() == ["processor clocks between 2000 and 3000 MHz"]


def test_a_turn_looks_at_the_clocks_by_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    put(tmp_path, "sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq", "3000000\n")
    looked = threading.Event()
    monkeypatch.setattr(ClockWatch, "look", lambda watch: looked.set())
    with Conditions(root=tmp_path).turn():
        assert looked.wait(60)
    assert "clocks" not in {thread.name for thread in threading.enumerate()}


def test_processor_time_of_this_process_is_counted() -> None:
    before, until = look(), time.process_time() + 0.06
    while time.process_time() < until:
        pass
    assert look().own_s - before.own_s >= 0.04


class FakeNvml:
    """Answers like the driver's library on a card that is hot and shared."""

    def nvmlDeviceGetName(self, _handle: object, text: Any, _size: int) -> int:  # noqa: N802
        text.value = b"Some GPU"
        return 0

    def nvmlDeviceGetClockInfo(self, _handle: object, kind: int, value: Any) -> int:  # noqa: N802
        value._obj.value = self.clock if kind == SM_CLOCK else 2600
        return 0

    def nvmlDeviceGetCurrentClocksThrottleReasons(self, _handle: object, bits: Any) -> int:  # noqa: N802
        bits._obj.value = 0x41
        return 0

    def nvmlDeviceGetComputeRunningProcesses_v3(self, _handle: object, count: Any, found: Any) -> int:  # noqa: N802
        found[0].pid, found[1].pid = os.getpid(), 1
        count._obj.value = 2
        return 0

    def nvmlDeviceGetGraphicsRunningProcesses_v3(self, _handle: object, count: Any, found: Any) -> int:  # noqa: N802
        found[0].pid, found[1].pid, found[2].pid = 2, 3, 4
        count._obj.value = 3
        return 0

    clock = 1800


def test_a_gpu_that_slows_down_and_is_shared_is_told() -> None:
    nvml = FakeNvml()
    gpu = Gpu(nvml, ctypes.c_void_p())
    watch = ClockWatch([gpu])
    watch.look()
    nvml.clock = 900
    watch.look()
    assert watch.warnings()[-3:] == [
        "Some GPU SM clocks between 900 and 1800 MHz",
        "Some GPU: throttled (temperature, hardware)",
        "Some GPU: 1 other process on the device",
    ]
    assert watch.ranges()["Some GPU SM"] == (900, 1800)
    assert watch.ranges()["Some GPU memory"] == (2600, 2600)
    assert watch.throttled() == ["Some GPU: throttled (temperature, hardware)"]
    assert (gpu.other_processes(), gpu.other_processes(drawing=True)) == (1, 3)
    assert gpu.energy_mj() is None  # this driver has no such function


def test_rapl_is_read_across_its_wrap_and_without_the_zones_inside(tmp_path: Path) -> None:
    zone = "sys/class/powercap/intel-rapl:0"
    put(tmp_path, f"{zone}/energy_uj", "9000\n")
    put(tmp_path, f"{zone}/max_energy_range_uj", "10000\n")
    put(tmp_path, "sys/class/powercap/intel-rapl:0:0/energy_uj", "1\n")
    meter = EnergyMeter(root=tmp_path)
    put(tmp_path, f"{zone}/energy_uj", "4000\n")
    assert meter.stop() == {"RAPL": 5.0}


def test_a_board_counts_its_main_supply_and_not_its_parts_again(tmp_path: Path) -> None:
    chip = "sys/class/hwmon/hwmon3"
    put(tmp_path, f"{chip}/name", "ina3221\n")
    for number, name in ((1, "VDD_IN"), (2, "VDD_CPU_GPU_CV")):
        put(tmp_path, f"{chip}/in{number}_label", name)
        put(tmp_path, f"{chip}/in{number}_input", "5000")
        put(tmp_path, f"{chip}/curr{number}_input", "2000")
    meter = EnergyMeter(root=tmp_path)
    began = time.monotonic()
    while meter._sensed_mj == 0:
        time.sleep(0.005)
    spent = meter.stop()["INA3221"]
    assert 0 < spent <= 10_000 * (time.monotonic() - began + 1)  # 10 W, not 20


def test_a_machine_that_tells_nothing_has_no_energy(tmp_path: Path) -> None:
    meter = EnergyMeter(root=tmp_path)
    assert meter.stop() == {}
