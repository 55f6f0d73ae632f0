"""A machine: one bootable thing; and a description: a base machine with its targets."""

from __future__ import annotations

from vm_spec.devices import Emulation, Graphic, Properties
from vm_spec.value import TYPE_CHECKING, Value
from vm_spec.words import Cpu, FilePath, Label, Size, VmName, Word

if TYPE_CHECKING:
    from vm_spec.words import PciSlot

__all__ = [
    "BASE_ONLY",
    "Bhyve",
    "CloudInit",
    "Com",
    "Description",
    "Machine",
    "Outcome",
    "Qemu",
    "TABLES",
    "Target",
]


class Com(Word):
    """The host's end of a serial port."""

    __slots__ = ()
    pattern = r"stdio|socket|nmdm|/[^\0\ud800-\udfff]{1,4094}"
    rule = '"stdio", "socket", "nmdm" or a device\'s absolute path'


class HypervisorName(Word):
    """Which program runs the machine."""

    __slots__ = ()
    pattern = "qemu|bhyve"
    rule = "qemu or bhyve"


class HostBridge(Word):
    """The PCI host bridge that bhyve(8) shows."""

    __slots__ = ()
    pattern = "hostbridge|amd_hostbridge"
    rule = "hostbridge or amd_hostbridge"


class Uuid(Word):
    """A machine's UUID (SMBIOS type 1)."""

    __slots__ = ()
    pattern = r"[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}"
    rule = "a UUID such as 0f3dbd4a-3a5e-11ee-be56-0242ac120002"


class Gdb(Word):
    """Where a debugger connects, as bhyve(8) -G has it."""

    __slots__ = ()
    pattern = r"w?(?:[A-Za-z0-9.\-]+:)?[0-9]{1,5}"
    rule = "[w][address:]port: w waits for the debugger"


class Outcome(Word):
    """How a run of a guest ended; bhyve(8)'s exit statuses 0 to 5 are the first six."""

    __slots__ = ()
    pattern = "reboot|poweroff|halt|triple-fault|error|suspend|killed"
    rule = "one of reboot, poweroff, halt, triple-fault, error, suspend, or their numbers 0 to 5"
    NUMBERED = ("reboot", "poweroff", "halt", "triple-fault", "error", "suspend")

    def __new__(cls, text: object) -> Outcome:
        """The word; a number from 0 to 5 and `crash` are read as well."""
        word = str(text)
        if word.isascii() and word.isdigit() and int(word) < len(cls.NUMBERED):
            word = cls.NUMBERED[int(word)]
        return super().__new__(cls, "triple-fault" if word == "crash" else word)


class Accelerator(Word):
    """How QEMU runs the guest's instructions."""

    __slots__ = ()
    pattern = "kvm|tcg"
    rule = "kvm or tcg"


class Qemu(Value):
    """What only QEMU has: the `[qemu]` table.

    Attributes:
        machine: machine type and its properties, as qemu(1) -machine takes them.
        cpu: processor model and its properties, as -cpu takes them.
        accel: kvm or tcg; found out when left out.
        hide_hypervisor: the guest is not told that it is one (kvm=off, hypervisor=off).
        hugepages: a folder of type hugetlbfs that the guest's memory is taken from.
        smbios: each as -smbios takes it.
        vga: as -vga takes it.
        display: as -display takes it.
        serial: each as -serial takes it.
        sandbox: whether QEMU gives up system calls that it does not need (-sandbox).
        smp: as -smp takes it, instead of `cpu`.
        args: further arguments, put last.
    """

    machine: str = ""
    cpu: str = ""
    accel: Accelerator | None = None
    hide_hypervisor: bool = False
    hugepages: FilePath | None = None
    smbios: tuple[str, ...] = ()
    vga: str = ""
    display: str = ""
    serial: tuple[str, ...] = ()
    sandbox: bool = True
    smp: str = ""
    args: Arguments = ()


class Bhyve(Value):
    """What only bhyve has: the `[bhyve]` table.

    Attributes:
        args: further arguments, put before the name.
        config: further keys of bhyve_config(5), in its flat form.
    """

    args: Arguments = ()
    config: Properties = ()


Arguments = tuple[str, ...]


class CloudInit(Value):
    """What cloud-init in the guest is given, on a disk of its own: the `[cloud-init]` table.

    Attributes:
        user_data: what it is to do, a file; nothing when left out.
        meta_data: which instance it is, a file; made when left out.
        network_config: the network's settings, a file; the guest's own choice when left out.
        instance_id: what makes the guest do it all anew when it changes; made from the machine's
            name and the files when left out.
    """

    user_data: FilePath | None = None
    meta_data: FilePath | None = None
    network_config: FilePath | None = None
    instance_id: VmName | None = None


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


class FirmwarePath(FilePath):
    """A firmware's path, or the word uefi."""

    __slots__ = ()
    rule = 'a path, or "uefi" for the host\'s own firmware'


Blanks = tuple[str, ...]
BASE_ONLY = ("name", "autostart", "autostart_order")
"""Fields that belong to the whole machine: a target has none of them."""
TABLES = ("qemu", "bhyve", "graphic", "cloud_init")
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
