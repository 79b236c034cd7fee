from __future__ import annotations

import time

from cutline.benchmarks.setting import Stopping, Watch


class Running:
    stopped = 0

    def stop(self) -> None:
        self.stopped += 1


def test_the_word_to_stop_reaches_what_runs_and_what_begins_afterwards() -> None:
    stopping, early, ended, late = Stopping(), Running(), Running(), Running()
    with stopping.hears(ended):
        pass
    with stopping.hears(early):
        assert not stopping.stopped
        stopping.stop()
        assert stopping.stopped
        with stopping.hears(late):
            pass
    assert (early.stopped, ended.stopped, late.stopped) == (1, 0, 1)


def test_nobody_sleeps_on_when_the_word_was_said() -> None:
    stopping = Stopping()
    stopping.stop()
    stopping.wait(1e6)  # would outlast every test
    assert stopping.stopped


def test_a_watch_that_saw_no_turn_has_nothing_to_say() -> None:
    assert Watch(()).warnings == ()
    assert Watch(()).energy_mj == {}


def test_a_watch_adds_its_turns_up() -> None:
    watch = Watch(())
    for _ in range(2):
        with watch.turn():
            time.sleep(0)
    assert isinstance(watch.warnings, tuple)
