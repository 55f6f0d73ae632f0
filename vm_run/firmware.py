"""The host's own UEFI firmware, found through its descriptors, and each VM's variables.

Source: docs/interop/firmware.json of QEMU: descriptors in these directories, a file in an earlier
directory masks one of the same name in a later one, and they are tried in order of file name.
"""

from __future__ import annotations

import json
import os

from vm_spec.fault import Fault, VmError
from vm_spec.frozen import TYPE_CHECKING
from vm_state import platform

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from vm_spec.machine import Machine

_DIRECTORIES = ("/etc/qemu/firmware", "/usr/share/qemu/firmware", "/usr/local/share/qemu/firmware")
_UNWANTED = {"secure-boot", "enrolled-keys", "requires-smm"}
_BSD = "/usr/local/share/uefi-firmware/BHYVE_UEFI"


def own_firmware(machine: Machine) -> str:
    """The host's firmware, if the description asks for it; creates the VM's own variables.

    Raises:
        VmError: this host has none, or the variables cannot be written (69).
    """
    if machine.bootrom != "uefi":
        return ""
    code, template = find()
    if machine.varfile and not os.path.exists(machine.varfile):
        create_variables(template, machine.varfile)
    return code


def find() -> tuple[str, str]:
    """The firmware's code and the template of its variables.

    Raises:
        VmError: this host has none (69).
    """
    problem = "this host has no UEFI firmware"
    if platform.is_bsd():  # one firmware, and no descriptors
        files = f"{_BSD}_CODE.fd", f"{_BSD}_VARS.fd"
        missing = [path for path in files if not os.path.exists(path)]
        if not missing:
            return files
        problem, hint = f"{problem}: {missing[0]} is missing", "sudo pkg install edk2-bhyve"
    else:
        for descriptor in _descriptors():
            if found := _usable(descriptor):
                return found
        hint = "install it (Debian: sudo apt install ovmf), or name a file: bootrom = PATH"
    raise VmError(Fault(problem=problem, hint=hint), status=os.EX_UNAVAILABLE)


def _descriptors() -> Iterator[dict[str, Any]]:
    config = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    files: dict[str, str] = {}
    for directory in (f"{config}/qemu/firmware", *_DIRECTORIES):
        try:
            names = [name for name in os.listdir(directory) if name.endswith(".json")]
        except OSError:
            continue
        files = {name: f"{directory}/{name}" for name in names} | files
    for name in sorted(files):
        try:
            with open(files[name], "rb") as file:
                yield json.load(file)
        except (OSError, ValueError, RecursionError):
            continue


def _usable(descriptor: dict[str, Any]) -> tuple[str, str] | None:
    """The files of a descriptor that fits a q35 machine without Secure Boot, if they exist."""
    try:
        fits = "uefi" in descriptor["interface-types"] and any(
            target["architecture"] == "x86_64" and any("q35" in m for m in target["machines"])
            for target in descriptor["targets"]
        )
        mapping = descriptor["mapping"]
        parts = (mapping["executable"], mapping["nvram-template"])
        files = (str(parts[0]["filename"]), str(parts[1]["filename"]))
        raw = all(part.get("format", "raw") == "raw" for part in parts)
        usable = fits and raw and not _UNWANTED & set(descriptor["features"])
    except (AttributeError, KeyError, TypeError):
        return None
    return files if usable and all(map(os.path.exists, files)) else None


def create_variables(template: str, path: str) -> None:
    """Creates a VM's own variables from the template; all of them, or nothing.

    Raises:
        VmError: they cannot be written (69).
    """
    temporary = f"{path}.{os.getpid()}.new"
    try:
        with open(template, "rb") as source, open(temporary, "wb") as copy:
            copy.write(source.read())
            copy.flush()
            os.fsync(copy.fileno())
        _publish(temporary, path)
    except OSError as error:
        problem = f"{path}: the firmware's variables cannot be created: {error.strerror}"
        raise VmError(Fault(problem=problem), status=os.EX_UNAVAILABLE) from None
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)


def _publish(temporary: str, path: str) -> None:
    """Gives a whole file its name; what has that name already stays."""
    try:
        os.link(temporary, path)
    except OSError:  # a file system without hard links, such as vfat
        if not os.path.lexists(path):
            os.rename(temporary, path)
