# ruff: noqa: E501  a row of a table is one line
"""Which box of a catalog is taken, and what is said when none fits."""

from typing import Any

import pytest

from tests.pull.catalogs import catalog, offer, oraclelinux, registry_entry, version
from vm_pull.catalogs.catalog import Catalog, Offer, Release, read
from vm_pull.catalogs.choose import Choice, Wishes, choose, host_architecture
from vm_pull.catalogs.listing import Row, listing, table
from vm_spec.fault import VmError

WEB = "https://example.org/c.json"


def of(*versions: object, name: str = "me/box") -> Catalog:
    return read(catalog(*versions, name=name), base=WEB, asked="")


def choice(found: Catalog, *, system: str = "Linux", host: str = "amd64", **wishes: Any) -> Choice:
    return choose(found, Wishes(**wishes), host, system=system)


def refused(found: Catalog, status: int, **wishes: Any) -> str:
    with pytest.raises(VmError) as caught:
        choice(found, **wishes)
    assert caught.value.status == status
    assert caught.value.faults[0].hint
    return str(caught.value)


ORACLE = read(oraclelinux(), base=WEB, asked="")


def test_not_the_first_and_not_the_greatest_text_but_the_newest_usable_version_is_taken() -> None:
    taken = choice(ORACLE, provider="virtualbox")
    assert taken.version == "8.10.695"  # first is 8.10.694, the greatest text 8.9.511
    assert taken.offer.url == "https://example.org/ol8-695.box"
    assert taken.notes[0] == "8.10.696 is newer, but is only for libvirt"
    assert choice(ORACLE, provider="libvirt").version == "8.10.696"
    assert choice(ORACLE).version == "8.10.696"


def test_a_newer_version_for_another_usable_provider_goes_before_an_older_one() -> None:
    found = of(version("2", offer("vmware_desktop")), version("1", offer("libvirt")))
    assert choice(found).offer.provider == "vmware_desktop"


@pytest.mark.parametrize(
    ("system", "provider"), [("Linux", "libvirt"), ("FreeBSD", "bhyve"), ("Darwin", "libvirt")]
)
def test_within_a_version_the_host_decides_the_provider(system: str, provider: str) -> None:
    names = ["vmware_desktop", "bhyve", "hyperv", "virtualbox", "qemu", "libvirt"]
    found = of(version("1", *(offer(name) for name in names)))
    assert choice(found, system=system).offer.provider == provider


def test_the_order_of_providers_is_kept_down_to_the_last() -> None:
    names = ["libvirt", "qemu", "virtualbox", "bhyve", "vmware_desktop"]
    for i in range(len(names)):
        found = of(version("1", *(offer(name) for name in reversed(names[i:]))))
        assert choice(found).offer.provider == names[i]


@pytest.mark.parametrize(
    "asked", ["vmware", "VMware_Fusion", "vmware_workstation", "vmware_desktop"]
)
def test_all_names_of_vmware_are_one(asked: str) -> None:
    for published in ("vmware_fusion", "vmware_desktop", "vmware"):
        found = of(version("1", offer("virtualbox"), offer(published)))
        assert choice(found, provider=asked).offer.provider == published
    both = of(version("1", offer("vmware_fusion"), offer("vmware_desktop")))
    assert choice(both, provider=asked).offer.provider == "vmware_desktop"


@pytest.mark.parametrize(
    ("wanted", "taken"),
    [
        ("8.10.694", "8.10.694"), ("~> 8.9.0", "8.9.511"), ("< 8.10.696", "8.10.695"),
        ("= 8.9.510", "8.9.510"), ("!= 8.10.696, >= 8.10", "8.10.695"), ("  8.9.511 ", "8.9.511"),
    ],
)  # fmt: skip
def test_a_version_is_wished_with_vagrants_operators(wanted: str, taken: str) -> None:
    assert choice(ORACLE, version=wanted).version == taken


