"""What cloud-init reads at a guest's first boot: a small disk of the description's files.

It is made before each start, so that a change of a file arrives at the next one.
Source: cloud-init's documentation, Datasources, NoCloud.
"""

from __future__ import annotations

import os
import stat

from vm_run.host.requirements import MOST_SEED
from vm_spec.devices import VirtioBlk
from vm_spec.fault import Fault, VmError
from vm_spec.frozen import TYPE_CHECKING
from vm_spec.types import FilePath, Label

if TYPE_CHECKING:
    from vm_spec.machine import CloudInit, Machine

__all__ = ["disk", "files", "make"]

VOLUME = "cidata"  # in small letters, for which every version of cloud-init looks
NAME = "cloud-init.iso"
# What user-data may begin with: cloud-init's documentation, User-data formats; cloudbase-init's.
_BEGINNINGS = (
    b"#cloud-config", b"#!", b"#include", b"#cloud-boothook", b"#part-handler", b"#upstart-job",
    b"## template: jinja", b"\x1f\x8b", b"#ps1", b"rem cmd",
)  # fmt: skip


def disk(machine: Machine, folder: str) -> VirtioBlk:
    """The disk as the guest has it: virtio, since kernels for clouds have drivers for little else.

    Args:
        machine: whose it is.
        folder: the state folder of its run.
    """
    return VirtioBlk(label=Label("cloud-init"), path=FilePath(f"{folder}/{NAME}"), ro=True)


def make(machine: Machine, folder: str) -> str:
    """Writes the image into the state folder; what the user should know of it, empty for nothing.

    Raises:
        VmError: a file cannot be read or is too large (69), or the image not be written (74).
    """
    from vm_run.iso9660 import image

    given = machine.cloud_init
    if given is None:
        return ""
    found = files(machine)
    path = f"{folder}/{NAME}"
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with open(os.open(path, flags, 0o600), "wb") as file:  # it may hold passwords
            file.write(image(VOLUME, found))
    except OSError as error:
        raise VmError(Fault(problem=f"{path}: {error.strerror}"), status=74) from None
    return "" if _is_understood(found["user-data"]) else _strange(given)


def files(machine: Machine) -> dict[str, bytes]:
    """The files of the disk, by name; cloud-init takes none for it that lacks the first two.

    Raises:
        VmError: a file cannot be read or is too large (69).
    """
    given = machine.cloud_init
    assert given  # noqa: S101  for the type checker: who calls has looked
    found = {"user-data": _read(given.user_data), "meta-data": _read(given.meta_data)}
    if given.network_config:
        found["network-config"] = _read(given.network_config)
    if given.meta_data is None:
        found["meta-data"] = _meta_data(machine, given, found)
    return found


def _meta_data(machine: Machine, given: CloudInit, found: dict[str, bytes]) -> bytes:
    """Which instance it is, and its name; in quotes, since a name such as 1e3 is a number in YAML.

    cloud-init does its work once for each instance: what it is given makes another one of it.
    """
    from hashlib import sha256  # only here: it costs 4 ms

    digest = sha256(repr(found).encode()).hexdigest()[:16]
    instance = given.instance_id or f"{machine.name}-{digest}"
    return f'instance-id: "{instance}"\nlocal-hostname: "{machine.name}"\n'.encode()


def _read(path: str | None) -> bytes:
    if path is None:
        return b""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(fd, "rb") as file:
            kind, content = os.fstat(fd).st_mode, file.read(MOST_SEED + 1)
    except OSError as error:
        raise _unreadable(f"{path}: {error.strerror}") from None
    if not stat.S_ISREG(kind) or len(content) > MOST_SEED:
        raise _unreadable(f"{path}: is no regular file of at most {MOST_SEED >> 10} KiB")
    return content


def _unreadable(problem: str) -> VmError:
    return VmError(Fault(device="cloud-init", problem=problem), status=69)


def _is_understood(user_data: bytes) -> bool:
    start = user_data.lstrip()[:4096].lower()
    return not start or start.startswith(_BEGINNINGS) or b"mime-version:" in start


def _strange(given: CloudInit) -> str:
    return (
        f"{given.user_data}: cloud-init will ignore it: it begins with nothing that says what it "
        "is, such as #cloud-config or #!/bin/sh"
    )
