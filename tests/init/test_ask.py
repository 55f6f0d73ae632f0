"""The child that becomes the caller: what it reads, and what it cannot do."""

import errno
import fcntl
import json
import os
import shutil
import termios
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.init.lab import Lab, in_a_lab
from vm_init import ask, description
from vm_init.__main__ import parse_arguments
from vm_init.caller import Caller
from vm_init.errors import InitError
from vm_init.request import MAX_BYTES, parse_line

lab = pytest.fixture(scope="module")(in_a_lab)

ASKS = """
import resource, time
from vm_init import ask
from vm_init.caller import find_caller
from vm_init.hardening import start
from vm_init.errors import InitError
try:
    kept = start()
    who = find_caller(kept, "".join(sys.argv[2:3]))
    before, began = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
    try:
        asked, _ = ask.ask(who, sys.argv[1], kept.get("VMCONF_DIR", ""), int)
    finally:
        after, took = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic() - began
        print(after - before, round(took, 2), file=sys.stderr)
    print(*(one.line for one in asked), sep="\\n")
except InitError as error:
    print(error, file=sys.stderr)
    sys.exit(error.status)
"""
SUDOERS = """\
Defaults!/usr/local/bin/asks env_keep = "VMCONF_DIR", !setenv, use_pty
%vmusers ALL = (root) NOPASSWD: NOSETENV: /usr/local/bin/asks, /usr/local/bin/asks-odd
"""
WEB = '[net.n]\nname = "vm0"\nbridge = "br0"\n'
TAP = "tap vm0 bridge br0\n"
HOME = "/home/alice/vm"
BOUND_S = 30  # a reader that hangs is caught; a busy machine is only slow
ALICE = Caller(1000, 1000, "alice", (1000,), ("alice",), "/home/alice")


@pytest.fixture(autouse=True)
def asks(request: pytest.FixtureRequest) -> Iterator[None]:
    if "lab" in request.fixturenames:
        inside: Lab = request.getfixturevalue("lab")
        inside.launcher("asks", ASKS)
        inside.sudoers("asks", SUDOERS)
        inside.check("sh", "-c", f"rm -rf {HOME}; mkdir {HOME}; chown alice: {HOME}")
        inside.write(f"{HOME}/web.toml", WEB, owner="alice")
    yield


def asked(
    lab: Lab, vm: str = "web", command: str = "asks", env: dict[str, str] | None = None
) -> tuple[int, str, int, float]:
    """How alice's question ended: status, answer, the memory in KiB and the time it took root."""
    done = lab.run("sudo", "-n", command, vm, user="alice", env=env, timeout_s=20)
    figures, _, fault = done.stderr.partition("\n")
    assert "Traceback" not in done.stderr, done.stderr
    grown, took = figures.split()
    return done.returncode, done.stdout or fault, int(grown), float(took)


ODD_NAMES = [
    *("../x", "/etc/x", "a/b", ".", "..", "", "-x", "a\n", "\na", "a\0", "вм", "a" * 65, "\udcff"),
    *("a b", "é", "x;y", ".x"),
]


@pytest.mark.parametrize("name", ODD_NAMES, ids=ascii)
def test_threat_01_an_odd_name_is_refused_before_anything(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def too_late(*_: object) -> None:
        pytest.fail("too late")

    for act in ("fork", "open", "pipe"):
        monkeypatch.setattr(os, act, too_late)
    with pytest.raises(InitError) as refused:
        parse_arguments(["--release", "--", name])
    assert refused.value.status == 64


def test_anybody_reads_his_own_without_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "web.toml").write_text(WEB)
    monkeypatch.setenv("VMCONF_DIR", str(tmp_path))
    assert description.read("web") == ["tap vm0 bridge br0"]
    with pytest.raises(InitError, match="there is no VM wob") as refused:
        description.read("wob")
    assert refused.value.status == 66


def play(
    monkeypatch: pytest.MonkeyPatch, child: Callable[[int], None]
) -> Callable[[], tuple[object, ...]]:
    """`ask.ask`, with another in the child's place; it is given the pipe."""

    def instead(_who: Caller, _vm: str, _confdir: str, pipe: int, _parent: int) -> None:
        try:
            child(pipe)
        finally:
            os._exit(3)

    monkeypatch.setattr(ask, "_run_child", instead)
    return lambda: ask.ask(ALICE, "web", "", int)[0]


