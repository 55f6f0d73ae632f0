"""What hangs on bhyve's ISA bridge: the firmware, the serial ports, the TPM.

Untested on FreeBSD. Source: bhyve(8), -l; bhyve_config(5), LPC and TPM settings.
"""

from __future__ import annotations

from vm_run.bhyve.settings import Setting, as_options, escaped
from vm_run.resources import null_modem
from vm_spec.fault import Fault
from vm_spec.frozen import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vm_run.resources import Resources
    from vm_spec.machine import Com, Machine

__all__ = ["FIRMWARE", "isa", "lacking"]

FIRMWARE = "/usr/local/share/uefi-firmware/"  # package edk2-bhyve


def isa(machine: Machine, resources: Resources) -> Iterator[Setting]:
    """The settings; a value that `-l` would split or take for an option goes out by its keys."""
    if not machine.bhyve.loader or machine.bootrom:
        yield _firmware(machine)
    for number, com in machine.coms:
        path = escaped(_end(machine, number, com, resources))
        yield _told(f"com{number}", (path,), ((f"lpc.com{number}.path", path),), f"com{number}")
    if machine.tpm:
        kind, path = machine.tpm.type, escaped(_tpm(machine, resources))
        # by -o bhyve would crash without a version, by -l it is 2.0
        keys = (("tpm.type", kind), ("tpm.path", path), ("tpm.version", "2.0"))
        yield _told("tpm", (kind, path), keys, "tpm")


def lacking(machine: Machine) -> Iterator[Fault]:
    """What bhyve has not there."""
    bhyve = machine.bhyve
    if bhyve.loader and machine.bootrom:
        problem = f"{bhyve.loader} and a bootrom cannot both start the guest"
        hint = "take away bhyve.loader, or bootrom"
        yield Fault(problem=problem, hint=hint, path=("bhyve", "loader"))
    for key, needs in LOADERS.items():
        if getattr(bhyve, key) and bhyve.loader not in needs:
            problem = f"is for {' and '.join(needs)}, and loader is {bhyve.loader or 'left out'}"
            hint = f'loader = "{needs[-1]}", or take it away'
            yield Fault(problem=problem, hint=hint, path=("bhyve", key))
    if machine.tpm and machine.tpm.interface != "crb":
        problem = f"bhyve's TPM has no interface {machine.tpm.interface}"
        yield Fault(problem=problem, hint='interface = "crb"', path=("tpm", "interface"))


LOADERS = {
    "loader_disk": ("bhyveload", "grub-bhyve"),
    "loader_args": ("bhyveload", "grub-bhyve"),
    "grub_root": ("grub-bhyve",),
    "grub_commands": ("grub-bhyve",),
}


def _firmware(machine: Machine) -> Setting:
    """The firmware and its variables: `bootrom` from 15 on, `lpc.bootrom` before.

    15 warns of the latter only when it is alone.
    """
    rom, variables = machine.bootrom or f"{FIRMWARE}BHYVE_UEFI.fd", machine.varfile or ""
    if rom == "uefi":
        rom = f"{FIRMWARE}BHYVE_UEFI_CODE.fd"
        variables = variables or f"./{machine.name}.vars.fd"
    files = {"bootrom": escaped(rom)} | ({"bootvars": escaped(variables)} if variables else {})
    keys = tuple((old + key, path) for old in ("", "lpc.") for key, path in files.items())
    if "=" in variables:  # -l would take it for an option, and the variables would be lost
        return Setting(keys=keys, words=as_options(keys), of="bootrom")
    return _told("bootrom", tuple(files.values()), keys, "bootrom")


def _told(
    device: str, values: tuple[str, ...], keys: tuple[tuple[str, str], ...], of: str
) -> Setting:
    """A `-l`, or the same by keys where a comma forbids it."""
    splits = any("," in value for value in values)
    words = as_options(keys) if splits else ("-l", ",".join((device, *values)))
    return Setting(keys=keys, words=words, of=of)


def _end(machine: Machine, number: int, com: Com, resources: Resources) -> str:
    """The host's end: bhyve has no sockets there, so a pair of nmdm(4), of which A is bhyve's."""
    if com in ("socket", "nmdm") or (com == "stdio" and not resources.attached):
        return null_modem(machine.name, number, "A")
    return com


def _tpm(machine: Machine, resources: Resources) -> str:
    """The host's end of the TPM; swtpm's socket is made before bhyve starts."""
    if machine.tpm and machine.tpm.type == "passthru":
        return machine.tpm.path or "/dev/tpm0"
    return f"{resources.directory(machine.name)}/swtpm.sock"
