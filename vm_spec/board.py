"""What a machine consists of beside its devices: its ends, its tables, and their words."""

from __future__ import annotations

from vm_spec.device import Properties
from vm_spec.frozen import Value
from vm_spec.types import FilePath, VmName, Word

__all__ = [
    "Accelerator",
    "Arguments",
    "Bhyve",
    "Blanks",
    "CloudInit",
    "Com",
    "FirmwarePath",
    "Gdb",
    "HostBridge",
    "HypervisorName",
    "LoaderName",
    "Outcome",
    "Qemu",
    "Tpm",
    "TpmInterface",
    "TpmType",
    "Uuid",
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


class LoaderName(Word):
    """What puts a kernel into a VM of bhyve's that has no bootrom."""

    __slots__ = ()
    pattern = "bhyveload|grub-bhyve|none"
    rule = "one of bhyveload, grub-bhyve, none"


class TpmType(Word):
    """What answers as the guest's Trusted Platform Module."""

    __slots__ = ()
    pattern = "swtpm|passthru"
    rule = "swtpm or passthru"


class TpmInterface(Word):
    """How the guest talks to its Trusted Platform Module."""

    __slots__ = ()
    pattern = "crb|tis"
    rule = "crb or tis"


class Tpm(Value):
    """A Trusted Platform Module 2.0: the `[tpm]` table.

    Attributes:
        type: swtpm, a program that is started and stopped with the VM, or passthru: the host's.
        path: swtpm's folder, NAME.tpm beside the description when left out; of passthru the
            device, /dev/tpm0 when left out.
        interface: crb, or tis, which QEMU alone has.
    """

    type: TpmType = TpmType("swtpm")
    path: FilePath | None = None
    interface: TpmInterface = TpmInterface("crb")


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

    @property
    def needs_kvm(self) -> bool:
        """Whether it can be run by KVM alone: that is named, or the host's own processor."""
        named = self.accel == "kvm" or "accel=kvm" in self.machine.split(",")
        return named or self.cpu.partition(",")[0] == "host"


class Bhyve(Value):
    """What only bhyve has: the `[bhyve]` table.

    Attributes:
        args: further arguments, put before the name.
        config: further keys of bhyve_config(5), in its flat form.
        loader: what puts a kernel into a VM without a bootrom, before each boot; none: somebody
            else has done so.
        loader_disk: the disk that the loader reads; the first of the machine's when left out.
        loader_args: further arguments of the loader, put before the name.
        grub_root: where grub-bhyve finds its grub.cfg, hd0,msdos1.
        grub_commands: what grub-bhyve does instead of reading a grub.cfg, line by line.
    """

    args: Arguments = ()
    config: Properties = ()
    loader: LoaderName | None = None
    loader_disk: FilePath | None = None
    loader_args: Arguments = ()
    grub_root: str = ""
    grub_commands: tuple[str, ...] = ()


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


class FirmwarePath(FilePath):
    """A firmware's path, or the word uefi."""

    __slots__ = ()
    rule = 'a path, or "uefi" for the host\'s own firmware'


Blanks = tuple[str, ...]
