"""The network cards of a libvirt domain.

Source: libvirt, Domain XML format, Network interfaces.
"""

from __future__ import annotations

from vm_import.heard import number
from vm_import.libvirt_hostdevs import passthru
from vm_spec.frozen import TYPE_CHECKING

if TYPE_CHECKING:
    from vm_import.draft import Draft, Table
    from vm_import.libvirt_xml import Node

__all__ = ["card"]

_VIRTIO = ("virtio", "virtio-transitional", "virtio-non-transitional", "virtio-net")
_MOST_PORTS = 64  # of one range that is forwarded


def card(draft: Draft, interface: Node) -> None:
    """Puts a card into a description."""
    kind = interface.get("type")
    if kind == "hostdev":
        passthru(draft, interface)
        return
    fields = _end(draft, interface, kind)
    if fields is None:
        draft.lost(f"a network card of type {kind}")
        interface.done()
        return
    mac, mtu = interface.one("mac").get("address"), interface.one("mtu").get("size")
    model = interface.one("model").get("type") or "rtl8139"
    fields |= {"mac": mac} if mac else {}
    fields |= {"mtu": number(mtu)} if mtu else {}
    if model in _VIRTIO:
        draft.device("virtio-net", "net", fields)
    elif model == "e1000":
        draft.device("e1000", "net", fields)
    else:
        draft.device("nic", "net", {"model": model} | fields)


def _end(draft: Draft, interface: Node, kind: str) -> Table | None:
    """The host's end of a card; None for one that there is no word for."""
    source, tap = interface.one("source"), interface.one("target").get("dev")
    named: Table = {"name": tap} if tap and not tap.startswith(("vnet", "macvtap")) else {}
    match kind:
        case "user":
            found = interface.all("portForward")
            return {"forward": _forwards(draft, found)} if found else {}
        case "bridge":
            return {"bridge": source.get("bridge")} | named
        case "direct":
            if (mode := source.get("mode")) not in ("", "bridge"):
                draft.lost(f"the mode {mode} of a macvtap")
            return {"host_interface": source.get("dev")} | named
        case "network":
            network = source.get("network")
            where = "it is in user networking until it has that network's bridge"
            draft.hint(f"A card was in libvirt's network {network}; here {where}.")
            return {}
        case "ethernet":
            return {"type": "tap"} | named
        case _:
            return None


def _forwards(draft: Draft, found: list[Node]) -> list[object]:
    """Ports of the host, one by one."""
    listed: list[object] = []
    for forward in found:
        kind, address = forward.get("proto") or "tcp", forward.get("address") or "127.0.0.1"
        for ports in forward.all("range"):
            first, last = number(ports.get("start")), number(ports.get("end"))
            inside = number(ports.get("to")) or first
            out = ports.get("exclude") == "yes"
            several = range(max(1, last - first + 1)) if last else range(1)
            if out or len(several) > _MOST_PORTS:
                text = " ".join(("without" * out, f"{first} to {last or first}"))
                draft.lost(f"forwarded ports {text.strip()}")
                continue
            listed += [f"{kind}:{address}:{first + n}:{inside + n}" for n in several]
    return listed
