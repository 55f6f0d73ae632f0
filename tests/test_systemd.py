"""A real systemd, a user's own, supervises real guests by the units of the checkout."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.lacking import lacking
from tests.systemd_user import PYTHON, SYSTEMD, UserManager
from vm_init.__main__ import Arguments, parse_arguments
from vm_state.stop_request import ENDED

pytestmark = [pytest.mark.root, pytest.mark.real]

SYSTEM_UNIT = Path(__file__).parent.parent / "etc" / "systemd" / "system" / "vm-init@.service"
DIRECT = (
    'mem = "192M"\ncom1 = "stdio"\nkernel = "{0}/vmlinuz"\ninitrd = "{0}/initrd.img"\n'
    'cmdline = "console=ttyS0 quiet vmman.do={1}"\n'
)


@pytest.fixture
def manager(guest: Path) -> Iterator[UserManager]:
    """A user's own systemd, and a kernel that the user can read."""
    for program in (PYTHON, SYSTEMD):
        if not Path(program).exists():
            lacking(f"{program} is missing")
    made = UserManager()
    try:
        for name in ("vmlinuz", "initrd.img"):
            shutil.copy(guest / name, made.folder)
            (made.folder / name).chmod(0o644)
        if not made.comes_up():
            lacking(f"systemd --user does not start here:\n{made.log.read_text()}")
        yield made
    finally:
        made.close()


def test_a_service_is_up_when_its_guest_runs_and_powers_off_when_it_stops(
    manager: UserManager,
) -> None:
    manager.describe("vm", DIRECT.format(manager.folder, "wait"))
    manager.does("start", "vm-run@vm")
    up = manager.knows("vm-run@vm")
    assert (up["ActiveState"], up["StatusText"]) == ("active", "running")
    assert int(up["MainPID"]) == manager.state("vm", "state.json")["supervisor"]
    manager.wait_for(lambda: manager.reads("vm", "guest: ready"))
    manager.does("stop", "vm-run@vm")
    down = manager.knows("vm-run@vm")
    assert (down["ActiveState"], down["Result"]) == ("inactive", "success")
    ended = manager.state("vm", ENDED)
    assert (ended["outcome"], ended["forced"]) == ("poweroff", False)


def test_a_guest_has_its_own_stop_timeout_whatever_the_unit_says(
    manager: UserManager,
) -> None:
    drop_in = manager.folder / ".config/systemd/user/vm-run@.service.d"
    drop_in.mkdir()
    (drop_in / "short.conf").write_text("[Service]\nTimeoutStopSec=1\n")
    manager.does("daemon-reload")
    manager.describe("vm", DIRECT.format(manager.folder, "stubborn") + "stop_timeout = 4\n")
    manager.does("start", "vm-run@vm")
    manager.does("stop", "vm-run@vm")
    assert manager.knows("vm-run@vm")["Result"] == "success"
    assert manager.state("vm", ENDED)["forced"]


def test_what_could_not_start_is_a_failed_service(manager: UserManager) -> None:
    manager.describe("vm", '[disk.root]\npath = "gone.img"\n')
    done = manager.asked("start", "vm-run@vm")
    assert done.returncode == 1
    found = manager.knows("vm-run@vm")
    assert (found["ActiveState"], found["ExecMainStatus"]) == ("failed", "69")


def test_those_that_start_with_the_host_start_and_stop_in_order(
    manager: UserManager,
) -> None:
    described = DIRECT.format(manager.folder, "wait")
    manager.describe("first", f"{described}autostart = true\n")
    manager.describe("second", f"{described}autostart = true\nautostart_order = 1\n")
    manager.describe("other", described)
    manager.does("start", "vm-autostart")
    first, second = (manager.knows(f"vm-run@{name}") for name in ("first", "second"))
    key = "ActiveEnterTimestampMonotonic"
    assert 0 < int(first[key]) <= int(second["InactiveExitTimestampMonotonic"])
    assert manager.knows("vm-run@other")["ActiveState"] == "inactive"
    for name in ("first", "second"):
        manager.wait_for(partial(manager.reads, name, "guest: ready"))
    manager.begin("exit").communicate(timeout=60)
    manager.process.wait(120)
    ended = [manager.state(name, ENDED) for name in ("first", "second")]
    assert [one["outcome"] for one in ended] == ["poweroff", "poweroff"]
    assert not any(one["forced"] for one in ended)
    said = manager.logs
    assert said.index("second: guest powered off") < said.index("first: powering off")


def test_the_unit_of_root_asks_vm_init_for_what_its_instance_says(manager: UserManager) -> None:
    asked = manager.folder / "asked"
    program = manager.folder / "libexec" / "vmman" / "vm-init"
    program.parent.mkdir(parents=True)
    program.write_text(f'#!/bin/sh\nprintf "%s\\n" "$@" >{asked}\n')
    program.chmod(0o755)
    unit = manager.folder / ".config" / "systemd" / "user" / SYSTEM_UNIT.name
    unit.write_text(SYSTEM_UNIT.read_text().replace("/usr/local", str(manager.folder)))
    manager.does("daemon-reload")
    manager.does("start", "vm-init@alice:my-vm")
    assert parse_arguments(asked.read_text().splitlines()) == Arguments(
        "give", "my-vm", {"--for-user": "alice"}
    )
    manager.does("stop", "vm-init@alice:my-vm")
    assert parse_arguments(asked.read_text().splitlines()) == Arguments(
        "--release", "my-vm", {"--for-user": "alice"}
    )
