"""The everyday commands as a person types them, at a real terminal: what is on the screen."""

from __future__ import annotations

import re

import pytest

from tests import terminal as terminals
from tests.pull.whole import Puller
from tests.terminal import Terminal

pytestmark = [pytest.mark.real, pytest.mark.slow]

user = pytest.fixture(terminals.user)
terminal = pytest.fixture(terminals.terminal)


def test_pull_list_run_console_stop_list(user: Puller, terminal: Terminal) -> None:
    vms = re.escape(str(user.vms))
    terminal.sees(
        "vm-pull user/box --name hello",
        r"vm-pull: user/box 1\.0 for libvirt amd64",
        rf"vm-pull: from {user.server.url}/files/a\.box",
        r"vm-pull: unpacking box\.img",
        rf"description  {vms}/hello\.toml",
        rf"disk         {vms}/hello\.qcow2  \(qcow2, 48 MiB, \d+ MiB here\)",
        r"checksum     sha256:[0-9a-f]{64} \(verified\)",
        r"next: vm-run hello --detach",
        r"then: ssh -p \d+ vagrant@localhost",
    )
    stopped = r"hello  stopped  .*"
    terminal.sees("vm-list", r"NAME   STATE .*", "─+", stopped)
    terminal.sees(
        "vm-run hello --detach",
        r"(?:hello: KVM does not work here, so the guest is emulated \(TCG\), which is slower\n)?"
        r"hello: 127\.0\.0\.1:\d+ is forwarded to guest port 22",
        r"hello runs in the background; vm-list shows it, vm-stop hello stops it",
    )
    terminal.sees("vm-list", r"NAME   STATE .*", "─+", r"hello  running  default +1 +1G .*")
    at_the_console(terminal)
    terminal.sees(
        "vm-stop hello",
        r"hello: powering off; forced after 60 s",
        r"hello: guest powered off after \d+\.\d s \(target default\); not started again: "
        r"it was asked to stop",
    )
    terminal.sees("vm-list", r"NAME   STATE .*", "─+", stopped)


def at_the_console(terminal: Terminal) -> None:
    """The guest's own words, from its first one on; a command in it; and out again."""
    terminal.types("clear; vm-console hello")
    terminal.reads(r"^hello com1: Ctrl-\] detaches; the guest goes on$")
    terminal.reads(r"^guest: hello, boot target=-")
    terminal.reads(r"^guest: ready$")
    terminal.reads(r"^[~/] # ?\Z")
    terminal.types("echo seven is $((3+4))")
    terminal.reads(r"^[~/] # echo seven is \$\(\(3\+4\)\)\nseven is 7\n[~/] #")
    terminal.keys("C-]")
    terminal.reads(r"\nhello: detached; the guest goes on\nme\$\Z")
