"""Whose file is it? What is in it says so, never its name.

Each reader is loaded when it is needed; none opens or runs what the file names.
"""

from __future__ import annotations

import re

from vm_spec.fault import Fault, VmError
from vm_spec.frozen import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from vm_spec.machine import Description

    Reader = Callable[[str, str], str]

__all__ = ["imported", "is_native"]

_KNOWN = (
    "a libvirt domain, a configuration of quickemu or of vm-bhyve, a flat one of bhyve,"
    " vmrun's JSON, vmman's TOML, and vm.toml(5)"
)
_BLANK = b"\xef\xbb\xbf \t\r\n"  # and the mark with which some editors begin a text
_TABLE = re.compile(r"^[ \t]*\[\[?[A-Za-z\"'][^\]\n]*\]\]?[ \t]*(?:#[^\n]*)?\r?$", re.MULTILINE)
# the first words of keys that no other language here has
_FLAT = re.compile(
    r"^(?:(?:memory|domains|vcpu|x86|pci|lpc|rtc|keyboard|bios|system|board|chassis|config)"
    r"\.[\w.]+|cpus|virtio_msix|acpi_tables|destroy_on_poweroff)=",
    re.MULTILINE,
)
_QUICKEMU = re.compile(r"^[ \t]*(?:guest_os|disk_img)=", re.MULTILINE)
_VM_BHYVE = re.compile(r"^(?:loader|guest|uefi|disk0_\w+|network0_\w+)=", re.MULTILINE)
_UCL = re.compile(r"^[ \t]*(?:emulations|bootrom|mem|cpu|com1)\s*[:=\[{]", re.MULTILINE)
_SCRIPT = re.compile(r"^[ \t]*(?:(?:exec|sudo|doas) )*(?:/usr/sbin/)?bhyve\s+-", re.MULTILINE)


def imported(text: bytes, file_name: str) -> str:
    """The native TOML of another tool's description, or of one in another syntax.

    Args:
        text: the file.
        file_name: what it is called; the machine's name is its stem unless the file has one.

    Raises:
        VmError: it is of no kind that is known, or is wrong for its kind.
    """
    if text.lstrip(_BLANK)[:1] == b"<":
        from vm_import import libvirt

        return libvirt.imported(text, _stem(file_name))
    return _reader(_decoded(text))(_decoded(text), file_name)


def is_native(text: bytes, file_name: str) -> bool:
    """Whether it is a description in TOML already, as vm.toml(5) has it.

    Raises:
        VmError: it is one, and a wrong one.
    """
    if text.lstrip(_BLANK)[:1] in (b"<", b"{") or _reader(_decoded(text)) is not _toml:
        return False
    return not _is_vmman(_decoded(text)) and bool(_described(_decoded(text), file_name, "toml"))


def _decoded(text: bytes) -> str:
    from vm_import.draft import decoded

    return decoded(text, "file").removeprefix("\ufeff")


def _stem(file_name: str) -> str:
    last = file_name.rpartition("/")[2]
    return last.rpartition(".")[0] or last


def _reader(text: str) -> Reader:
    if text.lstrip().startswith("{"):
        return _json
    if _TABLE.search(text):
        return _toml
    if _QUICKEMU.search(text):
        return _quickemu
    if _FLAT.search(text):
        return _flat
    return _vm_bhyve if _VM_BHYVE.search(text) else _toml if _is_toml(text) else _nobodys


def _quickemu(text: str, file_name: str) -> str:
    from vm_import import quickemu

    return quickemu.imported(text, _stem(file_name))


def _vm_bhyve(text: str, file_name: str) -> str:
    from vm_import import vm_bhyve

    return vm_bhyve.imported(text, _stem(file_name))


def _flat(text: str, file_name: str) -> str:
    """A flat configuration, read as `bhyve -k` reads it; a file without a name is its VM's.

    Source: bhyve_config(5), bhyve(8) -k.
    """
    from vm_import import bhyve
    from vm_import.draft import Draft

    named = re.search("^name=.", text, re.MULTILINE)
    words = ["bhyve", "-k", file_name, *([] if named else [Draft(_stem(file_name), "").name])]
    return bhyve.imported(words, lambda _: text, "Imported from a flat configuration of bhyve's.")


def _is_toml(text: str) -> bool:
    import tomli  # only for who asks

    try:
        return bool(tomli.loads(text))
    except (ValueError, RecursionError):
        return False


def _is_vmman(text: str) -> bool:
    import tomli

    from vm_spec.vmman import is_vmman

    try:
        return is_vmman(tomli.loads(text))
    except (ValueError, RecursionError):
        return False


def _nobodys(text: str, _file_name: str) -> str:
    problem, hint = "is of no kind that can be imported", f"known are: {_KNOWN}"
    if _SCRIPT.search(text):
        hint = "it has a command line of bhyve's in it: vm-run --import -- bhyve ARGS..."
    elif _UCL.search(text):
        problem, hint = "is UCL", "uclcmd get -c -f FILE | vm-run --import -"
    raise VmError(Fault(problem=problem, hint=hint))


def _json(text: str, file_name: str) -> str:
    return _ours(text, file_name, "json")


def _toml(text: str, file_name: str) -> str:
    return _ours(text, file_name, "toml")


def _ours(text: str, file_name: str, syntax: str) -> str:
    """A description that we read as it is, in the words of vm.toml(5)."""
    from vm_import.draft import plain
    from vm_spec import encode
    from vm_spec.decode import loads

    description = _described(text, file_name, syntax)
    head = ["Imported from a description in another syntax.", *_notes(text, description, syntax)]
    comments = "".join(f"# {plain(line)}\n" for line in head)
    written = f"{comments}\n{encode.toml(description)}"
    loads(written)
    return written


def _described(text: str, file_name: str, syntax: str) -> Description:
    """The description, whose relative paths and user are those that vm-run -c would give it."""
    from vm_import.draft import Draft
    from vm_spec.decode import loads
    from vm_spec.frozen import replace
    from vm_spec.library import context

    here = context(file_name, Draft(_stem(file_name), "").name)
    return loads(text, replace(here, folder="", syntax=syntax))


def _notes(text: str, description: Description, syntax: str) -> Iterator[str]:
    """What a reader of the description should know who knows the file."""
    from vm_spec.devices import Nic

    if syntax == "json" and re.search(r'"frontend"\s*:', text):
        yield "vmrun's frontend, backend and device are called device, type and path now."
    if syntax == "toml" and _is_vmman(text):
        yield "vmman's [base] is the machine and its [qemu]; each other section is a device."
    devices = [*description.machine.emulations]
    devices += [device for target in description.targets for device in target.emulations]
    if any(isinstance(device, Nic) for device in devices):
        yield "Ethernet addresses and interface names that vm-run makes up are written down here."
    yield from description.notes
