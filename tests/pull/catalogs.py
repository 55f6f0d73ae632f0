"""Catalogs for tests, as publishers write them."""

import json
from typing import Any

Entry = dict[str, Any]


def offer(provider: str = "virtualbox", url: str = "b.box", **more: object) -> Entry:
    """One entry of a version's providers."""
    return {"name": provider, "url": url, **more}


def version(text: object, *offers: object, **more: object) -> Entry:
    """One entry of a catalog's versions; for virtualbox unless it is told otherwise."""
    return {"version": text, "providers": list(offers) or [offer()], **more}


def catalog(*versions: object, name: object = "me/box", **more: object) -> bytes:
    """A catalog's bytes."""
    return json.dumps({"name": name, "versions": list(versions), **more}).encode()


def oraclelinux() -> bytes:
    """The shape of Oracle's catalogs: one provider in each version, in no order."""
    return catalog(
        version("8.10.694", offer("virtualbox", "ol8-694.box", size=700_000_000)),
        version("8.9.511", offer("libvirt", "ol8-511.box")),
        version("8.10.696", offer("libvirt", "ol8-696.box", size=900_000_000)),
        version("8.10.695", offer("virtualbox", "ol8-695.box")),
        version("8.9.510", offer("virtualbox", "ol8-510.box")),
        name="oraclelinux/8",
    )


def registry_entry(provider: str, architecture: str, *, default: bool, **more: object) -> Entry:
    """An entry as the registry writes it: an empty checksum of type none is normal."""
    entry = {
        "architecture": architecture, "default_architecture": default,
        "checksum": "", "checksum_type": "none",
    }  # fmt: skip
    return offer(provider, f"{provider}/{architecture}/vagrant.box", **entry, **more)