WHOLE = b"vmman 1\ntap vm0 bridge br0\nend 1\n"


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        b"vmman 1\n",
        WHOLE[:-1],
        WHOLE + b"\n",
        WHOLE + WHOLE,
        b"\x80\x04]\x94.",
        b"fault 0\nx",
        b"fault 65",
        b"fault 99\nx",
        b"fault 650\nx",
        b"vmman 1\n" + b"tap vm0 bridge br0\n" * 100_000,
        b"fault 65\n" + b"x" * MAX_BYTES,
    ],
    ids=lambda frame: repr(frame[:20]),
)
def test_threat_12_a_hostile_child_says_nothing(
    frame: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(InitError, match="could not be read") as refused:
        play(monkeypatch, lambda pipe: void(os.write(pipe, frame)))()
    assert refused.value.status == 65


def void(*_: object) -> None:
    """So that a call may stand where nothing is returned."""


def test_threat_12_a_whole_frame_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert play(monkeypatch, lambda pipe: void(os.write(pipe, WHOLE)))() == (
        parse_line("tap vm0 bridge br0"),
    )


def test_threat_12_what_is_wrong_is_shown_as_printable_text(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    text = b"fault 66\nno\n\x1b[2J\x00\xff\x07 'quoted' \\n\r<86>sudo: forged\n" + bytes(range(256))
    with pytest.raises(InitError) as refused:
        play(monkeypatch, lambda pipe: void(os.write(pipe, text)))()
    lines = str(refused.value).split("\n")
    assert lines[0] == "no"
    assert all(line.isascii() and line.isprintable() for line in lines)
    assert refused.value.status == 66


def test_threat_14_a_child_that_says_nothing_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ask, "TIMEOUT_S", 0.2)
    fork, children = os.fork, list[int]()

    def noted() -> int:
        children.append(fork())
        return children[-1]

    monkeypatch.setattr(os, "fork", noted)
    stops = play(monkeypatch, lambda _: os.kill(os.getpid(), 19))
    with pytest.raises(InitError, match="in time"):
        stops()
    (child,) = children
    with pytest.raises(ChildProcessError):
        os.waitpid(child, os.WNOHANG)


@pytest.mark.root
def test_alice_asks_for_what_her_description_says(lab: Lab) -> None:
    status, answer, grown, _ = asked(lab)
    assert (status, answer) == (0, TAP)
    assert grown < 5000


@pytest.mark.root
def test_threat_02_a_link_to_what_alice_cannot_read_is_refused(lab: Lab) -> None:
    lab.write("/home/bob/secret.toml", WEB, owner="bob", mode=0o600)
    for target in ("/etc/shadow", "/home/bob/secret.toml", "/proc/self/environ", "/root", "web"):
        lab.check("ln", "-sfn", target, f"{HOME}/web.toml", user="alice")
        status, answer, _, _ = asked(lab)
        assert status == 66, (target, answer)
        assert "root:" not in answer


@pytest.mark.root
def test_threat_03_bobs_description_is_not_alices_and_makes_her_nobody_else(lab: Lab) -> None:
    lab.write("/home/bob/vm/bobs.toml", WEB, owner="bob")
    lab.check("ln", "/home/bob/vm/bobs.toml", f"{HOME}/bobs.toml")
    for env in ({}, {"VMCONF_DIR": "/home/bob/vm"}):
        status, answer, _, _ = asked(lab, "bobs", env=env)
        assert (status, "belongs to another user" in answer) == (77, True) or status == 66


@pytest.mark.root
@pytest.mark.parametrize(
    "make",
    [
        "mkfifo $F",
        "mkdir $F",
        "python3 -c 'import socket; socket.socket(socket.AF_UNIX).bind(\"'$F'\")'",
        "ln -s /dev/zero $F",
        "ln -s /dev/tty $F",
        "truncate -s 10G $F",
        "yes | head -c 70000 >$F",
    ],
)
def test_threat_04_what_is_no_file_of_some_size_is_refused_at_once(lab: Lab, make: str) -> None:
    file = f"{HOME}/odd.toml"
    lab.check("sh", "-c", make.replace("$F", file), user="alice")
    status, answer, _, _ = asked(lab, "odd")
    assert status in (65, 66), answer


@pytest.mark.root
@pytest.mark.parametrize("text", ["x = " + "[" * 30_000, "x = " + "{a=" * 20_000, "[" * 60_000])
def test_threat_05_deep_nesting_is_a_wrong_description(lab: Lab, text: str) -> None:
    lab.write(f"{HOME}/web.toml", text, owner="alice")
    assert asked(lab)[0] == 65


@pytest.mark.root
def test_threat_06_a_key_of_many_parts_costs_root_nothing(lab: Lab) -> None:
    lab.write(f"{HOME}/web.toml", "a." * 32_000 + "a=1\n", owner="alice")
    status, _, grown, took = asked(lab)
    assert status == 65
    assert took < BOUND_S
    assert grown < 5000


@pytest.mark.root
@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("cpu = true", "cpu"),
        ("cpu = nan", "cpu"),
        (f"cpu = 1{'0' * 5000}", ""),
        ('name = "a\\nb"', "name"),
        ('[net.n]\nname = "a\\u0000"', "name"),
        ('[net.n]\nname = "\\u202eb"', "name"),
        ('[net.n]\nname = "\\u001b[2J"', "name"),
        ("cpuu = 1", "did you mean cpu?"),
    ],
)
def test_threat_07_a_value_of_another_type_is_refused(lab: Lab, text: str, problem: str) -> None:
    lab.write(f"{HOME}/web.toml", text, owner="alice")
    status, answer, _, _ = asked(lab)
    assert (status, problem in answer) == (65, True)
    assert answer.isascii()
    assert all(line.isprintable() for line in answer.splitlines())