def test_a_malformed_version_is_passed_over_with_a_word_and_taken_by_name() -> None:
    found = of(version("ContainerHost.20191112"), version("v9"), version("1.0"))
    taken = choice(found)
    assert taken.version == "1.0"
    assert "ContainerHost.20191112, v9" in taken.notes[-1]
    by_name = choice(found, version="v9")
    assert by_name.version == "v9"
    assert not any("v9" in note for note in by_name.notes)
    said = refused(of(version("v9")), 66)
    assert "no version that can be ordered" in said
    assert "--version v9" in said


def test_an_exact_text_goes_before_an_equal_version() -> None:
    found = of(version("1.0.0", offer(url="a")), version("1.0", offer(url="b")))
    assert choice(found, version="1.0").version == "1.0"
    assert choice(found, version="= 1").version == "1.0.0"


@pytest.mark.parametrize("status", ["revoked", "unreleased", "REVOKED", "strange"])
def test_a_version_that_is_not_active_is_not_taken_and_the_fault_says_so(status: str) -> None:
    found = of(
        version("2", status=status), version("1", status="active"), version("0.9", status=None)
    )
    assert choice(found).version == "1"
    for wish in ("2", "= 2.0", ">= 2"):
        said = refused(found, 77, version=wish)
        assert f"2 of me/box is {status.lower()}" in said
        assert "there is 1, 0.9" in said
    assert "there is no other" in refused(of(version("2", status=status)), 77)


@pytest.mark.parametrize(
    ("wish", "status", "words"),
    [
        ("9", 66, "has no version 9; there is 8.10.696, 8.10.695"),
        (">= 9", 66, "has no version >= 9"),
        ("v8", 66, "has no version v8"),
        ("=> 8", 64, "is not understood"),
        (">= 8,", 64, "is not understood"),
        ("~> eight", 64, "--version '~> 8.10'"),
    ],
)
def test_a_version_that_is_not_there_is_told_with_what_is(
    wish: str, status: int, words: str
) -> None:
    assert words in refused(ORACLE, status, version=wish)


def test_a_provider_that_is_not_there_is_told_with_what_is() -> None:
    said = refused(ORACLE, 66, provider="bhyve")
    assert "no version has a box for bhyve; there is libvirt, virtualbox" in said
    assert "--provider libvirt" in said
    said = refused(ORACLE, 66, provider="libvirt", version="8.9.510")
    assert "8.9.510 has no box for libvirt; there is virtualbox" in said


@pytest.mark.parametrize(
    ("provider", "words"), [("docker", "containers"), ("hyperv", "Hyper-V"), ("xen", "not known")]
)
def test_a_provider_whose_boxes_cannot_be_used_is_told_why(provider: str, words: str) -> None:
    found = of(version("1", offer(provider), offer("libvirt")))
    said = refused(found, 69, provider=provider)
    assert words in said
    assert "--provider libvirt" in said
    alone = refused(of(version("1", offer(provider))), 66)
    assert words in alone
    assert f"there is {provider}" in alone


def test_a_catalog_with_nothing_in_it_is_told() -> None:
    assert "no version that is offered" in refused(of(), 66)
    assert "there is nothing" in refused(of({"version": "1", "providers": []}), 66)


AMD, ARM = (registry_entry("libvirt", a, default=a == "amd64") for a in ("amd64", "arm64"))
UNKNOWN = registry_entry("libvirt", "unknown", default=True)
UNKNOWN_NOT_DEFAULT = registry_entry("libvirt", "unknown", default=False)


@pytest.mark.parametrize(
    ("entries", "host", "asked", "taken"),
    [
        ([AMD, ARM], "amd64", "", "amd64"),
        ([AMD, ARM], "arm64", "", "arm64"),
        ([AMD, ARM], "amd64", "arm64", "arm64"),
        ([AMD, ARM], "amd64", "aarch64", "arm64"),
        ([AMD, UNKNOWN], "amd64", "", "amd64"),
        ([ARM, UNKNOWN], "amd64", "", "unknown"),
        ([UNKNOWN], "riscv64", "", "unknown"),
        ([UNKNOWN], "amd64", "unknown", "unknown"),
        ([offer("libvirt")], "amd64", "", ""),
        ([offer("libvirt")], "amd64", "arm64", ""),
        ([offer("libvirt", architecture="unknown")], "amd64", "", "unknown"),
    ],
)
def test_the_architecture_is_matched_in_vagrants_order(
    entries: list[object], host: str, asked: str, taken: str
) -> None:
    found = choice(of(version("1", *entries)), host=host, architecture=asked)
    assert found.offer.architecture == taken
    told = any("does not say which architecture" in note for note in found.notes)
    assert told == (taken in ("", "unknown"))


