"""new.sh: what it writes loads, it takes nothing away, and a guest boots from it."""

import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from vm_spec import load, select
from vm_spec.devices import AhciCd, VirtioBlk, VirtioNet
from vm_spec.machine import Machine

CHECKOUT = Path(__file__).parent.parent
SCRIPT = CHECKOUT / "new.sh"
SHELLS = [
    pytest.param(shell, marks=pytest.mark.skipif(not shutil.which(shell[0]), reason="not here"))
    for shell in (["dash"], ["sh"], ["bash"], ["busybox", "sh"])
]
NETS = ["user", "bridge:br0", "macvtap:eno3"]
ODD = [
    "a b",
    "it's",
    'say "x"',
    "back\\slash\\n",
    "100%(name)",
    "$HOME`id`",
    "-rf",
    "机器é",
    "*?[a]",
]


def new(
    *argv: str, shell: tuple[str, ...] = ("sh",), cwd: Path | None = None
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*shell, str(SCRIPT), *argv],
        cwd=cwd, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
    )  # fmt: skip


@pytest.fixture(autouse=True)
def vms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder of descriptions: not made yet."""
    folder = tmp_path / "its own" / "vm"
    monkeypatch.setenv("VMCONF_DIR", str(folder))
    return folder


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "debian.qcow2"
    path.write_bytes(b"QFI\xfb")
    return path


def disk(machine: Machine) -> VirtioBlk:
    (found,) = (device for device in machine.emulations if isinstance(device, VirtioBlk))
    return found


def nic(machine: Machine) -> VirtioNet:
    (found,) = (device for device in machine.emulations if isinstance(device, VirtioNet))
    return found


def cds(machine: Machine) -> list[str]:
    return [str(device.path) for device in machine.emulations if isinstance(device, AhciCd)]


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("net", NETS)
@pytest.mark.parametrize("given", ["", "image", "iso", "image iso"])
def test_what_it_writes_loads_and_says_what_was_asked_for(
    vms: Path, image: Path, shell: list[str], net: str, given: str
) -> None:
    iso = image.with_name("debian.iso")
    iso.touch()
    words = ["web", *([str(image)] if "image" in given else []), "--net", net]
    words += ["--iso", str(iso)] if "iso" in given else []
    done = new(*words, shell=tuple(shell))
    assert (done.returncode, done.stderr) == (0, "")

    description = load(str(vms / "web.toml"))
    root = disk(description.machine)
    assert root.path == (str(image) if "image" in given else f"{vms}/web.img")
    assert root.format == ("qcow2" if "image" in given else "raw")
    assert cds(description.machine) == []
    installs = [
        (target.name, cds(select(description, target.name)), dict(target.changes))
        for target in description.targets
    ]
    expected = [("install", [str(iso)], {"next_target": "default"})]
    assert installs == (expected if "iso" in given else [])
    card = nic(description.machine)
    assert (card.backend, card.bridge, card.host_interface) == {
        "user": ("user", None, None),
        "bridge:br0": ("tap", "br0", None),
        "macvtap:eno3": ("macvtap", None, "eno3"),
    }[net]


def next_commands(*words: str) -> list[str]:
    lines = new(*words).stdout.splitlines()
    return [line.strip() for line in lines if line.startswith("  ")]


def test_it_ends_with_the_commands_that_come_next(image: Path) -> None:
    iso = image.with_name("debian.iso")
    iso.touch()
    assert next_commands("a", str(image)) == ["vm-run a"]
    assert next_commands("b", "--iso", str(iso)) == ["vm-run b -t install", "vm-run b"]
    assert next_commands("c", "--iso", str(iso), "--net", "bridge:br0") == [
        "sudo vm-init c", "vm-run c -t install", "vm-run c",
    ]  # fmt: skip


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize("odd", ODD)
def test_any_path_arrives_as_it_is(tmp_path: Path, vms: Path, shell: list[str], odd: str) -> None:
    folder = tmp_path / odd
    folder.mkdir()
    (folder / f"{odd}.img").touch()
    (folder / f"{odd}.iso").touch()
    word = f"{odd}/{odd}.img" if not odd.startswith("-") else f"./{odd}/{odd}.img"
    done = new("web", word, f"--iso={odd}/{odd}.iso", shell=tuple(shell), cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    description = load(str(vms / "web.toml"))
    path = Path(disk(description.machine).path)
    assert path.samefile(folder / f"{odd}.img")
    assert Path(cds(select(description, "install"))[0]).samefile(folder / f"{odd}.iso")


@pytest.mark.parametrize("odd", ODD)
def test_the_folder_of_descriptions_may_have_any_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, odd: str
) -> None:
    monkeypatch.setenv("VMCONF_DIR", odd)  # relative to where one stands
    done = new("web", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert disk(load(str(tmp_path / odd / "web.toml")).machine).path == f"{tmp_path}/{odd}/web.img"


@pytest.mark.parametrize("name", ["a", "0", "a.b-c_d", "x" * 64, "web.toml"])
def test_a_name_that_vm_run_takes_is_taken(vms: Path, name: str) -> None:
    assert new(name).returncode == 0
    assert load(str(vms / f"{name}.toml")).name == name


@pytest.mark.parametrize("shell", SHELLS)
@pytest.mark.parametrize(
    "name",
    ["", ".a", "_a", "a/b", "../a", "a b", "a\nb", "é", "x" * 65, "a;id", "$(id)", "a%", "a*"],
)
def test_a_name_that_vm_run_refuses_is_refused(vms: Path, shell: list[str], name: str) -> None:
    done = new(name, shell=tuple(shell))
    assert done.returncode == 64
    assert done.stderr.startswith("new.sh: ")
    assert not vms.exists()


@pytest.mark.parametrize(
    "words",
    [
        [], ["--nte", "user", "web"], ["web", "a.img", "b"], ["web", "--net"], ["web", "--iso"],
        ["web", "--net", "br0"], ["web", "--net", "bridge:"], ["web", "--net=bridge:all"],
        ["web", "--net", "bridge:a b"], ["web", "--net", "macvtap:0x"], ["web", "--net", "tap:x"],
        ["web", "--net", f"bridge:{'x' * 16}"], ["web", "--net", 'bridge:a"b'],
        ["web", "/tmp/a\nb.img"], ["web", "--iso", "/tmp/a\x1b.iso"], ["web", b"/tmp/\xff"],
        ["web", "cd.ISO"],
    ],
)  # fmt: skip
def test_a_wrong_command_line_ends_with_64_and_makes_nothing(vms: Path, words: list[str]) -> None:
    done = new(*words)
    assert done.returncode == 64
    assert done.stderr.isascii()
    assert "\x1b" not in done.stderr
    assert not vms.exists()


@pytest.mark.parametrize("words", [["web", "none.img"], ["web", "--iso=none.iso"], ["web", "/"]])
def test_an_image_that_is_none_ends_with_66(vms: Path, words: list[str]) -> None:
    assert new(*words).returncode == 66
    assert not vms.exists()


@pytest.mark.parametrize("there", ["web.toml", "web.json", "web.ucl", "web.conf", "web.img"])
@pytest.mark.parametrize("kind", ["file", "folder", "link"])
def test_nothing_that_is_there_is_changed(vms: Path, there: str, kind: str) -> None:
    vms.mkdir(parents=True)
    mine = vms / there
    if kind == "file":
        mine.write_text("mine")
    elif kind == "folder":
        mine.mkdir()
    else:
        mine.symlink_to("nowhere")
    done = new("web")
    assert done.returncode == 73
    assert f"{mine} exists already" in done.stderr
    assert os.listdir(vms) == [there]
    assert kind != "file" or mine.read_text() == "mine"
    assert kind != "folder" or os.listdir(mine) == []


def test_when_it_cannot_write_it_leaves_nothing_of_its_own(
    vms: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "ln").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "ln").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    done = new("web")
    assert done.returncode == 73
    assert os.listdir(vms) == []


def test_a_folder_that_cannot_be_made_ends_with_73(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("VMCONF_DIR", str(tmp_path / "file" / "vm"))
    assert new("web").returncode == 73


@pytest.mark.parametrize("shell", SHELLS)
def test_of_many_at_once_one_wins_and_what_it_made_is_whole(vms: Path, shell: list[str]) -> None:
    def one(_: int) -> int:
        return new("web", shell=tuple(shell)).returncode

    with ThreadPoolExecutor(8) as pool:
        codes = list(pool.map(one, range(8)))
    assert sorted(codes) == [0] + [73] * 7
    assert sorted(os.listdir(vms)) == ["web.img", "web.toml"]
    assert (vms / "web.img").stat().st_size == 20 << 30
    load(str(vms / "web.toml"))


def test_a_new_disk_takes_no_room(vms: Path) -> None:
    assert new("web").returncode == 0
    found = (vms / "web.img").stat()
    assert (found.st_size, found.st_blocks) == (20 << 30, 0)


@pytest.mark.parametrize("shell", SHELLS)
def test_the_address_is_stable_and_the_one_that_vm_run_would_give(
    vms: Path, shell: list[str]
) -> None:
    macs: set[str | None] = set()
    for name in ("web", "db"):
        assert new(name, shell=tuple(shell)).returncode == 0
        file = vms / f"{name}.toml"
        written = nic(load(str(file)).machine).mac
        file.write_text(re.sub(r"(?m)^mac =.*$", "", file.read_text()))
        assert nic(load(str(file)).machine).mac == written
        macs.add(written)
    assert len(macs) == 2


def test_nobody_else_may_write_what_it_makes(vms: Path) -> None:
    former = os.umask(0)
    try:
        assert new("web").returncode == 0
    finally:
        os.umask(former)
    for path in (vms, vms / "web.toml", vms / "web.img"):
        assert path.stat().st_mode & 0o022 == 0


def test_its_settings_are_meant_to_be_changed(vms: Path, tmp_path: Path) -> None:
    mine = tmp_path / "mine.sh"
    text = SCRIPT.read_text()
    for key, setting in {
        "MEM": "3G", "CPU": "7", "DISK_SIZE": "5M", "NET": "bridge:lan0", "BOOTROM": "uefi",
    }.items():  # fmt: skip
        text, count = re.subn(rf"(?m)^{key}=\S*", f"{key}={setting}", text)
        assert count == 1
    mine.write_text(text)
    subprocess.run(["sh", mine, "web"], check=True, capture_output=True)
    machine = load(str(vms / "web.toml")).machine
    assert (machine.mem.mib, machine.cpu.cores, machine.bootrom) == (3072, 7, "uefi")
    assert nic(machine).bridge == "lan0"
    assert (vms / "web.img").stat().st_size == 5 << 20


def test_an_image_whose_ending_hides_its_format_is_noted(vms: Path, image: Path) -> None:
    renamed = image.rename(image.with_suffix(".img"))
    done = new("web", str(renamed))
    assert "begins like a qcow2 image" in done.stdout
    assert disk(load(str(vms / "web.toml")).machine).format == "raw"


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("qemu-system-x86_64"), reason="needs qemu-system-x86_64")
def test_a_guest_installs_from_its_cd_and_boots_again_without_it(
    vms: Path, guest: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "run").mkdir(mode=0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    disk = shutil.copy(guest / "disk.img", tmp_path / "disk.img")
    assert new("web", str(disk), "--iso", str(guest / "media.iso")).returncode == 0
    file = vms / "web.toml"
    cd = "[targets.install.cd.installer]\n"
    changed = file.read_text().replace(cd, cd + 'device = "virtio-scsi"\n')
    file.write_text(changed)  # the test guest's kernel, Debian's for clouds, has no AHCI
    ran = subprocess.run(
        [sys.executable, "-m", "vm_run", "web", "-t", "install"], cwd=CHECKOUT,
        stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.count("guest: ready") == 2
    installed, _, again = ran.stdout.partition("guest: installed from the CD, rebooting")
    assert "guest: cd sr0" in installed
    assert "guest: cd none" in again
