"""Whole pulls from a real server: what is there afterwards, and what never is."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.pull import boxes
from tests.pull.server import File, Reply, Server, redirect, serve
from tests.pull.whole import DISK, LIBVIRT, Inside, libvirt_box, qcow2, sha256, virtualbox_box
from vm_run.dry_run import dry_run
from vm_spec import load


@pytest.fixture(scope="module")
def running() -> Iterator[Server]:
    with serve() as server:
        yield server


@pytest.fixture
def user(
    tmp_path: Path,
    running: Server,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Inside:
    running.seen.clear()
    running._scripts.clear()  # pyright: ignore[reportPrivateUsage]
    return Inside(tmp_path, running, monkeypatch, capsys)


def test_a_box_of_the_registry_becomes_a_disk_and_a_description(user: Inside) -> None:
    box = virtualbox_box(DISK)
    name = user.offer(box, "virtualbox", checksum=sha256(box).upper(), checksum_type="SHA256")
    status, out, err = user.pull(name)
    assert status == 0, err
    assert user.names() == ["box.img", "box.toml"]
    assert (user.vms / "box.img").read_bytes() == DISK
    assert "next: vm-run box --detach" in out
    text = (user.vms / "box.toml").read_text()
    assert f"sha256:{sha256(box)} (verified)" in text
    assert "user/box 1.0 for virtualbox" in text
    description = load(str(user.vms / "box.toml"))
    assert f"{user.vms}/box.img" in dry_run(description, "default", [], "shell")


def test_qcow2_stays_what_it_is(user: Inside) -> None:
    image = qcow2(user.folder, DISK, "-c")
    assert user.pull(user.offer(libvirt_box(image)), "--name", "web")[0] == 0
    assert user.names() == ["web.qcow2", "web.toml"]
    assert (user.vms / "web.qcow2").read_bytes() == image


@pytest.mark.parametrize(("form", "ending"), [("raw", "img"), ("qcow2", "qcow2")])
@pytest.mark.parametrize("kind", ["virtualbox", "libvirt"])
def test_the_wanted_format_is_made(user: Inside, form: str, ending: str, kind: str) -> None:
    box = virtualbox_box(DISK) if kind == "virtualbox" else libvirt_box(qcow2(user.folder, DISK))
    status, _, err = user.pull(user.offer(box, kind), "--format", form)
    assert status == 0, err
    assert user.names() == [f"box.{ending}", "box.toml"]
    made, raw = user.vms / f"box.{ending}", user.folder / "seen.raw"
    subprocess.run(["qemu-img", "convert", "-f", form, "-O", "raw", made, raw], check=True)
    assert raw.read_bytes() == DISK


@pytest.mark.parametrize("form", ["raw", "qcow2"])
def test_size_grows_the_disk_and_nothing_in_it_moves(user: Inside, form: str) -> None:
    box = libvirt_box(qcow2(user.folder, DISK))
    status, _, err = user.pull(user.offer(box), "--size", "64M", "--format", form)
    assert status == 0, err
    made, raw = next(user.vms.glob("box.[iq]*")), user.folder / "seen.raw"
    subprocess.run(["qemu-img", "convert", "-f", form, "-O", "raw", made, raw], check=True)
    assert raw.stat().st_size == 64 << 20
    assert raw.read_bytes()[: len(DISK)] == DISK


def test_a_disk_is_never_made_smaller(user: Inside) -> None:
    status, _, err = user.pull(user.offer(virtualbox_box(DISK), "virtualbox"), "--size", "1M")
    assert status == 65
    assert "would lose data" in err
    assert user.names() == []


def test_several_disks_are_numbered_as_vmman_did(user: Inside) -> None:
    second = boxes.boot_disk(1 << 20, b"second")
    text = b"""{"provider": "libvirt", "format": "qcow2",
        "disks": [{"path": "box_2.img"}, {"path": "box_1.img"}]}"""
    box = boxes.box(
        boxes.file("box_1.img", qcow2(user.folder, second)),
        boxes.file("box_2.img", qcow2(user.folder, DISK)),
        boxes.file("metadata.json", text),
    )
    assert user.pull(user.offer(box), "--format", "raw")[0] == 0
    assert user.names() == ["box-0.img", "box-1.img", "box.toml"]
    assert (user.vms / "box-0.img").read_bytes() == DISK
    assert (user.vms / "box-1.img").read_bytes() == second


def test_an_image_alone_is_named_as_vmman_named_it(user: Inside) -> None:
    assert user.pull(user.offer(virtualbox_box(DISK), "virtualbox"), "--image-only")[0] == 0
    assert (user.folder / "user-box.img").read_bytes() == DISK
    assert user.names() == []


def test_a_url_of_a_box_needs_no_catalog(user: Inside) -> None:
    user.offer(virtualbox_box(DISK))
    assert user.pull(f"{user.server.url}/files/a.box", "--name", "web")[0] == 0
    assert user.names() == ["web.img", "web.toml"]


def test_a_catalog_somewhere_else_is_asked_and_its_addresses_are_relative_to_it(
    user: Inside,
) -> None:
    user.server.at("/there/x.box", File(virtualbox_box(DISK)))
    text = b"""{"name": "user/box", "versions": [{"version": "8.10.694",
        "providers": [{"name": "virtualbox", "url": "x.box"}]}]}"""
    url = user.server.at("/there/8.json", Reply(200, text, {"Content-Type": "text/plain"}))
    assert user.pull("user/box", url)[0] == 0
    assert (user.vms / "box.img").read_bytes() == DISK


def test_files_and_folders_of_vagrant_are_taken_too(user: Inside) -> None:
    (user.folder / "mine.box").write_bytes(virtualbox_box(DISK))
    assert user.pull("./mine.box")[0] == 0
    kept = user.folder / ".vagrant.d/boxes/a-VAGRANTSLASH-kept/1.2/libvirt"
    kept.mkdir(parents=True)
    (kept / "metadata.json").write_bytes(LIBVIRT)
    (kept / "box.img").write_bytes(qcow2(user.folder, DISK))
    status, _, err = user.pull(str(kept.parents[1]), "--format", "raw")
    assert status == 0, err
    assert user.names() == ["kept.img", "kept.toml", "mine.img", "mine.toml"]
    assert (user.vms / "kept.img").read_bytes() == (user.vms / "mine.img").read_bytes() == DISK


def test_a_list_fetches_nothing_else(user: Inside) -> None:
    user.offer(virtualbox_box(DISK))
    status, out, _ = user.pull("user/box", "--list")
    assert status == 0
    assert out.splitlines()[1].split()[:2] == ["1.0", "libvirt"]
    assert user.server.asked("/files/a.box") == []
    assert user.names() == []


def test_the_older_address_is_asked_when_the_newer_is_not_there(user: Inside) -> None:
    user.server.at("/files/a.box", File(virtualbox_box(DISK)))
    text = b"""{"name": "user/box", "versions": [{"version": "1",
        "providers": [{"name": "virtualbox", "url": "/files/a.box"}]}]}"""
    user.server.at("/user/box", Reply(200, text))
    assert user.pull("user/box")[0] == 0
    assert [seen.path for seen in user.server.seen][:2] == [
        "/api/v2/vagrant/user/box", "/user/box",
    ]  # fmt: skip


def test_a_page_instead_of_a_box_is_called_a_page(user: Inside) -> None:
    user.offer(b"<html><title>Sorry</title></html>")
    status, _, err = user.pull("user/box")
    assert (status, user.names()) == (69, [])
    assert 'an HTML page (title "Sorry")' in err


def test_threat_b5_a_wrong_checksum_shows_both_and_leaves_nothing(user: Inside) -> None:
    box = virtualbox_box(DISK)
    user.offer(box, "virtualbox", checksum="0" * 64, checksum_type="sha256")
    status, _, err = user.pull("user/box")
    assert (status, user.names()) == (65, [])
    assert sha256(box) in err
    assert "0" * 64 in err


def test_threat_b5_the_users_checksum_wins_over_the_catalogs(user: Inside) -> None:
    box = virtualbox_box(DISK)
    user.offer(box, "virtualbox", checksum="0" * 64, checksum_type="sha256")
    assert user.pull("user/box", "--checksum", f"sha256:{sha256(box)}")[0] == 0


@pytest.mark.parametrize(("kind", "word"), [("", "unpublished"), ("md5", "weak")])
def test_threat_b5_no_or_a_weak_checksum_is_said(user: Inside, kind: str, word: str) -> None:
    import hashlib

    box = virtualbox_box(DISK)
    digits = hashlib.md5(box, usedforsecurity=False).hexdigest() if kind else ""
    user.offer(box, "virtualbox", checksum=digits, checksum_type=kind or "none")
    status, _, err = user.pull("user/box")
    assert status == 0
    assert word in err


def test_threat_b5_the_checksum_covers_bytes_after_the_archive(user: Inside) -> None:
    box = boxes.packed(boxes.tar(boxes.file("box.img", DISK), boxes.METADATA), "plain")
    longer = box + bytes(10240)  # tar's own padding: harmless, and yet another file
    user.offer(longer, checksum=sha256(box), checksum_type="sha256")
    assert user.pull("user/box")[0] == 65
    user.offer(longer, checksum=sha256(longer), checksum_type="sha256")
    assert user.pull("user/box")[0] == 0


def test_threat_b6_a_connection_that_breaks_goes_on_where_it_was(user: Inside) -> None:
    box = virtualbox_box(DISK)
    cuts = [len(box) // 4, len(box) // 2, len(box) * 99 // 100]
    user.offer(box, "virtualbox", checksum=sha256(box), checksum_type="sha256")
    user.server.at("/files/a.box", File(box, cuts=cuts))
    status, _, err = user.pull("user/box")
    assert status == 0, err
    assert (user.vms / "box.img").read_bytes() == DISK
    ranges = [seen.header("Range") for seen in user.server.asked("/files/a.box")]
    assert ranges == ["", *(f"bytes={cut}-" for cut in cuts)]


def test_threat_b6_a_box_that_changes_meanwhile_leaves_nothing(user: Inside) -> None:
    box = virtualbox_box(DISK)
    user.offer(box, "virtualbox")
    first, then = File(box, cuts=[len(box) // 2]), File(box, etag='"two"')
    user.server.at("/files/a.box", first, then)
    status, _, err = user.pull("user/box")
    assert (status, user.names()) == (69, [])
    assert "changed" in err


def test_threat_b1_a_box_may_not_lead_to_a_file(user: Inside) -> None:
    user.offer(b"")
    user.server.at("/files/a.box", redirect("file:///etc/passwd"))
    assert user.pull("user/box")[0] == 77
    assert user.names() == []


def test_threat_b20_what_is_there_is_kept_and_nothing_is_fetched(user: Inside) -> None:
    user.offer(virtualbox_box(DISK), "virtualbox")
    user.vms.mkdir()
    (user.vms / "box.toml").write_text("mine")
    status, _, err = user.pull("user/box")
    assert status == 73
    assert "--force" in err
    assert user.server.seen == []
    assert (user.vms / "box.toml").read_text() == "mine"
    assert user.pull("user/box", "--force")[0] == 0
    assert (user.vms / "box.toml").read_text() != "mine"


def test_threat_b22_a_terminal_is_told_nothing_by_a_catalog(user: Inside) -> None:
    box = virtualbox_box(DISK)
    user.offer(box, "virtualbox")
    entry: dict[str, object] = {"name": "virtualbox", "url": f"{user.server.url}/files/a.box"}
    user.catalog([{"version": "\x1b]8;;evil\x07\u202e1", "providers": [entry]}])
    status, out, err = user.pull("user/box")
    shown = out + err
    assert status in (0, 66)
    assert "\x1b" not in shown
    assert "\u202e" not in shown
    text = (user.vms / "box.toml").read_text() if status == 0 else ""
    assert "\x1b" not in text


def test_no_space_is_said_before_anything_is_fetched(
    user: Inside, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    user.offer(virtualbox_box(DISK), "virtualbox")
    real = os.fstatvfs

    def nearly_full(fd: int) -> os.statvfs_result:
        return os.statvfs_result([*real(fd)[:3], 0, 0, *real(fd)[5:]])

    monkeypatch.setattr(os, "fstatvfs", nearly_full)
    status, _, err = user.pull("user/box")
    assert (status, user.names()) == (69, [])
    assert "MiB free" in err


def test_a_provider_that_cannot_be_used_gets_a_sentence(user: Inside) -> None:
    user.offer(b"", "docker")
    status, _, err = user.pull("user/box", "--provider", "docker")
    assert status == 69
    assert "containers" in err


@pytest.mark.parametrize(
    "words",
    [[], ["a/b", "c", "d"], ["user/box", "--format", "vmdk"], ["user/box", "--size", "-1"],
     ["user/box", "--checksum", "sha256:1"], ["user/box", "--name", "../x"], ["--nonsense"]],
    ids=" ".join,
)  # fmt: skip
def test_a_wrong_command_line_has_status_64_and_a_hint(user: Inside, words: list[str]) -> None:
    status, _, err = user.pull(*words)
    assert status == 64
    assert "hint: " in err or "--size" in err


def test_the_version_is_told(user: Inside) -> None:
    assert user.pull("--version")[1].startswith("vm-pull ")


def test_quiet_is_quiet(user: Inside) -> None:
    assert user.pull(user.offer(virtualbox_box(DISK), "virtualbox"), "--quiet") == (0, "", "")


def test_a_running_machine_is_not_replaced(user: Inside) -> None:
    from vm_state.lock import Lock, lock_path

    user.offer(virtualbox_box(DISK), "virtualbox")
    assert user.pull("user/box")[0] == 0
    lock = Lock.take(lock_path(str(user.vms / "box.toml")), "box")
    try:
        status, _, err = user.pull("user/box", "--force")
    finally:
        lock.release()
    assert status == 75
    assert "is running" in err


def test_vmwares_split_disks_are_joined(user: Inside) -> None:
    if shutil.which("qemu-img") is None:
        pytest.fail("qemu-img is missing")
    raw = user.folder / "x.raw"
    raw.write_bytes(DISK)
    subprocess.run(
        ["qemu-img", "convert", "-f", "raw", "-O", "vmdk", "-o", "subformat=twoGbMaxExtentSparse",
         raw, user.folder / "disk.vmdk"], check=True,
    )  # fmt: skip
    vmx = b'.encoding = "UTF-8"\nnumvcpus = "2"\nmemsize = "512"\nscsi0.present = "TRUE"\n'
    vmx += b'scsi0:0.present = "TRUE"\nscsi0:0.fileName = "disk.vmdk"\nguestOS = "ubuntu-64"\n'
    parts = sorted(user.folder.glob("disk*.vmdk"))
    box = boxes.box(
        boxes.file("metadata.json", b'{"provider": "vmware_desktop"}'),
        boxes.file("box.vmx", vmx),
        *(boxes.file(part.name, part.read_bytes()) for part in parts),
    )
    status, _, err = user.pull(user.offer(box, "vmware_desktop"))
    assert status == 0, err
    assert (user.vms / "box.img").read_bytes() == DISK


def test_one_part_of_a_split_disk_is_no_disk(user: Inside) -> None:
    raw = user.folder / "x.raw"
    raw.write_bytes(DISK)
    call = [
        "qemu-img",
        "convert",
        "-f",
        "raw",
        "-O",
        "vmdk",
        "-o",
        "subformat=twoGbMaxExtentSparse",
    ]
    subprocess.run([*call, str(raw), str(user.folder / "disk.vmdk")], check=True)
    part = (user.folder / "disk-s001.vmdk").read_bytes()
    text = b'{"provider": "libvirt", "disks": [{"path": "disk-s001.vmdk"}]}'
    box = boxes.box(boxes.file("disk-s001.vmdk", part), boxes.file("metadata.json", text))
    status, _, err = user.pull(user.offer(box))
    assert (status, user.names()) == (65, []), err
    assert "disk-s001.vmdk" in err
