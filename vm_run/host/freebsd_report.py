"""What a FreeBSD host has for bhyve: `vm-run --check` without a name."""

from __future__ import annotations

from functools import partial

from vm_run.host import freebsd_probe, report
from vm_run.host.report import MIB, lacking
from vm_spec import library
from vm_spec.frozen import TYPE_CHECKING
from vm_state.platform import which

if TYPE_CHECKING:
    from vm_run.host.freebsd_probe import Bhyve
    from vm_run.host.report import Checks

__all__ = ["checks"]

_ALWAYS = 'at each start: {}_load="YES" in /boot/loader.conf'
_WITHOUT = {
    "nmdm": "no serial port for vm-console",
    "if_tuntap": "no taps",
    "if_bridge": "no bridges",
}


def checks() -> Checks:
    """The checks of this host, in the order in which a machine needs them."""
    found = freebsd_probe.look()
    taps, root = "a tap that bhyve opens for you stays down", "bhyve hands them over for root alone"
    return {
        "bhyve": (report.hypervisor, ""),
        "vmm": (partial(_module, found, "vmm", "sudo kldload vmm"), ""),
        "way": (partial(_way, found), ""),
        "UEFI": (report.uefi, ""),
        "state": (report.state, ""),
        "directory": (report.directory, ""),
        "locks": (report.locks, "other hosts see no lock"),
        "space": (report.space, "a pulled box takes a GiB or two"),
        "tmp": (report.tmp, "logs and sockets may be there"),
        "qemu-img": (report.qemu_img, "vm-pull takes no box that has to be converted"),
        "vm-init": (report.vm_init, "no taps and no PCI devices"),
        "policy": (report.policy, "vm-init grants nothing"),
        "install": (report.self_check, "an admin sees why: vm-init --self-check"),
        **{
            name: (partial(_module, found, name, "vm-init loads it"), without)
            for name, without in _WITHOUT.items()
        },
        "taps": (partial(_taps, found), taps),
        "ppt": (partial(_passthru, found), root),
        "wired": (partial(_wired, found), ""),
        **{package: (partial(_absent, package), f"no {use}") for package, use in found.absent},
    }


def _module(found: Bhyve, name: str, load: str) -> str:
    if name in found.modules:
        return "loaded"
    raise lacking("is not loaded", f"{load}; {_ALWAYS.format(name)}")


def _way(found: Bhyve) -> str:
    """How this user's guests come into the kernel."""
    if found.root:
        return "root makes each VM, and runs it"
    if found.monitor and found.control == "mine":
        return "bhyve -M makes each VM: /dev/vmmctl is yours to open"
    why, hint = _not_alone(found)
    if which("vm-init") or which("/usr/local/bin/vm-init"):
        return f"vm-init makes each VM, and hands it over; {why}"
    what = f"{why}, and there is no vm-init to make a VM for you"
    raise lacking(what, hint or "an admin: make install")


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


def _taps(found: Bhyve) -> str:
    if found.up == 0 and not (found.root or found.monitor):
        hint = "sudo sysctl net.link.tap.up_on_open=1; for good: /etc/sysctl.conf"
        raise lacking("net.link.tap.up_on_open is 0", hint)
    return ""


def _passthru(found: Bhyve) -> str:
    if found.ppt is None:
        raise lacking("pciconf -l does not list devices")
    if not found.ppt:
        hint = 'pptdevs="1/0/0" in /boot/loader.conf, or vm-init'
        raise lacking("no PCI device is kept for guests", hint)
    if not found.root:
        raise lacking(", ".join(found.ppt))
    return ", ".join(found.ppt)


def _wired(found: Bhyve) -> str:
    limit, used = found.wired
    if limit < 0:
        return "no limit"
    free = max(0, limit - used) // MIB
    return f"{free} MiB of {limit // MIB} MiB can be wired (vm.max_user_wired)"


def _absent(package: str) -> str:
    raise lacking("is missing", f"sudo pkg install {package}")
