"""What follows the end of a guest: another start, or not, and why."""

from __future__ import annotations

from vm_spec.frozen import TYPE_CHECKING, Value

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vm_spec.machine import Machine, Outcome

__all__ = ["Boot", "Policy", "Stop", "after"]

_WINDOW_S = 60.0


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
    wanted = machine.reboot_on if policy.on is None else policy.on
    if outcome not in wanted:
        return Stop(why=f"only {_list(wanted)} restarts it" if wanted else "nothing restarts it")
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
