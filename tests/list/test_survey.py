"""What vm-list finds: each state, made with real processes and real locks."""

import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from vm_list import columns, traces
from vm_list.detail import detail
from vm_list.judge import judge
from vm_list.survey import Row, survey
from vm_list.traces import Trace
from vm_spec import loads
from vm_spec.fault import VmError
from vm_spec.targets import select as machine_of
from vm_state import lock as locking
from vm_state import statedir
from vm_state.lock import Lock, is_locked, lock_path
from vm_state.platform import boot_id
from vm_state.process import started_at
from vm_state.record import is_running, note_stopping, read_record, summarize, write_record

HERE = os.uname().nodename
GOOD = 'mem = "256M"\n'
CHECKOUT = Path(__file__).parent.parent.parent


@pytest.fixture
def vms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of descriptions, with a folder of running state beside it."""
    (tmp_path / "run").mkdir(mode=0o700)
    (tmp_path / "vm").mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    monkeypatch.setenv("VMCONF_DIR", str(tmp_path / "vm"))
    return tmp_path / "vm"


def describe(vms: Path, name: str, text: str = GOOD) -> Path:
    file = vms / f"{name}.toml"
    file.write_text(text)
    return file


def record(name: str, file: Path, pid: object, **changes: object) -> str:
    """A state folder with a record; returns the folder."""
    folder = statedir.make(name)
    common = {
        "pid": pid,
        "started_at": started_at(pid) if isinstance(pid, int) else 1,
        "boot_id": boot_id(),
        "file": str(file),
        "target": "default",
        "supervisor": os.getpid(),
    }
    write_record(folder, common | changes)
    return folder


def left_lock(vms: Path, name: str, **changes: object) -> Path:
    lock = vms / f".{name}.lock"
    lock.write_text(json.dumps({"host": HERE, "pid": 2**22, "boot_id": "x"} | changes))
    return lock


def only(vms: Path) -> Row:
    (row,) = survey(str(vms))
    return row


def test_a_description_of_which_nothing_runs_is_stopped(vms: Path) -> None:
    file = describe(vms, "web")
    assert only(vms) == Row(
        name="web", file=str(file), targets=(), hypervisor="qemu", cpus=1, memory=256 << 20,
        network=(), consoles=(),
    )  # fmt: skip


def test_a_row_says_what_the_description_says(vms: Path) -> None:
    describe(
        vms, "web",
        'hypervisor = "bhyve"\ncpu = { sockets = 2, cores = 3 }\nmem = "2G"\n'
        'com1 = "socket"\ncom2 = "/dev/ttyS1"\ngraphic = { host = "::1", port = 5901 }\n'
        '[net.lan]\nname = "tap3"\nbridge = "br0"\nmac = "52:00:00:00:00:01"\n'
        '[[emulations]]\ndevice = "virtio-console"\nports = { agent = "agent.sock" }\n'
        '[targets.install]\nmem = "4G"\n',
    )  # fmt: skip
    row = only(vms)
    assert (row.hypervisor, row.cpus, row.memory, row.vnc) == ("bhyve", 6, 2 << 30, "[::1]:5901")
    assert row.targets == ("install",)
    assert row.network == (
        {
            "label": "lan", "type": "tap", "interface": "tap3", "bridge": "br0",
            "host_interface": "", "network": "", "mac": "52:00:00:00:00:01",
        },
    )  # fmt: skip
    assert row.consoles == (
        {"name": "com1", "kind": "socket"},
        {"name": "com2", "kind": "device"},
        {"name": "agent", "kind": "virtio"},
    )


def test_no_password_of_a_screen_is_in_a_row(vms: Path) -> None:
    describe(vms, "web", 'graphic = { password = "s3cret" }\n')
    assert "s3cret" not in repr(only(vms))


def test_rows_are_sorted_by_name_and_other_files_are_none(vms: Path) -> None:
    for name in ("web-2", "web", "a.b", ".hidden"):
        describe(vms, name)
    (vms / "disk.img").touch()
    (vms / "README").touch()
    assert [row.name for row in survey(str(vms))] == ["a.b", "web", "web-2"]


def test_a_folder_that_is_not_there_holds_nothing(vms: Path) -> None:
    assert survey(str(vms / "nowhere")) == []


def test_a_folder_that_is_none_is_said(vms: Path) -> None:
    with pytest.raises(VmError, match="cannot be read"):
        survey(str(describe(vms, "web")))


def test_a_living_guest_with_a_supervisor_is_running(
    vms: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    file = describe(vms, "web")
    folder = record("web", file, sleeper.pid, target="install")
    own = Lock.take(f"{folder}/lock", "web")
    beside = Lock.take(lock_path(str(file)), "web")
    try:
        row = only(vms)
    finally:
        own.release()
        beside.release()
    assert row.uptime is not None
    assert row.uptime < 600
    assert row == Row(
        name="web", file=str(file), state="running", target="install", targets=(),
        pid=sleeper.pid, supervisor=os.getpid(), host=HERE, uptime=row.uptime,
        hypervisor="qemu", cpus=1, memory=256 << 20, network=(), consoles=(),
    )  # fmt: skip


def test_who_has_a_lock_is_known_where_there_is_no_proc(
    vms: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """FreeBSD's kernel names a lock's process itself; vm_state.process asks ps(1) of it."""
    file = describe(vms, "web")
    lock = Lock.take(lock_path(str(file)), "web")
    seen = os.stat

    def stat(path: str, **how: bool) -> os.stat_result:
        if path.startswith("/proc/"):
            raise FileNotFoundError(path)
        return seen(path, **how)

    def ours(_: int) -> int:
        return os.getpid()

    monkeypatch.setattr(locking, "INHERITED", False)
    monkeypatch.setattr(locking, "owner_pid", ours)
    monkeypatch.setattr(os, "stat", stat)
    lives = traces.of(str(file), None).holder_lives
    monkeypatch.undo()
    lock.release()
    assert lives


def test_uptime_is_since_the_kernel_started_the_process(vms: Path) -> None:
    """Of this host's first process: as old as the host itself, or as this container."""
    record("web", describe(vms, "web"), 1)
    boot = time.clock_gettime(time.CLOCK_BOOTTIME)
    uptime = only(vms).uptime
    assert uptime is not None
    assert abs(uptime - (boot - started_at(1) / os.sysconf("SC_CLK_TCK"))) < 30