SWAP = f"""
cd {HOME}
while :; do
    ln -sfn /etc/shadow next && mv -T next web.toml
    printf '[net.n]\\nname = "vm0"\\nbridge = "br0"\\n' >next && mv -T next web.toml
done
"""


@pytest.mark.root
def test_threat_08_a_file_that_is_swapped_is_one_or_refused(lab: Lab) -> None:
    swapping = lab.start("sh", "-c", SWAP, user="alice")
    try:
        ends = {asked(lab)[:2] for _ in range(30)}
    finally:
        lab.run("pkill", "-KILL", "-u", "alice")
        swapping.communicate(timeout=10)
    assert {status for status, _ in ends} <= {0, 66}
    assert {answer for status, answer in ends if status == 0} <= {TAP}


@pytest.mark.root
@pytest.mark.parametrize(
    "make", ["chmod o+w $F", "chmod o+w $D", "chown bob $F", "chgrp bob $F; chmod g+w $F"]
)
def test_threat_09_what_others_can_write_is_refused(lab: Lab, make: str) -> None:
    lab.check("sh", "-c", make.replace("$F", f"{HOME}/web.toml").replace("$D", HOME))
    status, answer, _, _ = asked(lab)
    assert status == 77
    assert "can be written by" in answer or "belongs to another user" in answer


@pytest.mark.root
def test_threat_10_root_needs_no_right_to_read_the_home(lab: Lab) -> None:
    lab.check("chmod", "700", "/home/alice", HOME)
    lab.check("chmod", "600", f"{HOME}/web.toml")
    without = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")
    done = lab.run(*without, "asks", "web", "alice")
    assert done.stdout == TAP, done.stderr
    assert lab.run(*without, "cat", f"{HOME}/web.toml").returncode


HANG = f"""
import os, subprocess, sys
fuse = os.open("/dev/fuse", os.O_RDWR)
options = f"fd={{fuse}},rootmode=40000,user_id=0,group_id=0,allow_other"
call = ["mount", "-i", "-t", "fuse", "-o", options, "none", "{HOME}"]
subprocess.run(call, check=True, pass_fds=[fuse])
print("mounted", flush=True)
sys.stdin.read()
"""


@pytest.mark.root
def test_threat_11_a_file_system_that_never_answers_is_given_up(lab: Lab) -> None:
    lab.launcher("hang", HANG)
    server = lab.start("hang")
    assert server.stdout is not None
    try:
        if server.stdout.readline() != "mounted\n":
            pytest.skip("FUSE cannot be mounted")
        status, answer, _, took = asked(lab)
    finally:
        server.communicate(timeout=10)
        lab.run("umount", "-l", HOME)
    assert (status, answer) == (65, "the description could not be read in time\n")
    assert took < BOUND_S
    assert lab.run("pgrep", "-u", "alice").stdout == ""


ODD = """
import vm_init.description
def read(vm):
    {}
vm_init.description.read = read
exec(open("/usr/local/bin/asks").read())
"""


def instead(lab: Lab, code: str) -> None:
    """Make `asks-odd`: its child does something else than to read."""
    lab.launcher("asks-odd", ODD.format(code.strip().replace("\n", "\n    ")))


