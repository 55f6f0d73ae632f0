"""What root's half asks of the kernel, over a whole init and a whole release: strace tells."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from typing import NamedTuple

import pytest

from tests.init.lab import LIB, Lab
from tests.lacking import need

pytestmark = pytest.mark.root

POLICY = """
[[grant]]
who = ["alice"]
bridges = ["br0"]
host-interfaces = ["inner0"]
interfaces = ["vm*"]
macs = ["02:*"]
"""
WEB = """
[net.a]
name = "vma"
bridge = "br0"
[net.c]
name = "vmc"
host-interface = "inner0"
mac = "02:00:00:00:0a:0c"
"""
EVIL = "/home/alice/evil"
GIVEN = {
    "LD_PRELOAD": f"{EVIL}/preload.so",
    "LD_AUDIT": f"{EVIL}/audit.so",
    "LD_LIBRARY_PATH": EVIL,
    "OPENSSL_CONF": f"{EVIL}/openssl.cnf",
    "PYTHONPATH": EVIL,
    "PYTHONHOME": EVIL,
    "PYTHONSTARTUP": f"{EVIL}/startup.py",
    "GCONV_PATH": EVIL,
    "LOCPATH": EVIL,
    "TZ": f":{EVIL}/zone",
    "HOSTALIASES": f"{EVIL}/hosts",
    "PATH": f"{EVIL}/bin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "TMPDIR": EVIL,
    "HOME": "/home/bob",
}
# What doas with keepenv could leave of it. The interpreter reads LOCPATH, GCONV_PATH and TZ before
# the first line of any program of ours; so there is no keepenv in etc/doas.conf, and sudo takes
# them away.
C_LIBRARY = {"LD_PRELOAD", "LD_AUDIT", "LD_LIBRARY_PATH", "LOCPATH", "GCONV_PATH", "TZ"}
KEPT = {key: value for key, value in GIVEN.items() if key not in C_LIBRARY}
OPENED = re.compile(r"open(?:at|at2)?\((?:AT_FDCWD, |\d+, )?\"([^\"]*)\"")


class Call(NamedTuple):
    """One line of the trace.

    Attributes:
        by_root: whether root's half made it, or the child before it was the caller's.
        in_parent: whether it is of the process that root's half is.
        text: the call, with its answer.
    """

    by_root: bool
    in_parent: bool
    text: str


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    need("strace")
    with Lab() as made:
        made.install()
        made.write("/etc/vmman/policy.toml", POLICY)
        made.write("/home/alice/vm/web.toml", WEB, owner="alice")
        made.check("ip", "link", "add", "br0", "address", "02:00:00:00:00:0b", "type", "bridge")
        made.check("ip", "link", "add", "outer0", "type", "veth", "peer", "name", "inner0")
        for name in ("ip", "modprobe", "ifconfig", "devctl"):
            made.write(f"{EVIL}/bin/{name}", "#!/bin/sh\ntouch /tmp/evil\n", mode=0o755)
        for name in ("tomllib", "json", "os", "pyroute2/__init__", "vm_init/__init__"):
            made.write(f"{EVIL}/{name}.py", "open('/tmp/evil', 'w').close()\n")
        yield made


def traced(lab: Lab, by: str, *words: str) -> list[Call]:
    """The calls of root's half and its child, in an environment and a folder that alice chose."""
    what = "trace=!read,write,pread64,lseek,fstat,newfstatat,mmap,munmap,brk,close"
    trace = ("strace", "-f", "-s", "4096", "-o", "/tmp/trace", "-e", what)
    uid = lab.uid("alice")
    if by == "sudo":
        command = ("-u", "alice", "/usr/bin/env", *pairs(GIVEN), "/usr/bin/sudo", "-n")
    else:
        env = {**KEPT, "SUDO_UID": str(uid), "SUDO_USER": "alice"}
        command = ("/usr/bin/env", *pairs(env))
    done = lab.run(*trace, *command, "/usr/local/bin/vm-init", *words, cwd=EVIL)
    assert done.returncode == 0, done.stderr
    return helpers(lab.path("/tmp/trace").read_text().splitlines(), uid)


def pairs(environment: dict[str, str]) -> list[str]:
    return [f"{key}={value}" for key, value in environment.items()]


def helpers(lines: list[str], uid: int) -> list[Call]:
    """The calls of the helper and its children; those of env and sudo before it are left out."""
    split = [(process, text) for process, text in (line.split(maxsplit=1) for line in lines)]
    helper = 'execve("/usr/local/bin/vm-init"'
    began = next(number for number, (_, text) in enumerate(split) if text.startswith(helper))
    root = split[began][0]
    family, left = {root}, set[str]()
    for process, text in split[began:]:
        born = re.search(r"^(?:<\.\.\. )?(?:v?fork|clone3?)\b.* = (\d+)$", text)
        if born and process in family:
            family.add(born[1])
    calls: list[Call] = []
    for process, text in split[began:]:
        if process in family:
            calls.append(Call(process not in left, process == root, text))
            if text.startswith(f"setresuid({uid}, {uid}, {uid}"):
                left.add(process)
    return calls


