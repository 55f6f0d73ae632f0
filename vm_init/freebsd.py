"""FreeBSD's way: `vm_init.apply`'s protocol over programs, each a list made by a pure function.

Untested on FreeBSD: its tests compare the lists, and run fake programs.

Root makes the virtual machine itself and hands its nodes over, so that an ordinary user's bhyve can
run it and start it again. What bhyve allocates later (/dev/vmm.io/NAME.bootrom) is root's on
kernels that do not give it to the VM's owner: there, a firmware needs root. Passthrough needs
PRIV_DRIVER: a device given to ppt(4) is of use to a bhyve of root only.

Source: bhyvectl(8), ifconfig(8), devctl(8), pciconf(8), kldload(8), tap(4), vmm(4).
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Sequence

from vm_init import nodes
from vm_init.caller import Caller
from vm_init.errors import InitError
from vm_init.ledger import Record
from vm_init.policy import Granted
from vm_init.request import ADDRESS
from vm_init.request import VM as NAME
from vm_init.trusted import Opened

IFCONFIG = "/sbin/ifconfig"
DEVCTL = "/usr/sbin/devctl"
ENVIRONMENT = {"PATH": "/sbin:/bin:/usr/sbin:/usr/bin", "LC_ALL": "C"}
TIMEOUT_S = 30

# A tap of another name has a link as its node, and a name of one letter could be an option's value.
TAP = re.compile(r"tap(?:0|[1-9][0-9]{0,3})")
BRIDGE = re.compile(r"[a-z][a-z0-9]{0,14}")
VM = re.compile(NAME)
MODULE = re.compile(r"vmm|nmdm|if_tuntap|if_bridge")
TAG = re.compile(r"vmman:[0-9]{1,10}:[0-9a-f]{16}")
MODULES = {"tap": ("if_tuntap", "if_bridge"), "pci": ("vmm",), "vm": ("vmm", "nmdm")}


BELOW = ""  # tests put their own programs and nodes below a directory


def check(granted: Granted, caller: Caller) -> Record:
    """A record of what is not given yet.

    Raises:
        InitError: it is there already, or it is another device than the policy names.
    """
    name, kind = granted.request.name, granted.request.kind
    for module in MODULES[kind]:
        run(load(module))
    if kind == "tap":
        tag = f"vmman:{caller.uid}:{os.urandom(8).hex()}"
        create_tap(name, granted.target or "-", tag)  # refuses names that the programs do not get
        if _show(name):
            raise InitError(f"{name}: there is an interface of this name already")
        return Record("tap", name, target=granted.target, tag=tag)
    if kind == "pci":
        found, driver = parse_identity(run(identify(name)))
        if found != granted.pinned:
            raise InitError(f"{name}: is {found}, and the policy names {granted.pinned or '-'}")
        return Record("pci", name, former=driver)
    if _find_machine_owner(name) is not None:
        raise InitError(f"{name}: there is a virtual machine of this name already")
    return Record("vm", name)


def get_port(granted: Granted) -> str:
    """The policy's keys for ports of bridges are Linux's."""
    del granted
    return ""


def give(records: Sequence[Record], caller: Caller) -> None:
    """Makes each, and gives its nodes to the caller.

    Raises:
        InitError: a program refused; what was begun is for `take`.
    """
    for record in records:
        paths: list[str] = []
        if record.kind == "tap":
            for argv in create_tap(record.name, record.target or "-", record.tag):
                run(argv)
            paths = [f"/dev/{record.name}"]
        elif record.kind == "pci":
            run(bind(record.name))
        else:
            run(create_vm(record.name))
            at = f"{nodes.DEV}/vmm.io"
            paths = vm_nodes(record.name, os.listdir(at) if os.path.isdir(at) else [])
        for path in paths:
            with Opened(nodes.pin(path)) as fd:
                nodes.change_owner(fd, caller.uid, -1)


def holds(record: Record, caller: Caller) -> bool:
    """Whether it is still as the record says."""
    if record.kind == "tap":
        return parse_description(_show(record.name)) == record.tag
    if record.kind == "pci":
        return parse_identity(run(identify(record.name)))[1] == "ppt"
    return _find_machine_owner(record.name) == caller.uid


def take(records: Sequence[Record], uid: int, *, force: bool = False) -> list[str]:
    """Takes each back; for each empty, or why it stays."""
    del force
    return [_take(record, uid) for record in records]


def _take(record: Record, uid: int) -> str:
    try:
        if record.kind == "tap":
            for argv in destroy_tap(record.name, record.tag, _show(record.name)):
                run(argv)
        elif record.kind == "pci":
            if record.former != "ppt":
                run(unbind(record.name))
        elif _find_machine_owner(record.name) == uid:  # root's own of that name is a later one
            run(destroy_vm(record.name))
    except InitError as error:
        return str(error)
    return ""


def _find_machine_owner(name: str) -> int | None:
    """Whose a virtual machine is; None when there is none of this name."""
    try:
        return os.lstat(f"{nodes.DEV}/vmm/{name}").st_uid
    except FileNotFoundError:
        return None


def _show(name: str) -> str:
    """What ifconfig says of an interface; empty when there is none."""
    try:
        return run(show(name))
    except InitError:
        return ""


def load(module: str) -> list[str]:
    """Load a kernel module, unless it is there."""
    return ["/sbin/kldload", "-n", _one(MODULE, module)]


def create_tap(name: str, bridge: str, tag: str) -> list[list[str]]:
    """Make a tap that is known by its tag, and join it to a bridge (`-` for none).

    Making an interface that exists is an error: nobody's is taken.
    """
    _one(TAP, name)
    return [
        [IFCONFIG, name, "create"],
        [IFCONFIG, name, "description", _one(TAG, tag)],
        *([[IFCONFIG, _one(BRIDGE, bridge), "addm", name]] if bridge != "-" else []),
        [IFCONFIG, name, "up"],
    ]  # fmt: skip


def show(name: str) -> list[str]:
    """Print an interface, for `parse_description`."""
    return [IFCONFIG, _one(BRIDGE, name)]


def parse_description(output: str) -> str:
    """The description of the interface that `show` printed; empty without one."""
    found = re.search(r"^\tdescription: (.*)$", output, re.MULTILINE)
    return found[1] if found else ""


def destroy_tap(name: str, tag: str, output: str) -> list[list[str]]:
    """Take a tap away, if what `show` printed has its tag: else it is another's by now."""
    return [[IFCONFIG, _one(TAP, name), "destroy"]] if parse_description(output) == tag else []


