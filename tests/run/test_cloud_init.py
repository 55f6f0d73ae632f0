"""What cloud-init is given: the disk that a guest finds, made anew at each start."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.home import Home
from tests.lacking import need
from tests.run.test_pci_slots import KINDS, described, devices, one, slots
from tests.vm import Vm
from vm_run import cloud_init, dry_run
from vm_run.cloud_init import SECTOR, image
from vm_run.host.requirements import MOST_SEED
from vm_run.pci_slots import SEED, place
from vm_spec import Context, VmError, loads, select
from vm_spec.machine import Machine

CONFIG = "#cloud-config\nhostname: other\n"
PAIRS = st.lists(st.tuples(st.sampled_from(sorted(KINDS)), st.none()), max_size=30)


def read_back(path: Path) -> dict[str, bytes]:
    """The files of an image, as libarchive reads them."""
    bsdtar = need("bsdtar")

    def said(*words: str) -> bytes:
        return subprocess.run([bsdtar, *words], capture_output=True, check=True).stdout

    names = said("-tf", str(path)).decode().split()
    return {name: said("-xOf", str(path), name) for name in names if name != "."}


def machine(folder: Path, text: str, name: str = "web") -> Machine:
    """A machine with files for cloud-init, of which all exist that are named so."""
    for file in ("user-data", "meta-data", "network-config"):
        (folder / file).write_text(CONFIG if file == "user-data" else f"{file}: 1\n")
    return loads(f"[cloud-init]\n{text}", Context(folder=str(folder), name=name)).machine


def instance(made: Machine) -> str:
    return cloud_init.read_files(made)["meta-data"].decode().splitlines()[0]


def faults(description: str) -> str:
    with pytest.raises(VmError) as caught:
        loads(description, Context(name="web"))
    return str(caught.value)


# --- the image -----------------------------------------------------------------------------------

FILES = st.dictionaries(
    st.sampled_from(["user-data", "meta-data", "network-config", "vendor-data"]),
    st.binary(max_size=3 * SECTOR) | st.sampled_from([b"x" * SECTOR, b"x" * (SECTOR + 1)]),
)


@settings(deadline=None, max_examples=15)
@given(FILES)
def test_an_image_has_the_files_that_went_into_it(
    tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes]
) -> None:
    path = tmp_path_factory.mktemp("iso") / "a.iso"
    path.write_bytes(image("cidata", files))
    assert read_back(path) == files


def test_an_image_has_the_label_that_cloud_init_looks_for(tmp_path: Path) -> None:
    path = tmp_path / "a.iso"
    path.write_bytes(image("cidata", {"user-data": b"x"}))
    told = subprocess.run(
        [need("blkid"), "-p", "-o", "export", path], capture_output=True, text=True, check=True
    )
    assert {"LABEL=cidata", "TYPE=iso9660", "VERSION=Joliet Extension"} <= {
        line.replace("\\ ", " ") for line in told.stdout.splitlines()
    }


def test_the_same_files_are_the_same_image_in_whole_sectors() -> None:
    files = {"user-data": b"a" * 3000, "meta-data": b""}
    assert image("cidata", files) == image("cidata", files)
    assert len(image("cidata", files)) == (25 + 2) * SECTOR


def test_more_files_than_one_folder_holds_are_refused() -> None:
    with pytest.raises(ValueError, match="cannot hold so many files"):
        image("x", {f"file{number}": b"" for number in range(60)})


# --- what is on it -------------------------------------------------------------------------------


def test_a_guest_is_told_its_name_and_what_to_do(tmp_path: Path) -> None:
    made = machine(tmp_path, 'user-data = "user-data"\nnetwork-config = "network-config"')
    assert cloud_init.write_image(made, str(tmp_path)) == ""
    found = read_back(tmp_path / "cloud-init.iso")
    assert found["user-data"] == CONFIG.encode()
    assert found["network-config"] == b"network-config: 1\n"
    first, second = found["meta-data"].decode().splitlines()
    assert first.startswith('instance-id: "web-')
    assert second == 'local-hostname: "web"'


def test_an_empty_table_gives_both_files_that_must_be_there(tmp_path: Path) -> None:
    found = cloud_init.read_files(machine(tmp_path, ""))
    assert [*found] == ["user-data", "meta-data"]
    assert found["user-data"] == b""


def test_meta_data_is_taken_as_it_is(tmp_path: Path) -> None:
    found = cloud_init.read_files(machine(tmp_path, 'meta-data = "meta-data"'))
    assert found["meta-data"] == b"meta-data: 1\n"


@pytest.mark.parametrize("file", ["user-data", "network-config"])
def test_a_changed_file_makes_another_instance(tmp_path: Path, file: str) -> None:
    made = machine(tmp_path, 'user-data = "user-data"\nnetwork-config = "network-config"')
    before = instance(made)
    assert instance(made) == before
    (tmp_path / file).write_text(f"{CONFIG}# changed\n")
    assert instance(made) != before


def test_a_copied_machine_is_another_instance(tmp_path: Path) -> None:
    assert instance(machine(tmp_path, "", "web")) != instance(machine(tmp_path, "", "web2"))


def test_an_instance_id_that_is_given_stays(tmp_path: Path) -> None:
    made = machine(tmp_path, 'user-data = "user-data"\ninstance-id = "i-1"')
    (tmp_path / "user-data").write_text("#!/bin/sh\n")
    assert instance(made) == 'instance-id: "i-1"'


def test_the_image_is_its_owners_alone(tmp_path: Path) -> None:
    """It may hold passwords."""
    old = os.umask(0)
    try:
        cloud_init.write_image(machine(tmp_path, ""), str(tmp_path))
    finally:
        os.umask(old)
    assert (tmp_path / "cloud-init.iso").stat().st_mode & 0o777 == 0o600


def test_a_link_in_the_place_of_the_image_is_not_followed(tmp_path: Path) -> None:
    made = machine(tmp_path, "")
    (tmp_path / "cloud-init.iso").symlink_to(tmp_path / "user-data")
    with pytest.raises(OSError, match="symbolic links"):  # which a start reports, with status 74
        cloud_init.write_image(made, str(tmp_path))
    assert (tmp_path / "user-data").read_text() == CONFIG


BEGINNINGS = {
    CONFIG: True,
    "\n#!/bin/sh\n": True,
    "Content-Type: multipart/mixed\nMIME-Version: 1.0\n": True,
    "Content-Type: text/x-shellscript\n": False,
    "## template: jinja\n#cloud-config\n": True,
    "": True,
    "hostname: x\n": False,
    "# mine\n#cloud-config\n": False,
}


@pytest.mark.parametrize("text", BEGINNINGS)
def test_user_data_that_cloud_init_would_ignore_is_told(tmp_path: Path, text: str) -> None:
    made = machine(tmp_path, 'user-data = "user-data"')
    (tmp_path / "user-data").write_text(text)
    note = cloud_init.write_image(made, str(tmp_path))
    expected = f"cloud-init will ignore {tmp_path}/user-data: it begins with nothing that says"
    assert note.startswith(expected) != BEGINNINGS[text]
    assert bool(note) != BEGINNINGS[text]


# --- what is wrong with it -----------------------------------------------------------------------


def test_a_missing_file_is_told_with_the_next_step(home: Home) -> None:
    assert home.lacks('[cloud-init]\nuser-data = "nowhere"\n') == (
        "cloud-init:\n"
        "  nowhere: No such file or directory\n"
        "    hint: write it: vm.toml(5), cloud-init, has a first one\n"
    )


def test_a_file_that_is_too_large_is_told_and_never_read_whole(home: Home) -> None:
    with (home.folder / "big").open("wb") as file:
        file.truncate(MOST_SEED)
    assert home.lacks('[cloud-init]\nuser-data = "big"\n') == ""
    os.truncate(home.folder / "big", 1 << 40)
    told = "big: is no regular file of at most 1024 KiB"
    assert home.lacks('[cloud-init]\nuser-data = "big"\n') == f"cloud-init:\n  {told}\n"
    made = loads('[cloud-init]\nuser-data = "big"', Context(folder=str(home.folder), name="web"))
    with pytest.raises(VmError, match="is no regular file of at most 1024 KiB"):
        cloud_init.read_files(made.machine)


def test_a_pipe_in_the_place_of_a_file_holds_nobody_up(home: Home) -> None:
    os.mkfifo(home.folder / "pipe")
    told = "pipe: is no regular file of at most 1024 KiB"
    assert home.lacks('[cloud-init]\nmeta-data = "pipe"\n') == f"cloud-init:\n  {told}\n"


def test_no_other_device_has_the_label_of_its_disk() -> None:
    device = '[disk.cloud-init]\npath = "a.img"\n'
    assert "has the label of cloud-init's disk" in faults(f"[cloud-init]\n{device}")
    assert loads(device, Context(name="web")).machine.cloud_init is None


def test_an_instance_id_stands_in_the_meta_data_that_is_given() -> None:
    told = faults('[cloud-init]\nmeta-data = "m"\ninstance-id = "i"\n')
    assert "cloud_init.instance_id: belongs into the meta_data that is given" in told


def test_an_instance_id_cannot_say_more_than_an_id() -> None:
    assert "instance-id: must be 1 to 64 letters" in faults("[cloud-init]\ninstance-id = 'a\"b'\n")


# --- in targets ----------------------------------------------------------------------------------


def test_a_target_completes_replaces_or_takes_away_what_the_base_gives() -> None:
    description = loads(
        '[cloud-init]\nuser-data = "u"\n'
        '[targets.more.cloud-init]\nnetwork-config = "n"\n'
        '[targets.other.cloud_init]\nuser-data = "v"\n'
        "[targets.none]\ncloud-init = false\n",
        Context(name="web"),
    )
    found = [select(description, name).cloud_init for name in ("more", "other")]
    assert [(one.user_data, one.network_config) for one in found if one] == [
        ("./u", "./n"), ("./v", None),
    ]  # fmt: skip
    assert select(description, "none").cloud_init is None
    assert loads(dry_run.debug(description), Context(name="web")) == description


def test_a_table_that_is_given_twice_in_a_target_is_told() -> None:
    both = "[targets.t.cloud-init]\n[targets.t.cloud_init]\n"
    assert "is not a known key" in faults(f"[cloud-init]\n{both}")
    assert "is given twice" in faults(both)


# --- where it sits -------------------------------------------------------------------------------


@settings(deadline=None)
@given(PAIRS, PAIRS)
def test_it_moves_no_device_of_any_target(
    base: list[tuple[str, str | None]], added: list[tuple[str, str | None]]
) -> None:
    targets = {"t": {"emulations": devices(added, "t")}}
    without = described(devices(base), targets=targets)
    given_ = described(devices(base), targets=targets, cloud_init={})
    places: set[str] = set()
    for target in ("default", "t"):
        found = slots(given_, target)
        places.add(found.pop(SEED))
        assert found == slots(without, target)
    assert len(places) == 1


def test_it_comes_after_the_disks_and_is_not_booted() -> None:
    description = described([one("storage", "a"), one("storage", "b")], cloud_init={})
    placed = place(description, description.machine)
    assert str(placed.slots[SEED]) == "0:9:0"
    assert placed.boot == ("a", "b")


def test_when_every_slot_for_storage_is_taken_it_is_said() -> None:
    full = described([one("storage", f"d{number}") for number in range(72)], cloud_init={})
    with pytest.raises(VmError, match="has no slot: all 72 slots for storage"):
        place(full, full.machine)


def test_bhyve_has_it_in_the_same_slot() -> None:
    description = loads('hypervisor = "bhyve"\n[cloud-init]\n', Context(name="web"))
    line = dry_run.dry_run(description, "default", [], "shell")
    assert "-s 0:9:0,virtio-blk,/tmp/vm/web/cloud-init.iso,ro" in line
    flat = dry_run.dry_run(description, "default", [], "bhyve-config")
    assert "pci.0.9.0.path=/tmp/vm/web/cloud-init.iso" in flat.splitlines()


# --- a whole run ---------------------------------------------------------------------------------


def test_it_is_made_before_each_start_and_gone_after_the_end(home: Home) -> None:
    made = f"{home.vm.state}/cloud-init.iso"
    home.program("fake-qemu", f'#!/bin/sh\ncp "{made}" "{home.vm.folder}/seen.iso"\n')
    (home.folder / "first").write_text(CONFIG)
    home.vm.describe('[cloud-init]\nuser-data = "first"\n')
    found: list[dict[str, bytes]] = []
    for text in (CONFIG, "hostname: odd\n"):
        (home.folder / "first").write_text(text)
        said = home.says("vm")
        assert said.status == 0, said.err
        assert ("cloud-init will ignore" in said.err) == (text != CONFIG)
        found.append(read_back(home.vm.folder / "seen.iso"))
    assert [one["user-data"].decode() for one in found] == [CONFIG, "hostname: odd\n"]
    assert found[0]["meta-data"] != found[1]["meta-data"]
    assert not Path(made).exists()


@pytest.mark.real
def test_a_real_guest_reads_the_files_from_a_disk_of_its_own(vm: Vm, guest: Path) -> None:
    (vm.confdir / "user-data").write_text(CONFIG)
    (vm.confdir / "net").write_text("version: 2\n")
    vm.direct(
        guest, "poweroff", '[cloud-init]\nuser-data = "user-data"\nnetwork-config = "net"\n'
        'instance-id = "i-1"\n',
    )  # fmt: skip
    done = vm.run()
    assert done.returncode == 0, done.stderr
    told = [line.strip() for line in vm.console.splitlines() if line.startswith("guest: seed")]
    assert sorted(told) == [
        'guest: seed vda meta-data: instance-id: "i-1"',
        'guest: seed vda meta-data: local-hostname: "vm"',
        "guest: seed vda network-config: version: 2",
        "guest: seed vda user-data: #cloud-config",
        "guest: seed vda user-data: hostname: other",
    ]
    assert not (vm.state / "cloud-init.iso").exists()