@pytest.mark.root
@pytest.mark.parametrize(
    "code",
    [
        "x = bytearray(1 << 30)",
        "while True: pass",
        "import os; os.fork(); os.write(3, b'vmman 1\\nend 0\\n')",
        "open('/tmp/made', 'w').write('x' * 10)",
        "x = [open('/etc/passwd') for _ in range(20)]",
        "import ctypes; ctypes.string_at(0)",
        "raise KeyError('bug')",
    ],
)
def test_threat_06_a_child_out_of_hand_is_ended(lab: Lab, code: str) -> None:
    instead(lab, code)
    status, answer, grown, took = asked(lab, command="asks-odd")
    assert status == 65, answer
    assert "could not be read" in answer
    assert took < BOUND_S
    assert grown < 5000


@pytest.mark.root
def test_threat_14_a_stopped_child_is_killed(lab: Lab) -> None:
    instead(lab, "import os, signal; os.kill(os.getpid(), signal.SIGSTOP)")
    status, answer, _, took = asked(lab, command="asks-odd")
    assert (status, "in time" in answer) == (65, True)
    assert took < BOUND_S
    assert lab.run("pgrep", "-u", "alice").stdout == ""


TRIES = """
import ctypes, json, os
from vm_init.errors import InitError
def tries(act, *given):
    try:
        act(*given)
        return act.__name__
    except OSError:
        return ""
libc = ctypes.CDLL(None)
status = dict(line.split(":", 1) for line in open("/proc/thread-self/status"))
done = [
    tries(os.setuid, 0), tries(os.setgid, 0), tries(os.setresuid, 0, 0, 0),
    tries(os.setresuid, -1, -1, 0), tries(os.setresgid, 0, 0, 0), tries(os.setgroups, [0]),
    tries(os.setgroups, []), tries(os.chroot, "/"), tries(open, "/etc/shadow"),
    tries(os.open, "/dev/tty", os.O_RDWR),
]
raise InitError(json.dumps({
    "done": done, "uids": os.getresuid(), "gids": os.getresgid(), "groups": sorted(os.getgroups()),
    "caps": [status[key].strip() for key in ("CapInh", "CapPrm", "CapEff", "CapAmb")],
    "privs": status["NoNewPrivs"].strip(), "dumpable": libc.prctl(3, 0, 0, 0, 0),
    "session": os.getsid(0) == os.getpid(), "environment": dict(os.environ),
}), 65)
"""


@pytest.mark.root
def test_threat_15_the_child_cannot_be_root_again(lab: Lab) -> None:
    instead(lab, TRIES)
    for command in (("sudo", "-n", "asks-odd", "web"), ("asks-odd", "web", "alice")):
        user = "alice" if command[0] == "sudo" else "root"
        done = lab.run(*command, user=user)
        found = json.loads(done.stderr.partition("\n")[2])
        uid, gid = lab.uid("alice"), int(lab.check("id", "-g", "alice"))
        groups = sorted(map(int, lab.check("id", "-G", "alice").split()))
        assert found == {
            "done": [""] * 10,
            "uids": [uid] * 3,
            "gids": [gid] * 3,
            "groups": groups,
            "caps": ["0" * 16] * 4,
            "privs": "1",
            "dumpable": 0,
            "session": True,
            "environment": {
                "HOME": "/home/alice",
                "USER": "alice",
                "LOGNAME": "alice",
                "PATH": "/usr/bin:/bin",
            },
        }


def test_threat_15_a_child_that_could_be_root_again_does_not_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in ("setgroups", "setresgid", "setresuid"):
        monkeypatch.setattr(os, name, void)  # "done", and nothing was
    for name in ("set_capabilities", "prctl"):
        monkeypatch.setattr(ask, name, void)
    with pytest.raises(InitError, match="root cannot be given up"):
        ask.become(ALICE)
    own = (os.getuid(),) * 3, (os.getgid(),) * 3
    myself = Caller(own[0][0], own[1][0], "x", tuple(os.getgroups()), (), "/")
    with pytest.raises(InitError, match="root cannot be given up"):
        ask.become(myself)


SPY = """
import ctypes, os, sys
child = int(sys.argv[1])
libc = ctypes.CDLL(None, use_errno=True)
try:
    print("listed", os.listdir(f"/proc/{child}/fd"))
except PermissionError:
    pass
for path in ("environ", "mem", "maps", "cwd/vm"):
    try:
        open(f"/proc/{child}/{path}").read(); print("read", path)
    except OSError:
        pass
if libc.ptrace(16, child, 0, 0) == 0:
    print("attached")
pidfd = os.pidfd_open(child)
for fd in range(8):
    if libc.syscall(438, pidfd, fd, 0) >= 0:
        print("stolen", fd)
print("end")
"""


