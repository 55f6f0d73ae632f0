"""What users try, through real sudo: how they start it, and what admins and ledgers meet."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator

import pytest

from tests.init.lab import LIB, Lab
from tests.init.test_attacks import (
    HELPER,
    POLICY,
    VM_INIT,
    besieged,
    describe,
    given,
    init,
    ledger,
    links,
    tap,
    unchanged,
)

pytestmark = pytest.mark.root

TWO = tap("vma", card="a") + tap("vmb", card="b")


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    with besieged() as made:
        yield made


@pytest.fixture(autouse=True)
def as_before(lab: Lab) -> Iterator[None]:
    before = links(lab)
    describe(lab, "two", TWO)
    yield
    lab.write("/etc/vmman/policy.toml", POLICY)
    for user in ("alice", "bob"):
        for path in lab.path("/run/vmman").glob(f"{lab.uid(user)}/*.json"):
            given(lab, "--release", path.stem, user=user)
    unchanged(lab, before)


def as_alice(lab: Lab, script: str) -> subprocess.CompletedProcess[str]:
    """A script of alice's in which $V is `sudo -n vm-init`; it cannot hang for long."""
    return lab.run(
        "bash", "-c", script.replace("$V", " ".join(VM_INIT)), user="alice", timeout_s=25
    )


def is_given(lab: Lab) -> bool:
    """Whether the VM two has all that it asks for; the other answer is nothing at all."""
    found = {"vma", "vmb"} & set(links(lab))
    assert found in ({"vma", "vmb"}, set())
    assert ledger(lab) == found
    return bool(found)


@pytest.mark.parametrize(
    "shut", ["<&-", ">&-", "2>&-", "<&- >&-", "<&- 2>&-", ">&- 2>&-", "<&- >&- 2>&-"]
)
def test_threat_21_closed_descriptors_change_nothing(lab: Lab, shut: str) -> None:
    assert as_alice(lab, f"$V two {shut}").returncode == 0
    assert is_given(lab)
    given(lab, "--release", "two")
    done = lab.run("bash", "-c", f"vm-init --for-user alice two {shut}")
    assert done.returncode == 0
    assert is_given(lab)


@pytest.mark.parametrize(
    "end", ["> /dev/full 2>&1", "2>&1 | true", "2>&1 | :; exit ${PIPESTATUS[0]}"]
)
def test_threat_21_an_end_that_takes_nothing_changes_nothing(lab: Lab, end: str) -> None:
    as_alice(lab, f"exec 3</etc/passwd 9</etc/hosts; $V two {end}")
    assert is_given(lab)
    done = lab.run("bash", "-c", f"vm-init --for-user alice --release two {end}")
    assert done.returncode == 0
    assert not is_given(lab)


# The pipe is filled first, by 1 MiB that nobody reads; it is non-blocking only meanwhile.
FULL = """
import os, subprocess, sys
read, write = os.pipe()
os.set_blocking(write, False)
try:
    while True: os.write(write, b"x" * 4096)
except BlockingIOError: pass
try:
    while True: os.write(write, b"x")
except BlockingIOError: pass
os.set_blocking(write, True)
asking = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL, stdout=write, stderr=write)
print("started", flush=True)
try: print(asking.wait(10))
except subprocess.TimeoutExpired: print("hangs"); asking.kill()
"""


def test_threat_22_a_full_pipe_that_nobody_reads_holds_up_nobody(lab: Lab) -> None:
    describe(lab, "his", tap("vmhis"), "bob")
    lab.write("/tmp/full.py", FULL)
    asking = lab.start("/usr/bin/python3", "/tmp/full.py", *VM_INIT, "two", user="alice")
    until = time.monotonic() + 5
    while "vmb" not in links(lab):
        assert time.monotonic() < until
    began = time.monotonic()
    given(lab, "his", user="bob")
    assert time.monotonic() - began < 30  # a bound, however busy the machine
    lab.check("flock", "-w", "3", "/run/vmman/lock", "true")
    until = time.monotonic() + 5
    while lab.run("pgrep", "-u", "root", "-f", f"-ISB {HELPER}").returncode == 0:
        assert time.monotonic() < until, "root's half waits for a reader"
    asking.communicate(timeout=20)
    direct = ("vm-init", "--for-user", "alice", "--release", "two")
    assert lab.run("/usr/bin/python3", "/tmp/full.py", *direct).stdout == "started\n0\n"
    assert lab.run("/usr/bin/python3", "/tmp/full.py", "vm-init").stdout == "started\n64\n"
    assert set(ledger(lab)) == {"vmhis"}


