"""What bhyve makes of a command line: its configuration, or its refusal word for word.

It looks at no file but those of `-k`. Kept by `tests/run/test_bhyve_model.py` to records of
bhyve's own parser (FreeBSD main, first half of 2026). Source: bhyve(8), bhyve_config(5).
"""

from __future__ import annotations

import re

from vm_import import bhyve_memory
from vm_import.bhyve_config import Tree, get, is_node, is_true, texts, wrong
from vm_import.bhyve_cpus import pins, shape
from vm_import.bhyve_devices import checked
from vm_import.bhyve_known import unread
from vm_import.bhyve_options import applied
from vm_spec.frozen import TYPE_CHECKING, Value

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

__all__ = ["DEFAULTS", "Answer", "answer"]

DEFAULTS = {
    "acpi_tables": "true",
    "acpi_tables_in_memory": "true",
    "memory.size": "256M",
    "x86.strictmsr": "true",
    "x86.verbosemsr": "false",
    "lpc.fwcfg": "bhyve",
}
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


def answer(argv: Sequence[str], read: Callable[[str], str], *, shows: bool = True) -> Answer:
    """What bhyve makes of the arguments that follow it.

    Args:
        argv: what follows the program.
        read: gives the text of a `-k` file.
        shows: whether `config.dump` has its meaning; else it is as if the VM were to start.

    Raises:
        VmError: bhyve refuses it; the problem is what it says, the status what it exits with.
    """
    tree = dict(DEFAULTS)
    applied(tree, argv, read)
    if shows and is_true(tree, "config.dump"):
        return Answer(keys=tuple(tree.items()), unread=tuple(unread(tree)), dumped=True)
    texts(tree)  # too long ones end here, before they are read one by one
    messages = _firmware(tree)
    for key in BOOLEANS:
        is_true(tree, key)
    sockets, cores, threads = shape(tree)
    pins(tree, sockets * cores * threads)
    messages += bhyve_memory.checked(tree)
    _identity(tree)
    messages += checked(tree)
    if is_node(tree, "tpm"):
        _tpm(tree)
    return Answer(
        keys=tuple(tree.items()),
        messages=tuple(messages),
        unread=tuple(unread(tree)),
        preloaded="bootrom" not in tree,
    )


def _firmware(tree: Tree) -> list[str]:
    """Takes the names that were used before 15 for those that are used now."""
    messages: list[str] = []
    for key in ("bootrom", "bootvars"):
        old = f"lpc.{key}"
        if old in tree and key not in tree:
            tree[key] = tree[old]
            messages.append(f"bhyve: {old} is deprecated, use '-o {key}' instead")
    return messages


def _identity(tree: Mapping[str, str]) -> None:
    if "uuid" in tree and not UUID.fullmatch(get(tree, "uuid")):
        raise wrong("Invalid UUID")


def _tpm(tree: Mapping[str, str]) -> None:
    """Source: usr.sbin/bhyve/tpm_device.c, in the order in which it looks."""
    failed = ("bhyve: init_tpm: unable to create a TPM device (22)", "Failed to init TPM device")
    version, kind = get(tree, "tpm.version"), get(tree, "tpm.type")
    interface, presence = get(tree, "tpm.intf", "crb"), get(tree, "tpm.ppi", "qemu")
    if "tpm.version" not in tree:
        raise wrong("bhyve crashes on a tpm without a version", status=134)
    if version != "2.0":
        raise wrong(f"bhyve: tpm_device_create: unsupported tpm version {version}", *failed)
    if "tpm.type" not in tree:
        raise wrong("bhyve crashes on a tpm without a type", status=134)
    if kind not in TPMS:
        raise wrong(f'bhyve: TPM emulation "{kind}" not found', *failed)
    if interface != "crb":
        raise wrong(f'bhyve: TPM interface "{interface}" not found', *failed)
    if presence != "qemu":
        raise wrong(f'bhyve: TPM PPI "{presence}" not found', *failed)
