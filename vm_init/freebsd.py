"""FreeBSD's way: `vm_init.record`'s contract over programs, each a list made by a pure function.

Untested on FreeBSD: its tests compare the lists, and run fake programs.

The virtual machine itself is made by root and its nodes handed over, so that an ordinary user's
bhyve can run it and start it again. What bhyve allocates later (/dev/vmm.io/NAME.bootrom) is root's
on kernels that do not give it to the VM's owner: there, a firmware needs root. Passthrough needs
PRIV_DRIVER: a device given to ppt(4) is of use to a bhyve of root only.

Source: bhyvectl(8), ifconfig(8), devctl(8), pciconf(8), kldload(8), tap(4), vmm(4).
"""

from __future__ import annotations

import os
import re
import subprocess

from vm_init import nodes
from vm_init.record import Record, alias
from vm_init.request import ADDRESS
from vm_init.request import VM as NAME
from vm_init.request import kind as kind_of
from vm_init.verdict import Caller, Granted, InitError

IFCONFIG = "/sbin/ifconfig"
DEVCTL = "/usr/sbin/devctl"
ENVIRONMENT = {"PATH": "/sbin:/bin:/usr/sbin:/usr/bin", "LC_ALL": "C"}
PATIENCE_S = 30

# A tap of another name has a link as its node, and a name of one letter could be an option's value.
TAP = re.compile(r"tap(?:0|[1-9][0-9]{0,3})")
BRIDGE = re.compile(r"[a-z][a-z0-9]{0,14}")
VM = re.compile(NAME)
MODULE = re.compile(r"vmm|nmdm|if_tuntap|if_bridge")
TAG = re.compile(r"vmman:[0-9]{1,10}:[A-Za-z0-9_.-]{1,64}:[0-9a-f]{16}")
MODULES = {"tap": ("if_tuntap", "if_bridge"), "pci": ("vmm",), "vm": ("vmm", "nmdm")}


class Host:
    """Where the programs and the nodes are; other than the host's own in tests only.

    Attributes:
        below: what stands before each program's path.
        nodes: where device nodes are.
    """

    below = ""
    nodes = nodes.REAL


def _run(argv: list[str]) -> str:
    return run(argv, Host.below)


def intend(granted: Granted, caller: Caller, vm: str, together: object = ()) -> Record:
    """A record of what is not given yet.

    Raises:
        InitError: it is there already, or it is another device than the policy names.
    """
    name, kind = granted.request[0], kind_of(granted.request)
    nonce = os.urandom(8).hex()
    for module in MODULES[kind]:
        _run(load(module))
    if kind == "tap":
        tag = alias(nonce, caller.uid, vm)
        create_tap(name, granted.target or "-", tag)  # refuses names that the programs do not get
        if _shown(name):
            raise InitError(f"{name}: not allowed on this host")
        return Record("tap", name, nonce=nonce, target=granted.target, tag=tag)
    if kind == "pci":
        found, driver = identity(_run(identify(name)))
        if found != granted.pinned:
            raise InitError(f"{name}: is {found}, and the policy names {granted.pinned or '-'}")
        return Record("pci", name, target=str(caller.uid), former=driver)
    if _machine_owner(name) is not None:
        raise InitError(f"{name}: not allowed on this host")
    return Record("vm", name, nonce=nonce, target=str(caller.uid))


def act(record: Record, caller: Caller) -> Record:
    """Makes it, and gives its nodes to the caller.

    Raises:
        InitError: a program refused; what was begun is for `undo`.
    """
    if record.kind == "tap":
        for argv in create_tap(record.name, record.target or "-", record.tag):
            _run(argv)
        nodes.give(f"/dev/{record.name}", caller.uid, Host.nodes)
    elif record.kind == "pci":
        _run(bind(record.name))
    else:
        _run(create_vm(record.name))
        at = f"{Host.nodes.dev}/vmm.io"
        for path in vm_nodes(record.name, os.listdir(at) if os.path.isdir(at) else []):
            nodes.give(path, caller.uid, Host.nodes)
    return record._replace(done=True)


def _machine_owner(name: str) -> int | None:
    """Whose a virtual machine is; None when there is none of this name."""
    try:
        return os.lstat(f"{Host.nodes.dev}/vmm/{name}").st_uid
    except FileNotFoundError:
        return None


def _shown(name: str) -> str:
    """What ifconfig says of an interface; empty when there is none."""
    try:
        return _run(show(name))
    except InitError:
        return ""


def holds(record: Record, caller: Caller) -> bool:
    """Whether it is still as the record says."""
    if record.kind == "tap":
        return described(_shown(record.name)) == record.tag
    if record.kind == "pci":
        return identity(_run(identify(record.name)))[1] == "ppt"
    return _machine_owner(record.name) == caller.uid


def undo(record: Record) -> str:
    """Takes it back; empty, or why it stays."""
    try:
        if record.kind == "tap":
            for argv in destroy_tap(record.name, record.tag, _shown(record.name)):
                _run(argv)
        elif record.kind == "pci":
            if record.former != "ppt":
                _run(unbind(record.name))
        elif _machine_owner(record.name) in (0, int(record.target)):
            _run(destroy_vm(record.name))
    except InitError as error:
        return str(error)
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
    """Print an interface, for `described`."""
    return [IFCONFIG, _one(BRIDGE, name)]


def described(output: str) -> str:
    """The description of the interface that `show` printed; empty without one."""
    found = re.search(r"^\tdescription: (.*)$", output, re.MULTILINE)
    return found[1] if found else ""


def destroy_tap(name: str, tag: str, output: str) -> list[list[str]]:
    """Take a tap away, if what `show` printed has its tag: else it is another's by now."""
    return [[IFCONFIG, _one(TAP, name), "destroy"]] if described(output) == tag else []


def bind(address: str) -> list[str]:
    """Give a PCI device to ppt(4), whatever drives it."""
    return [DEVCTL, "set", "driver", "-f", _selector(address), "ppt"]


def unbind(address: str) -> list[str]:
    """Let the kernel choose the driver again."""
    return [DEVCTL, "clear", "driver", "-f", _selector(address)]


def identify(address: str) -> list[str]:
    """Print what a PCI device is, for `identity`."""
    return ["/usr/sbin/pciconf", "-l", _selector(address)]


def identity(output: str) -> tuple[str, str]:
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


def run(argv: list[str], below: str = "") -> str:
    """What a program prints. It gets nothing of the caller's: input, environment, folder.

    Args:
        argv: the program by its absolute path, and its arguments.
        below: where tests have their own programs.

    Raises:
        InitError: it cannot be started, fails, or takes too long.
    """
    program = below + argv[0]
    try:
        ended = subprocess.run(
            [program, *argv[1:]],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=ENVIRONMENT,
            cwd="/",
            timeout=PATIENCE_S,
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