@pytest.mark.parametrize("limit", ["-f 0", "-t 1", "-n 8", "-u 1", "-v 200000", "-s 64", "-i 0"])
def test_threat_23_under_a_limit_it_gives_all_or_nothing(lab: Lab, limit: str) -> None:
    done = as_alice(lab, f"ulimit {limit}; $V two")
    assert is_given(lab) == (done.returncode == 0)


def test_threats_24_25_and_26_what_it_inherits_changes_nothing(lab: Lab) -> None:
    odd = "umask {}; mkdir /tmp/gone; cd /tmp/gone; rmdir /tmp/gone; exec env {} $V {}"
    signals = "--ignore-signal=CHLD,XFSZ,ALRM,PIPE --block-signal=TERM,ALRM,USR1"
    for mask in ("0", "0777"):
        assert as_alice(lab, odd.format(mask, signals, "two")).returncode == 0
        assert is_given(lab)
        uid = lab.uid("alice")
        modes = lab.check("stat", "-c", "%u %a", "/run/vmman", f"/run/vmman/{uid}")
        assert modes == "0 700\n0 700\n"
        files = lab.check("stat", "-c", "%u %a", "/run/vmman/lock", f"/run/vmman/{uid}/two.json")
        assert files == "0 600\n0 600\n"
        assert as_alice(lab, odd.format(mask, signals, "--release two")).returncode == 0


NO_ARGUMENTS = """
import ctypes, os
void = (ctypes.c_char_p * 1)(None)
ctypes.CDLL(None).execve(b"/usr/local/libexec/vmman/vm-init", void, void)
"""


@pytest.mark.parametrize(
    "words",
    [
        (),
        ("--release",),
        ("--unknown", "two"),
        ("--for-user",),
        ("--release", "--release", "two"),
        ("--release", "--grants"),
        ("two", "two"),
        ("--dry-run", "--check", "two"),
        ("--job=1", "two"),
        ("x" * 100_000,),
        ("--", "--release", "-two"),
    ],
    ids=lambda words: " ".join(words)[:40],
)
def test_threat_30_odd_words_are_told_how_it_is_used(lab: Lab, words: tuple[str, ...]) -> None:
    done = init(lab, *words)
    assert (done.returncode, done.stdout, is_given(lab)) == (64, "", False)
    assert "usage:" in done.stderr
    assert len(done.stderr) < 2000


def test_threat_30_without_any_argument_vector_it_is_used_wrongly_too(lab: Lab) -> None:
    done = lab.run("/usr/bin/python3", "-c", NO_ARGUMENTS)
    assert done.returncode == 64, done.stderr
    for name in ("-x", "--release", "", "/home/alice/vm-init"):
        done = lab.run("bash", "-c", f"exec -a '{name}' {HELPER} --grants")
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_threat_30_a_copy_a_link_and_a_hard_link_are_no_other_helper(lab: Lab) -> None:
    evil = "open('/tmp/evil', 'w').close()\n"
    place = "/home/alice/libexec/vmman"
    for module in ("vm_init/__init__", "vm_init/__main__", "os", "re"):
        lab.write(f"{place}/{module}.py", evil)
        lab.write(f"/home/alice/lib/vmman/{module}.py", evil)
    for make in (
        f"cp {HELPER}",
        f"ln -s {HELPER}",
        f"ln {HELPER}",
        f"ln -s {LIB}/../../libexec/vmman/vm-init",
    ):
        lab.check("sh", "-c", f"rm -f {place}/vm-init; {make} {place}/vm-init")
        done = lab.run("sudo", "-n", f"{place}/vm-init", "two", user="alice", cwd=place)
        assert is_given(lab) == (done.returncode == 0)  # sudo knows links for what they are
        lab.run("sudo", "-n", f"{place}/vm-init", "--release", "two", user="alice", cwd=place)
        assert not is_given(lab)
        by_root = lab.run(f"{place}/vm-init", "--for-user", "alice", "two", cwd=place)
        assert by_root.returncode == 0
        given(lab, "--release", "two")
    assert not lab.path("/tmp/evil").exists()
    assert lab.run(HELPER, "two", user="alice").returncode == 77


