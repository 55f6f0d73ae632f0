"""What a host is like for whoever asks, as far as virtual machines are concerned."""

from __future__ import annotations

from vm_spec.frozen import Value

__all__ = ["Bhyve", "Facts", "Folder", "Kvm", "Program"]


class Program(Value):
    """A program of this host.

    Attributes:
        path: where it is; empty when it is not there.
        version: of which version it is; empty when it does not tell.
        problem: why it cannot be used; empty when it can.
        hint: the next step then.
    """

    path: str = ""
    version: str = ""
    problem: str = ""
    hint: str = ""


class Kvm(Value):
    """Whether QEMU can use KVM.

    Attributes:
        problem: empty when it can; missing, denied, processor, or what the kernel answers.
        group: whose /dev/kvm is.
        joined: whether this user is in that group by now, though not since the last login.
    """

    problem: str = ""
    group: str = ""
    joined: bool = False


class Bhyve(Value):
    """What a FreeBSD host has for bhyve.

    Attributes:
        modules: those of vmm, nmdm, if_tuntap, if_bridge that the kernel has.
        root: whether it is root who asks.
        monitor: whether bhyve has -M.
        control: whose /dev/vmmctl is: mine, root, a group's name, or empty where it is not.
        joined: whether this user is in that group by now, though not since the last login.
        ppt: PCI devices that are bound to ppt(4), by address; None when nobody could tell.
        wired: (bytes that programs may wire, or -1; bytes that they have wired).
        up: what net.link.tap.up_on_open is; None where there is none.
        absent: packages whose files are not there, each with what it is for.
    """

    modules: tuple[str, ...] = ("vmm", "nmdm", "if_tuntap", "if_bridge")
    root: bool = False
    monitor: bool = False
    control: str = ""
    joined: bool = False
    ppt: tuple[str, ...] | None = ()
    wired: tuple[int, int] = (-1, 0)
    up: int | None = 1
    absent: tuple[tuple[str, str], ...] = ()


class Folder(Value):
    """A folder of this user's.

    Attributes:
        path: where it is.
        exists: whether it is there.
        writable: whether it, or where it would be made, can be written to.
        problem: why it cannot be used; empty when it can.
        kind: of file system, as the kernel calls it; empty when unknown.
        free: bytes that this user may still write there.
    """

    path: str
    exists: bool = True
    writable: bool = True
    problem: str = ""
    kind: str = ""
    free: int = 0


class Facts(Value):
    """What a host is like for whoever asks.

    Attributes:
        bsd: whether it is FreeBSD.
        user: who asks, by name.
        hypervisor: QEMU, or bhyve on FreeBSD.
        kvm: whether QEMU can use KVM.
        bhyve: what FreeBSD has for bhyve.
        tun: (why /dev/net/tun, and so any tap, does not open, the next step); empty when it does.
        firmware: the UEFI firmware's file; empty without one.
        qemu_img: what vm-pull converts and looks into images with.
        bwrap: what vm-pull locks it up in.
        vm_init: root's helper.
        policy: the file that says who is given what.
        policy_problem: why it cannot be read; empty when it can.
        iommu_groups: how many there are; 0 where the IOMMU is off.
        vfio: whether /dev/vfio/vfio is there.
        hugepages: (size in KiB, how many, how many of them are free).
        memlock: bytes that this user may lock; -1 for any number.
        runtime: where the state of what runs is kept.
        runtime_given: whether XDG_RUNTIME_DIR says so.
        longest_name: of a VM, in bytes, for whose sockets there is room.
        confdir: where descriptions are.
        tmp: /tmp.
    """

    bsd: bool = False
    user: str
    hypervisor: Program
    kvm: Kvm = Kvm()
    bhyve: Bhyve = Bhyve()
    tun: tuple[str, str] = ("", "")
    firmware: str = ""
    qemu_img: Program = Program()
    bwrap: Program = Program()
    vm_init: str = ""
    policy: str = "/etc/vmman/policy.toml"
    policy_problem: str = ""
    iommu_groups: int = 0
    vfio: bool = False
    hugepages: tuple[tuple[int, int, int], ...] = ()
    memlock: int = -1
    runtime: Folder
    runtime_given: bool = True
    longest_name: int = 64
    confdir: Folder
    tmp: Folder
