"""What follows the end of a guest."""

from __future__ import annotations

import pytest

from vm_run.reboot import Boot, Policy, Stop, after
from vm_spec.machine import Machine, Outcome
from vm_spec.types import Label, VmName

REBOOT, CRASH = Outcome("reboot"), Outcome("triple-fault")
MACHINE = Machine(name=VmName("vm"), reboot_limit=3)
NEXT = Machine(name=VmName("vm"), next_target=Label("default"))


def test_a_reboot_starts_the_same_target_again() -> None:
    assert after(REBOOT, "install", MACHINE, Policy(), [0.0]) == Boot(target="install")


def test_a_reboot_starts_the_next_target_where_there_is_one() -> None:
    assert after(REBOOT, "install", NEXT, Policy(), [0.0]) == Boot(target="default")


@pytest.mark.parametrize("outcome", ["poweroff", "halt", "triple-fault", "error", "killed"])
def test_any_other_end_is_the_last_one(outcome: str) -> None:
    step = after(Outcome(outcome), "default", MACHINE, Policy(), [0.0])
    assert step == Stop(why="only reboot restarts it")


def test_the_command_line_is_over_the_description() -> None:
    policy = Policy(on=(CRASH,))
    assert after(CRASH, "a", MACHINE, policy, [0.0]) == Boot(target="a")
    assert isinstance(after(REBOOT, "a", MACHINE, policy, [0.0]), Stop)
    assert after(REBOOT, "a", MACHINE, Policy(on=()), [0.0]) == Stop(why="nothing restarts it")


def test_no_reboot_means_none() -> None:
    step = after(REBOOT, "a", MACHINE, Policy(reboot=False), [0.0])
    assert step == Stop(why="--no-reboot was given")


def test_a_count_is_of_restarts_and_not_of_starts() -> None:
    starts = [0.0, 100.0]
    assert isinstance(after(REBOOT, "a", MACHINE, Policy(most=2), starts), Boot)
    assert isinstance(after(REBOOT, "a", MACHINE, Policy(most=1), starts), Stop)
    assert isinstance(after(REBOOT, "a", MACHINE, Policy(most=0), [0.0]), Stop)


@pytest.mark.parametrize(
    ("starts", "goes_on"),
    [
        ([0.0, 10.0, 20.0], True),
        ([0.0, 10.0, 20.0, 30.0], False),
        ([0.0, 10.0, 20.0, 60.0], True),
        ([0.0, 100.0, 110.0, 120.0, 130.0], False),
    ],
)
def test_too_many_restarts_within_a_minute_are_a_crash_loop(
    starts: list[float], goes_on: bool
) -> None:
    step = after(REBOOT, "a", MACHINE, Policy(), starts)
    assert isinstance(step, Boot) is goes_on


def test_no_limit_is_no_limit() -> None:
    free = Machine(name=VmName("vm"), reboot_limit=0)
    assert isinstance(after(REBOOT, "a", free, Policy(), [0.0] * 100), Boot)
