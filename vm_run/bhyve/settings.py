"""One fact about a machine in both of bhyve's languages: bhyve(8) words, bhyve_config(5) keys.

Untested on FreeBSD: made from bhyve's sources and from what its own parser does with argvs.
"""

from __future__ import annotations

from vm_spec.fault import Fault
from vm_spec.frozen import TYPE_CHECKING, Value, replace

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from vm_spec.devices import Properties, Scalar

__all__ = [
    "Part",
    "Setting",
    "as_options",
    "below",
    "escaped",
    "first",
    "given",
    "is_secret",
    "named",
    "own",
    "scalar",
    "unwritable",
]

FILES = {"path", "bootrom", "bootvars", "rom", "play", "rec", "dev"}


class Setting(Value):
    """One fact about a machine or a device.

    Attributes:
        keys: bhyve_config(5) keys with their values; a device's are relative to its node.
        words: what says the same on the command line: arguments of the machine, or the one word
            of a device in its `-s`; empty for a device's key that only `-o` can say.
        of: the description's key that it comes from.
        placed: whether `-s` knows the word by its place: without it the next would take that.
        secret: whether it may stand in a file only, never on a command line.
    """

    keys: tuple[tuple[str, str], ...] = ()
    words: tuple[str, ...] = ()
    of: str = ""
    placed: bool = False
    secret: bool = False

    @property
    def is_sayable(self) -> bool:
        """Whether a device's `-s` can carry it: at a comma `-s` splits, and knows no escape."""
        return bool(self.words) and "," not in self.words[0] and not self.secret


Part = Setting | Fault


def escaped(text: str) -> str:
    r"""Text that means itself where bhyve expands `%(variable)`.

    Source: config.c, expand_config_value: the escape is a backslash, not bhyve_config(5)'s `%%`,
    and backslashes are special only in a value that has a `%`.
    """
    return text.replace("\\", "\\\\").replace("%", "\\%") if "%" in text else text


def scalar(value: Scalar) -> str:
    """A value in bhyve's own words, in which `%(variable)` keeps its meaning."""
    return ("false", "true")[value] if isinstance(value, bool) else str(value)


def as_options(keys: Iterable[tuple[str, str]]) -> tuple[str, ...]:
    """The arguments that set keys one by one: nothing in a value has a meaning there."""
    return tuple(word for key, text in keys for word in ("-o", f"{key}={text}"))


def first(*keys: str, value: str) -> Setting:
    """What stands without a name after the device in `-s`, under each of these keys."""
    text = escaped(value)
    return Setting(keys=tuple((key, text) for key in keys), words=(text,), placed=True)


def named(key: str, value: object) -> Setting:
    """A `key=value`."""
    text = escaped(str(value))
    return Setting(keys=((key, text),), words=(f"{key}={text}",), secret=is_secret(key))


def given(**values: object) -> Iterator[Setting]:
    """Those that were given: True is the bare word; None, False and "" are left out."""
    for key, value in values.items():
        if value is True:
            yield Setting(keys=((key, "true"),), words=(key,))
        elif value is not None and value is not False and value != "":
            yield named(key, value)


def is_secret(key: str) -> bool:
    """Whether what a key holds must not be seen with ps(1): a password."""
    return key.rpartition(".")[2] == "password"


def own(properties: Properties, *, carried: bool = True, node: str = "") -> Iterator[Part]:
    """A device's `bhyve` table, word for word.

    Args:
        properties: the table.
        carried: whether this device's `-s` takes `key=value`; a dotted key or a comma never does.
        node: where a key without a dot belongs: `port.0.`.
    """
    for key, value in properties:
        text = scalar(value)
        if flaw := flawed(key, text):
            problem, hint = flaw
            yield Fault(problem=f"bhyve key {key!r} {problem}", hint=hint, path=("bhyve",))
            continue
        yield Setting(
            keys=((key if "." in key else node + key, text),),
            words=(f"{key}={text}",) if carried and not {".", ","} & set(key) else (),
            secret=is_secret(key),
        )


def flawed(key: str, text: str) -> tuple[str, str] | None:
    """Why `key=text` is not one that `-o` and `-k` take, with a hint; None when it is."""
    if not text:
        return "has an empty value, which bhyve refuses", "take the key away"
    if not key or "=" in key or key.startswith("#"):
        return "is not the name of a key of bhyve_config(5)", "see bhyve_config(5)"
    if "\n" in key + text:
        return "has a line break, which bhyve_config(5) cannot carry", "take it out"
    return None


def below(node: str, parts: Iterable[Part]) -> Iterator[Part]:
    """The same settings with their keys below a node."""
    for part in parts:
        if isinstance(part, Fault):
            yield part
        else:
            yield replace(part, keys=tuple((node + key, text) for key, text in part.keys))


def unwritable(setting: Setting) -> Iterator[Fault]:
    """A fault for each value that one line of a `bhyve -k` file cannot carry."""
    values = {text: key.rpartition(".")[2] for key, text in setting.keys if "\n" in text}
    for text, key in values.items():
        shown = key if is_secret(key) else f"{key} {text!r}"
        hint = "rename the file" if key in FILES else "leave it out"
        problem = f"{shown} has a line break, which bhyve_config(5) cannot carry"
        yield Fault(problem=problem, hint=hint)
