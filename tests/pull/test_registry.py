"""Where the registry's catalogs are, and who may see the token."""

from pathlib import Path

import pytest

from vm_pull.catalogs.registry import addresses, rewritten, server, token
from vm_spec.fault import VmError

OWN = {"VAGRANT_SERVER_URL": "https://boxes.example.org/vagrant/"}


def kept(home: Path, text: str) -> Path:
    data = home / ".vagrant.d" / "data"
    data.mkdir(parents=True)
    (data / "vagrant_login_token").write_text(text)
    return home


def test_the_address_that_knows_architectures_is_asked_before_the_legacy_one() -> None:
    assert addresses("ubuntu/trusty64", {}) == (
        "https://vagrantcloud.com/api/v2/vagrant/ubuntu/trusty64",
        "https://vagrantcloud.com/ubuntu/trusty64",
    )


def test_an_own_server_is_asked_when_the_environment_names_one() -> None:
    assert addresses("me/box", OWN) == (
        "https://boxes.example.org/vagrant/api/v2/vagrant/me/box",
        "https://boxes.example.org/vagrant/me/box",
    )
    assert server({"VAGRANT_SERVER_URL": "https://app.vagrantup.com"}) == "https://vagrantcloud.com"


def test_a_name_cannot_change_the_address() -> None:
    first, _ = addresses("a?b/c#d@e%2f", {})
    assert first == "https://vagrantcloud.com/api/v2/vagrant/a%3Fb/c%23d%40e%252f"


@pytest.mark.parametrize("text", ["vagrantcloud.com", "file:///x", "https://", "https://a/?b", "x"])
def test_a_server_that_is_no_address_is_a_wrong_call(text: str) -> None:
    with pytest.raises(VmError, match="VAGRANT_SERVER_URL") as caught:
        addresses("a/b", {"VAGRANT_SERVER_URL": text})
    assert caught.value.status == 64


def test_the_former_hosts_of_the_registry_are_replaced() -> None:
    for former in (
        "https://app.vagrantup.com",
        "http://APP.vagrantup.com",
        "https://atlas.hashicorp.com",
    ):
        assert rewritten(f"{former}/u/boxes/b/versions/1/vagrant.box?a=b") == (
            "https://vagrantcloud.com/u/boxes/b/versions/1/vagrant.box?a=b"
        )
    for other in (
        "https://example.org/app.vagrantup.com",
        "https://app.vagrantup.com.example.org/",
    ):
        assert rewritten(other) == other


@pytest.mark.parametrize(
    "page",
    [
        "https://app.vagrantup.com/ubuntu/boxes/trusty64",
        "https://vagrantcloud.com/ubuntu/boxes/trusty64/",
        "https://portal.cloud.hashicorp.com/vagrant/discover/ubuntu/trusty64",
    ],
)
def test_the_page_of_a_box_becomes_its_catalog(page: str) -> None:
    assert rewritten(page) == "https://vagrantcloud.com/api/v2/vagrant/ubuntu/trusty64"


@pytest.mark.parametrize(
    "other",
    [
        "https://vagrantcloud.com/ubuntu/trusty64",
        "https://vagrantcloud.com/u/boxes/b/versions/1/providers/libvirt.box",
        "https://portal.cloud.hashicorp.com/vagrant/discover",
        "https://example.org/ubuntu/boxes/trusty64",
    ],
)
def test_other_addresses_stay_as_they_are(other: str) -> None:
    assert rewritten(other) == other


def test_the_token_is_looked_for_in_vagrants_order(tmp_path: Path) -> None:
    home = str(kept(tmp_path, "kept\n"))
    url = "https://vagrantcloud.com/me/private"
    both = {"VAGRANT_CLOUD_TOKEN": "first;hcp", "ATLAS_TOKEN": "last"}
    assert token(url, both, home) == "first;hcp"
    assert token(url, {"ATLAS_TOKEN": "last"}, home) == "kept"
    assert token(url, {"ATLAS_TOKEN": "last"}, f"{home}/elsewhere") == "last"
    assert token(url, {"VAGRANT_HOME": f"{home}/.vagrant.d"}, "/nonexistent") == "kept"
    assert token(url, {}, "/nonexistent") == ""


@pytest.mark.parametrize(
    "url",
    [
        "https://example.org/me/private",
        "http://vagrantcloud.com/me/private",
        "https://vagrantcloud.com:8443/me/private",
        "https://vagrantcloud.com.example.org/",
        "https://vagrantcloud.com@example.org/",
        "https://example.org/?vagrantcloud.com",
        "https://sub.vagrantcloud.com/",
        "https://vagrantcloud.com\\@example.org/",
        "/etc/passwd",
        "",
    ],
)
def test_threat_b3_no_other_host_sees_the_token(url: str) -> None:
    assert token(url, {"VAGRANT_CLOUD_TOKEN": "secret"}, "/nonexistent") == ""


def test_threat_b3_an_own_server_sees_the_token_over_http_only_on_this_host() -> None:
    def ask(place: str) -> str:
        environ = {"VAGRANT_SERVER_URL": place, "VAGRANT_CLOUD_TOKEN": "secret"}
        return token(f"{place}/me/box", environ, "/nonexistent")

    assert ask("https://boxes.example.org") == "secret"
    assert ask("http://127.0.0.1:8080") == "secret"
    assert ask("http://boxes.example.org") == ""


@pytest.mark.parametrize("text", ["a\r\nX: y", "a b", "ä", "a\0b"])
def test_threat_b3_a_token_cannot_end_its_header(text: str) -> None:
    with pytest.raises(VmError) as caught:
        token("https://vagrantcloud.com/", {"VAGRANT_CLOUD_TOKEN": text}, "/nonexistent")
    assert text not in str(caught.value)
