"""bhyve's configuration: keys with dots and their texts, as its own library keeps them.

A fault here has bhyve's own words, and its status is the one that bhyve exits with.
Source: bhyve_config(5); lib/libbhyve/config.c.
"""

from __future__ import annotations

import re

from vm_spec.fault import Fault, VmError
from vm_spec.frozen import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = [
    "TOO_MUCH",
    "Tree",
    "below",
    "get",
    "is_node",
    "is_true",
    "put",
    "put_word",
    "strtol",
    "texts",
    "wrong",
]

Tree = dict[str, str]
MOST_STEPS = 1 << 14  # signs of other texts that values may be made of
MOST_KEYS = 4096
MOST_DOTS = 64  # in a key
TOO_MUCH = 65  # the status of what bhyve may take, and is not looked at here
DEPTH = 15  # how deep one variable may name another
YES, NO = ("yes", "on", "true", "1"), ("no", "off", "false", "0")
LONGEST_NUMBER = 64  # characters: no number that bhyve takes has more
NUMBER = re.compile(r"[ \t\n\v\f\r]*([+-]?)(0[xX][0-9a-fA-F]+|0[0-7]*|[1-9][0-9]*)", re.ASCII)


def wrong(*lines: str, status: int = 4) -> VmError:
    """What bhyve says and how it exits; 4 unless told otherwise."""
    return VmError(Fault(problem="\n".join(lines)), status=status)


def _too_much(problem: str) -> VmError:
    fault = Fault(problem=problem, hint="take out what bhyve does not need")
    return VmError(fault, status=TOO_MUCH)


def is_node(tree: Mapping[str, str], path: str) -> bool:
    """Whether there are keys below a path."""
    start = f"{path}."
    return any(key.startswith(start) for key in tree)


def put(tree: Tree, path: str, text: str) -> None:
    """Sets a key by its whole path; the last one that sets it wins.

    Raises:
        VmError: the path leads through a value, or a node is there; there is too much of it.
    """
    node, _, _ = path.rpartition(".")
    parts = node.split(".") if node else []
    if len(tree) >= MOST_KEYS and path not in tree:
        raise _too_much(f"there are more than {MOST_KEYS} keys")
    if len(parts) > MOST_DOTS:
        raise _too_much(f"a key has more than {MOST_DOTS} dots")
    for end in range(1, len(parts) + 1):
        parent = ".".join(parts[:end])
        if not parts[end - 1]:
            failed = f"bhyve: Invalid configuration node: {node}"
            raise wrong(failed, f"bhyve: Failed to create configuration node {node}")
        if parent in tree:
            failed = f"bhyve: Configuration node {node} is a child of existing variable {parent}"
            raise wrong(failed, f"bhyve: Failed to create configuration node {node}")
    if is_node(tree, path):
        raise wrong(f"bhyve: Attempting to add value {text} to existing node {path}")
    tree[path] = text


def put_word(tree: Tree, node: str, word: str) -> None:
    """Sets what one `key=value` of `-s` says below a node; a key alone becomes true.

    Raises:
        VmError: the key has a dot, or is a node.
    """
    key, equals, text = word.partition("=")
    if "." in key:
        raise wrong(f"bhyve: Invalid config node name {key}")
    put(tree, node + key, text if equals else "true")


def get(tree: Mapping[str, str], path: str, default: str = "") -> str:
    r"""A key's text as bhyve reads it: `%(variable)` stands for another key's text.

    An unknown variable is empty; a backslash takes a sign's meaning away, in texts with a `%` only.

    Raises:
        VmError: the variables double and double.
    """
    if path not in tree:
        return default
    return _expanded(tree, tree[path], 0, [MOST_STEPS + len(tree[path])])


def texts(tree: Mapping[str, str]) -> Tree:
    """Every key's text as bhyve reads it.

    Raises:
        VmError: the variables double and double.
    """
    left = [MOST_STEPS + sum(map(len, tree.values()))]
    return {key: _expanded(tree, text, 0, left) for key, text in tree.items()}


def is_true(tree: Mapping[str, str], path: str, *, default: bool = False) -> bool:
    """A key that is yes or no.

    Raises:
        VmError: it is neither.
    """
    text = get(tree, path).lower()
    if path not in tree:
        return default
    if text not in YES + NO:
        raise wrong(f"bhyve: Invalid value {get(tree, path)} for boolean variable {path}")
    return text in YES


def below(tree: Mapping[str, str], node: str) -> dict[str, str]:
    """The keys below a node, without its name."""
    start = f"{node}."
    return {key.removeprefix(start): text for key, text in tree.items() if key.startswith(start)}


def strtol(text: str) -> int | None:
    """A number, decimal, 0x hexadecimal or 0 octal; None for a text that is none.

    Source: strtol(3), base 0.
    """
    found = NUMBER.fullmatch(text)
    if not found or len(text) > LONGEST_NUMBER:
        return None
    digits = found[2].lower()
    base = 16 if digits.startswith("0x") else 8 if digits.startswith("0") else 10
    return int(found[1] + digits, base)


def _expanded(tree: Mapping[str, str], text: str, depth: int, left: list[int]) -> str:
    """A text with its variables replaced; `left` is how many signs may still be looked at."""
    if "%" not in text and not depth:
        return text  # only what is expanded has signs whose meaning a backslash could take away
    said, at, last = "", 0, text.rfind(")")
    left[0] -= len(text)
    if left[0] < 0:
        raise _too_much("a value grows too long when its variables are replaced")
    while at < len(text):
        sign = text[at]
        if sign == "\\":
            said += text[at + 1 : at + 2]
            at += 2
        elif sign == "%" and text[at + 1 : at + 2] == "(" and at < last and depth <= DEPTH:
            end = text.index(")", at)
            said += _expanded(tree, tree.get(text[at + 2 : end], ""), depth + 1, left)
            at = end + 1
        else:
            said += sign
            at += 1
    return said
