"""What the words of the command line stand for, and what the VM is called."""

import os
from pathlib import Path

import pytest

from vm_pull.catalogs.source import BoxFolder, File, Registry, Source, Url, default_name, source
from vm_spec.fault import VmError

CATALOG = "https://oracle.github.io/vagrant-projects/boxes/oraclelinux/8.json"


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def write(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path


def refused(*words: str) -> VmError:
    with pytest.raises(VmError) as caught:
        source(words)
    assert caught.value.faults[0].hint
    return caught.value


def test_a_shorthand_is_a_box_of_the_registry() -> None:
    assert source(["ubuntu/trusty64"]) == Registry(asked="ubuntu/trusty64")
    assert source(["a.b-c/d_e.f"]) == Registry(asked="a.b-c/d_e.f")


def test_an_address_is_an_address() -> None:
    assert source([CATALOG]) == Url(url=CATALOG)
    assert source(["http://example.org/a.box"]) == Url(url="http://example.org/a.box")
    assert source(["oraclelinux/8", CATALOG]) == Url(url=CATALOG, asked="oraclelinux/8")
    assert source(["precise64", CATALOG]) == Url(url=CATALOG, asked="precise64")


def test_the_registrys_former_hosts_are_replaced() -> None:
    found = source(["https://app.vagrantup.com/ubuntu/boxes/trusty64"])
    assert found == Url(url="https://vagrantcloud.com/api/v2/vagrant/ubuntu/trusty64")


def test_a_file_is_a_file_however_it_is_written(here: Path) -> None:
    write(here / "my.box")
    assert source(["my.box"]) == File(path="my.box")
    assert source(["./my.box"]) == File(path="./my.box")
    assert source([f"file://{here}/my.box"]) == File(path=f"{here}/my.box")
    assert source(["me/box", "my.box"]) == File(path="my.box", asked="me/box")


def test_a_file_goes_before_a_box_of_the_same_name_and_that_is_said(here: Path) -> None:
    write(here / "ubuntu" / "trusty64")
    found = source(["ubuntu/trusty64"])
    assert isinstance(found, File)
    assert "is a file here" in found.note
    assert source(["./ubuntu/trusty64"]) == File(path="./ubuntu/trusty64")


def test_a_folder_of_the_same_name_does_not_hide_a_box(here: Path) -> None:
    (here / "ubuntu" / "trusty64").mkdir(parents=True)
    assert source(["ubuntu/trusty64"]) == Registry(asked="ubuntu/trusty64")


def test_a_folder_of_vagrants_is_a_box(here: Path) -> None:
    folder = here / "boxes" / "ubuntu-VAGRANTSLASH-trusty64"
    folder.mkdir(parents=True)
    assert source([str(folder)]) == BoxFolder(path=str(folder))
    found = source(["boxes/ubuntu-VAGRANTSLASH-trusty64"])
    assert isinstance(found, BoxFolder)
    assert found.note


@pytest.mark.parametrize(
    "word",
    ["./no.box", "/no/such", "trusty64", "a/b/c", "../a/b", "~/a", "file:///no/such", "", "./a"],
)
def test_what_is_no_file_and_no_name_is_told(word: str) -> None:
    assert refused(word).status == 66
    assert refused("me/box", word).status == 66


def test_the_second_word_is_never_a_box_of_the_registry() -> None:
    assert refused("me/box", "ubuntu/trusty64").status == 66


@pytest.mark.parametrize(
    "word", ["../x", "a/..", "./a", "https://x/y", "a/b/c", "a b/c", "", "a/\x1b", "a:b/c"]
)
def test_threat_b4_the_first_of_two_words_is_a_boxs_name(word: str) -> None:
    assert refused(word, CATALOG).status == 64


@pytest.mark.parametrize(
    "word",
    ["ftp://example.org/a.box", "gopher://example.org/", "FTP://example.org/", "s3://bucket/a.box"],
)
def test_threat_b1_other_addresses_are_refused(word: str) -> None:
    assert refused(word).status == 77
    assert refused("me/box", word).status == 77


def test_threat_b3_a_password_is_not_shown_in_a_fault() -> None:
    for word in (
        "ftp://me:hunter2@example.org/a",
        "https://me:hunter2@:x/a",
        "me:hunter2@example.org/x",
    ):
        assert "hunter2" not in str(refused(word))
        assert "hunter2" not in str(refused("me/box", word))


@pytest.mark.parametrize("count", [0, 3])
def test_no_word_and_three_words_are_wrong(count: int) -> None:
    assert refused(*["a/b"] * count).status == 64


def test_a_fifo_is_not_opened(here: Path) -> None:
    os.mkfifo(here / "fifo")
    assert "not a regular file" in str(refused("fifo"))


@pytest.mark.parametrize(
    ("of", "catalog_name", "name"),
    [
        (Registry(asked="ubuntu/trusty64"), "", "trusty64"),
        (Url(url=CATALOG), "", "8"),
        (Url(url=CATALOG), "oraclelinux/8-slim", "8-slim"),
        (Url(url=CATALOG, asked="oraclelinux/eight"), "oraclelinux/8", "eight"),
        (Url(url="https://example.org/a/deb.12.box?x=y.json#z"), "", "deb.12"),
        (Url(url="https://example.org/deb.tar.gz"), "", "deb"),
        (Url(url="https://example.org/my%20box.box"), "", "my-box"),
        (
            Url(
                url="https://vagrantcloud.com/u/boxes/b/versions/1/providers/virtualbox/unknown/vagrant.box"
            ),
            "",
            "b",
        ),
        (
            Url(url="https://vagrantcloud.com/u/boxes/b/versions/1/providers/virtualbox.box"),
            "",
            "b",
        ),
        (Url(url="https://vagrantcloud.com/ubuntu/boxes/trusty64"), "", "trusty64"),
        (File(path="/srv/boxes/almalinux-9.libvirt.box"), "", "almalinux-9.libvirt"),
        (File(path="../-x,y=z.box"), "", "x-y-z"),
        (File(path="a" * 100 + ".box"), "", "a" * 64),
        (BoxFolder(path="/home/me/.vagrant.d/boxes/a-VAGRANTSLASH-b"), "", "b"),
        (BoxFolder(path="/home/me/.vagrant.d/boxes/a-VAGRANTSLASH-b/1.0/libvirt/"), "", "b"),
    ],
)
def test_the_vm_is_called_like_the_box(of: Source, catalog_name: str, name: str) -> None:
    assert default_name(of, catalog_name) == name


@pytest.mark.parametrize("path", [".box", "...", "日本語.box", "/"])
def test_when_no_name_can_be_made_one_is_asked_for(path: str) -> None:
    with pytest.raises(VmError, match="--name NAME") as caught:
        default_name(File(path=path))
    assert caught.value.status == 64
