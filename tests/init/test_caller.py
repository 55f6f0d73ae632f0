"""Who asks: an account of the system's database, and nobody else."""

import grp
import os
import pwd
import shutil

import pytest

from tests.init.lab import Lab, in_a_lab
from vm_init.caller import Caller, find_caller
from vm_init.errors import InitError

lab = pytest.fixture(scope="module")(in_a_lab)


def entry(name: str, uid: int, gid: int, home: str = "/home/x") -> pwd.struct_passwd:
    return pwd.struct_passwd((name, "x", uid, gid, "", home, "/bin/sh"))


ACCOUNTS = [
    entry("root", 0, 0),
    entry("alice", 1000, 100, "/home/alice"),
    entry("bob", 1001, 100),
    entry("bob2", 1001, 100),
    entry("toor", 0, 0),
    entry("ten", 10, 10),
    entry("nobody", 2**32 - 2, 100),
    entry("minus", 2**32 - 1, 100),
    entry("minusgid", 1003, 2**32 - 1),
    entry("nohome", 1004, 100, ""),
    entry("a/b", 1005, 100),
    entry("a\nb", 1006, 100),
]


@pytest.fixture(autouse=True)
def database(monkeypatch: pytest.MonkeyPatch) -> None:
    """An account database of our own, which answers as getpwnam(3) does: the first that fits."""

    def by_name(name: str) -> pwd.struct_passwd:
        return next((one for one in ACCOUNTS if one.pw_name == name), None) or missing()

    def by_uid(uid: int) -> pwd.struct_passwd:
        return next((one for one in ACCOUNTS if one.pw_uid == uid), None) or missing()

    def missing() -> pwd.struct_passwd:
        raise KeyError

    def group(gid: int) -> grp.struct_group:
        if gid not in (100, 27):
            raise KeyError
        return grp.struct_group(({100: "users", 27: "vmusers"}[gid], "x", gid, []))

    def groups(_name: str, gid: int) -> list[int]:
        return [27, gid, 27, 999]

    monkeypatch.setattr(pwd, "getpwnam", by_name)
    monkeypatch.setattr(pwd, "getpwuid", by_uid)
    monkeypatch.setattr(grp, "getgrgid", group)
    monkeypatch.setattr(os, "getgrouplist", groups)


ALICE = Caller(
    uid=1000,
    gid=100,
    name="alice",
    groups=(100, 27, 999),
    group_names=("users", "vmusers"),
    home="/home/alice",
)


def sudo(uid: str, name: str = "alice") -> dict[str, str]:
    return {"SUDO_UID": uid, "SUDO_GID": "100", "SUDO_USER": name}


def test_sudo_doas_and_root_himself_can_say_who_asks() -> None:
    assert find_caller(sudo("1000")) == ALICE
    assert find_caller({"DOAS_USER": "alice"}) == ALICE
    assert find_caller({"VMCONF_DIR": "/x"}, for_user="alice") == ALICE


ODD_UIDS = [
    *(
        "-1",
        "4294967295",
        "4294967296",
        " 1000",
        "1_000",
        "+1000",
        "\u0661\u0660\u0660\u0660",
        "1000\n",
        "0x3e8",
    ),
    *("", "01000", "1000 ", "1000\0", "10000000000", "1e3", "alice", "\udcff"),
]


@pytest.mark.parametrize("uid", ODD_UIDS, ids=ascii)
def test_threat_31_an_odd_uid_is_refused(uid: str) -> None:
    with pytest.raises(InitError) as refused:
        find_caller(sudo(uid))
    assert refused.value.status == 77


def test_threat_31_minus_one_is_refused_also_where_the_database_has_it() -> None:
    for name in ("minus", "minusgid"):
        with pytest.raises(InitError, match="not an ordinary account"):
            find_caller({"DOAS_USER": name})
    assert find_caller(sudo("4294967294", "nobody")).uid == 2**32 - 2


@pytest.mark.parametrize(
    "environment",
    [
        {**sudo("1000"), "DOAS_USER": "bob"},
        {**sudo("1000"), "DOAS_USER": "alice"},
        {"SUDO_UID": "1001", "DOAS_USER": "alice"},
        {"SUDO_USER": "bob", "DOAS_USER": "alice"},
        {"SUDO_GID": "100", "DOAS_USER": "alice"},
        sudo("1001", "alice"),
        sudo("1000", "bob"),
        sudo("1000", "nosuch"),
        {"SUDO_UID": "1000"},
        {"SUDO_USER": "alice"},
        {"SUDO_GID": "100"},
        {"SUDO_UID": "1000", "SUDO_USER": ""},
        {"DOAS_USER": ""},
    ],
    ids=str,
)
def test_threat_32_who_asks_is_said_once_and_agrees(environment: dict[str, str]) -> None:
    with pytest.raises(InitError) as refused:
        find_caller(environment)
    assert refused.value.status == 77


