"""What the facts of a host mean for virtual machines: `vm-run --check` without a name."""

from __future__ import annotations

from vm_run.host.check import UNAVAILABLE
from vm_run.host.finding import MISSING, NOTE, OK, Finding
from vm_spec.fault import printable
from vm_spec.frozen import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vm_run.host.facts import Facts, Folder, Program

__all__ = ["judge", "report", "status"]

_LONGEST_NAME = 64  # of a VM, vm.toml(5)
_GIB, _MIB = 1 << 30, 1 << 20
_LOW, _LOW_TMP = _GIB, 64 * _MIB  # a pulled box; logs and sockets
_REMOTE = ("nfs", "nfs4")


def judge(facts: Facts) -> list[Finding]:
    """What a host's facts mean, in the order in which a machine needs them."""
    if facts.bsd:
        from vm_run.host import freebsd_report as doctor_bsd

        return [
            _hypervisor(facts),
            *doctor_bsd.to_run(facts),
            *_common(facts),
            *doctor_bsd.to_have(facts),
        ]
    return [
        _hypervisor(facts),
        _processor(facts),
        *_common(facts),
        _taps(facts),
        _iommu(facts),
        _memlock(facts.memlock),
        _hugepages(facts.hugepages),
    ]


def _common(facts: Facts) -> Iterator[Finding]:
    """What any host has."""
    yield _firmware(facts)
    yield _runtime(facts)
    yield from _confdir(facts)
    yield _qemu_img(facts)
    if not facts.bsd:  # bwrap is made of Linux's namespaces
        yield _bwrap(facts.bwrap)
    yield _tmp(facts.tmp)
    yield _vm_init(facts)


def status(findings: list[Finding]) -> int:
    """The exit status: 0 when a plain guest can run, else 69."""
    return UNAVAILABLE if any(each.verdict == MISSING for each in findings) else 0


def report(findings: list[Finding]) -> Iterator[str]:
    """The lines that a person reads; the last one says what comes next."""
    width = max(len(each.about) for each in findings)
    for each in findings:
        yield f"{each.verdict:<7}  {each.about:<{width}}  {printable(each.said)}"
        if each.hint:
            yield f"{'':<{width + 9}}  hint: {printable(each.hint)}"
    if status(findings):
        yield "no guest can run here yet: what is missing comes first"
    else:
        yield "a guest can run here; next: vm-pull USER/BOX, or vm-list for those that are there"


def _hypervisor(facts: Facts) -> Finding:
    about, found = "bhyve" if facts.bsd else "QEMU", facts.hypervisor
    if found.problem:
        return Finding(verdict=MISSING, about=about, said=found.problem, hint=found.hint)
    return Finding(verdict=OK, about=about, said=f"{found.version} {found.path}".strip())


def _processor(facts: Facts) -> Finding:
    """Whether guests run on the processor itself."""
    slower = "so guests are emulated, which is slower"
    match facts.kvm.problem:
        case "":
            return Finding(verdict=OK, about="KVM", said="works")
        case "missing":
            said = f"there is no /dev/kvm, {slower}"
            hint = "sudo modprobe kvm_intel (AMD: kvm_amd); or switch it on in the firmware"
        case "denied":
            said = f"/dev/kvm is the group {facts.kvm.group}'s and not yours, {slower}"
            hint = _how_to_join(facts)
        case "processor":
            said = f"the processor has neither vmx nor svm, {slower}"
            hint = "switch virtualization on in the firmware, or for a guest: in its host"
        case why:  # QEMU would be told to use it, and fail
            hint = "end the other hypervisor on this host; or in a description: [qemu] accel = tcg"
            return Finding(verdict=MISSING, about="KVM", said=f"/dev/kvm: {why}", hint=hint)
    return Finding(verdict=NOTE, about="KVM", said=said, hint=hint)


def _how_to_join(facts: Facts) -> str:
    if facts.kvm.joined:
        return f"log in again: you have been put into the group {facts.kvm.group}"
    if facts.kvm.group in ("root", "0"):
        opened = "sudo chgrp kvm /dev/kvm && sudo chmod 660 /dev/kvm, as udev does"
        return f"{opened}; sudo usermod -aG kvm {facts.user}; log in again"
    return f"sudo usermod -aG {facts.kvm.group} {facts.user}, then log in again"


def _firmware(facts: Facts) -> Finding:
    if facts.firmware:
        return Finding(verdict=OK, about="UEFI", said=facts.firmware)
    if facts.bsd:
        hint = "sudo pkg install edk2-bhyve"
        return Finding(verdict=MISSING, about="UEFI", said="no firmware", hint=hint)
    hint = "Debian: sudo apt install ovmf"
    return Finding(
        verdict=NOTE, about="UEFI", said="no firmware; guests with a BIOS run", hint=hint
    )


def _runtime(facts: Facts) -> Finding:
    """Where sockets and logs are while a guest runs."""
    about, path = "state", facts.runtime.path
    if facts.runtime.problem:
        hint = "set XDG_RUNTIME_DIR to a folder of your own, or unset it"
        said = f"{path} {facts.runtime.problem}"
        return Finding(verdict=MISSING, about=about, said=said, hint=hint)
    if facts.longest_name < _LONGEST_NAME:
        hint = "set XDG_RUNTIME_DIR to a shorter path"
        room = f"names of up to {facts.longest_name} letters" if facts.longest_name > 0 else "none"
        said = f"{path} is a long path for sockets: room for {room}"
        verdict = NOTE if facts.longest_name > 0 else MISSING
        return Finding(verdict=verdict, about=about, said=said, hint=hint)
    said = path if facts.runtime_given else f"{path}, since XDG_RUNTIME_DIR is not set"
    return Finding(verdict=OK, about=about, said=said)


