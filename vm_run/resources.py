"""What of this host a hypervisor gets, beside what the description names.

The command line is a pure function of a placed machine and of this value. A dry run uses
`NOMINAL`, which is the same everywhere.
"""

from __future__ import annotations

from vm_spec.frozen import TYPE_CHECKING, Value

if TYPE_CHECKING:
    from collections.abc import Mapping

NO_FDS: Mapping[str, int] = {}
NO_PCI: Mapping[str, str] = {}


class Resources(Value):
    """The host's resources that a description does not name.

    Attributes:
        accel: QEMU's accelerator; nominally one that works everywhere, for a line with kvm hangs
            where it is pasted and KVM does not work.
        firmware: the host's own UEFI firmware, what `bootrom = "uefi"` stands for.
        state: the state directory, of a running machine's sockets and logs; it ends in the VM's
            name.
        logged: whether consoles are also written to files in `state`.
        attached: whether "stdio" is this terminal; else it is a socket, as with --detach.
        vhost: whether taps may use the host's vhost-net.
        fds: what is open for the hypervisor already: label of a macvtap device, `qmp`,
            `supervisor` (listening control sockets) or `vnc-password` -> descriptor.
        monitor: whether bhyve makes the VM itself, which then goes with it (bhyve(8), -M).
        pci: label of a passthru device with `lookup` -> address on this host, 0000:01:00.0.
    """

    accel: str = "tcg"
    firmware: str = "/usr/share/OVMF/OVMF_CODE_4M.fd"
    state: str = ""
    logged: bool = False
    attached: bool = True
    vhost: bool = False
    fds: Mapping[str, int] = NO_FDS
    monitor: bool = False
    pci: Mapping[str, str] = NO_PCI

    def directory(self, name: str) -> str:
        """The state directory of the VM of this name."""
        return self.state or f"/tmp/vm/{name}"  # noqa: S108  shown by a dry run, never opened


NOMINAL = Resources()


def null_modem(name: str, number: int, end: str) -> str:
    """One end of the null modem, nmdm(4), that is a serial port of bhyve's.

    Args:
        name: of the VM.
        number: of the port, from 1.
        end: A is bhyve's, B is the one to attach to.
    """
    return f"/dev/nmdm-{name}.{number}{end}"
