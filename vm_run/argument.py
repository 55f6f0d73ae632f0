"""Arguments of a hypervisor, each with the key of the description that it comes from."""

from __future__ import annotations

from vm_spec.frozen import TYPE_CHECKING, Value

if TYPE_CHECKING:
    from collections.abc import Iterable

__all__ = ["Argument", "argument", "options", "words"]


class Argument(Value):
    """Words that belong together on a command line, such as an option and its value.

    Attributes:
        words: one or more words, in order.
        key: the description's key that they come from, `mem` or `emulations[0] (disk0)`;
            empty for what is always there.
    """

    words: tuple[str, ...]
    key: str = ""


def argument(*words: str, key: str = "") -> Argument:
    """An argument of these words."""
    return Argument(words=words, key=key)


def words(arguments: Iterable[Argument]) -> list[str]:
    """The words alone: an argv without its program."""
    return [word for argument in arguments for word in argument.words]


def options(first: str, **values: object) -> str:
    """A comma list of qemu(1): what stands first, then key=value; commas in values are doubled.

    An underscore in a key is a hyphen, True and False are on and off, None is left out.
    """
    parts = [first] if first else []
    for key, value in values.items():
        if value is not None:
            word = ("off", "on")[value] if isinstance(value, bool) else str(value)
            parts.append(f"{key.replace('_', '-')}={word.replace(',', ',,')}")
    return ",".join(parts)
