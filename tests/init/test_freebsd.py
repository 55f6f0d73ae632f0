"""FreeBSD's programs, by recorded commands and with fake programs: nothing here ran on FreeBSD."""

from pathlib import Path

import pytest

from vm_init import freebsd
from vm_init.errors import InitError

TAG = "vmman:1001:0123456789abcdef"
TAP = f"""tap3: flags=8902<BROADCAST,PROMISC,SIMPLEX,MULTICAST> metric 0 mtu 1500
\tdescription: {TAG}
\toptions=80000<LINKSTATE>
\tether 58:9c:fc:10:20:30
\tgroups: tap
"""
PPT = (
    "ppt0@pci0:1:0:0:\tclass=0x030000 rev=0xa1 hdr=0x00 vendor=0x10de device=0x1b80"
    " subvendor=0x1458 subdevice=0x3702\n    vendor     = 'NVIDIA'\n"
)
OLD = "none0@pci0:1:0:0:\tclass=0x030000 card=0x37021458 chip=0x1b8010de rev=0xa1 hdr=0x00\n"


def test_a_tap_is_made_tagged_joined_and_set_up() -> None:
    assert freebsd.create_tap("tap3", "bridge0", TAG) == [
        ["/sbin/ifconfig", "tap3", "create"],
        ["/sbin/ifconfig", "tap3", "description", TAG],
        ["/sbin/ifconfig", "bridge0", "addm", "tap3"],
        ["/sbin/ifconfig", "tap3", "up"],
    ]
    assert len(freebsd.create_tap("tap3", "-", TAG)) == 3


@pytest.mark.parametrize("name", ["em0", "tap", "tap03", "tap99999", "-tap1", "tap1\n", "vm-web"])
def test_threat_39_a_tap_has_no_other_name(name: str) -> None:
    with pytest.raises(InitError):
        freebsd.create_tap(name, "bridge0", TAG)


@pytest.mark.parametrize("bridge", ["-l", "bridge 0", "Bridge0", "", "bridge0\n", "x" * 16])
def test_threat_41_a_bridge_cannot_be_an_option(bridge: str) -> None:
    with pytest.raises(InitError):
        freebsd.create_tap("tap3", bridge, TAG)


def test_threat_69_a_tap_without_our_tag_is_not_taken_away() -> None:
    assert freebsd.show("tap3") == ["/sbin/ifconfig", "tap3"]
    assert freebsd.parse_description(TAP) == TAG
    assert freebsd.destroy_tap("tap3", TAG, TAP) == [["/sbin/ifconfig", "tap3", "destroy"]]
    assert freebsd.destroy_tap("tap3", TAG[:-1] + "0", TAP) == []
    assert freebsd.destroy_tap("tap3", TAG, "tap3: flags=8902<UP>\n\tgroups: tap\n") == []


def test_a_pci_device_is_given_to_ppt_and_back() -> None:
    assert freebsd.bind("0000:0a:1f.7") == [
        "/usr/sbin/devctl", "set", "driver", "-f", "pci0:10:31:7", "ppt",
    ]  # fmt: skip
    assert freebsd.unbind("0000:01:00.0") == [
        "/usr/sbin/devctl", "clear", "driver", "-f", "pci0:1:0:0",
    ]  # fmt: skip
    assert freebsd.identify("0000:01:00.0") == ["/usr/sbin/pciconf", "-l", "pci0:1:0:0"]


@pytest.mark.parametrize("output", [PPT, OLD])
def test_threat_55_a_pci_device_is_known_by_its_id(output: str) -> None:
    assert freebsd.parse_identity(output) == ("10de:1b80", output[:4].rstrip("0"))


@pytest.mark.parametrize("output", ["", "\n", "pciconf: no", PPT.replace("vendor=", "v=")])
def test_what_pciconf_never_said_is_refused(output: str) -> None:
    with pytest.raises(InitError):
        freebsd.parse_identity(output)


@pytest.mark.parametrize("address", ["0000:01:00.8", "1:0.0", "0000:01:00.0\n", "0000:01:0A.0"])
def test_threat_54_an_address_of_another_form_is_refused(address: str) -> None:
    with pytest.raises(InitError):
        freebsd.bind(address)


def test_a_vm_is_made_and_its_nodes_are_no_other_vms() -> None:
    assert freebsd.create_vm("web") == ["/usr/sbin/bhyvectl", "--create", "--vm=web"]
    assert freebsd.destroy_vm("web") == ["/usr/sbin/bhyvectl", "--destroy", "--vm=web"]
    siblings = ["web.bootrom", "web.old.bootrom", "web2.bootrom", "webxbootrom", "web.fb/../x"]
    assert freebsd.vm_nodes("web", siblings) == ["/dev/vmm/web", "/dev/vmm.io/web.bootrom"]


@pytest.mark.parametrize("name", ["", "../tap0", "-x", "a b", "a\n", "a/b"])
def test_a_vm_has_no_other_name(name: str) -> None:
    with pytest.raises(InitError):
        freebsd.create_vm(name)


def test_only_our_modules_are_loaded() -> None:
    assert freebsd.load("vmm") == ["/sbin/kldload", "-n", "vmm"]
    with pytest.raises(InitError):
        freebsd.load("/tmp/vmm.ko")


@pytest.fixture(autouse=True)
def below(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(freebsd, "BELOW", str(tmp_path))


def program(root: Path, name: str, script: str) -> None:
    path = root / name.lstrip("/")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def test_a_program_gets_nothing_of_the_callers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("IFCONFIG_FORMAT", "inet:cidr")
    program(tmp_path, "/sbin/ifconfig", 'pwd; printf "%s " "$@"; env | cut -d= -f1 | sort; cat')
    printed = freebsd.run(["/sbin/ifconfig", "tap3", "create"]).split()
    assert printed[:3] == ["/", "tap3", "create"]
    assert set(printed[3:]) <= {"PATH", "LC_ALL", "PWD", "OLDPWD", "SHLVL", "_"}


def test_a_program_that_fails_or_is_missing_is_told(tmp_path: Path) -> None:
    program(tmp_path, "/sbin/ifconfig", 'printf "ifconfig: \\033 exists\\n" >&2; exit 1')
    with pytest.raises(InitError, match=r"/sbin/ifconfig tap3 create: ifconfig: .* exists") as told:
        freebsd.run(["/sbin/ifconfig", "tap3", "create"])
    assert told.value.status == 69
    with pytest.raises(InitError, match="No such file"):
        freebsd.run(freebsd.create_vm("web"))


def test_a_program_that_hangs_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(freebsd, "TIMEOUT_S", 0.2)
    program(tmp_path, "/sbin/ifconfig", "exec sleep 20")
    with pytest.raises(InitError, match="timed out"):
        freebsd.run(["/sbin/ifconfig", "tap3"])