@pytest.mark.root
def test_threat_16_alice_cannot_reach_into_the_child(lab: Lab) -> None:
    instead(lab, "import signal; signal.pause()")
    lab.write("/tmp/spy.py", SPY)
    asking = lab.start("sudo", "-n", "asks-odd", "web", user="alice")
    try:
        child = ""
        until = time.monotonic() + 4
        while not child and time.monotonic() < until:
            child = lab.run("pgrep", "-u", "alice", "-f", "asks-odd").stdout.strip()
        assert child.isdigit(), child
        assert lab.run("python3", "/tmp/spy.py", child, user="alice").stdout == "end\n"
        assert lab.check("ls", f"/proc/{child}/fd").split() == ["0", "1", "2", "3"]
        ends = lab.check("readlink", *(f"/proc/{child}/fd/{fd}" for fd in range(4))).split()
        assert ends[:3] == ["/dev/null"] * 3
        assert ends[3].startswith("pipe:")
    finally:
        asking.communicate(timeout=20)


@pytest.mark.root
@pytest.mark.parametrize(
    ("folder", "status"),
    [
        ("vm", 64),
        ("~root/vm", 64),
        ("/" + "x" * 10_000, 66),
        ("/tmp/a\nb\x1b[2J", 66),
        ("/tmp/\udcff\udcfe", 66),
        ("/proc/self/cwd", 66),
        ("/root", 66),
        (HOME, 0),
    ],
    ids=ascii,
)
def test_threat_20_the_folder_is_opened_as_alice_and_shown_escaped(
    lab: Lab, folder: str, status: int
) -> None:
    lab.write("/root/web.toml", WEB, mode=0o600)
    ended, answer, _, _ = asked(lab, env={"VMCONF_DIR": folder})
    assert ended == status, answer
    assert answer.isascii()
    assert all(line.isprintable() for line in answer.splitlines())


@pytest.mark.root
def test_threat_23_a_limit_of_one_process_is_no_obstacle(lab: Lab) -> None:
    done = lab.run("bash", "-c", "ulimit -u 1; exec sudo -n asks web", user="alice")
    assert done.stdout == TAP, done.stderr


@pytest.mark.root
def test_threat_25_an_ignored_sigchld_changes_nothing(lab: Lab) -> None:
    ignored = ("env", "--ignore-signal=CHLD", "sudo", "-n", "asks", "web")
    assert lab.run(*ignored, user="alice").stdout == TAP


@pytest.mark.root
@pytest.mark.skipif(not shutil.which("strace"), reason="needs strace")
def test_threat_02_roots_half_opens_nothing_of_alices(lab: Lab) -> None:
    trace = ("strace", "-f", "-o", "/tmp/trace", "-e", "trace=%file,setresuid,execve")
    done = lab.run(*trace, "asks", "web", "alice")
    assert done.stdout == TAP, done.stderr
    lines = [line.split(maxsplit=1) for line in lab.path("/tmp/trace").read_text().splitlines()]
    parent = lines[0][0]
    assert [call for pid, call in lines if pid == parent and "/home" in call] == []
    opened = [call for pid, call in lines if pid != parent and "web.toml" in call]
    assert sum(call.startswith("open") for call in opened) == 1


@pytest.mark.root
def test_threat_28_the_child_has_no_terminal_to_type_into(monkeypatch: pytest.MonkeyPatch) -> None:
    """Root's own terminal is not the child's: CVE-2005-4890, CVE-2017-5226."""

    def attack(vm: str) -> list[str]:
        del vm
        told: list[str] = []
        for number in (0, 1, 2):
            try:
                fcntl.ioctl(number, termios.TIOCSTI, b"x")
                told.append(f"typed into {number}")
            except OSError as error:
                told.append(errno.errorcode[error.errno or 0])
        try:
            os.close(os.open("/dev/tty", os.O_RDWR))
            told.append("has a terminal")
        except OSError as error:
            told.append(errno.errorcode[error.errno or 0])
        told.append("leads" if os.getsid(0) == os.getpid() else "follows")
        raise InitError(" ".join(told), 65)

    monkeypatch.setattr(description, "read", attack)
    nobody = Caller(65534, 65534, "nobody", (65534,), ("nogroup",), "/nonexistent")
    with pytest.raises(InitError) as refused:
        ask.ask(nobody, "web", "", int)
    assert str(refused.value) == "ENOTTY ENOTTY ENOTTY ENXIO leads"
