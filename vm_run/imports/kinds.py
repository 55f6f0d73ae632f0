"""Whose file is it? What is in it says so, never its name.

Each reader is loaded when it is needed; none opens or runs what the file names.
"""

from __future__ import annotations

import re

from vm_spec.fault import Fault, VmError
from vm_spec.value import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable

    Reader = Callable[[str, str], str]

__all__ = ["imported"]

_KNOWN = (
    "a libvirt domain, a configuration of quickemu or of vm-bhyve, a flat one of bhyve,"
    " vmrun's JSON, vmman's TOML, and vm.toml(5)"
)
_FLAT = re.compile(
    r"^(?:memory\.size|cpus|pci\.\d+\.\d+\.\d+\.device|lpc\.\w+\.path)=", re.MULTILINE
)
_QUICKEMU = re.compile(r"^[ \t]*(?:guest_os|disk_img)=", re.MULTILINE)
_VM_BHYVE = re.compile(r"^(?:loader|guest|uefi|disk0_\w+|network0_\w+)=", re.MULTILINE)


def imported(text: bytes, file_name: str) -> str:
    """The native TOML of another tool's description.

    Args:
        text: the file.
        file_name: what it is called; the machine's name is its stem unless the file has one.

    Raises:
        VmError: it is of no kind that is known, or is wrong for its kind.
    """
    from vm_run.imports.draft import decoded

    name = file_name.rpartition("/")[2].rpartition(".")[0] or file_name.rpartition("/")[2]
    if b"<domain" in text or text.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"<":
        from vm_run.imports import libvirt

        return libvirt.imported(text, name)
    return _reader(decoded(text, "file"))(decoded(text, "file"), name)


def _reader(text: str) -> Reader:
    if text.lstrip().startswith("{"):
        return _json
    if _QUICKEMU.search(text):
        from vm_run.imports import quickemu

        return quickemu.imported
    if _FLAT.search(text):
        return _flat
    if _VM_BHYVE.search(text):
        from vm_run.imports import vmbhyve

        return vmbhyve.imported
    return _toml


def _flat(text: str, name: str) -> str:
    """A flat configuration, each line as `-o` would say it: no file is opened for that.

    Source: bhyve_config(5), bhyve(8) -k and -o.
    """
    from vm_run.imports import bhyve
    from vm_run.imports.draft import Draft

    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    words = [word for line in lines for word in ("-o", line)]
    named = any(line.startswith("name=") for line in lines)
    return bhyve.imported(["bhyve", *words, *([] if named else [Draft(name, "").name])])


def _json(text: str, name: str) -> str:
    return _ours(text, name, "json")


def _toml(text: str, name: str) -> str:
    import tomli  # only for who asks

    try:
        tomli.loads(text)
    except ValueError:
        problem = "is of no kind that can be imported"
        raise VmError(Fault(problem=problem, hint=f"known are: {_KNOWN}")) from None
    return _ours(text, name, "toml")


def _ours(text: str, name: str, syntax: str) -> str:
    """A description that we read as it is, in the words of vm.toml(5)."""
    from vm_run.imports.draft import Draft, plain
    from vm_spec import encode
    from vm_spec.decode import loads
    from vm_spec.syntax import Context

    context = Context(name=Draft(name, "").name, syntax=syntax)
    description = loads(text, context)
    head = ["Imported from a description in another syntax.", *description.notes]
    comments = "".join(f"# {plain(line)}\n" for line in head)
    written = f"{comments}\n{encode.toml(description)}"
    loads(written)
    return written
