"""What bhyve makes of a command line: its configuration, or its refusal word for word.

It looks at no file but those of `-k`. Kept by `tests/run/test_bhyve_model.py` to records of
bhyve's own parser (FreeBSD main, first half of 2026). Source: bhyve(8), bhyve_config(5).
"""

from __future__ import annotations

import re

from vm_run.imports.bhyve_devices import checked
from vm_run.imports.bhyve_known import unread
from vm_run.imports.bhyve_options import applied
from vm_run.imports.bhyve_tree import Tree, get, is_node, is_true, wrong
from vm_spec.value import TYPE_CHECKING, Value

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["DEFAULTS", "Answer", "answer", "memory"]

DEFAULTS = {
    "acpi_tables": "true",
    "acpi_tables_in_memory": "true",
    "memory.size": "256M",
    "x86.strictmsr": "true",
    "x86.verbosemsr": "false",
    "lpc.fwcfg": "bhyve",
}
PAGE = 4096
MIB = 1 << 20
MOST = 65535  # processors
TOPOLOGY = ("cpus", "sockets", "cores", "threads")
BOOLEANS = (
    *("acpi_tables", "destroy_on_poweroff", "gdb.wait", "memory.wired", "memory.guest_in_core"),
    *("monitor", "rtc.use_localtime", "virtio_msix", "x86.mptable", "x86.strictmsr"),
    *("x86.vmexit_on_hlt", "x86.vmexit_on_pause", "x86.x2apic", "x86.strictio"),
)
TPMS = ("passthru", "swtpm")
UUID = re.compile(r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){2}-[0-9a-dA-D][0-9a-fA-F]{3}-[0-9a-fA-F]{12}")


class Answer(Value):
    """What bhyve makes of a command line that it takes.

    Attributes:
        keys: the configuration as `config.dump` shows it, in the order in which it was set.
        messages: what it says without ending.
        unread: the keys that it ignores, each with its text.
        preloaded: whether the VM has to be there before: there is no firmware.
        dumped: whether it only shows its configuration and exits 1.
    """

    keys: tuple[tuple[str, str], ...]
    messages: tuple[str, ...] = ()
    unread: tuple[str, ...] = ()
    preloaded: bool = False
    dumped: bool = False

    @property
    def tree(self) -> Tree:
        """The configuration, to look things up."""
        return dict(self.keys)


def answer(argv: Sequence[str], read: Callable[[str], str]) -> Answer:
    """What bhyve makes of the arguments that follow it.

    Args:
        argv: what follows the program.
        read: gives the text of a `-k` file.

    Raises:
        VmError: bhyve refuses it; the problem is what it says, the status what it exits with.
    """
    tree = dict(DEFAULTS)
    applied(tree, argv, read)
    if is_true(tree, "config.dump"):
        return Answer(keys=tuple(tree.items()), unread=tuple(unread(tree)), dumped=True)
    messages = _firmware(tree)
    for key in BOOLEANS:
        is_true(tree, key)
    _topology(tree)
    memory(get(tree, "memory.size"))
    _domains(tree)
    _identity(tree)
    messages += checked(tree)
    return Answer(
        keys=tuple(tree.items()),
        messages=tuple(messages),
        unread=tuple(unread(tree)),
        preloaded="bootrom" not in tree,
    )


def memory(text: str) -> int:
    """How many bytes a size is; a number below 1 MiB is a number of MiB.

    Raises:
        VmError: it is none, or not whole pages. Source: vm_parse_memsize, expand_number(3).
    """
    found = re.fullmatch(r"(0[xX][0-9a-fA-F]+|[0-9]+)([kmgtpe]?)b?", text, re.ASCII | re.IGNORECASE)
    if not found:
        raise wrong(f"bhyve: invalid memsize '{text}'", status=64)
    digits = found[1]
    number = int(digits, 8 if re.fullmatch("0[0-7]+", digits) else 0 if digits[0] == "0" else 10)
    size: int = number << 10 * (" kmgtpe".index(found[2].lower()) if found[2] else 0)
    if size < MIB:
        size *= MIB
    if not size or size % PAGE:
        raise wrong("Unable to setup memory (22)")
    return size


def _firmware(tree: Tree) -> list[str]:
    """Takes the names that were used before 15 for those that are used now."""
    messages: list[str] = []
    for key in ("bootrom", "bootvars"):
        old = f"lpc.{key}"
        if old in tree and key not in tree:
            tree[key] = tree[old]
            messages.append(f"bhyve: {old} is deprecated, use '-o {key}' instead")
    return messages


def _topology(tree: Mapping[str, str]) -> None:
    numbers = [_count(key, get(tree, key)) if key in tree else 1 for key in TOPOLOGY]
    cpus, sockets, cores, threads = numbers
    given = any(key in tree for key in TOPOLOGY[1:])
    if "cpus" in tree and given and cpus != sockets * cores * threads:
        shown = f"{sockets} sockets, {cores} cores, {threads} threads"
        raise wrong(f"bhyve: Topology ({shown}) does not match {cpus} vCPUs")
    if sockets * cores * threads > MOST:
        raise wrong(f"bhyve: Computed number of vCPUs too high: {sockets * cores * threads}")


def _count(key: str, text: str) -> int:
    number = int(text) if re.fullmatch("[0-9]{1,9}", text, re.ASCII) else 0
    if not 0 < number <= MOST:
        raise wrong(f"bhyve: Invalid value for {key}: '{text}'")
    return number


def _domains(tree: Mapping[str, str]) -> None:
    for number in range(8):
        if is_node(tree, f"domains.{number}"):
            for key, name in (("size", "memory size"), ("cpus", "CPU set")):
                if f"domains.{number}.{key}" not in tree:
                    raise wrong(f"Missing {name} for domain {number}")


def _identity(tree: Mapping[str, str]) -> None:
    if "uuid" in tree and not UUID.fullmatch(get(tree, "uuid")):
        raise wrong("Invalid UUID")
    if "tpm.type" in tree:
        _tpm(get(tree, "tpm.type"), get(tree, "tpm.version"))


def _tpm(kind: str, version: str) -> None:
    failed = ("bhyve: init_tpm: unable to create a TPM device (22)", "Failed to init TPM device")
    if kind not in TPMS:
        raise wrong(f'bhyve: TPM emulation "{kind}" not found', *failed)
    if not version:
        raise wrong("bhyve crashes on a tpm without a version", status=134)
    if version != "2.0":
        raise wrong(f"bhyve: tpm_device_create: unsupported tpm version {version}", *failed)
