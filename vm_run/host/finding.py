"""What one fact of a host means for virtual machines."""

from __future__ import annotations

from vm_spec.frozen import Value

__all__ = ["MISSING", "NOTE", "OK", "Finding"]

OK, NOTE, MISSING = "ok", "note", "missing"


class Finding(Value):
    """What one fact means.

    Attributes:
        verdict: ok; note for what only some machines need; missing where no plain guest can run.
        about: what it is about.
        said: what is so.
        hint: the next step; empty where there is none.
    """

    verdict: str
    about: str
    said: str
    hint: str = ""