@pytest.mark.parametrize(
    ("environment", "for_user"),
    [
        ({}, ""),
        (sudo("0", "root"), ""),
        (sudo("0", "root"), "alice"),
        (sudo("1000"), "bob"),
        (sudo("1000"), "alice"),
        ({"DOAS_USER": "alice"}, "alice"),
        ({"DOAS_USER": "root"}, ""),
        ({}, "root"),
        ({}, "toor"),
        ({}, "0"),
        ({}, "nosuch"),
    ],
    ids=str,
)
def test_threat_33_root_names_a_user_and_never_himself(
    environment: dict[str, str], for_user: str
) -> None:
    with pytest.raises(InitError) as refused:
        find_caller(environment, for_user)
    assert refused.value.status == 77


@pytest.mark.parametrize(
    "name",
    ["nosuch", "bob2", "nohome", "a/b", "a\nb", "..", "-x", "é", "alice\n", "a" * 65],
    ids=ascii,
)
def test_threat_35_an_odd_account_is_refused(name: str) -> None:
    for environment, for_user in (({"DOAS_USER": name}, ""), ({}, name)):
        with pytest.raises(InitError) as refused:
            find_caller(environment, for_user)
        assert refused.value.status == 77
        assert str(refused.value).isprintable()


def test_threat_36_the_groups_are_the_databases(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "getgroups", lambda: pytest.fail("asked for inherited groups"))
    assert find_caller(sudo("1000")).groups == (100, 27, 999)


WHO = """
from vm_init.caller import find_caller
from vm_init.hardening import start
from vm_init.errors import InitError
try:
    print(repr(find_caller(start(), *sys.argv[1:])))
except InitError as error:
    print(error, file=sys.stderr)
    sys.exit(error.status)
"""


@pytest.mark.root
def test_threat_36_real_sudo_hands_on_roots_groups_and_they_are_not_believed(lab: Lab) -> None:
    lab.launcher("who", WHO)
    lab.sudoers("who", "alice ALL = (root) NOPASSWD: /usr/local/bin/who\n")
    done = lab.run("sudo", "-n", "who", user="alice")
    uid, gid = lab.uid("alice"), int(lab.check("id", "-g", "alice"))
    vmusers = int(lab.check("getent", "group", "vmusers").split(":")[2])
    groups = ("alice", "vmusers")
    expected = Caller(uid, gid, "alice", (gid, vmusers), groups, "/home/alice")
    assert done.stdout == f"{expected!r}\n"


@pytest.mark.root
def test_threat_33_root_himself_is_refused_without_a_name(lab: Lab) -> None:
    lab.launcher("who", WHO)
    assert lab.run("who").returncode == 77
    assert lab.run("who", env={"SUDO_UID": "0", "SUDO_USER": "root"}).returncode == 77
    assert lab.run("who", "root").returncode == 77
    assert "name='bob'" in lab.run("who", "bob").stdout


@pytest.mark.root
def test_threat_32_doas_with_keepenv_cannot_make_alice_bob(lab: Lab) -> None:
    lab.launcher("who", WHO)
    forged = {"SUDO_UID": str(lab.uid("bob")), "SUDO_USER": "bob"}
    if not shutil.which("doas"):  # what doas leaves in the environment, without doas
        assert lab.run("who", env={"DOAS_USER": "alice", **forged}).returncode == 77
        return
    lab.write("/etc/doas.conf", "permit nopass keepenv alice as root cmd who\n", mode=0o400)
    done = lab.run("doas", "who", user="alice", env=forged)
    assert done.returncode == 77
    assert "name='alice'" in lab.run("doas", "who", user="alice").stdout


@pytest.mark.root
def test_threat_35_two_names_of_one_uid_are_refused(lab: Lab) -> None:
    lab.launcher("who", WHO)
    lab.check("useradd", "-o", "-u", str(lab.uid("bob")), "-g", "bob", "-d", "/home/bob", "bob2")
    assert lab.run("who", "bob2").returncode == 77