@pytest.fixture(scope="module", params=["sudo-give", "sudo-release", "doas-give", "doas-release"])
def calls(request: pytest.FixtureRequest, lab: Lab) -> list[Call]:
    by, _, act = request.param.partition("-")
    return traced(lab, by, *(("web",) if act == "give" else ("--release", "web")))


def is_give(calls: list[Call]) -> bool:
    return 'vm-init", "web"' in calls[0].text


def opened(calls: list[Call]) -> list[str]:
    return [found[1] for call in calls if (found := OPENED.match(call.text))]


def test_threat_02_nothing_below_a_home_is_opened_by_root(calls: list[Call]) -> None:
    by_root = [call.text for call in calls if call.by_root]
    touched = [text for text in by_root if "/home/" in text]
    assert [text for text in touched if not text.startswith(("execve(", "getcwd("))] == []


def test_threat_08_the_description_is_opened_once(calls: list[Call]) -> None:
    found = [path for path in opened(calls) if path.endswith("web.toml")]
    assert len(found) == (1 if is_give(calls) else 0)
    left = [call for call in calls if call.text.startswith("setresuid(")]
    assert bool(left) == is_give(calls)
    assert not any(call.in_parent for call in left)


def test_threat_19_nothing_is_executed_but_the_helper(calls: list[Call], lab: Lab) -> None:
    executed = [call.text for call in calls if call.text.startswith(("execve(", "execveat("))]
    assert len(executed) == 1
    assert executed[0].startswith('execve("/usr/local/bin/vm-init"')
    assert not lab.path("/tmp/evil").exists()


def test_threat_17_no_module_is_loaded_but_pythons_and_ours(calls: list[Call], lab: Lab) -> None:
    paths = [path for path in opened(calls) if path.endswith((".py", ".pyc", ".so"))]
    assert paths
    python = lab.check("sh", "-c", "head -1 /usr/local/bin/vm-init").split()[0].removeprefix("#!")
    prefixes = (LIB, os.path.dirname(os.path.dirname(python)), "/usr/lib", "/lib")
    assert [path for path in paths if path.startswith("/") and not path.startswith(prefixes)] == []


def test_threat_18_nothing_that_the_environment_names_is_opened(calls: list[Call]) -> None:
    # What it was started with, and where, is not meant.
    found = [call.text for call in calls if EVIL in call.text]
    assert [text for text in found if not text.startswith(("execve(", "getcwd("))] == []


def test_threat_16_nothing_of_roots_is_open_before_the_child(calls: list[Call]) -> None:
    parent = [call.text for call in calls if call.in_parent]
    forks = [number for number, text in enumerate(parent) if re.match(r"(v?fork|clone3?)\(", text)]
    for fork in forks:
        before = parent[:fork]
        assert not any(text.startswith("socket(AF_NETLINK") for text in before)
        assert not any("/run/vmman" in text for text in before)
    assert len(forks) == (1 if is_give(calls) else 0)


def test_threat_60_no_device_but_the_makers_of_taps_is_opened_by_root(calls: list[Call]) -> None:
    """Nodes are pinned (O_PATH), so that no driver wakes."""
    by_root = [call.text for call in calls if call.by_root and OPENED.match(call.text)]
    devices = {text for text in by_root if re.search(r'"/dev/[^"]', text) and "O_PATH" not in text}
    allowed = ('"/dev/null"', '"/dev/net/tun"', '"/dev/urandom"')
    assert [text for text in devices if not any(each in text for each in allowed)] == []


def test_threat_18_through_sudo_the_loader_reads_nothing_of_the_callers(lab: Lab) -> None:
    lab.write(GIVEN["LD_PRELOAD"], "no library")
    lab.check("rm", "-f", "/tmp/evil")
    for words in (("web",), ("--release", "web")):
        done = lab.run("sudo", "-n", "vm-init", *words, user="alice", cwd=EVIL, env=GIVEN)
        assert done.returncode == 0, done.stderr
        assert "vm-init" not in done.stderr
    for variable in ("LD_PRELOAD=x", "PYTHONPATH=.", "OPENSSL_CONF=x", "SUDO_UID=0"):
        asked = ("sudo", "-n", variable, "vm-init", "--grants")
        assert "not allowed to set" in lab.run(*asked, user="alice").stderr
    assert not lab.path("/tmp/evil").exists()