@pytest.mark.parametrize(
    "env",
    [
        {"SUDO_UID": "-1", "SUDO_USER": "alice"},
        {"SUDO_UID": "4294967295", "SUDO_USER": "alice"},
        {"SUDO_UID": "0", "SUDO_USER": "root"},
        {"SUDO_UID": " {uid}", "SUDO_USER": "alice"},
        {"SUDO_UID": "{uid}\n", "SUDO_USER": "alice"},
        {"SUDO_UID": "{uid}", "SUDO_USER": "bob"},
        {"SUDO_UID": "{uid}"},
        {"SUDO_USER": "alice"},
        {"SUDO_UID": "{uid}", "SUDO_USER": "alice", "DOAS_USER": "bob"},
        {"DOAS_USER": "root"},
        {"DOAS_USER": "../alice"},
        {},
    ],
    ids=str,
)
def test_threats_31_to_33_a_forged_caller_is_refused(lab: Lab, env: dict[str, str]) -> None:
    uid = str(lab.uid("alice"))
    forged = {key: value.replace("{uid}", uid) for key, value in env.items()}
    assert lab.run("vm-init", "two", env=forged).returncode == 77
    assert lab.run("vm-init", "--release", "two", env=forged).returncode == 77
    assert not is_given(lab)


def test_threat_36_a_group_is_the_databases_and_not_the_callers(lab: Lab) -> None:
    lab.check("groupadd", "--force", "lab")
    lab.write("/etc/vmman/policy.toml", POLICY.replace('"alice", "bob"', '"@lab"'))
    forged = ("setpriv", "--groups", "lab,vmusers", "--reuid=alice", "--regid=lab", "--")
    assert lab.run(*forged, *VM_INIT, "two").returncode == 77
    lab.check("usermod", "-aG", "lab", "alice")
    assert lab.run(*forged, *VM_INIT, "two").returncode == 0
    assert is_given(lab)


def test_threat_45_a_tap_in_use_stays_as_it_is(lab: Lab) -> None:
    given(lab, "two")
    made = links(lab)
    holder = lab.start("holds", "vma", user="alice")
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    done = init(lab, "two")
    assert (done.returncode, done.stdout.count("yours already")) == (0, 2)
    assert links(lab) == made
    busy = init(lab, "--release", "two")
    assert (busy.returncode, "vma: in use" in busy.stderr) == (75, True)
    assert set(made) - set(links(lab)) == {"vmb"}
    given(lab, "two")
    assert links(lab)["vma"] == made["vma"]
    holder.communicate("\n", timeout=10)


def test_threat_46_another_network_is_refused(lab: Lab) -> None:
    done = lab.run("unshare", "-n", "vm-init", "--for-user", "alice", "two")
    assert (done.returncode, "host's network" in done.stderr) == (77, True)
    lab.run("unshare", "-Urn", *VM_INIT, "two", user="alice")
    assert not is_given(lab)


def test_threat_69_a_later_link_of_the_same_name_stays(lab: Lab) -> None:
    given(lab, "two")
    number = links(lab)["vma"]
    holder = lab.start("holds", "vma", user="alice")
    assert holder.stdout is not None
    assert holder.stdout.readline() == "held\n"
    holder.communicate("destroy\n", timeout=10)
    assert "vma" not in links(lab)
    lab.check("ip", "link", "add", "vma", "type", "bridge")
    again = init(lab, "two")
    assert again.returncode == 77
    given(lab, "--release", "two")
    kept = links(lab)
    assert "vma" in kept
    assert kept["vma"] != number
    assert "vmb" not in kept
    lab.check("ip", "link", "del", "vma")


