"""Root's half made its own, whatever the caller left behind."""

import json
import os
import re
import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.init.lab import CHECKOUT, Lab, in_a_lab
from vm_init import hardening as start
from vm_init.errors import InitError

lab = pytest.fixture(scope="module")(in_a_lab)

STARTS = """
import ctypes, json, os, resource, signal
from vm_init import hardening as start
from vm_init.errors import InitError
try:
    kept = start.start()
    limits = {name: resource.getrlimit(getattr(resource, name)) for name in start.LIMITS}
    mask = os.umask(0)
    if "drop" in sys.argv:
        start.drop_capabilities()
    status = open("/proc/self/status").read()
    said = {
        "kept": kept,
        "environment": dict(os.environ),
        "descriptors": sorted(map(int, os.listdir("/proc/self/fd"))),  # and the listing's own
        "null": [os.fstat(fd).st_rdev == os.stat("/dev/null").st_rdev for fd in range(3)],
        "handled": [n for n in signal.valid_signals() - {9, 19}
            if signal.getsignal(n) is not signal.SIG_DFL],
        "blocked": sorted(map(int, signal.pthread_sigmask(signal.SIG_BLOCK, []))),
        "limits": limits,
        "core": resource.getrlimit(resource.RLIMIT_CORE),
        "umask": mask,
        "cwd": os.getcwd(),
        "cgroups": open("/proc/self/cgroup").read(),
        "foreign": sorted({name.partition(".")[0] for name in sys.modules}
            - sys.stdlib_module_names - {"__main__", "vm_init"}),
        "capabilities": [line.split()[1] for line in status.splitlines()
            if line.startswith(("Cap", "NoNewPrivs"))],
        "dumpable": ctypes.CDLL(None).prctl(3, 0, 0, 0, 0),
        "session": os.getsid(0) == os.getpid(),
    }
    with open("/tmp/said", "w") as file:
        json.dump(said, file)
except InitError as error:
    print(error, file=sys.stderr)
    sys.exit(error.status)
"""
SUDOERS = """\
Defaults!/usr/local/bin/starts env_keep = "VMCONF_DIR", !setenv, use_pty
alice ALL = (root) NOPASSWD: NOSETENV: /usr/local/bin/starts
"""
SUDO = ("sudo", "-n", "starts")


@pytest.fixture(autouse=True)
def starts(request: pytest.FixtureRequest) -> Iterator[None]:
    if "lab" in request.fixturenames:
        inside: Lab = request.getfixturevalue("lab")
        inside.launcher("starts", STARTS)
        inside.sudoers("starts", SUDOERS)
        inside.check("rm", "-f", "/tmp/said")
    yield


def said(lab: Lab, *argv: str, user: str = "alice", **given: str) -> dict[str, Any]:
    """What the program found itself to be, or what it was refused with."""
    done = lab.run(*argv, user=user, env=given)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(lab.path("/tmp/said").read_text())
    lab.check("rm", "/tmp/said")
    return found


def test_who_is_not_wholly_root_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for ids in ((1000, 1000, 1000), (1000, 0, 0), (0, 1000, 0), (0, 0, 1000)):
        monkeypatch.setattr(os, "getresuid", iter([ids]).__next__)
        with pytest.raises(InitError) as refused:
            start.start()
        assert refused.value.status == 77


def test_threat_23_a_limit_that_is_too_low_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(which: int, limit: tuple[int, int]) -> None:
        if which != resource.RLIMIT_CORE:
            raise ValueError

    monkeypatch.setattr(resource, "setrlimit", refuse)

    def low(_which: int) -> tuple[int, int]:
        return 1, 1

    monkeypatch.setattr(resource, "getrlimit", low)
    with pytest.raises(InitError, match="RLIMIT_AS is 1 and cannot be raised") as refused:
        start.raise_limits()
    assert refused.value.status == 69


@pytest.mark.root
def test_threat_17_what_lies_in_the_folder_or_in_the_environment_is_not_loaded(lab: Lab) -> None:
    evil = "open('/tmp/evil', 'w').close()\n"
    names = ("tomllib", "tomli", "os", "json", "vm_init/__init__", "usercustomize", "resource")
    for name in (*names, "sitecustomize", "ctypes/__init__", "pyroute2/__init__", "signal"):
        lab.write(f"/home/alice/evil/{name}.py", evil, owner="alice")
    here = "/home/alice/evil"
    given = {
        "PYTHONPATH": here,
        "PYTHONHOME": here,
        "PYTHONSTARTUP": f"{here}/os.py",
        "PYTHONINSPECT": "1",
        "PYTHONUSERBASE": here,
    }
    assert lab.run(*SUDO, user="alice", cwd=here, env=given).returncode == 0
    for refused in (["PYTHONPATH=."], ["-E"]):
        assert lab.run("sudo", "-n", *refused, "starts", user="alice", cwd=here).returncode
    assert lab.run("starts", cwd=here, env=given).returncode == 0  # doas with keepenv
    assert not lab.path("/tmp/evil").exists()
    assert said(lab, *SUDO)["foreign"] == []


