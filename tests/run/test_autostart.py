"""Which VMs start with the host, in which order, and that they do."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.home import Home, command
from tests.vm import Vm
from vm_run.autostart import find_groups

DIRECT = (
    'mem = "192M"\ncom1 = "stdio"\nkernel = "{0}/vmlinuz"\ninitrd = "{0}/initrd.img"\n'
    'cmdline = "console=ttyS0 quiet vmman.do=wait"\nautostart = true\n'
)


@pytest.fixture
def folder(home: Home) -> Path:
    """Five descriptions: three start with the host, one of them before all others."""
    for name, text in {
        "web": "autostart = true\n",
        "app": "autostart = true\n",
        "db": "autostart = true\nautostart-order = -5\n",
        "spare": "autostart = false\n",
        "plain": "",
    }.items():
        (home.folder / f"{name}.toml").write_text(text)
    return home.folder


def test_lower_orders_come_first_and_one_order_is_one_group(folder: Path) -> None:
    assert find_groups(str(folder)) == ([["db"], ["app", "web"]], [])


def test_the_names_are_printed_a_line_for_each_order(folder: Path, home: Home) -> None:
    assert folder == home.folder
    said = home.says("--autostart", "--names")
    assert (said.status, said.out, said.err) == (0, "db\napp web\n", "")


def test_a_wrong_description_does_not_hide_the_others(folder: Path, home: Home) -> None:
    (folder / "bad.toml").write_text("autostart = 1\n")
    said = home.says("--autostart", "--names")
    assert (said.status, said.out) == (65, "db\napp web\n")
    assert "bad.toml:1: autostart: must be true or false" in said.err


def test_a_wrong_description_that_does_not_speak_of_it_is_nobodys_matter(
    folder: Path, home: Home
) -> None:
    (folder / "bad.toml").write_text("mem = ")
    assert home.says("--autostart", "--names").err == ""
    assert folder == home.folder


def test_a_folder_that_is_not_there_starts_nothing(tmp_path: Path) -> None:
    assert find_groups(str(tmp_path / "none")) == ([], [])


def test_threat_a_file_that_cannot_be_a_vms_is_passed_over(folder: Path, home: Home) -> None:
    for name in ("$(touch got)", "a b", "-c", "--force"):
        (folder / f"{name}.toml").write_text("autostart = true\n")
    assert home.says("--autostart", "--names").out == "db\napp web\n"


def test_threat_a_description_that_a_stranger_can_write_does_not_start(
    folder: Path, home: Home
) -> None:
    (folder / "web.toml").chmod(0o666)
    said = home.says("--autostart", "--names")
    assert (said.status, said.out) == (65, "db\napp\n")
    assert "can be written by everybody" in said.err


@pytest.mark.parametrize(
    "words",
    [("web",), ("-t", "two"), ("-c", "web.toml"), ("-o", "mem=1G"), ("-p", "pid"),
     ("--recover",), ("-d",), ("--check",), ("--", "-S")],
    ids=" ".join,
)  # fmt: skip
def test_what_is_for_one_vm_cannot_go_with_all(home: Home, words: tuple[str, ...]) -> None:
    said = home.says("--autostart", *words)
    assert said.status == 64
    assert "--autostart is for all VMs that have it" in said.err


def test_names_alone_mean_nothing_to_vm_run(home: Home) -> None:
    said = home.says("web", "--names")
    assert said.status == 64
    assert "vm-list --names" in said.err


@pytest.fixture
def two(vm: Vm) -> Iterator[tuple[Vm, Vm]]:
    """Two VMs in one folder."""
    first, second = Vm(vm.folder, "first"), Vm(vm.folder, "second")
    yield first, second
    first.close()
    second.close()


@pytest.mark.real
def test_each_is_started_and_one_that_runs_is_left_alone(two: tuple[Vm, Vm], guest: Path) -> None:
    first, second = two
    first.describe(DIRECT.format(guest) + "autostart_order = 1\n")
    second.describe(DIRECT.format(guest) + "autostart_order = 2\n")
    done = command(first, "--autostart")
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["first", "second"]
    assert first.record["since"] < second.record["since"]
    pid = first.record["pid"]
    again = command(first, "--autostart")
    assert (again.returncode, again.stdout) == (0, "")
    assert "first is already running" in again.stderr
    assert first.record["pid"] == pid


@pytest.mark.real
def test_one_that_cannot_start_does_not_keep_the_next_from_it(
    two: tuple[Vm, Vm], guest: Path
) -> None:
    first, second = two
    first.describe('autostart = true\n[disk.root]\npath = "gone.img"\n')
    second.describe(DIRECT.format(guest))
    done = command(first, "--autostart")
    assert done.returncode == 69
    assert "gone.img" in done.stderr
    assert [line.split()[0] for line in done.stdout.splitlines()] == ["second"]
    assert second.record["pid"] > 0