def _confdir(facts: Facts) -> Iterator[Finding]:
    """Where descriptions and their disks are."""
    about, folder = "folder", facts.confdir
    if folder.problem:
        hint = f"chmod go-w {folder.path}, or set VMCONF_DIR to a folder of your own"
        said = f"{folder.path}: {folder.problem}; no description in it is believed"
        yield Finding(verdict=MISSING, about=about, said=said, hint=hint)
        return
    if not folder.exists:
        made = "vm-pull and new.sh make it" if folder.writable else "and cannot be made by you"
        yield Finding(verdict=NOTE, about=about, said=f"{folder.path} is not there; {made}")
    elif not folder.writable:
        said = f"{folder.path} is not yours to write to: there is no lock that other hosts see"
        yield Finding(verdict=NOTE, about=about, said=said)
    else:
        yield Finding(verdict=OK, about=about, said=f"{folder.path}, {_size(folder.free)} free")
    if folder.kind in _REMOTE:
        said = f"{folder.path} is on NFS: its locks hold across hosts; vm-list shows who has what"
        yield Finding(verdict=NOTE, about=about, said=said)
    if folder.writable and folder.free < _LOW:
        said = f"{folder.path}: only {_size(folder.free)} free, and a pulled box takes a GiB or two"
        yield Finding(verdict=NOTE, about=about, said=said)


def _qemu_img(facts: Facts) -> Finding:
    found = facts.qemu_img
    if found.path and not found.problem:
        return Finding(verdict=OK, about="qemu-img", said=f"{found.version} {found.path}".strip())
    said = f"{found.problem or 'not there'}; vm-pull then takes no box that has to be converted"
    hint = "sudo pkg install qemu-tools" if facts.bsd else "Debian: sudo apt install qemu-utils"
    return Finding(verdict=NOTE, about="qemu-img", said=said, hint=hint)


def _bwrap(found: Program) -> Finding:
    about = "bwrap"
    if found.path and not found.problem:
        return Finding(verdict=OK, about=about, said=f"{found.path}, works")
    without = "vm-pull's qemu-img has limits and no sandbox"
    if found.path:
        said = f"{found.path} does not work here; {without}"
        hint = "sudo sysctl kernel.unprivileged_userns_clone=1, where that exists"
        return Finding(verdict=NOTE, about=about, said=said, hint=hint)
    hint = "Debian: sudo apt install bubblewrap"
    return Finding(verdict=NOTE, about=about, said=f"not there; {without}", hint=hint)


def _tmp(folder: Folder) -> Finding:
    said = f"{folder.path}, {_size(folder.free)} free"
    verdict = NOTE if folder.free < _LOW_TMP or not folder.writable else OK
    return Finding(verdict=verdict, about="room", said=said)


def _vm_init(facts: Facts) -> Finding:
    """Root's part, which a machine with user networking does without."""
    about = "vm-init"
    if not facts.vm_init:
        said = "not there: cards in user mode only, no taps and no PCI devices"
        hint = "an admin: sudo make install"
        return Finding(verdict=NOTE, about=about, said=said, hint=hint)
    if facts.policy_problem:
        said = (
            f"{facts.vm_init}; {facts.policy}: {facts.policy_problem}, so nobody is given anything"
        )
        hint = "man vm-policy.toml"
        return Finding(verdict=NOTE, about=about, said=said, hint=hint)
    said = f"{facts.vm_init}; vm-init NAME --dry-run shows what {facts.policy} gives you"
    return Finding(verdict=OK, about=about, said=said)


def _taps(facts: Facts) -> Finding:
    problem, hint = facts.tun
    if not problem:
        return Finding(verdict=OK, about="taps", said="/dev/net/tun opens")
    said = f"{problem}: cards in user mode and macvtaps only, no taps"
    return Finding(verdict=NOTE, about="taps", said=said, hint=hint)


def _iommu(facts: Facts) -> Finding:
    about = "IOMMU"
    if not facts.iommu_groups:
        said = "off: no PCI device can be given to a guest"
        hint = "switch it on in the firmware, and with intel_iommu=on for Intel"
        return Finding(verdict=NOTE, about=about, said=said, hint=hint)
    if facts.vfio:
        return Finding(verdict=OK, about=about, said=f"{facts.iommu_groups} groups, and VFIO")
    said = f"{facts.iommu_groups} groups; VFIO is not loaded"
    return Finding(verdict=NOTE, about=about, said=said, hint="sudo modprobe vfio-pci")


def _memlock(limit: int) -> Finding:
    about = "memlock"
    if limit < 0:
        return Finding(verdict=OK, about=about, said="no limit")
    said = f"{_size(limit)}; a guest with a PCI device locks its memory and a GiB more"
    rule = "@vmusers - memlock unlimited"
    hint = f"an admin puts '{rule}' into /etc/security/limits.d/vmman.conf; then log in again"
    return Finding(verdict=NOTE, about=about, said=said, hint=hint)


def _hugepages(sizes: tuple[tuple[int, int, int], ...]) -> Finding:
    reserved = [each for each in sizes if each[1]]
    if not reserved:
        said = "none reserved; only hugepages of [qemu] wants them"
        return Finding(verdict=NOTE, about="hugepages", said=said)
    said = ", ".join(f"{free} of {all_} free, {size} KiB each" for size, all_, free in reserved)
    return Finding(verdict=OK, about="hugepages", said=said)


def _size(size: int) -> str:
    """A size as a person says it: 3.4 GiB, 512 MiB, 8 MiB."""
    if size >= _GIB:
        return f"{size / _GIB:.1f} GiB"
    return f"{size // _MIB} MiB"
