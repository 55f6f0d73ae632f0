"""What the facts of a FreeBSD host mean for bhyve: `vm-run --check` without a name."""

from __future__ import annotations

from vm_run.host.finding import MISSING, NOTE, OK, Finding
from vm_spec.frozen import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vm_run.host.facts import Bhyve, Facts

__all__ = ["to_have", "to_run"]

_MIB = 1 << 20
_ALWAYS = 'at each start: {}_load="YES" in /boot/loader.conf'
_WITHOUT = {  # what there is not while a module is not loaded
    "nmdm": "no serial port for vm-console",
    "if_tuntap": "no taps",
    "if_bridge": "no bridges",
}


def to_run(facts: Facts) -> Iterator[Finding]:
    """What there must be for any guest to run: the kernel's part, and a way to it."""
    if "vmm" in facts.bhyve.modules:
        yield Finding(verdict=OK, about="vmm", said="loaded")
    else:
        hint = f"sudo kldload vmm; {_ALWAYS.format('vmm')}"
        yield Finding(verdict=MISSING, about="vmm", said="is not loaded", hint=hint)
    yield _way(facts)


def _way(facts: Facts) -> Finding:
    """How this user's guests come into the kernel."""
    about, found = "way", facts.bhyve
    if found.root:
        return Finding(verdict=OK, about=about, said="root makes each VM, and runs it")
    if found.monitor and found.control == "mine":
        said = "bhyve -M makes each VM: /dev/vmmctl is yours to open"
        return Finding(verdict=OK, about=about, said=said)
    handed = "vm-init makes each VM, and hands it over"
    why, hint = _not_alone(facts)
    if facts.vm_init:
        return Finding(verdict=OK, about=about, said=f"{handed}; {why}", hint=hint)
    said = f"{why}, and there is no vm-init to make a VM for you"
    return Finding(verdict=MISSING, about=about, said=said, hint=hint or "an admin: make install")


def _not_alone(facts: Facts) -> tuple[str, str]:
    """Why bhyve cannot make a VM for this user, and what would change that."""
    found = facts.bhyve
    if not found.monitor:
        return "this bhyve has no monitor mode (-M)", ""
    if not found.control:
        return "there is no /dev/vmmctl", ""
    if found.control == "root":
        return "/dev/vmmctl is root's alone", ""
    hint = f"sudo pw groupmod {found.control} -m {facts.user}, then log in again"
    if found.joined:
        hint = f"log in again: you have been put into the group {found.control}"
    return f"/dev/vmmctl is the group {found.control}'s and not yours", hint


def to_have(facts: Facts) -> Iterator[Finding]:
    """What some guests need."""
    found = facts.bhyve
    yield from _modules(found)
    yield from _taps(found)
    yield _passthru(found)
    yield _wired(found)
    for package, why in found.absent:
        said = f"is not there: {why}"
        hint = f"sudo pkg install {package}"
        yield Finding(verdict=NOTE, about=package, said=f"{said} needs it", hint=hint)


def _modules(found: Bhyve) -> Iterator[Finding]:
    for name, without in _WITHOUT.items():
        if name in found.modules:
            yield Finding(verdict=OK, about=name, said="loaded")
        else:
            hint = f"vm-init loads it; {_ALWAYS.format(name)}"
            said = f"is not loaded: {without}"
            yield Finding(verdict=NOTE, about=name, said=said, hint=hint)


def _taps(found: Bhyve) -> Iterator[Finding]:
    if found.up == 0 and not (found.root or found.monitor):
        said = "net.link.tap.up_on_open is 0: a tap that bhyve opens for you stays down"
        hint = "sudo sysctl net.link.tap.up_on_open=1; for good: /etc/sysctl.conf"
        yield Finding(verdict=NOTE, about="taps", said=said, hint=hint)


def _passthru(found: Bhyve) -> Finding:
    about = "ppt"
    if found.ppt is None:
        return Finding(verdict=NOTE, about=about, said="pciconf -l does not tell")
    if not found.ppt:
        hint = 'pptdevs="1/0/0" in /boot/loader.conf, or vm-init; it is root who can use it'
        return Finding(
            verdict=NOTE, about=about, said="no PCI device is kept for guests", hint=hint
        )
    said = f"{', '.join(found.ppt)}; bhyve hands PCI devices over for root alone"
    return Finding(verdict=OK if found.root else NOTE, about=about, said=said)


def _wired(found: Bhyve) -> Finding:
    limit, used = found.wired
    about = "wired"
    if limit < 0:
        return Finding(verdict=OK, about=about, said="no limit")
    said = f"{max(0, limit - used) // _MIB} MiB of {limit // _MIB} MiB can be wired"
    return Finding(verdict=OK, about=about, said=f"{said} (vm.max_user_wired)")
