"""A machine: one bootable thing; and a description: a base machine with its targets."""

from __future__ import annotations

from vm_spec.board import (
    Accelerator,
    Arguments,
    Bhyve,
    Blanks,
    CloudInit,
    Com,
    FirmwarePath,
    Gdb,
    HostBridge,
    HypervisorName,
    LoaderName,
    Outcome,
    Qemu,
    Tpm,
    TpmInterface,
    TpmType,
    Uuid,
)
from vm_spec.devices import Emulation, Graphic
from vm_spec.frozen import TYPE_CHECKING, Value
from vm_spec.types import Cpu, FilePath, Label, Size, VmName

if TYPE_CHECKING:
    from vm_spec.types import PciSlot

__all__ = [
    "Accelerator",
    "Arguments",
    "BASE_ONLY",
    "Bhyve",
    "Blanks",
    "CloudInit",
    "Com",
    "Description",
    "FirmwarePath",
    "Gdb",
    "HostBridge",
    "HypervisorName",
    "LoaderName",
    "Machine",
    "Outcome",
    "Qemu",
    "TABLES",
    "Target",
    "Tpm",
    "TpmInterface",
    "TpmType",
    "Uuid",
]


class Machine(Value):
    """One bootable thing: everything that a hypervisor is told.

    Attributes:
        name: what the hypervisor calls it.
        hypervisor: qemu or bhyve; by the operating system when left out.
        cpu: a number, or sockets, cores and threads.
        mem: how much memory.
        bootrom: firmware: a path, or "uefi": the host's, with variables of this VM's own.
        varfile: the firmware's variables; NAME.vars.fd beside the description when left out.
        kernel: a Linux kernel to boot directly; QEMU only.
        initrd: its initial RAM disk.
        cmdline: its command line.
        hostbridge: which host bridge bhyve shows.
        lpc_slot: where bhyve's ISA bridge sits, on bus 0.
        com1: the host's end of the first serial port.
        com2: of the second.
        com3: of the third.
        com4: of the fourth.
        gdb: where a debugger connects.
        uuid: the machine's UUID.
        graphic: a screen, seen through VNC.
        cloud_init: what cloud-init in the guest is given.
        tpm: a Trusted Platform Module.
        emulations: the devices, in order.
        utc_clock: the clock shows UTC, else local time.
        yield_on_hlt: an idle guest gives its processor back; bhyve only.
        generate_acpi: ACPI tables are made.
        wire_guest_mem: the guest's memory is locked into the host's.
        force_msi: virtio devices use MSI instead of MSI-X; bhyve only.
        disable_mptable_gen: no MultiProcessor table is made; bhyve only.
        power_off_destroy_vm: bhyve destroys the VM when its guest powers off.
        extra_options: further bhyve arguments, split at blanks.
        post_start_script: a command run once the hypervisor has started, split at blanks.
        reboot_on: the outcomes after which the guest is started again.
        reboot_limit: how many starts within a minute are one too many; 0: no limit.
        stop_timeout: seconds a guest has to power off when asked, before it is forced.
        next_target: what boots after this one ends in a reboot.
        autostart: `vm-run --autostart` starts it, and so the host's start where that is set up.
        autostart_order: lower numbers start first and stop last.
        qemu: what only QEMU has.
        bhyve: what only bhyve has.
    """

    name: VmName
    hypervisor: HypervisorName | None = None
    cpu: Cpu = Cpu()
    mem: Size = Size(bytes=256 << 20)
    bootrom: FirmwarePath | None = None
    varfile: FilePath | None = None
    kernel: FilePath | None = None
    initrd: FilePath | None = None
    cmdline: str = ""
    hostbridge: HostBridge = HostBridge("hostbridge")
    lpc_slot: PciSlot | None = None
    com1: Com | None = None
    com2: Com | None = None
    com3: Com | None = None
    com4: Com | None = None
    gdb: Gdb | None = None
    uuid: Uuid | None = None
    graphic: Graphic | None = None
    cloud_init: CloudInit | None = None
    tpm: Tpm | None = None
    emulations: tuple[Emulation, ...] = ()
    utc_clock: bool = True
    yield_on_hlt: bool = True
    generate_acpi: bool = True
    wire_guest_mem: bool = False
    force_msi: bool = False
    disable_mptable_gen: bool = False
    power_off_destroy_vm: bool = False
    extra_options: Blanks = ()
    post_start_script: Blanks = ()
    reboot_on: tuple[Outcome, ...] = (Outcome("reboot"),)
    reboot_limit: int = 5
    stop_timeout: int = 60
    next_target: Label | None = None
    autostart: bool = False
    autostart_order: int = 0
    qemu: Qemu = Qemu()
    bhyve: Bhyve = Bhyve()

    @property
    def coms(self) -> tuple[tuple[int, Com], ...]:
        """The serial ports that are used: number from 1, host's end."""
        ports = enumerate((self.com1, self.com2, self.com3, self.com4), 1)
        return tuple((number, com) for number, com in ports if com)


BASE_ONLY = ("name", "autostart", "autostart_order")
"""Fields that belong to the whole machine: a target has none of them."""
TABLES = ("qemu", "bhyve", "graphic", "cloud_init", "tpm")
"""Fields of which a target gives only the keys that are different."""


class Target(Value):
    """What is different when this target is selected.

    Attributes:
        name: what it is selected by.
        changes: fields of the machine with what replaces them.
        emulations: devices that are added; one with the label of a base's device replaces it.
        remove: labels of the base's devices that are taken away.
    """

    name: Label
    changes: tuple[tuple[str, object], ...] = ()
    emulations: tuple[Emulation, ...] = ()
    remove: tuple[Label, ...] = ()


class Description(Value):
    """A base machine and its targets.

    Attributes:
        machine: the base; what the target "default" is unless there is one of that name.
        targets: in order of the file.
        file: the description's file as the user named it; empty for none.
        folder: where its relative paths start; empty for the current folder.
        user: whose it is; part of generated Ethernet addresses.
        notes: what a reader should know: deprecated sections, for instance.
    """

    machine: Machine
    targets: tuple[Target, ...] = ()
    file: str = ""
    folder: str = ""
    user: str = ""
    notes: tuple[str, ...] = ()

    @property
    def name(self) -> VmName:
        """The machine's name."""
        return self.machine.name