@pytest.mark.root
def test_threat_18_the_environment_is_made_anew(lab: Lab) -> None:
    given = {
        "OPENSSL_CONF": "/tmp/x",
        "GCONV_PATH": "/tmp/x",
        "TZ": "/tmp/x",
        "LOCPATH": "/tmp/x",
        "IFCONFIG_FORMAT": "x",
        "VMCONF_DIR": "/srv/vm",
        "DOAS_USER": "alice",
    }
    found = said(lab, "starts", user="root", **given)  # as doas with keepenv leaves it
    assert found["environment"] == start.CLEAN
    assert found["kept"] == {"VMCONF_DIR": "/srv/vm", "DOAS_USER": "alice"}
    uid, gid = (lab.check("id", what, "alice").strip() for what in ("-u", "-g"))
    found = said(lab, *SUDO, **given)
    assert found["environment"] == start.CLEAN
    assert found["kept"] == {
        "VMCONF_DIR": "/srv/vm",
        "SUDO_UID": uid,
        "SUDO_GID": gid,
        "SUDO_USER": "alice",
    }


@pytest.mark.root
@pytest.mark.parametrize("closed", range(8))
def test_threat_21_0_to_2_are_open_and_nothing_else_is(lab: Lab, closed: int) -> None:
    shut = " ".join(f"{fd}>&-" for fd in range(3) if closed & 1 << fd)
    more = "exec 3</etc/passwd 5</etc/shadow 9</etc/hosts; "
    found = said(lab, "sh", "-c", f"{more} exec starts {shut}", user="root")
    assert found["descriptors"] == [0, 1, 2, 3]
    nulls = [fd for fd in range(3) if closed & 1 << fd]
    assert found["null"] == [True if fd in nulls else found["null"][fd] for fd in range(3)]


@pytest.mark.root
def test_threat_21_a_descriptor_above_the_limit_is_closed_too(lab: Lab) -> None:
    found = said(lab, "bash", "-c", "exec 200</etc/shadow; ulimit -n 64; exec starts", user="root")
    assert found["descriptors"] == [0, 1, 2, 3]


@pytest.mark.root
@pytest.mark.parametrize("limit", ["-f 0", "-t 1", "-n 8", "-u 1", "-v 200000", "-s 64", "-d 9999"])
def test_threat_23_limits_are_raised_or_refused(lab: Lab, limit: str) -> None:
    done = lab.run("bash", "-c", f"ulimit {limit}; exec sudo -n starts", user="alice")
    can_raise = 1 << 24 & int(_status("CapEff"), 16)  # CAP_SYS_RESOURCE
    if done.returncode == 0:
        limits = json.loads(lab.path("/tmp/said").read_text())["limits"]
        for name, (_, least) in start.LIMITS.items():
            assert limits[name][0] == -1 or limits[name][0] >= least
        return
    assert not can_raise, done.stderr
    assert limit != "-u 1"
    # It says so itself, unless sudo or Python could not even start.
    assert done.returncode == 69 or "vm_init" not in done.stderr
    assert not lab.path("/tmp/said").exists()


def _status(key: str) -> str:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(line.split()[1] for line in lines if line.startswith(key))


@pytest.mark.root
@pytest.mark.parametrize("mask", ["0", "0777"])
def test_threat_24_the_umask_is_077(lab: Lab, mask: str) -> None:
    for argv, user in ((SUDO, "alice"), (("starts",), "root")):
        found = said(lab, "sh", "-c", f"umask {mask}; exec {' '.join(argv)}", user=user)
        assert found["umask"] == 0o077


@pytest.mark.root
def test_threat_25_signals_are_as_if_nobody_had_touched_them(lab: Lab) -> None:
    touched = ("env", "--ignore-signal=CHLD,XFSZ,ALRM", "--block-signal=ALRM,TERM,USR1,XCPU")
    for argv, user in ((SUDO, "alice"), (("starts",), "root")):
        found = said(lab, *touched, *argv, user=user)
        assert found["handled"] == []
        assert found["blocked"] == sorted(map(int, start.BLOCKED))
        assert signal.SIGCHLD not in start.BLOCKED


