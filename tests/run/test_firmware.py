"""The host's UEFI firmware, by descriptors; and the variables of each VM."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from tests.home import Home
from tests.run import freebsd as hosts
from tests.run.freebsd import FreeBsd
from vm_run import firmware
from vm_spec import Context, loads
from vm_spec.fault import VmError

freebsd = pytest.fixture(hosts.freebsd)


class Folders:
    """Three folders of descriptors, the first one the user's."""

    def __init__(self, place: Path) -> None:
        self.place = place
        self.all = [place / "config/qemu/firmware", place / "etc", place / "share"]
        for folder in self.all:
            folder.mkdir(parents=True)

    def add(self, folder: int, name: str, code: str, **changes: Any) -> None:
        """Adds a descriptor of firmware that is there."""
        for file in (code, f"{code}.vars"):
            (self.place / file).write_text(file)
        part = {"format": "raw"}
        descriptor = {
            "interface-types": ["uefi"],
            "mapping": {
                "device": "flash",
                "executable": part | {"filename": str(self.place / code)},
                "nvram-template": part | {"filename": str(self.place / f"{code}.vars")},
            },
            "targets": [{"architecture": "x86_64", "machines": ["pc-i440fx-*", "pc-q35-*"]}],
            "features": ["acpi-s3", "verbose-dynamic"],
        } | changes
        (self.all[folder] / name).write_text(json.dumps(descriptor))

    def found(self) -> str:
        """The name of the code that is found."""
        code, template = firmware.find()
        assert template == f"{code}.vars"
        return Path(code).name


@pytest.fixture
def folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Folders:
    made = Folders(tmp_path)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.setattr(firmware, "_DIRECTORIES", tuple(map(str, made.all[1:])))
    return made


def test_descriptors_are_tried_in_order_of_their_names(folders: Folders) -> None:
    folders.add(1, "60-b.json", "second")
    folders.add(2, "50-a.json", "first")
    folders.add(0, "70-c.json", "third")
    assert folders.found() == "first"


def test_a_descriptor_masks_one_of_its_name_in_a_later_folder(folders: Folders) -> None:
    folders.add(2, "50-a.json", "distribution")
    folders.add(1, "50-a.json", "administrator")
    assert folders.found() == "administrator"
    folders.add(0, "50-a.json", "user")
    assert folders.found() == "user"


def test_an_empty_descriptor_takes_one_away(folders: Folders) -> None:
    folders.add(2, "50-a.json", "masked")
    folders.add(2, "60-b.json", "left")
    (folders.all[1] / "50-a.json").touch()
    assert folders.found() == "left"


FLASH = {"device": "flash", "executable": {"filename": "/nowhere", "format": "raw"}}


@pytest.mark.parametrize(
    "changes",
    [
        {"features": ["secure-boot"]},
        {"features": ["enrolled-keys"]},
        {"features": ["requires-smm"]},
        {"interface-types": ["bios"]},
        {"targets": [{"architecture": "aarch64", "machines": ["virt-*"]}]},
        {"targets": [{"architecture": "x86_64", "machines": ["microvm"]}]},
        {"mapping": FLASH},
        {"mapping": FLASH | {"nvram-template": {"filename": "/nowhere", "format": "raw"}}},
        {"mapping": {"device": "memory", "filename": "/nowhere"}},
        {"mapping": {"executable": "text", "nvram-template": "text"}},
        {"features": 7},
        {"targets": [7]},
        {"interface-types": None},
    ],
)
def test_firmware_that_does_not_fit_is_passed_over(
    folders: Folders, changes: dict[str, Any]
) -> None:
    folders.add(1, "10-odd.json", "odd", **changes)
    folders.add(2, "50-good.json", "good")
    assert folders.found() == "good"


def test_firmware_in_qcow2_is_passed_over(folders: Folders) -> None:
    mapping = {
        part: {"filename": str(folders.place / file), "format": "qcow2"}
        for part, file in (("executable", "odd"), ("nvram-template", "odd.vars"))
    }
    folders.add(1, "10-odd.json", "odd", mapping=mapping)
    folders.add(2, "50-good.json", "good")
    assert folders.found() == "good"