# What a sed script makes of it.
SPOILT = {
    "empty": "d",
    "truncated": "5,$d",
    "no JSON": "1s/{/vmman 1/",
    "another schema": "1i[\n$a]",
    "another interface": 's/"vma"/"br0"/; s/"tap"/"tun"/',
    "a path": 's|"vma"|"/etc/shadow"|',
    "another user": 's/"uid": /"uid": 1/',
    "another tag": "s/vmman:/vmmam:/",
    "an object twice": 's/"vmb"/"vma"/',
}


@pytest.mark.parametrize("how", SPOILT)
def test_threat_72_a_ledger_that_is_not_ours_is_refused_and_kept(lab: Lab, how: str) -> None:
    given(lab, "two")
    path = lab.path(f"/run/vmman/{lab.uid('alice')}/two.json")
    good, made = path.read_text(), links(lab)
    spoilt = lab.check("sed", SPOILT[how], given=good)
    assert spoilt != good
    path.write_text(spoilt)
    for words in (("two",), ("--release", "two"), ("--grants",)):
        assert init(lab, *words).returncode == 78
    assert (path.read_text(), links(lab)) == (spoilt, made)
    path.write_text(good)


def test_a_ledger_of_another_version_is_read_and_its_unknown_keys_are_kept(lab: Lab) -> None:
    given(lab, "two")
    path = lab.path(f"/run/vmman/{lab.uid('alice')}/two.json")
    content = json.loads(path.read_text())
    content["later"] = [1]
    for record in content["records"]:
        uid, nonce = record["tag"].split(":")[1:]  # as 0.1.0 wrote it
        record.update(done=True, nonce=nonce, later="x", tag=f"vmman:{uid}:two:{nonce}")
        lab.check("ip", "link", "set", record["name"], "alias", record["tag"])
    path.write_text(json.dumps(content))
    assert init(lab, "two").stdout.count("yours already") == 2
    describe(lab, "two", tap("vma", card="a") + tap("vmc", card="c"))
    given(lab, "two")
    kept = json.loads(path.read_text())
    assert kept["later"] == [1]
    assert [record.get("later") for record in kept["records"]] == ["x", "x", None]
    given(lab, "--release", "two")


def test_threat_72_a_ledger_of_alices_or_a_link_is_refused(lab: Lab) -> None:
    given(lab, "two")
    folder, made = f"/run/vmman/{lab.uid('alice')}", links(lab)
    spoils = (
        ("chown alice two.json", "chown root two.json"),
        ("chmod 644 two.json", "chmod 600 two.json"),
        ("chown alice .", "chown root ."),
        ("mv two.json t; ln -s t two.json", "mv t two.json"),
        ("mv two.json t; mkfifo two.json", "rm two.json; mv t two.json"),
    )
    for spoil, mend in spoils:
        lab.check("sh", "-c", f"cd {folder}; {spoil}")
        assert init(lab, "--release", "two").returncode == 78, spoil
        assert links(lab) == made
        lab.check("sh", "-c", f"cd {folder}; {mend}")


def test_threat_73_users_at_once_and_no_lock_for_a_user(lab: Lab) -> None:
    describe(lab, "his", tap("vmhis"), "bob")
    for user, vm in (("alice", "two"), ("bob", "his")):
        asking = [lab.start(*VM_INIT, vm, user=user) for _ in range(3)]
        assert [each.wait(timeout=30) for each in asking] == [0, 0, 0]
        for each in asking:
            each.communicate()
    for flags in ("os.O_RDONLY", "os.O_RDWR", "os.O_PATH"):
        tries = f"import fcntl, os; fcntl.flock(os.open('/run/vmman/lock', {flags}), fcntl.LOCK_EX)"
        done = lab.run("/usr/bin/python3", "-c", tries, user="alice")
        assert "PermissionError" in done.stderr
    both = [
        lab.start(*VM_INIT, "--release", vm, user=user)
        for vm, user in (("two", "alice"), ("his", "bob"), ("two", "alice"))
    ]
    assert [each.wait(timeout=30) for each in both] == [0, 0, 0]
    for each in both:
        each.communicate()
    assert ledger(lab) == set()