@pytest.mark.root
def test_threat_26_a_folder_that_is_gone_does_no_harm(lab: Lab) -> None:
    gone = "mkdir /tmp/gone; cd /tmp/gone; rmdir /tmp/gone; exec sudo -n starts"
    assert said(lab, "sh", "-c", gone)["cwd"] == "/"


@pytest.fixture
def cgroup(lab: Lab) -> Iterator[str]:
    """A cgroup that alice owns, as each session of systemd --user has one; it is this machine's."""
    lab.check("mkdir", "-p", "/run/cgroup")
    folder = f"/sys/fs/cgroup/vmman-test-{os.getpid()}"
    if lab.run("mount", "-t", "cgroup2", "none", "/sys/fs/cgroup").returncode:
        pytest.skip("no cgroups of version 2")
    lab.check("mkdir", folder)
    lab.check("chown", "-R", "alice:", folder)
    yield folder
    lab.check("rmdir", folder)
    lab.check("umount", "/sys/fs/cgroup")


@pytest.mark.root
def test_threat_29_it_leaves_the_callers_cgroup(lab: Lab, cgroup: str) -> None:
    enter = f"echo $$ >{cgroup}/cgroup.procs && grep -q vmman-test /proc/self/cgroup"
    for argv in (SUDO, ("starts",)):
        found = said(lab, "sh", "-c", f"{enter} && exec {' '.join(argv)}", user="root")
        groups = str(found["cgroups"]).splitlines()
        assert "0::/" in groups
        assert not any("vmman-test" in line for line in groups if line.startswith("0::"))


@pytest.mark.root
@pytest.mark.parametrize("ids", [("alice", "root"), ("root", "alice")])
def test_threat_34_a_setuid_start_is_refused(lab: Lab, ids: tuple[str, str]) -> None:
    real, effective = ids
    done = lab.run("setpriv", f"--ruid={real}", f"--euid={effective}", "starts")
    assert (done.returncode, done.stderr) == (77, "vm-init must run as root: sudo vm-init\n")


@pytest.mark.root
def test_threat_46_another_network_than_the_first_processs_is_refused(lab: Lab) -> None:
    done = lab.run("unshare", "-n", "starts")
    assert (done.returncode, "host's network" in done.stderr) == (77, True)
    nested = ("unshare", "-n", "-p", "--fork", "--mount-proc", "starts")
    assert lab.run(*nested).returncode == 0  # a host of its own, as a container is


@pytest.mark.root
def test_core_files_and_debuggers_see_nothing(lab: Lab) -> None:
    found = said(lab, "starts", user="root")
    assert (found["core"], found["dumpable"]) == ([0, 0], 0)


@pytest.mark.root
def test_two_capabilities_are_kept(lab: Lab) -> None:
    kept = f"{1 << start.CAP_CHOWN | 1 << start.CAP_NET_ADMIN:016x}"
    found = said(lab, "starts", "drop", user="root")
    none = "0" * 16
    # inheritable, permitted, effective, bounding, ambient, no_new_privs
    assert found["capabilities"] == [none, kept, kept, kept, none, "1"]


def test_threat_13_nothing_that_runs_what_it_reads_is_imported() -> None:
    code = f"""import sys
sys.path.append({str(CHECKOUT)!r})
import vm_init.hardening, vm_init.caller, vm_init.ask, vm_init.request
print(*sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-ISB", "-c", code], capture_output=True, text=True, check=True
    )
    loaded = set(done.stdout.split())
    bad = {"pickle", "marshal", "shelve", "multiprocessing", "yaml", "code", "tomllib", "tomli"}
    builtin = {"marshal"}  # the import system's own
    assert loaded & (bad - builtin) == set()
    assert {name for name in loaded if name.startswith(("vm_spec", "vm_run", "ssl"))} == set()


def test_threat_18_the_helper_keeps_of_the_environment_what_start_reads() -> None:
    body = (CHECKOUT / "etc" / "vm-init.body").read_text()
    before, _, _ = body.partition("from vm_init")
    (kept,) = re.findall(r"^kept = \{(.*)\}$", before, re.MULTILINE)
    assert set(re.findall(r"'(\w+)'", kept)) == set(start.KEPT)
    imported = re.findall(r"^(?:import|from) (\w+)", before, re.MULTILINE)
    assert imported == ["gc", "os", "sys"]
    assert before.index("del os.environ[name]") < before.index("sys.path.append")
