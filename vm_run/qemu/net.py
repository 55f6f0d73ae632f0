"""Network cards of QEMU: what the guest sees, and the host's end."""

from __future__ import annotations

from vm_run.argument import argument, options
from vm_run.qemu.board import given, plug
from vm_spec.devices import E1000, OtherNic, VirtioNet
from vm_spec.frozen import TYPE_CHECKING, assert_never

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vm_run.argument import Argument
    from vm_run.qemu.board import Board

    Card = VirtioNet | E1000 | OtherNic

__all__ = ["cards", "network"]

FIRST_FD = 10  # of a dry run's macvtaps


def network(card: Card, board: Board) -> Iterator[Argument]:
    """The arguments of a network card."""
    key = f"emulations ({card.label})"
    yield argument("-netdev", _netdev(card, board), key=key)
    ends = given({"netdev": card.label, "mac": card.mac})
    yield plug(_shown(card, board) | ends, card.qemu, key=key)


def cards(board: Board, backend: str) -> list[str]:
    """The labels of the cards that have this at the host's end, in order."""
    nics = (d for d in board.machine.emulations if isinstance(d, VirtioNet | E1000 | OtherNic))
    return [card.label for card in nics if card.backend == backend]


def _netdev(card: Card, board: Board) -> str:
    vhost = (board.wiring.vhost and _is_virtio(card)) or None
    if card.backend == "tap":
        return options(
            "tap", id=card.label, ifname=card.name, script="no", downscript="no", vhost=vhost
        )
    if card.backend == "macvtap":
        nominal = FIRST_FD + cards(board, "macvtap").index(card.label)
        fd = board.wiring.fds.get(card.label, nominal)
        return options("tap", id=card.label, fd=fd, vhost=vhost)
    forwards = (f"{f.protocol}:{f.address}:{f.port}-:{f.guest_port}" for f in card.forward)
    return options("user", id=card.label) + "".join(f",hostfwd={one}" for one in forwards)


def _shown(card: Card, board: Board) -> dict[str, object]:
    # without an option ROM firmware starts 0.2 s sooner; UEFI boots from a network without one
    further: dict[str, object] = {"romfile": ""} if board.root else {}
    match card:
        case VirtioNet():
            driver = board.virtio("net")
            further |= given({"host_mtu": card.mtu})
        case E1000():
            driver = "e1000"
        case OtherNic():
            driver = card.model
        case _:
            assert_never(card)
    return {"driver": driver} | board.at(card.label) | further


def _is_virtio(card: Card) -> bool:
    return isinstance(card, VirtioNet) or (
        isinstance(card, OtherNic) and card.model.startswith("virtio-net")
    )
