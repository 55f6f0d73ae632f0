"""What bhyve reads of a configuration, each thing in one way of several that mean the same."""

from __future__ import annotations

import hashlib
from pathlib import Path

from vm_import.bhyve_config import Tree, get, strtol
from vm_import.bhyve_known import devices, unread
from vm_import.bhyve_memory import memory
from vm_import.bhyve_model import Answer, answer
from vm_run.bhyve import argv
from vm_run.bhyve.config import beside, flat, secret
from vm_run.pci_slots import Placed
from vm_run.resources import Resources

RESOURCES = Resources(attached=True)
# key -> what it is when it is left out
FLAGS = {
    "acpi_tables": True,
    "destroy_on_poweroff": False,
    "gdb.wait": False,
    "memory.guest_in_core": False,
    "memory.wired": False,
    "rtc.use_localtime": True,
    "virtio_msix": True,
    "x86.mptable": True,
    "x86.strictio": False,
    "x86.strictmsr": True,
    "x86.vmexit_on_hlt": False,
    "x86.vmexit_on_pause": False,
    "x86.x2apic": False,
}
OF_DEVICES = ("nocache", "direct", "sync", "ro", "nodelete", "wait", "open")
FILES = ("path", "rom", "play", "rec")
NETS = ("virtio-net", "e1000")


def read_file(name: str) -> str:
    return Path(name).read_bytes().decode()


def emitted(placed: Placed) -> Answer:
    """What bhyve makes of our command line, whose only file is that of the passwords."""
    hidden = {f"{RESOURCES.directory(placed.machine.name)}/secret.conf": secret(placed, RESOURCES)}
    return answer(argv(placed, RESOURCES)[1:], hidden.__getitem__)


def filed(placed: Placed) -> Answer:
    """What bhyve makes of our file, and of the arguments that are not in it."""
    text = flat(placed, RESOURCES)
    return answer(["-k", "it", *beside(placed, RESOURCES)], {"it": text}.__getitem__)


def meaning(found: Answer) -> Tree:
    """All that bhyve reads, as it reads it."""
    # Keys that are never read; config.dump shows the configuration, and is none of it.
    never = {line.partition("=")[0] for line in found.unread} | {"config.dump"}
    # A variable stands for its text where it is read: who uses it has the text.
    tree = {key: get(found.tree, key) for key in found.tree if key not in never}
    for line in unread(tree):
        del tree[line.partition("=")[0]]
    # Who makes the VM and starts it again is vm-run's own business, with or without -M.
    tree.pop("monitor", None)
    tree |= {key: str(_flag(tree.get(key, str(default)))) for key, default in FLAGS.items()}
    _processors(tree)
    # bhyve counts bytes.
    tree["memory.size"] = str(memory(tree["memory.size"]))
    if "gdb.port" in tree:  # the address is localhost when none is given (init_gdb)
        tree.setdefault("gdb.address", "localhost")
    if "tpm.type" in tree:  # tpm_device_create sets these where they are not
        tree = {"tpm.intf": "crb", "tpm.ppi": "qemu"} | tree
    for place, keys in devices(tree).items():
        _device(tree, place, keys)
    for key in ("bootrom", "bootvars", "tpm.path"):
        if tree.get(key):
            tree[key] = tree[key].removeprefix("./") or tree[key]
    return tree


def with_bridges(tree: Tree, ours: Tree) -> Tree:
    """A meaning with the bridges that vm-run gives to each machine, which the import tells."""
    kinds = [keys.get("device") for keys in devices(tree).values()]
    added = {key: text for key, text in ours.items() if text == "lpc" and "lpc" not in kinds}
    return {"pci.0.0.0.device": "hostbridge"} | added | tree


def _flag(text: str) -> bool:
    return text.lower() in ("true", "yes", "on", "1")


def _processors(tree: Tree) -> None:
    """A number of processors alone is that many sockets (calc_topology)."""
    numbers = [tree.pop(key, "") for key in ("cpus", "sockets", "cores", "threads")]
    cpus, sockets, cores, threads = (strtol(text) or 0 for text in numbers)
    tree["topology"] = f"{sockets or cpus or 1} x {cores or 1} x {threads or 1}"


def _device(tree: Tree, place: tuple[int, int, int], keys: Tree) -> None:
    node = "pci.{}.{}.{}.".format(*place)
    for key, text in keys.items():
        last = key.rpartition(".")[2]
        if last in OF_DEVICES:
            tree[node + key] = str(_flag(text))
            if not _flag(text):  # each is off when it is left out
                del tree[node + key]
        elif text and last in FILES and keys["device"] not in NETS:
            tree[node + key] = text.removeprefix("./") or text  # ./a is a
    if keys.get("device") == "fbuf":
        _screen(tree, node)
    if keys.get("device") in NETS:
        if "mac" not in keys:  # net_genmac
            text = f"{place[1]}-{place[2]}-{tree['name']}"
            digest = hashlib.md5(text.encode(), usedforsecurity=False).hexdigest()
            tree[f"{node}mac"] = f"00:a0:98:{digest[:2]}:{digest[2:4]}:{digest[4:6]}"
        # ether_aton reads numbers
        octets = (int(part, 16) for part in tree[f"{node}mac"].split(":"))
        tree[f"{node}mac"] = ":".join(f"{octet:02x}" for octet in octets)


def _screen(tree: Tree, node: str) -> None:
    """`rfb` is `tcp` by another name and goes before it; the rest is in pci_fbuf_parse_config."""
    where = tree.pop(f"{node}rfb", "") or tree.pop(f"{node}tcp", "")
    tree.pop(f"{node}tcp", None)
    if not where.startswith("unix:"):
        host, _, port = where.rpartition(":") if not where.endswith("]") else (where, "", "")
        where = f"{host or '127.0.0.1'}:{int(port or 5900)}"
    tree[f"{node}tcp"] = where
    for key, default in (("w", "1024"), ("h", "768"), ("vga", "io")):
        tree.setdefault(node + key, default)
