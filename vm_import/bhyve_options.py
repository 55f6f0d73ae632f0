"""A bhyve command line -> its configuration, option by option in the order given.

Source: bhyve(8), OPTIONS; usr.sbin/bhyve/bhyverun.c, amd64/bhyverun_machdep.c.
"""

from __future__ import annotations

import re

from vm_import.bhyve_config import is_true, put, put_word, strtol, wrong
from vm_import.bhyve_slots import slot
from vm_spec.frozen import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from vm_import.bhyve_config import Tree

__all__ = ["applied", "filed", "options"]

USAGE = "Usage: ..."
FLAGS = {
    "a": ("x86.x2apic", "false"),
    "A": None,  # the tables are always made now
    "C": ("memory.guest_in_core", "true"),
    "D": ("destroy_on_poweroff", "true"),
    "e": ("x86.strictio", "true"),
    "H": ("x86.vmexit_on_hlt", "true"),
    "I": None,
    "M": ("monitor", "true"),
    "P": ("x86.vmexit_on_pause", "true"),
    "S": ("memory.wired", "true"),
    "u": ("rtc.use_localtime", "false"),
    "w": ("x86.strictmsr", "false"),
    "W": ("virtio_msix", "false"),
    "x": ("x86.x2apic", "true"),
    "Y": ("x86.mptable", "false"),
}
KEYS = {"K": "keyboard.layout", "m": "memory.size", "U": "uuid"}
WITH_VALUE = "kfopGcsmnlKU"
TOPOLOGY = ("cpus", "sockets", "cores", "threads")
COMS = ("com1", "com2", "com3", "com4")
LAST_DOMAIN = 255
FWCFG_NAME = 55  # the longest name of a fw_cfg file
HOST_CPUS = 1024  # CPU_SETSIZE
NUMBER = r"\s*([+-]?[0-9]{1,9})"  # what %d of sscanf(3) reads; what follows the last is ignored
PINS = re.compile(rf"{NUMBER}-{NUMBER}:{NUMBER}-{NUMBER}", re.ASCII)
PIN = re.compile(f"{NUMBER}:{NUMBER}", re.ASCII)


def options(argv: Sequence[str]) -> tuple[list[tuple[str, str]], list[str]]:
    """The options with their values, and the operands: getopt(3) stops at the first of these.

    Args:
        argv: what follows the program.

    Raises:
        VmError: an option is unknown or lacks its value, in bhyve's words.
    """
    found: list[tuple[str, str]] = []
    words = list(argv)
    while words and words[0].startswith("-") and words[0] != "-":
        letters = words.pop(0)[1:]
        if letters == "-":
            break
        while letters:
            letter, letters = letters[0], letters[1:]
            if letter in WITH_VALUE:
                if not letters and not words:
                    said = f"bhyve: option requires an argument -- {letter}"
                    raise wrong(said, USAGE, status=1)
                found.append((letter, letters or words.pop(0)))
                break
            if letter not in FLAGS and letter != "h":
                raise wrong(f"bhyve: illegal option -- {letter}", USAGE, status=1)
            found.append((letter, ""))
    return found, words


def applied(tree: Tree, argv: Sequence[str], read: Callable[[str], str]) -> None:
    """Puts a command line into a tree.

    Args:
        tree: what is there before: the defaults.
        argv: what follows the program.
        read: gives the text of a `-k` file.

    Raises:
        VmError: bhyve refuses it, in its words and with its exit status.
    """
    found, operands = options(argv)
    for letter, value in found:
        _apply(tree, letter, value, read)
    if len(operands) > 1 or (not operands and "name" not in tree):
        raise wrong(USAGE, status=1)
    if operands:
        put(tree, "name", operands[0])


def _apply(tree: Tree, letter: str, value: str, read: Callable[[str], str]) -> None:
    if letter == "h":
        raise wrong(USAGE, status=0)
    if letter in FLAGS:
        if setting := FLAGS[letter]:
            put(tree, *setting)
    elif letter in KEYS:
        put(tree, KEYS[letter], value)
    elif letter == "k":
        filed(tree, read(value), value)
    elif letter in "sl" and "help".startswith(value):
        raise wrong("the list of devices", status=0)
    else:
        OPTIONS[letter](tree, value)


def filed(tree: Tree, text: str, file: str) -> None:
    """Puts the lines of a `-k` file into a tree; nothing is trimmed.

    Raises:
        VmError: a line is no `key=value`, in bhyve's words with the file's name and the line.
    """
    for number, line in enumerate(text.split("\n"), 1):
        if line and not line.startswith("#") and not _assigned(tree, line):
            raise wrong(f"bhyve: {file} line {number}: invalid config option '{line}'")


def _assigned(tree: Tree, line: str) -> bool:
    key, _, text = line.partition("=")
    if not key or not text:
        return False
    put(tree, key, text)
    return True


def _option(tree: Tree, value: str) -> None:
    if not _assigned(tree, value):
        raise wrong(f"bhyve: invalid configuration option '{value}'", status=64)


