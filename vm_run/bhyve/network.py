"""What bhyve is told of each network card.

Untested on FreeBSD. Source: bhyve(8), Network device backends; net_backends.c.
"""

from __future__ import annotations

from vm_run.bhyve.settings import first, given
from vm_spec.devices import E1000, OtherNic, VirtioNet
from vm_spec.fault import Fault
from vm_spec.frozen import TYPE_CHECKING, assert_never

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vm_run.bhyve.settings import Part
    from vm_spec.types import Forward

__all__ = ["Network", "network"]

Network = VirtioNet | E1000 | OtherNic


def network(card: Network) -> Iterator[Part]:
    """The settings of a network card, and what bhyve has not."""
    match card:
        case VirtioNet():
            yield from _backend(card)
            yield from given(mac=card.mac, mtu=card.mtu)
        case E1000():
            yield from _backend(card)
            yield from given(mac=card.mac)
            if card.mtu is not None:  # e82545.c never reads it
                yield Fault(problem="has no mtu on bhyve", hint="leave mtu out, or use virtio-net")
        case OtherNic():
            yield Fault(
                problem=f"is QEMU's {card.model}; bhyve has no such card",
                hint="use virtio-net or e1000",
            )
        case _:
            assert_never(card)


def _backend(card: VirtioNet | E1000) -> Iterator[Part]:
    kind = card.backend
    if card.forward and kind != "user":
        yield Fault(
            problem=f"forward is user networking's, and this card's type is {kind}",
            hint='type = "user"',
        )
    if kind == "user":
        yield from _slirp(card.forward)
    elif kind == "macvtap":
        yield Fault(
            problem="macvtap is Linux only",
            hint='type = "tap" with bridge = "bridge0", or vale',
        )
    elif card.name is None:
        yield Fault(problem=f"has no name for its {kind}", hint=f'name = "{kind}0"')
    else:
        yield from _interface(card.name, kind, {key for key, _ in card.bhyve})


def _interface(name: str, kind: str, own: set[str]) -> Iterator[Part]:
    """An interface by its name; bhyve guesses the type from how that begins."""
    yield first("backend", value=name)
    if not name.startswith(kind):
        yield from given(type=kind)
    if kind == "netgraph" and not {"path", "peerhook"} <= own:
        yield Fault(
            problem="netgraph needs a path and a peerhook",
            hint='bhyve = { path = "br0:", peerhook = "link2" }',
        )


def _slirp(forward: tuple[Forward, ...]) -> Iterator[Part]:
    """User networking, from FreeBSD 15 with the package libslirp.

    `open` lets the guest out; 15.0 does not know it and forwards inwards only.
    """
    rules = (f"{f.protocol}:{f.address}:{f.port}-:{f.guest_port}" for f in forward)
    yield first("backend", value="slirp")
    yield from given(open=True, hostfwd=";".join(rules))
