"""What a Vagrantfile says, seen without running it."""

from __future__ import annotations

import pytest

from vm_pull.hardware import vagrantfile
from vm_pull.hardware.hardware import DiskUse, Hardware
from vm_pull.hardware.vagrantfile import Hints

WHOLE = """
Vagrant.configure("2") do |config|
  config.vm.base_mac = "080027A1B2C3"
  config.ssh.username = 'freebsd'
  config.vm.provider :libvirt do |libvirt|
    libvirt.driver = "kvm"
    libvirt.memory = 2048
    libvirt.cpus = 4 # two would do
    libvirt.disk_bus = "sata"
    libvirt.nic_model_type = "e1000"
    libvirt.loader = "/usr/share/OVMF/OVMF_CODE.fd"
  end
  config.vm.provider "virtualbox" do |v, override|
    v.memory = 512
  end
end
"""
FOUND = Hardware(
    provider="libvirt", memory=1, disks=(DiskUse(member="box.img", bus="virtio-blk"),), nic="e1000"
)


def read(text: str, provider: str = "libvirt", file: str = "Vagrantfile") -> Hints:
    return vagrantfile.read({file: text.encode()}, provider)


def test_the_block_of_the_provider_and_what_is_for_all_are_seen() -> None:
    assert read(WHOLE) == Hints(
        cpus="4",
        memory="2048",
        disk_bus="sata",
        nic="e1000",
        loader="/usr/share/OVMF/OVMF_CODE.fd",
        base_mac="080027A1B2C3",
        user="freebsd",
    )
    assert read(WHOLE, "virtualbox").memory == "512"
    assert read(WHOLE, "bhyve").memory == ""


def test_the_file_that_vagrant_package_wraps_is_seen_too() -> None:
    assert read("config.ssh.username = 'x'", file="include/_Vagrantfile").user == "x"
    assert read("config.ssh.username = 'x'", file="other/Vagrantfile").user == ""


@pytest.mark.parametrize(
    "line",
    [
        "config.ssh.username = ENV['USER']",
        "config.ssh.username = name",
        "# config.ssh.username = 'x'",
        "puts 'config.ssh.username = \"x\"'",
        'config.ssh.username = "#{`id`}"',
    ],
)
def test_what_ruby_would_have_to_work_out_is_passed_over(line: str) -> None:
    assert read(line).user == ""


@pytest.mark.parametrize(
    "line",
    [
        'config.ssh.private_key_path = "key"',
        "config.ssh.private_key_path = File.join(dir, 'key')",
        'config.ssh.private_key_path = ["a", "b"]',
    ],
)
def test_a_key_of_the_box_s_own_is_seen_however_it_is_named(line: str) -> None:
    assert vagrantfile.applied(read(line), FOUND).own_key
    assert not vagrantfile.applied(read(f"# {line}"), FOUND).own_key


def test_the_hardware_is_as_vagrant_would_change_it() -> None:
    assert vagrantfile.applied(read(WHOLE), FOUND) == Hardware(
        provider="libvirt",
        cpus=4,
        memory=2048 << 20,
        firmware="uefi",
        disks=(DiskUse(member="box.img", bus="ahci-hd"),),
        nic="e1000",
        mac="08:00:27:a1:b2:c3",
        user="freebsd",
    )
    assert vagrantfile.applied(read(""), FOUND) == FOUND


@pytest.mark.parametrize(
    "line",
    ["memory = 0", "memory = 999999999999", 'memory = "1; rm"', "cpus = 99999", 'memory = "2G"'],
)
def test_a_number_that_cannot_be_is_passed_over(line: str) -> None:
    block = f"config.vm.provider :libvirt do |l|\nl.{line}\n"
    assert vagrantfile.applied(read(block), FOUND) == FOUND


@pytest.mark.parametrize("user", ["-oProxyCommand=x", "a b", "x;id", "\x1b[31m", "a" * 33, "$(id)"])
def test_a_user_that_no_ssh_command_may_carry_is_passed_over(user: str) -> None:
    assert vagrantfile.applied(read(f'config.ssh.username = "{user}"'), FOUND).user == "vagrant"


def test_scsi_of_libvirt_is_virtio_scsi() -> None:
    block = 'config.vm.provider "libvirt" do |l|\nl.disk_bus = "scsi"\n'
    found = vagrantfile.applied(read(block), FOUND)
    assert [disk.bus for disk in found.disks] == ["virtio-scsi"]