def _topology(tree: Tree, value: str) -> None:
    if not value:
        for key in TOPOLOGY:
            put(tree, key, "1")
        return
    for word in value.split(","):
        key, equals, number = word.partition("=")
        if equals and key not in TOPOLOGY:
            raise wrong(f"bhyve: invalid cpu topology '{value}'", status=64)
        put(tree, key if equals else "cpus", number if equals else word)


def _debugger(tree: Tree, value: str) -> None:
    if value.startswith("w"):
        put(tree, "gdb.wait", "true")
    address, colon, port = value.removeprefix("w").rpartition(":")
    if colon:
        put(tree, "gdb.address", address)
    put(tree, "gdb.port", port)


def _pin(tree: Tree, value: str) -> None:
    refused = f"bhyve: invalid vcpu pinning configuration '{value}'"
    for guest, host in _pairs(value, refused):
        if guest < 0:
            raise wrong(f"invalid vcpu '{guest}'", refused, status=64)
        if not 0 <= host < HOST_CPUS:
            said = f"hostcpu '{host}' outside valid range from 0 to {HOST_CPUS - 1}"
            raise wrong(said, refused, status=64)
        key = f"vcpu.{guest}.cpuset"
        put(tree, key, f"{tree[key]},{host}" if key in tree else str(host))


def _pairs(value: str, refused: str) -> Iterable[tuple[int, int]]:
    """The guest's processors, each with one of the host's."""
    if not (found := PINS.match(value)):
        if one := PIN.match(value):
            return [(int(one[1]), int(one[2]))]
        raise wrong(f"invalid format: {value}", refused, status=64)
    guest, guest_end, host, host_end = map(int, found.groups())
    if guest > guest_end or host > host_end:
        raise wrong(f"invalid range (must be ascending): {value}", refused, status=64)
    if guest_end - guest != host_end - host:
        raise wrong(f"range sizes do not match: {value}", refused, status=64)
    return zip(range(guest, guest_end + 1), range(host, host_end + 1), strict=True)


def _domain(tree: Tree, value: str) -> None:
    """A domain; words that it does not know are ignored, and so is what follows a comma in one."""
    refused = f"bhyve: invalid NUMA configuration '{value}'"
    known = ("id", "size", "domain_policy", "cpus")
    pairs = dict(word.split("=", 1) for word in value.split(",") if "=" in word)
    if not value:
        raise wrong(refused, status=64)
    if "id" not in pairs:
        raise wrong(f"Missing NUMA domain ID in '{value}'", refused, status=64)
    number = strtol(pairs["id"])
    if number is None or not 0 <= number <= LAST_DOMAIN:
        raise wrong(f"bhyve: Invalid value for id: '{pairs['id']}'")
    for key in known[1:]:
        if key in pairs:
            put(tree, f"domains.{number}.{key}", pairs[key])
    if not is_true(tree, "acpi_tables"):
        raise wrong("bhyve: NUMA emulation requires ACPI", status=64)


def _firmware_file(_tree: Tree, value: str) -> None:
    """`-f`: the one option that leaves nothing in the tree. Source: qemu_fwcfg.c."""
    refused = f"bhyve: invalid fwcfg item '{value}'"
    name, comma, content = value.removeprefix("name=").partition(",")
    if comma and len(name.encode()) > FWCFG_NAME:
        raise wrong(f'bhyve: fw_cfg name too long: "{value}"', refused, status=64)
    if not content.startswith(("string=", "file=")):
        said = f'bhyve: Invalid fw_cfg option "{value}"'
        usage = "bhyve: -f [name=]<name>,(string|file)=<value>"
        raise wrong(said, usage, refused, status=64)


def _lpc(tree: Tree, value: str) -> None:
    device, comma, rest = value.partition(",")
    name = device.lower()
    if name == "bootrom":
        _bootrom(tree, value, rest)
    elif name in COMS:
        if not comma or not rest:
            raise wrong(f"bhyve crashes on {name} without its host's end", status=134)
        put(tree, f"lpc.{name}.path", rest)
    elif name == "pc-testdev":
        put(tree, "lpc.pc-testdev", "true")
    elif name == "tpm":
        _tpm(tree, value, rest.split(",") if comma else [])
    else:
        raise wrong(f"bhyve: invalid lpc device configuration '{value}'", status=64)


def _tpm(tree: Tree, value: str, words: list[str]) -> None:
    if len(words) < 2:
        raise wrong(f'bhyve: invalid tpm {"path" if words else "type"} "{value}"')
    put(tree, "tpm.type", words[0])
    put(tree, "tpm.path", words[1])
    for word in words[2:]:
        put_word(tree, "tpm.", word)
    tree.setdefault("tpm.version", "2.0")


def _bootrom(tree: Tree, value: str, rest: str) -> None:
    if not rest:
        raise wrong(f'bhyve: invalid bootrom option "{value}"')
    rom, *words = rest.split(",")
    put(tree, "bootrom", rom)
    if words and "=" not in words[0]:
        put(tree, "bootvars", words.pop(0))
    for word in words:
        put_word(tree, "lpc.", word)


OPTIONS: dict[str, Callable[[Tree, str], None]] = {
    "c": _topology,
    "f": _firmware_file,
    "G": _debugger,
    "l": _lpc,
    "n": _domain,
    "o": _option,
    "p": _pin,
    "s": slot,
}
