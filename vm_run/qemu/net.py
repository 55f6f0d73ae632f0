"""Network devices of QEMU: what the guest sees, and the backend on the host."""

from __future__ import annotations

from vm_run.argument import options
from vm_run.host import requirements
from vm_run.qemu.bus import Row, filled, refuse
from vm_spec.devices import Nic
from vm_spec.frozen import TYPE_CHECKING

if TYPE_CHECKING:
    from vm_run.qemu.bus import Bus
    from vm_spec.machine import Machine

FIRST_FD = 10  # of macvtaps
FREEBSD_NETS = ("netgraph", "netmap", "vale", "vmnet")


def nic(device: Nic, bus: Bus, driver: str, mtu: int | None = None) -> Row:
    """A NIC that the guest sees as this driver's.

    Args:
        device: as the description has it.
        bus: where it is plugged in.
        driver: QEMU's name of the model.
        mtu: what the guest learns as the largest packet.
    """
    tap, user = device.backend == "tap", device.backend == "user"
    no_rom = {"romfile": ""} if bus.root else {}  # firmware starts 0.2 s sooner; UEFI needs none
    backend = filled(host_mtu=mtu, netdev=device.label, mac=device.mac)
    only, no_user = f"{device.backend} exists on FreeBSD only", device.forward and not user
    return Row(
        argv=(
            ("-netdev", _netdev(device, bus, driver)),
            bus.device(device, driver, **no_rom, **backend),
        ),
        needs=(*([requirements.TUN] if tap else []), *requirements.nic(device)),
        problems=refuse(
            (device.backend in FREEBSD_NETS, "type", only, "use tap, macvtap or user"),
            (no_user, "forward", "is for user networking", 'set type = "user", or take it away'),
        ),
    )


def macvtaps(machine: Machine) -> list[Nic]:
    """The NICs that are a macvtap on the host, in order: QEMU gets each as a descriptor."""
    nics = [device for device in machine.emulations if isinstance(device, Nic)]
    return [nic for nic in nics if nic.backend == "macvtap"]


def _netdev(nic: Nic, bus: Bus, driver: str) -> str:
    vhost = (bus.resources.vhost and driver.startswith("virtio-net")) or None
    if nic.backend == "tap":
        name = nic.name
        return options("tap", id=nic.label, ifname=name, script="no", downscript="no", vhost=vhost)
    if nic.backend == "macvtap":
        nominal = FIRST_FD + macvtaps(bus.machine).index(nic)
        return options(
            "tap", id=nic.label, fd=bus.resources.fds.get(nic.label, nominal), vhost=vhost
        )
    forwards = (f"{f.protocol}:{f.address}:{f.port}-:{f.guest_port}" for f in nic.forward)
    return options("user", id=nic.label) + "".join(f",hostfwd={each}" for each in forwards)
