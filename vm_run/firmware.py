"""The host's own UEFI firmware, found through its descriptors, and each VM's variables.

Source: docs/interop/firmware.json of QEMU: descriptors in these folders, a file in an earlier
folder masks one of the same name in a later one, and they are tried in order of file name.
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

__all__ = ["find", "make_variables", "own_firmware"]

_FOLDERS = ("/etc/qemu/firmware", "/usr/share/qemu/firmware", "/usr/local/share/qemu/firmware")
_UNWANTED = {"secure-boot", "enrolled-keys", "requires-smm"}
_BSD = "/usr/local/share/uefi-firmware/BHYVE_UEFI"


def own_firmware(machine: Machine) -> str:
    """The host's firmware, if it is asked for; the VM's own variables are made when missing.

    Raises:
        VmError: this host has none, or the variables cannot be written (69).
    """
    if machine.bootrom != "uefi":
        return ""
    code, template = find()
    if machine.varfile and not os.path.exists(machine.varfile):
        make_variables(template, machine.varfile)
    return code


def find() -> tuple[str, str]:
    """The firmware's code and the template of its variables.

    Raises:
        VmError: this host has none (69).
    """
    if platform.is_bsd():
        return _of_bhyve()
    for descriptor in _descriptors():
        found = _usable(descriptor)
        if found:
            return found
    hint = "install it (Debian: sudo apt install ovmf), or name a file: bootrom = PATH"
    raise VmError(Fault(problem="this host has no UEFI firmware", hint=hint), status=69)


def _of_bhyve() -> tuple[str, str]:
    """FreeBSD has one firmware, and no descriptors."""
    files = f"{_BSD}_CODE.fd", f"{_BSD}_VARS.fd"
    lacking = next((path for path in files if not os.path.exists(path)), "")
    if lacking:
        problem = f"this host has no UEFI firmware: {lacking} is missing"
        raise VmError(Fault(problem=problem, hint="sudo pkg install edk2-bhyve"), status=69)
    return files


def _descriptors() -> Iterator[dict[str, Any]]:
    config = os.environ.get("XDG_CONFIG_HOME") or os.path.expanduser("~/.config")
    files: dict[str, str] = {}
    for folder in (f"{config}/qemu/firmware", *_FOLDERS):
        try:
            names = os.listdir(folder)
        except OSError:
            continue
        for name in names:
            if name.endswith(".json"):
                files.setdefault(name, f"{folder}/{name}")
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
        wanted = fits and raw and not _UNWANTED & set(descriptor["features"])
        if wanted and all(map(os.path.exists, files)):
            return files
    except (AttributeError, KeyError, TypeError):
        pass
    return None


def make_variables(template: str, path: str) -> None:
    """Makes a VM's own variables from the template; all of them, or nothing.

    Raises:
        VmError: they cannot be written (69).
    """
    temporary = f"{path}.{os.getpid()}.new"
    try:
        with open(template, "rb") as source, open(temporary, "wb") as made:
            made.write(source.read())
            made.flush()
            os.fsync(made.fileno())
        _publish(temporary, path)
    except FileExistsError:
        pass
    except OSError as error:
        problem = f"{path}: the firmware's variables cannot be made: {error.strerror}"
        raise VmError(Fault(problem=problem), status=69) from None
    finally:
        if os.path.exists(temporary):
            os.unlink(temporary)


def _publish(temporary: str, path: str) -> None:
    """Gives a whole file its name, and never takes that from another."""
    try:
        os.link(temporary, path)
    except FileExistsError:
        raise
    except OSError:  # a file system without hard links, such as vfat
        if not os.path.lexists(path):
            os.rename(temporary, path)
