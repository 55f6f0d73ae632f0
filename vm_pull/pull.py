"""The story of a pull: find, receive, look, finish, describe, place."""

from __future__ import annotations

import os
import sys
import time

from vm_pull import find, finish, ports
from vm_pull.catalogs import checksum, registry
from vm_pull.catalogs import source as sources
from vm_pull.catalogs.choose import Wishes
from vm_pull.describe import Provenance, describe, for_bhyve
from vm_pull.hardware import box
from vm_pull.images import partitions
from vm_pull.net import urls
from vm_pull.net.web import Web
from vm_pull.receive import received
from vm_pull.room import Room
from vm_pull.target import target
from vm_spec.frozen import TYPE_CHECKING, Value, replace

if TYPE_CHECKING:
    from collections.abc import Sequence

    from vm_pull.catalogs.catalog import Catalog
    from vm_pull.cli import Call
    from vm_pull.find import Found
    from vm_pull.finish import Made
    from vm_pull.hardware.hardware import Hardware
    from vm_pull.progress import Progress
    from vm_pull.target import Target
    from vm_pull.unpack import Unpacked

__all__ = ["Pulled", "catalog", "pull"]

_TABLES = 1 << 16
"""Bytes at a disk's beginning in which its partition table is."""
_CARD = "description"


class Pulled(Value):
    """What a pull has made.

    Attributes:
        name: the machine's.
        file: its description; empty when only the image was wanted.
        disks: (path, format, bytes that the guest sees, bytes that it takes here), in order.
        hardware: what the machine has.
        port: of 127.0.0.1, that leads to the guest's ssh; 0 without a description.
        digest: the box's checksum, which it was found to have; empty when nobody told one.
    """

    name: str
    file: str
    disks: tuple[tuple[str, str, int, int], ...]
    hardware: Hardware
    port: int
    digest: str


def catalog(call: Call, progress: Progress) -> Catalog:
    """What there is of a box, for `--list`.

    Raises:
        VmError: there is none.
    """
    source = sources.source(call.words)
    with _web(call, progress) as web:
        return find.catalog(find.Searcher(web, _wishes(call), progress.say), source)


def pull(call: Call, progress: Progress) -> Pulled:
    """Fetches a box and makes a machine of it: all of it, or nothing.

    Raises:
        VmError: it cannot be had, is refused, or there is something of this name already.
    """
    source = sources.source(call.words)
    wanted = checksum.parse(call.checksum) if call.checksum else None
    place = target(call, source)
    place.check()
    with Room.enter(place.folder, place.name) as room, _web(call, progress) as web:
        found = find.find(find.Searcher(web, _wishes(call), progress.say), source, wanted)
        content = received(found, room, progress)
        machine = _machine(room, content, found, call, progress)
        place.check()
        if not place.described:
            return _placed(room, place, machine, 0)
        with ports.reserved(place.folder) as port:
            text = describe(
                place.name, machine.hardware, _files(place, machine.disks), port,
                _provenance(call, found, machine.hardware),
            )  # fmt: skip
            room.write(_CARD, text.encode())
            return _placed(room, place, machine, port)


def _web(call: Call, progress: Progress) -> Web:
    home = os.path.expanduser("~")
    return Web(
        insecure=call.insecure,
        token_for=lambda url: registry.token(url, os.environ, home),
        tell=progress.say,
    )


def _wishes(call: Call) -> Wishes:
    return Wishes(version=call.wanted or "", provider=call.provider, architecture=call.arch)


class Machine(Value):
    """What a box has become, still in the room.

    Attributes:
        hardware: what it has.
        disks: in order.
        digest: as in `Pulled`.
    """

    hardware: Hardware
    disks: tuple[Made, ...]
    digest: str


def _machine(
    room: Room, content: Unpacked, found: Found, call: Call, progress: Progress
) -> Machine:
    """The hardware and the disks of a box, in the formats that are wanted."""
    names = [*(disk.member for disk in content.disks), *content.others]
    hardware = box.hardware(content.texts, names, found.provider or call.provider)
    used = finish.used(room, content, hardware)
    disks = [finish.made(room, disk, _format(call, disk.image.kind), progress.say) for disk in used]
    if call.size:
        disks[0] = finish.grow(room, disks[0], call.size)
    if sys.platform.startswith("freebsd"):
        hardware = for_bhyve(hardware)
    if not hardware.firmware:
        first = finish.first_bytes(room, disks[0], _TABLES)
        hardware = replace(hardware, firmware=partitions.firmware(first))
    sizes = {disk.member: disk.image.size for disk in used}
    for sentence in (*hardware.notes, *box.other_sizes(hardware, sizes)):
        progress.say(sentence)
    for disk in used:
        for sentence in disk.image.notes:
            progress.say(f"{disk.member} {sentence}")
    digest = str(found.digest) if found.digest else ""
    return Machine(hardware=hardware, disks=tuple(disks), digest=digest)


def _format(call: Call, kind: str) -> str:
    """What a disk becomes; as vmman did, an image alone is raw."""
    return call.format or ("raw" if call.image_only else finish.default_format(kind))


def _files(place: Target, disks: Sequence[Made]) -> list[tuple[str, str]]:
    """Each disk's final name and format."""
    kinds = [disk.kind for disk in disks]
    return list(zip(finish.names(place.name, kinds), kinds, strict=True))


def _provenance(call: Call, found: Found, hardware: Hardware) -> Provenance:
    return Provenance(
        source=" ".join(map(urls.shown, call.words)),
        url=found.stream.url,
        version=found.version,
        provider=hardware.provider,
        architecture=found.architecture,
        checksum=str(found.digest or ""),
        checksum_verified=found.digest is not None,
        pulled_on=time.strftime("%Y-%m-%d"),
    )


def _placed(room: Room, place: Target, machine: Machine, port: int) -> Pulled:
    """Gives everything its final name; the description, which makes it a machine, comes last."""
    files = _files(place, machine.disks)
    moves = [(disk.file, name) for disk, (name, _) in zip(machine.disks, files, strict=True)]
    card = f"{place.name}.toml" if place.described else ""
    room.place([*moves, (_CARD, card)] if card else moves, force=place.force)
    return Pulled(
        name=place.name,
        file=f"{place.folder}/{card}" if card else "",
        disks=tuple(
            (path, kind, disk.size, os.stat(path).st_blocks * 512)
            for disk, (name, kind) in zip(machine.disks, files, strict=True)
            for path in [f"{place.folder}/{name}"]
        ),
        hardware=machine.hardware,
        port=port,
        digest=machine.digest,
    )