def bind(address: str) -> list[str]:
    """Give a PCI device to ppt(4), whatever drives it."""
    return [DEVCTL, "set", "driver", "-f", _selector(address), "ppt"]


def unbind(address: str) -> list[str]:
    """Let the kernel choose the driver again."""
    return [DEVCTL, "clear", "driver", "-f", _selector(address)]


def identify(address: str) -> list[str]:
    """Print what a PCI device is, for `parse_identity`."""
    return ["/usr/sbin/pciconf", "-l", _selector(address)]


def parse_identity(output: str) -> tuple[str, str]:
    """The id (`10de:1b80`) and the driver (`none` for none) that `identify` printed.

    Raises:
        InitError: it printed something else.
    """
    line = output.splitlines()[0] if output else ""
    driver = re.match(r"([a-z_]+)[0-9]*@pci[0-9:]+:\s", line)
    fields = dict(re.findall(r"\b(vendor|device|chip)=0x([0-9a-f]{4,8})\b", line))
    if "chip" in fields:  # before FreeBSD 13
        fields |= {"vendor": fields["chip"][-4:], "device": fields["chip"][:4]}
    if not driver or not {"vendor", "device"} <= fields.keys():
        raise InitError("pciconf says something unknown", 69)
    return f"{fields['vendor']}:{fields['device']}", driver[1]


def create_vm(vm: str) -> list[str]:
    """Make a virtual machine; it is an error if there is one of this name."""
    return ["/usr/sbin/bhyvectl", "--create", f"--vm={_one(VM, vm)}"]


def destroy_vm(vm: str) -> list[str]:
    """Take a virtual machine away."""
    return ["/usr/sbin/bhyvectl", "--destroy", f"--vm={_one(VM, vm)}"]


def vm_nodes(vm: str, siblings: list[str]) -> list[str]:
    """The nodes of a VM, of the names in /dev/vmm.io: `web.old.x` is no node of `web`."""
    own = re.compile(re.escape(_one(VM, vm)) + r"\.[A-Za-z0-9_-]{1,32}")
    return [
        f"/dev/vmm/{vm}",
        *(f"/dev/vmm.io/{name}" for name in sorted(siblings) if own.fullmatch(name)),
    ]


def run(argv: list[str]) -> str:
    """What a program prints. It gets nothing of the caller's: input, environment, directory.

    Args:
        argv: the program by its absolute path, and its arguments.

    Raises:
        InitError: it cannot be started, fails, or takes too long.
    """
    program = BELOW + argv[0]
    try:
        ended = subprocess.run(
            [program, *argv[1:]],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=ENVIRONMENT,
            cwd="/",
            timeout=TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise InitError(f"{argv[0]}: {error}", os.EX_UNAVAILABLE) from None
    if ended.returncode:
        said = ended.stderr.decode("ascii", "backslashreplace").strip()[-200:]
        raise InitError(f"{' '.join(argv)}: {said or ended.returncode}", os.EX_UNAVAILABLE)
    return ended.stdout.decode("ascii", "backslashreplace")


def _one(form: re.Pattern[str], word: str) -> str:
    if not form.fullmatch(word):
        raise InitError(f"{word!a}: is no name that FreeBSD's programs get from here")
    return word


def _selector(address: str) -> str:
    """`pci0:1:0:0` of 0000:01:00.0; FreeBSD counts by ten."""
    domain, bus, slot, function = re.split("[:.]", _one(re.compile(ADDRESS), address))
    return f"pci{int(domain, 16)}:{int(bus, 16)}:{int(slot, 16)}:{function}"