def test_a_running_vm_is_shown_as_it_was_started(
    vms: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    machine = machine_of(loads('mem = "1G"\ncpu = 2\nname = "web"\n[net.lan]\n'))
    ends = [{"name": "com1", "kind": "socket", "log": "/l", "to": "/s", "odd": 3}]
    record(
        "web", describe(vms, "web", 'mem = "8G"\n'), sleeper.pid,
        outline=summarize(machine), consoles=ends,
    )  # fmt: skip
    row = only(vms)
    assert (row.cpus, row.memory) == (2, 1 << 30)
    assert row.network is not None
    assert [card["type"] for card in row.network] == ["user"]
    assert row.consoles == ({"name": "com1", "kind": "socket", "log": "/l", "to": "/s"},)


@pytest.mark.parametrize(
    "odd", [3, [], {"cpus": "x"}, {"network": {"a": 1}}, {"network": [1]}, {"memory": -1}]
)
def test_an_outline_with_anything_in_it_is_never_fatal(
    vms: Path, sleeper: subprocess.Popen[bytes], odd: object
) -> None:
    record("web", describe(vms, "web"), sleeper.pid, outline=odd, consoles=odd)
    row = only(vms)
    assert row.state == "orphaned"
    assert columns.table([row])
    assert detail(row)
    assert json.loads(columns.json([row]))


def test_a_guest_that_has_been_asked_to_end_is_stopping(
    vms: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    folder = record("web", describe(vms, "web"), sleeper.pid)
    own = Lock.take(f"{folder}/lock", "web")
    try:
        before = only(vms).state
        note_stopping(folder)
        after = only(vms)
    finally:
        own.release()
    assert (before, after.state, after.pid) == ("running", "stopping", sleeper.pid)


def test_a_guest_that_nobody_watches_is_not_stopping(
    vms: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    record("web", describe(vms, "web"), sleeper.pid, stopping_since=1.0)
    assert only(vms).state == "orphaned"


def test_the_supervisor_is_who_holds_the_folder_whatever_the_record_says(
    vms: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    folder = record("web", describe(vms, "web"), sleeper.pid, supervisor=77)
    own = Lock.take(f"{folder}/lock", "web")
    try:
        assert only(vms).supervisor == os.getpid()
    finally:
        own.release()


def test_a_living_guest_without_a_supervisor_is_orphaned(
    vms: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    file = describe(vms, "web")
    record("web", file, sleeper.pid)
    row = only(vms)
    assert (row.state, row.pid, row.supervisor) == ("orphaned", sleeper.pid, 0)
    assert row.hint.endswith(": vm-run --recover web")


def test_a_supervisor_that_lives_by_its_number_only_is_not_believed(
    vms: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    record("web", describe(vms, "web"), sleeper.pid, supervisor=1)
    assert only(vms).state == "orphaned"


def test_a_supervisor_without_a_guest_is_starting(vms: Path) -> None:
    describe(vms, "web")
    own = Lock.take(f"{statedir.make('web')}/lock", "web")
    try:
        assert only(vms).state == "starting"
    finally:
        own.release()


def test_a_record_of_which_nothing_lives_is_a_crash(
    vms: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    record("web", describe(vms, "web"), sleeper.pid)
    sleeper.kill()
    sleeper.wait()
    row = only(vms)
    assert (row.state, row.pid, row.host) == ("crashed", 0, "")


@pytest.mark.parametrize("changes", [{"started_at": 1}, {"boot_id": "another"}])
def test_a_process_that_only_has_the_number_is_not_the_guest(
    vms: Path, sleeper: subprocess.Popen[bytes], changes: dict[str, object]
) -> None:
    record("web", describe(vms, "web"), sleeper.pid, **changes)
    assert only(vms).state == "crashed"


def test_a_record_with_anything_in_it_is_never_fatal(vms: Path) -> None:
    record("web", describe(vms, "web"), "x", target=["y"], supervisor=-1)
    assert only(vms).state == "crashed"


def test_a_guest_that_has_ended_and_that_nobody_waits_for_is_a_crash(
    vms: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    record("web", describe(vms, "web"), sleeper.pid)
    sleeper.kill()
    os.waitid(os.P_PID, sleeper.pid, os.WEXITED | os.WNOWAIT)
    assert only(vms).state == "crashed"


def test_a_lock_that_this_host_left_behind_is_a_crash(vms: Path) -> None:
    describe(vms, "web")
    left_lock(vms, "web")
    assert only(vms).state == "crashed"


@pytest.mark.parametrize("text", ["", "not json", "[" * 4096, "[]", '{"host": 3}'])
def test_a_lock_with_anything_in_it_is_never_fatal(vms: Path, text: str) -> None:
    describe(vms, "web")
    (vms / ".web.lock").write_text(text)
    assert only(vms).state in {"stopped", "crashed"}


def test_a_fifo_as_lock_or_as_description_does_not_hang(vms: Path) -> None:
    describe(vms, "web")
    os.mkfifo(vms / ".web.lock")
    os.mkfifo(vms / "pipe.toml")
    assert [row.state for row in survey(str(vms))] == ["broken", "stopped"]


def test_a_lock_of_another_host_names_it(vms: Path) -> None:
    describe(vms, "web")
    left_lock(vms, "web", host="node7", pid=77)
    row = only(vms)
    assert (row.state, row.host, row.supervisor) == ("elsewhere", "node7", 77)
    assert "vm-run --force web" in row.hint


def test_the_last_sign_of_life_of_a_host_is_when_it_took_the_lock(vms: Path) -> None:
    describe(vms, "web")
    os.utime(left_lock(vms, "web", host="node7"), (5, 1234567890))
    assert only(vms).seen == 1234567890


def test_a_lock_that_another_host_holds_needs_no_mending_and_is_a_sign_of_life(vms: Path) -> None:
    describe(vms, "web")
    lock = Lock.take(str(vms / ".web.lock"), "web")
    os.utime(left_lock(vms, "web", host="node7"), (5, 5))
    before = int(time.time())
    try:
        row = only(vms)
    finally:
        lock.release()
    assert (row.state, row.host, row.hint) == ("elsewhere", "node7", "")
    assert row.seen >= before


def test_a_lock_of_this_host_under_its_former_name_is_this_hosts(vms: Path) -> None:
    describe(vms, "web")
    left_lock(vms, "web", host="former", boot_id=boot_id())
    assert only(vms).state == "crashed"


def test_a_broken_description_that_another_host_runs_is_elsewhere_with_its_fault(vms: Path) -> None:
    describe(vms, "web", "mem = 0\n")
    left_lock(vms, "web", host="node7")
    row = only(vms)
    assert row.state == "elsewhere"
    assert "web.toml:1: mem" in row.fault


def test_a_lock_whose_takers_number_is_another_process_by_now_is_orphaned(
    vms: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    describe(vms, "web")
    lock = Lock.take(str(vms / ".web.lock"), "web")
    lock.write(sleeper.pid)  # it lives, and holds nothing
    try:
        row = only(vms)
    finally:
        lock.release()
    assert (row.state, row.supervisor) == ("orphaned", 0)


def test_only_what_is_wanted_is_looked_at(vms: Path, sleeper: subprocess.Popen[bytes]) -> None:
    describe(vms, "web")
    describe(vms, "db")
    record("far", vms.parent / "far.toml", sleeper.pid)
    record("near", vms.parent / "near.toml", sleeper.pid)
    assert [row.name for row in survey(str(vms), ["db", "far", "none"])] == ["db", "far"]


def test_a_lock_that_is_held_without_a_state_folder_of_ours_is_running(vms: Path) -> None:
    describe(vms, "web")
    lock = Lock.take(str(vms / ".web.lock"), "web")
    try:
        row = only(vms)
    finally:
        lock.release()
    assert (row.state, row.pid, row.supervisor) == ("running", 0, os.getpid())
    assert "XDG_RUNTIME_DIR" in row.hint


def test_a_held_lock_whose_taker_is_gone_is_orphaned() -> None:
    trace = Trace(record={}, holder={"host": HERE, "pid": 1}, locked=True, here=HERE)
    assert judge(Row(name="web"), trace).state == "orphaned"


def test_asking_takes_no_lock_away(vms: Path) -> None:
    describe(vms, "web")
    lock = Lock.take(str(vms / ".web.lock"), "web")
    try:
        survey(str(vms))
        assert is_locked(lock.path)
    finally:
        lock.release()


def test_a_broken_description_is_a_row_and_costs_the_others_nothing(vms: Path) -> None:
    describe(vms, "a", 'memroy = "1G"\n')
    describe(vms, "b")
    describe(vms, "c", "[" * 30000)
    (vms / "d.toml").mkdir()
    (vms / "e.toml").symlink_to("nowhere")
    rows = survey(str(vms))
    assert [row.state for row in rows] == ["broken", "stopped", "broken", "broken", "broken"]
    assert rows[0].fault == f"{vms}/a.toml:1: memroy: is not a known key"
    assert all(row.fault.startswith(row.file) for row in rows if row.name != "b")


def test_a_name_that_vm_run_would_not_take_is_broken(vms: Path) -> None:
    describe(vms, "my vm")
    assert only(vms).state == "broken"


def test_a_running_vm_whose_description_was_broken_since_is_running(
    vms: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    folder = record("web", describe(vms, "web", "mem = 0\n"), sleeper.pid)
    own = Lock.take(f"{folder}/lock", "web")
    try:
        row = only(vms)
    finally:
        own.release()
    assert row.state == "running"
    assert row.fault


def test_a_vm_that_runs_from_another_file_is_a_row_of_its_own(
    vms: Path, tmp_path: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    describe(vms, "web")
    elsewhere = tmp_path / "it's.toml"
    record("web", elsewhere, sleeper.pid)
    rows = {row.file: row for row in survey(str(vms))}
    assert rows[f"{vms}/web.toml"].state == "stopped"
    other = rows[str(elsewhere)]
    assert (other.name, other.state) == ("web", "orphaned")
    assert other.hint.endswith(f"""vm-run --recover -c '{tmp_path}/it'"'"'s.toml' web""")


def test_a_record_of_another_file_that_does_not_live_is_no_row(vms: Path, tmp_path: Path) -> None:
    record("web", tmp_path / "web.toml", 2**22)
    assert survey(str(vms)) == []


def test_a_vm_that_was_started_by_its_file_and_has_another_name_is_one_row(
    vms: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    record("other", describe(vms, "web"), sleeper.pid)
    row = only(vms)
    assert (row.name, row.state) == ("web", "orphaned")
    assert row.hint.endswith(f"vm-run --recover -c {vms}/web.toml other")


def test_a_folder_by_another_way_is_the_same_folder(
    vms: Path, tmp_path: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    record("web", describe(vms, "web"), sleeper.pid)
    (tmp_path / "link").symlink_to(vms)
    assert only(tmp_path / "link").state == "orphaned"


def test_state_that_somebody_else_could_have_written_is_not_believed(
    vms: Path, tmp_path: Path, sleeper: subprocess.Popen[bytes]
) -> None:
    record("web", describe(vms, "web"), sleeper.pid)
    (tmp_path / "run").chmod(0o777)
    assert only(vms).state == "stopped"


@pytest.fixture
def events(tmp_path: Path) -> Iterator[int]:
    """What the supervisor tells, as something to read."""
    os.mkfifo(tmp_path / "events")
    fd = os.open(tmp_path / "events", os.O_RDWR)
    yield fd
    os.close(fd)


@pytest.fixture
def supervisor(vms: Path, guest: Path, events: int) -> Iterator[subprocess.Popen[bytes]]:
    """A vm-run whose guest waits for ever; nothing of it is left behind."""
    assert events
    describe(
        vms, "web",
        f'mem = "256M"\nkernel = "{guest}/vmlinuz"\ninitrd = "{guest}/initrd.img"\n'
        'cmdline = "console=ttyS0 vmman.do=wait"\ncom1 = "stdio"\n',
    )  # fmt: skip
    process = subprocess.Popen(
        [sys.executable, "-m", "vm_run", "--events", str(vms.parent / "events"), "web"],
        cwd=CHECKOUT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert process.stdout
    with process.stdout:
        yield process
        process.kill()
        process.wait()
    left = read_record(statedir.directory("web"))
    if is_running(left):
        os.kill(left["pid"], signal.SIGKILL)


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("qemu-system-x86_64"), reason="needs qemu-system-x86_64")
def test_a_real_guest_that_is_asked_to_end_is_stopping(
    vms: Path, supervisor: subprocess.Popen[bytes], events: int
) -> None:
    assert supervisor.stdout
    assert any(b"guest: ready" in line for line in supervisor.stdout)
    supervisor.send_signal(signal.SIGTERM)
    heard = b""
    while b'"stopping"' not in heard:
        assert select.select([events], [], [], 60)[0]
        heard += os.read(events, 65536)
    stopping = only(vms)
    assert (stopping.state, stopping.supervisor) == ("stopping", supervisor.pid)
    assert stopping.pid


@pytest.mark.real
@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("qemu-system-x86_64"), reason="needs qemu-system-x86_64")
def test_a_real_guest_runs_is_orphaned_and_crashes(
    vms: Path, supervisor: subprocess.Popen[bytes]
) -> None:
    assert supervisor.stdout
    assert any(b"guest: ready" in line for line in supervisor.stdout)
    running = only(vms)
    assert (running.state, running.target) == ("running", "default")
    assert running.supervisor == supervisor.pid
    assert (running.hypervisor, running.memory, running.cpus) == ("qemu", 256 << 20, 1)
    assert running.consoles is not None
    assert [console["name"] for console in running.consoles] == ["com1"]
    assert b"guest: ready" in Path(running.consoles[0]["log"]).read_bytes()
    assert running.uptime is not None

    hypervisor = os.pidfd_open(running.pid)
    supervisor.kill()
    supervisor.wait()
    orphaned = only(vms)
    assert (orphaned.state, orphaned.pid) == ("orphaned", running.pid)

    signal.pidfd_send_signal(hypervisor, signal.SIGKILL)
    assert select.select([hypervisor], [], [], 10)[0]
    os.close(hypervisor)
    assert only(vms).state == "crashed"
