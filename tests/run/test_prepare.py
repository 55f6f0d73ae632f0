"""Repairs: what vm-run makes when it is asked to, and what it leaves alone."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.home import Home, leftover, listening

SUDO = '#!/bin/sh\nprintf "%s\\n" "$*" >> "$PWD/sudo.calls"\n'
PORT = '[[emulations]]\ndevice = "virtio-console"\nports = ["port.sock"]\n'
TAPS = '[net.a]\nname = "nosuch0"\n[net.b]\nname = "nosuch1"\n'


@pytest.fixture(autouse=True)
def inside(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """A sudo that writes down what it was asked for, and does nothing."""
    monkeypatch.chdir(home.vm.folder)
    home.program("sudo", SUDO)


def calls(home: Home) -> list[str]:
    record = home.vm.folder / "sudo.calls"
    return record.read_text().splitlines() if record.exists() else []


@pytest.mark.parametrize(("key", "words"), [("", ["--fix"]), ("fix = true\n", [])])
def test_a_leftover_socket_is_removed_when_that_is_asked_for(
    home: Home, key: str, words: list[str]
) -> None:
    leftover(home.folder / "port.sock")
    home.vm.describe(PORT + key)
    said = home.says("vm", *words)
    assert f"vm: rm {home.folder}/port.sock\n" in said.err
    assert said.status == 0, said.err
    assert not (home.folder / "port.sock").exists()


def test_nothing_is_repaired_without_being_asked(home: Home) -> None:
    leftover(home.folder / "port.sock")
    home.vm.describe(PORT + TAPS)
    for words in ([], ["--check"], ["--check", "--fix"]):
        assert home.says("vm", *words).status == 69
    assert (home.folder / "port.sock").is_socket()
    assert calls(home) == []


def test_only_what_a_device_asks_for_is_repaired(home: Home) -> None:
    leftover(home.folder / "port.sock")
    home.vm.describe(PORT + "fix = true\n" + TAPS)
    said = home.says("vm")
    assert said.status == 69
    assert "tap nosuch0 is missing" in said.err
    assert not (home.folder / "port.sock").exists()
    assert calls(home) == []


def test_fix_never_removes_what_is_no_leftover(home: Home) -> None:
    home.vm.describe(PORT)
    with listening(home.folder / "port.sock"):
        assert home.says("vm", "--fix").status == 69
        assert (home.folder / "port.sock").is_socket()
    (home.folder / "port.sock").unlink()
    (home.folder / "port.sock").write_text("mine")
    assert home.says("vm", "--fix").status == 69
    assert (home.folder / "port.sock").read_text() == "mine"


def test_vm_init_is_called_once_for_all_devices(home: Home) -> None:
    home.vm.describe(TAPS)
    said = home.says("vm", "--fix")
    assert calls(home) == ["vm-init vm"]
    assert said.status == 69  # it did nothing, so the taps are missing still
    assert said.err.count("vm: sudo vm-init vm\n") == 1
    assert "tap nosuch0 is missing" in said.err
    assert "tap nosuch1 is missing" in said.err


def test_when_vm_init_fails_then_its_line_is_there_to_copy(home: Home) -> None:
    home.program("sudo", SUDO + "exit 77\n")
    home.vm.describe(TAPS)
    said = home.says("vm", "--fix")
    assert said.status == 69
    assert "vm-run: sudo vm-init vm: exit status 77\n" in said.err


def test_a_host_without_sudo_is_told_to_install_it(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    (home.bin / "sudo").unlink()
    monkeypatch.setenv("PATH", str(home.bin))
    home.vm.describe(TAPS)
    said = home.says("vm", "--fix")
    assert said.status == 69
    assert "sudo vm-init vm: No such file or directory\n  hint: install sudo\n" in said.err


def test_a_start_can_skip_the_look_at_the_host(home: Home) -> None:
    home.vm.describe('[disk.root]\npath = "missing.img"\n')
    assert home.says("vm").status == 69
    assert home.says("vm", "--no-requirement-check").status == 0
    assert calls(home) == []


def test_a_socket_that_cannot_be_removed_is_told_as_lacking(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    path = home.folder / "port.sock"
    leftover(path)
    unlink = os.unlink

    def refused(given: str | Path) -> None:
        if str(given) == str(path):
            raise PermissionError(13, "Permission denied")
        unlink(given)

    monkeypatch.setattr(os, "unlink", refused)
    home.vm.describe(PORT)
    said = home.says("vm", "--fix")
    assert said.status == 69
    assert "is left over" in said.err
