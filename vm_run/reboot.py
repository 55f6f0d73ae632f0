"""How a guest ended, and what follows: another start, or not, and why."""

from __future__ import annotations

from vm_spec.frozen import TYPE_CHECKING, Value

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vm_spec.machine import Machine, Outcome

__all__ = ["Boot", "Ending", "Policy", "Stop", "Verdict", "after"]

_WINDOW_S = 60.0


class Verdict(Value):
    """How a guest ended.

    Attributes:
        outcome: in one word.
        asked: whether it was asked to stop.
        forced: whether it had to be forced.
        detail: what the hypervisor's exit says beyond the outcome: `exit status 1`, `SIGKILL`.
    """

    outcome: Outcome
    asked: bool = False
    forced: bool = False
    detail: str = ""


class Ending(Verdict):
    """How a session ended, and its last guest.

    Attributes:
        target: what that guest was.
        why: why it was not started again.
        starts: how often it was started.
        seconds: how long the last guest ran.
        log: the last lines of the hypervisor's log, where it failed.
    """

    target: str
    why: str
    starts: int
    seconds: float
    log: tuple[str, ...] = ()

    @property
    def status(self) -> int:
        """The exit status: 0 for an orderly end, 3 for a crash, 4 for the hypervisor's error."""
        if self.outcome == "triple-fault":
            return 3
        if self.outcome == "error" or (self.outcome == "killed" and not self.asked):
            return 4
        return 0


class Boot(Value):
    """The guest is started again.

    Attributes:
        target: what is started.
    """

    target: str


class Stop(Value):
    """The guest is not started again.

    Attributes:
        why: the reason, as the end of a sentence.
    """

    why: str


class Policy(Value):
    """What the command line says of restarts.

    Attributes:
        reboot: whether there are any.
        most: how many at the most; None: no limit.
        on: the outcomes that restart, instead of the description's; None: the description's.
    """

    reboot: bool = True
    most: int | None = None
    on: tuple[Outcome, ...] | None = None


def after(
    outcome: Outcome, target: str, machine: Machine, policy: Policy, starts: Sequence[float]
) -> Boot | Stop:
    """What follows an outcome.

    Args:
        outcome: how the guest ended.
        target: the target that ended.
        machine: what that target is.
        policy: what the command line says.
        starts: when the guest was started so far, in seconds, the last start last.
    """
    restarting = machine.reboot_on if policy.on is None else policy.on
    if outcome not in restarting:
        return Stop(
            why=f"only {_list(restarting)} restarts it" if restarting else "nothing restarts it"
        )
    if not policy.reboot:
        return Stop(why="--no-reboot was given")
    if policy.most is not None and len(starts) > policy.most:
        return Stop(why=f"it was restarted {policy.most} times, as --reboot-count allows")
    limit = machine.reboot_limit
    if limit and len(starts) > limit and starts[-1] - starts[-1 - limit] < _WINDOW_S:
        return Stop(
            why=f"it was restarted {limit} times within a minute (reboot_limit): it seems to crash"
        )
    return Boot(target=machine.next_target or target)


def _list(outcomes: Sequence[str]) -> str:
    return " or ".join(outcomes)
