"""What a FreeBSD host has for bhyve: `vm-run --check` without a name."""

from __future__ import annotations

from functools import partial

from vm_run.host import freebsd_probe, report
from vm_run.host.report import MIB, MISSING, NOTE, OK
from vm_spec import library
from vm_spec.frozen import TYPE_CHECKING
from vm_state.platform import which

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vm_run.host.freebsd_probe import Bhyve
    from vm_run.host.report import Checks, Result

__all__ = ["checks"]

_ALWAYS = 'at each start: {}_load="YES" in /boot/loader.conf'
_WITHOUT = {  # what is missing while a module is not loaded
    "nmdm": "no serial port for vm-console",
    "if_tuntap": "no taps",
    "if_bridge": "no bridges",
}


def checks() -> Checks:
    """The checks of this host, in the order in which a machine needs them."""
    found = freebsd_probe.look()
    return {
        "bhyve": report.hypervisor,
        "vmm": partial(_vmm, found),
        "way": partial(_way, found),
        "UEFI": report.uefi,
        "state": report.state,
        "directory": report.directory,
        "qemu-img": report.qemu_img,
        "tmp": report.tmp,
        "vm-init": report.vm_init,
        **{name: partial(_module, found, name) for name in _WITHOUT},
        "taps": partial(_taps, found),
        "ppt": partial(_passthru, found),
        "wired": partial(_wired, found),
        **{package: partial(_absent, package, use) for package, use in found.absent},
    }


def _vmm(found: Bhyve) -> Iterator[Result]:
    if "vmm" in found.modules:
        yield OK, "loaded", ""
    else:
        yield MISSING, "is not loaded", f"sudo kldload vmm; {_ALWAYS.format('vmm')}"


def _way(found: Bhyve) -> Iterator[Result]:
    """How this user's guests come into the kernel."""
    if found.root:
        yield OK, "root makes each VM, and runs it", ""
        return
    if found.monitor and found.control == "mine":
        yield OK, "bhyve -M makes each VM: /dev/vmmctl is yours to open", ""
        return
    why, hint = _not_alone(found)
    if which("vm-init") or which("/usr/local/bin/vm-init"):
        yield OK, f"vm-init makes each VM, and hands it over; {why}", hint
    else:
        what = f"{why}, and there is no vm-init to make a VM for you"
        yield MISSING, what, hint or "an admin: make install"


def _not_alone(found: Bhyve) -> tuple[str, str]:
    """Why bhyve cannot make a VM for this user, and what would change that."""
    if not found.monitor:
        return "this bhyve has no monitor mode (-M)", ""
    if not found.control:
        return "there is no /dev/vmmctl", ""
    if found.control == "root":
        return "/dev/vmmctl is root's alone", ""
    user = library.context("").user
    hint = f"sudo pw groupmod {found.control} -m {user}, then log in again"
    if found.joined:
        hint = f"log in again: you are in the group {found.control} by now"
    return f"/dev/vmmctl is the group {found.control}'s and not yours", hint


def _module(found: Bhyve, name: str) -> Iterator[Result]:
    if name in found.modules:
        yield OK, "loaded", ""
    else:
        hint = f"vm-init loads it; {_ALWAYS.format(name)}"
        yield NOTE, f"is not loaded: {_WITHOUT[name]}", hint


def _taps(found: Bhyve) -> Iterator[Result]:
    if found.up == 0 and not (found.root or found.monitor):
        what = "net.link.tap.up_on_open is 0: a tap that bhyve opens for you stays down"
        yield NOTE, what, "sudo sysctl net.link.tap.up_on_open=1; for good: /etc/sysctl.conf"


def _passthru(found: Bhyve) -> Iterator[Result]:
    if found.ppt is None:
        yield NOTE, "pciconf -l does not list devices", ""
    elif not found.ppt:
        hint = 'pptdevs="1/0/0" in /boot/loader.conf, or vm-init; only root can use it'
        yield NOTE, "no PCI device is kept for guests", hint
    else:
        what = f"{', '.join(found.ppt)}; bhyve hands PCI devices over for root alone"
        yield OK if found.root else NOTE, what, ""


def _wired(found: Bhyve) -> Iterator[Result]:
    limit, used = found.wired
    if limit < 0:
        yield OK, "no limit", ""
    else:
        what = f"{max(0, limit - used) // MIB} MiB of {limit // MIB} MiB can be wired"
        yield OK, f"{what} (vm.max_user_wired)", ""


def _absent(package: str, use: str) -> Iterator[Result]:
    yield NOTE, f"is missing: {use} needs it", f"sudo pkg install {package}"
