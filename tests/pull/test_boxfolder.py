"""Folders that Vagrant has unpacked boxes into."""

import json
import os
from pathlib import Path

import pytest

from vm_pull.catalogs.boxfolder import Member, catalog, is_box, members, name_of, open_member
from vm_pull.catalogs.choose import Wishes, choose
from vm_spec.fault import VmError


def provider(folder: Path, **metadata: object) -> Path:
    folder.mkdir(parents=True)
    (folder / "metadata.json").write_text(json.dumps(metadata))
    (folder / "box.img").write_bytes(b"disk")
    return folder


@pytest.fixture
def box(tmp_path: Path) -> Path:
    """One box as several releases of Vagrant have left it."""
    folder = tmp_path / "boxes" / "me-VAGRANTSLASH-box"
    provider(folder / "1.9.0" / "libvirt", provider="libvirt")
    provider(folder / "1.10.0" / "amd64" / "virtualbox", provider="virtualbox")
    provider(folder / "1.10.0" / "arm64" / "libvirt", provider="libvirt")
    (folder / "metadata_url").write_text("https://vagrantcloud.com/me/box")
    (folder / "1.11.0").mkdir()
    return folder


def test_a_folder_of_a_box_is_a_catalog_to_choose_from(box: Path) -> None:
    found = catalog(str(box))
    assert found.name == "me/box"
    newest = choose(found, Wishes(), "amd64")
    assert (newest.version, newest.offer.provider) == ("1.10.0", "virtualbox")
    assert newest.offer.url == str(box / "1.10.0" / "amd64" / "virtualbox")
    assert choose(found, Wishes(), "arm64").offer.architecture == "arm64"
    older = choose(found, Wishes(provider="libvirt"), "amd64")
    assert older.offer.url == str(box / "1.9.0" / "libvirt")


def test_the_folder_in_which_metadata_lies_is_a_box_too(box: Path) -> None:
    path = str(box / "1.9.0" / "libvirt")
    found = catalog(path)
    assert found.name == "me/box"
    assert choose(found, Wishes(), "amd64").offer.url == path


def test_a_folder_of_version_one_is_for_virtualbox(tmp_path: Path) -> None:
    (tmp_path / "box.ovf").write_text("<Envelope/>")
    assert catalog(str(tmp_path)).releases[0].offers[0].provider == "virtualbox"


@pytest.mark.parametrize("text", ["[]", "{", "[" * 99999, '{"provider":NaN}'])
def test_metadata_that_is_none_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / "metadata.json").write_text(text)
    with pytest.raises(VmError, match="is not a box's metadata") as caught:
        catalog(str(tmp_path))
    assert caught.value.status == 65


@pytest.mark.parametrize("raw", [5, "", "a\nb", "../x", ["libvirt"], "\x1b[2J"])
def test_threat_b22_metadata_that_names_no_provider_is_refused(tmp_path: Path, raw: object) -> None:
    provider(tmp_path / "box", provider=raw, architecture=raw)
    with pytest.raises(VmError, match="does not say what the box is for"):
        catalog(str(tmp_path / "box"))


def test_folders_whose_names_are_no_words_are_passed_over(box: Path) -> None:
    for name in (".hidden", "9\x1b[2J", "9 9", "9\n"):
        provider(box / name / "libvirt", provider="libvirt")
    assert {release.version for release in catalog(str(box)).releases} == {"1.9.0", "1.10.0"}


@pytest.mark.parametrize("below", ["", "1.11.0"])
def test_a_folder_without_a_box_is_told(tmp_path: Path, below: str) -> None:
    (tmp_path / below).mkdir(exist_ok=True)
    with pytest.raises(VmError, match="is a folder without a box") as caught:
        catalog(str(tmp_path))
    assert caught.value.status == 66


def test_a_folder_that_cannot_be_read_is_told(tmp_path: Path) -> None:
    with pytest.raises(VmError, match="cannot be read") as caught:
        members(str(tmp_path / "gone"))
    assert caught.value.status == 74


def test_a_folder_of_vagrants_is_known_by_its_name_or_its_content(box: Path) -> None:
    assert is_box(str(box))
    assert is_box(f"{box}/")
    assert is_box(str(box / "1.9.0" / "libvirt"))
    assert not is_box(str(box.parent))
    assert name_of(str(box / "1.10.0" / "amd64")) == "me/box"
    assert name_of("/x/a-VAGRANTSLASH-b-VAGRANTCOLON-c") == "a/b:c"
    assert name_of("/x/plain") == "plain"


def test_members_are_the_regular_files_with_their_sizes(box: Path) -> None:
    folder = box / "1.9.0" / "libvirt"
    (folder / "include").mkdir()
    (folder / "include" / "_Vagrantfile").write_bytes(b"12")
    found = members(str(folder))
    assert [(one.name, one.size) for one in found] == [
        ("box.img", 4), ("include/_Vagrantfile", 2), ("metadata.json", 23),
    ]  # fmt: skip
    with open(open_member(found[0]), "rb") as file:
        assert file.read() == b"disk"


def test_threat_b7_links_and_devices_in_an_unpacked_box_are_not_followed(box: Path) -> None:
    folder = box / "1.9.0" / "libvirt"
    secret = box / "canary"
    secret.write_text("canary")
    (folder / "disk.img").symlink_to(secret)
    (folder / "etc").symlink_to(box, target_is_directory=True)
    os.mkfifo(folder / "pipe.img")
    assert [one.name for one in members(str(folder))] == ["box.img", "metadata.json"]
    for name, words in (("disk.img", "cannot be read"), ("pipe.img", "not a regular file")):
        with pytest.raises(VmError, match=words):
            open_member(Member(name=name, path=str(folder / name), size=6))


def test_threat_b7_metadata_that_is_a_link_is_not_read(tmp_path: Path) -> None:
    secret = tmp_path / "secret.json"
    secret.write_text('{"provider": "canary"}')
    folder = tmp_path / "box"
    folder.mkdir()
    (folder / "metadata.json").symlink_to(secret)
    with pytest.raises(VmError, match="cannot be read") as caught:
        catalog(str(folder))
    assert "canary" not in str(caught.value)


def test_a_folder_with_more_names_than_any_box_is_told(tmp_path: Path) -> None:
    for number in range(1001):
        (tmp_path / str(number)).touch()
    with pytest.raises(VmError, match="more than 1000 names"):
        members(str(tmp_path))