@pytest.mark.parametrize("content", ["", "{", "[1]", '"text"', "[" * 100_000, "\udcff"])
def test_what_is_no_descriptor_is_passed_over(folders: Folders, content: str) -> None:
    (folders.all[1] / "10-odd.json").write_text(content, errors="surrogateescape")
    (folders.all[1] / "20-folder.json").mkdir()
    (folders.all[1] / "README").write_text("no descriptor at all")
    folders.add(2, "50-good.json", "good")
    assert folders.found() == "good"


def test_without_firmware_the_next_step_is_to_install_it(folders: Folders, home: Home) -> None:
    expected = (
        "this host has no UEFI firmware\n  hint: install it (Debian: sudo apt install ovmf), "
        "or name a file: bootrom = PATH\n"
    )
    assert home.lacks('bootrom = "uefi"') == expected
    said = home.says("vm")
    assert (said.status, said.err) == (69, f"vm-run: {expected}")


def test_a_vm_gets_variables_of_its_own_that_are_never_overwritten(
    folders: Folders, home: Home
) -> None:
    folders.add(1, "50-a.json", "code")
    home.vm.describe('bootrom = "uefi"')
    assert home.says("vm").status == 0
    variables = home.folder / "vm.vars.fd"
    assert variables.read_text() == "code.vars"
    variables.write_text("what the guest has kept")
    assert home.says("vm").status == 0
    assert variables.read_text() == "what the guest has kept"
    assert {entry.name for entry in home.folder.iterdir()} == {"vm.toml", "vm.vars.fd"}


def test_of_two_who_create_variables_at_once_the_first_ones_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    template, variables = tmp_path / "template", tmp_path / "vars"
    template.write_text("new")
    link = os.link

    def late(source: str, destination: str) -> None:
        variables.write_text("the other's")
        link(source, destination)

    monkeypatch.setattr(os, "link", late)
    firmware.create_variables(str(template), str(variables))
    assert variables.read_text() == "the other's"
    assert len(list(tmp_path.iterdir())) == 2


def test_what_was_left_of_an_earlier_attempt_is_no_hindrance(tmp_path: Path) -> None:
    template, variables = tmp_path / "template", tmp_path / "vars"
    template.write_text("whole")
    Path(f"{variables}.{os.getpid()}.new").write_text("hal")
    firmware.create_variables(str(template), str(variables))
    assert variables.read_text() == "whole"


def test_variables_that_cannot_be_written_are_told(tmp_path: Path) -> None:
    (tmp_path / "template").touch()
    with pytest.raises(VmError, match="variables cannot be created: No such file") as caught:
        firmware.create_variables(str(tmp_path / "template"), str(tmp_path / "gone" / "vars"))
    assert caught.value.status == 69


def test_freebsd_has_one_firmware_and_each_vm_its_own_variables(freebsd: FreeBsd) -> None:
    folder = str(freebsd.home.folder)
    machine = loads('bootrom = "uefi"', Context(name="vm", folder=folder)).machine
    code = firmware.own_firmware(machine)
    assert Path(code).read_text() == "BHYVE_UEFI_CODE.fd"
    variables = freebsd.home.folder / "vm.vars.fd"
    assert variables.read_text() == "BHYVE_UEFI_VARS.fd"
    variables.write_text("what the guest has kept")
    firmware.own_firmware(machine)
    assert variables.read_text() == "what the guest has kept"


@pytest.mark.parametrize("part", ["CODE", "VARS"])
def test_on_freebsd_the_firmware_is_a_package(freebsd: FreeBsd, part: str) -> None:
    (freebsd.place / f"BHYVE_UEFI_{part}.fd").unlink()
    with pytest.raises(VmError) as caught:
        firmware.find()
    (fault,) = caught.value.faults
    assert fault.problem.endswith(f"BHYVE_UEFI_{part}.fd is missing")
    assert (fault.hint, caught.value.status) == ("sudo pkg install edk2-bhyve", 69)