@pytest.mark.parametrize("last", [tap("rbv", card="z"), tap("vmz", "vbr", "z")])
def test_threat_74_when_one_fails_the_others_are_taken_back(lab: Lab, last: str) -> None:
    lab.write("/etc/vmman/policy.toml", POLICY.replace('"lo"', '"rbv"'))
    describe(lab, "three", TWO + last)
    assert init(lab, "three").returncode == 77
    assert not is_given(lab)
    given(lab, "two")
    describe(lab, "two", TWO + last)
    assert init(lab, "two").returncode == 77
    assert is_given(lab)  # what was there before stays


POLICIES = {
    "65 missing": ("rm $P", 77),
    "65 empty": (": >$P", 77),
    "65 not TOML": ("echo '[[' >>$P", 78),
    "65 an unknown key": ("echo 'brigdes = []' >>$P", 78),
    "65 a wrong type": ("echo 'macs = 1' >>$P", 78),
    "65 a deny": ("printf '[[deny]]\\nwho = [\"alice\"]\\n' >>$P", 77),
    "66 of a group": ("chmod g+w $P", 78),
    "66 of everybody": ("chmod o+w $P", 78),
    "66 alice's": ("chown alice $P", 78),
    "66 a link": ("mv $P $P.real; ln -s $P.real $P", 78),
    "66 a FIFO": ("rm $P; mkfifo $P", 78),
    "66 a folder": ("rm $P; mkdir $P", 78),
    "66 a folder of a group": ("chmod g+w /etc/vmman", 78),
    "66 a folder of alice's": ("chown alice /etc/vmman", 78),
    "66 /etc of everybody": ("chmod o+w /etc", 78),
}
MEND = "chmod 755 /etc /etc/vmman; chown root /etc/vmman; rm -rf $P $P.real"


@pytest.mark.parametrize("case", POLICIES)
def test_threats_65_and_66_no_good_policy_is_no_grant(lab: Lab, case: str) -> None:
    spoil, status = POLICIES[case]
    path = "/etc/vmman/policy.toml"
    lab.check("sh", "-c", spoil.replace("$P", path))
    if "/etc of" in case:  # sudo itself does not mind
        done = lab.run("vm-init", "--for-user", "alice", "two")
    else:
        done = init(lab, "two")
    lab.check("sh", "-c", MEND.replace("$P", path))
    assert (done.returncode, is_given(lab)) == (status, False), done.stderr


RESIDUE = ("/run/vmman", "/etc/vmman", LIB, os.path.dirname(HELPER))


def test_threat_76_nothing_of_ours_can_be_changed_by_others(lab: Lab) -> None:
    written = ("(", "!", "-user", "root", "-o", "!", "-type", "l", "-perm", "/022", ")")
    strays = ("find", *RESIDUE, *written, "-print")
    assert lab.check(*strays) == ""
    given(lab, "two")
    assert lab.check(*strays) == ""
    text = lab.path(f"/run/vmman/{lab.uid('alice')}/two.json").read_text()
    assert {record["name"] for record in json.loads(text)["records"]} == {"vma", "vmb"}
    checked = lab.run("vm-init", "--self-check")
    assert checked.returncode == 0, checked.stderr
    given(lab, "--release", "two")
    assert lab.check(*strays) == ""
    assert lab.check("find", "/run/vmman").split() == ["/run/vmman", "/run/vmman/lock"]
    lab.check("chmod", "g+w", LIB)
    unsafe = lab.run("vm-init", "--self-check")
    lab.check("chmod", "g-w", LIB)
    assert (unsafe.returncode, LIB in unsafe.stderr) == (78, True)
