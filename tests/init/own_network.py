"""Programs in a network of their own, which ends with them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.lacking import need

CHECKOUT = Path(__file__).parents[2]

PRELUDE = """
import fcntl, os, signal, subprocess, sys, tempfile, time
from vm_init import links, netlink, nodes
from vm_init.caller import Caller
from vm_init.errors import InitError
from vm_init.ledger import Ledger, Record
from vm_init.policy import Granted
from vm_init.request import parse_line

ALICE = Caller(1501, 1501, "alice", (1501,), ("alice",), "/home/alice")
BOB = Caller(1502, 1502, "bob", (1502,), ("bob",), "/home/bob")

def ip(words):
    return subprocess.run(["ip", *words.split()], check=True, capture_output=True, text=True).stdout

def refused(act, *given):
    try:
        act(*given)
    except InitError as error:
        return str(error), error.status
    raise SystemExit("was not refused")

def names():
    return {link.name for link in netlink.list_links()}

ip("link set lo up")
"""

# Gives and takes back `asked`, by `module`, and dies in between: at each line of vm_init once.
KILLED = """
import vm_init
own = os.path.dirname(vm_init.__file__)
# They change nothing, and are most of the lines.
PURE = "pack message change alias address port _unpack _parse_link".split()
pure = {getattr(netlink, each).__code__ for each in PURE}

def killed(act, after):
    "Fork; the child dies by SIGKILL at the line of vm_init that has this number. Whether it did."
    left = after
    def trace(frame, event, arg):
        nonlocal left
        if not frame.f_code.co_filename.startswith(own) or frame.f_code in pure: return None
        if event == "line":
            left -= 1
            if left == 0: os.kill(os.getpid(), signal.SIGKILL)
        return trace
    child = os.fork()
    if not child:
        sys.settrace(trace)
        try: act(); os._exit(0)
        except BaseException as error: print(repr(error), file=sys.stderr); os._exit(1)
    status = os.waitpid(child, 0)[1]
    assert os.waitstatus_to_exitcode(status) in (0, -9), status
    return status != 0

root = tempfile.mkdtemp()
def whole():
    ledger = Ledger(ALICE.uid, "web", root)
    record = links.check(asked, ALICE)
    ledger.write([record])
    links.give([record], ALICE)
def release():
    ledger = Ledger(ALICE.uid, "web", root)
    for record in ledger.records:
        assert links.take([record], ALICE.uid) == [""]
        assert record.kind == "tap" or not os.path.exists(f"/dev/tap{record.number}")
    ledger.write([])

netlink.list_links()
before = names()
def as_before():
    assert names() == before, names()
    assert os.listdir(root) == []
lines = 1
while killed(whole, lines):
    release(); as_before(); lines += 1
release()
undone = 1
while True:
    whole()
    if not killed(release, undone): break
    release(); as_before(); undone += 1
as_before()
assert lines > 100 and undone > 50, (lines, undone)
os.rmdir(root)
print(lines, undone)
"""


def kernel(program: str, timeout_s: float = 120) -> str:
    """What a program that begins with PRELUDE says, in a network and a /sys of its own."""
    python = [sys.executable, "-B", "-c", PRELUDE + program]
    need("ip")
    mounted = 'mount -t sysfs sysfs /sys && exec "$@"'
    done = subprocess.run(
        [need("unshare"), "-n", "-m", "sh", "-c", mounted, "sh", *python],
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        timeout=timeout_s,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