@pytest.mark.parametrize(
    ("entries", "asked", "there"),
    [
        ([ARM], "", "arm64"),
        ([offer("libvirt", architecture="arm64")], "", "arm64"),
        ([AMD], "arm64", "amd64"),
        ([UNKNOWN], "arm64", "unknown"),
        ([UNKNOWN_NOT_DEFAULT], "", "unknown"),
        ([UNKNOWN_NOT_DEFAULT, ARM], "", "unknown, arm64"),
    ],
)
def test_a_box_for_another_architecture_is_never_taken_though_it_is_the_only_one(
    entries: list[object], asked: str, there: str
) -> None:
    said = refused(of(version("1", *entries)), 66, architecture=asked)
    assert f"1 is not for {asked or 'amd64'}; there is {there}" in said
    assert f"--arch {there.split(',')[0]}" in said


def test_an_older_version_for_this_architecture_goes_before_a_newer_one_for_another() -> None:
    taken = choice(of(version("2", ARM), version("1", AMD, ARM)))
    assert (taken.version, taken.offer.architecture) == ("1", "amd64")
    assert taken.notes == ("2 is newer, but is only for libvirt (arm64)",)
    both = of(version("2", ARM, offer("virtualbox", architecture="amd64")), version("1", AMD))
    assert choice(both).offer.provider == "virtualbox"


def test_the_hosts_architecture_is_in_the_words_of_catalogs() -> None:
    for machine, word in (
        ("x86_64", "amd64"),
        ("i686", "i386"),
        ("aarch64", "arm64"),
        ("s390x", "s390x"),
    ):
        assert host_architecture(machine, {}) == word
    assert host_architecture("x86_64", {"VAGRANT_HOST_ARCHITECTURE": "arm64"}) == "arm64"


def test_the_list_has_every_version_the_newest_first_and_the_unordered_last() -> None:
    found = of(
        version("v1"), version("1.9", AMD, ARM, offer("docker")), version("1.10", status="revoked")
    )
    assert listing(found) == (
        Row(version="1.10", providers=("virtualbox",), architectures=("unknown",), status="revoked", size=0),
        Row(version="1.9", providers=("libvirt", "docker"), architectures=("amd64", "arm64", "unknown"),
            status="active", size=0),
        Row(version="v1", providers=("virtualbox",), architectures=("unknown",), status="unordered", size=0),
    )  # fmt: skip


def test_the_list_is_shown_in_columns() -> None:
    assert table(listing(ORACLE)) == (
        "VERSION   PROVIDERS   ARCHITECTURES  STATUS  SIZE\n"
        "8.10.696  libvirt     unknown        active  858M\n"
        "8.10.695  virtualbox  unknown        active  -\n"
        "8.10.694  virtualbox  unknown        active  668M\n"
        "8.9.511   libvirt     unknown        active  -\n"
        "8.9.510   virtualbox  unknown        active  -\n"
    )


@pytest.mark.parametrize(
    ("size", "shown"),
    [(1, "1"), (1023, "1023"), (1024, "1K"), (1536 << 20, "1.5G"), (1 << 59, "524288T")],
)
def test_a_size_is_shown_in_the_largest_unit(size: int, shown: str) -> None:
    last = table(listing(of(version("1", offer(size=size))))).split()[-1]
    assert last == shown


def test_threat_b22_nothing_in_a_list_steers_a_terminal() -> None:
    hostile = Offer(provider="x\x1b[2J", url="", architecture="\u202e\r")
    found = Catalog(
        name="a/b", releases=(Release(version="1\x07", status="\x9b", offers=(hostile,)),)
    )
    assert table(listing(found)).replace("\n", "").isprintable()
