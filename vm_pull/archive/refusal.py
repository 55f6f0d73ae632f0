"""What is said of a box that is not as boxes are."""

from __future__ import annotations

from vm_spec.fault import Fault, VmError

__all__ = ["cut_short", "refusal"]

_AGAIN = "download the box again; if that gives the same, tell its maker"


def refusal(problem: str, hint: str = _AGAIN) -> VmError:
    """The error for a box that is refused, with status 65.

    Args:
        problem: a sentence without a full stop; names in it may come from the box.
        hint: the next step.
    """
    return VmError(Fault(problem=problem, hint=hint), status=65)


def cut_short(where: str) -> VmError:
    """The error for a box that ends too early, and where it does: `in box.img`."""
    return refusal(f"the box is cut short: it ends {where}", "download the box again")
