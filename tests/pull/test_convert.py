"""One image format into another: the same disk comes out, or nothing does."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.lacking import need
from tests.pull import good, hostile
from vm_pull.images import confine, convert, limited
from vm_pull.images.confine import Limits
from vm_pull.images.image import Image
from vm_spec.fault import VmError

MIB = 1 << 20


def raw(path: Path, kind: str) -> bytes:
    """The disk of an image, as qemu-img sees it."""
    out = path.with_name("seen")
    good.qemu_img("convert", "-f", kind, "-O", "raw", path, out)
    content = out.read_bytes()
    out.unlink()
    return content


@pytest.mark.parametrize("to", ["raw", "qcow2"])
@pytest.mark.parametrize("name", good.KINDS)
def test_every_image_that_the_gate_accepts_becomes_the_same_disk(
    tmp_path: Path, name: str, to: str
) -> None:
    disk = good.disk()
    image = good.judged(good.make(tmp_path, name, disk))
    convert.convert(str(tmp_path), name, image, "target", to, tell=good.ignore)
    target = tmp_path / "target"
    made = target.read_bytes() if to == "raw" else raw(target, "qcow2")
    assert made == disk + bytes(image.size - len(disk))
    assert target.stat().st_mode & 0o777 == 0o600
    assert sorted(os.listdir(tmp_path)) == sorted([name, "target"])


def test_zeros_of_the_disk_are_holes_of_the_target(tmp_path: Path) -> None:
    image = good.judged(good.make(tmp_path, "vdi", good.disk(64 * MIB)))
    convert.convert(str(tmp_path), "vdi", image, "target", "raw", tell=good.ignore)
    status = (tmp_path / "target").stat()
    assert status.st_size == 64 * MIB
    assert status.st_blocks * 512 < 4 * MIB


@pytest.mark.parametrize("name", good.KINDS)
def test_the_first_bytes_are_those_that_the_guest_sees(tmp_path: Path, name: str) -> None:
    disk = good.disk()
    image = good.judged(good.make(tmp_path, name, disk))
    assert convert.first_bytes(str(tmp_path), name, image, 70000) == disk[:70000]
    assert convert.first_bytes(str(tmp_path), name, image, 512) == disk[:512]
    assert os.listdir(tmp_path) == [name]


def test_a_disk_smaller_than_the_first_bytes_gives_what_it_has(tmp_path: Path) -> None:
    image = good.judged(good.make(tmp_path, "qcow2", good.disk(4096)))
    assert len(convert.first_bytes(str(tmp_path), "qcow2", image, MIB)) == 4096


def fails(folder: Path, source: str, image: Image, to: str = "raw") -> VmError:
    with pytest.raises(VmError) as caught:
        convert.convert(str(folder), source, image, "target", to, tell=good.ignore)
    assert not (folder / "target").exists()
    return caught.value


def test_when_qemu_img_fails_its_last_words_are_told_and_there_is_no_target(
    tmp_path: Path,
) -> None:
    content = good.make(tmp_path, "qcow2-compressed", good.disk()).read_bytes()
    (tmp_path / "bad").write_bytes(hostile.patched(content, 0x50000, b"\xff" * 100000))
    error = fails(tmp_path, "bad", good.judged(tmp_path / "bad"))
    assert error.status == 74
    said = error.faults[0].problem
    assert said.startswith("qemu-img convert -f qcow2 -O raw ")
    assert said.endswith("Input/output error")


def test_a_target_that_is_there_already_stays_as_it_is(tmp_path: Path) -> None:
    good.make(tmp_path, "qcow2", good.disk())
    secret = tmp_path / "secret"
    secret.write_bytes(b"mine")
    (tmp_path / "target").symlink_to(secret)
    with pytest.raises(VmError, match="target is already there"):
        image = Image(kind="qcow2", size=good.MIB)
        convert.convert(str(tmp_path), "qcow2", image, "target", "raw", tell=good.ignore)
    assert secret.read_bytes() == b"mine"


@pytest.mark.parametrize("name", ["../a", "/etc/passwd", "..", ""])
def test_a_name_that_leads_out_of_the_folder_is_never_used(tmp_path: Path, name: str) -> None:
    image = Image(kind="qcow2", size=512)
    with pytest.raises(VmError, match="is not the name of an image"):
        convert.convert(str(tmp_path), name, image, "target", "raw", tell=good.ignore)
    with pytest.raises(VmError, match="is not the name of an image"):
        convert.convert(str(tmp_path), "source", image, name, "raw", tell=good.ignore)


def test_a_name_with_a_colon_is_a_file_and_no_protocol(tmp_path: Path) -> None:
    disk = good.disk()
    image = good.judged(good.make(tmp_path, "qcow2", disk))
    (tmp_path / "qcow2").rename(tmp_path / "nbd:x,format=raw")
    convert.convert(str(tmp_path), "nbd:x,format=raw", image, "target", "raw", tell=good.ignore)
    assert (tmp_path / "target").read_bytes() == disk


def test_threat_b16_a_disk_that_is_itself_an_image_is_not_made_raw(tmp_path: Path) -> None:
    """Opened without a format, it would show what its backing file holds."""
    inner = hostile.qcow2(backing=b"/etc/hostname")
    image = good.judged(good.make(tmp_path, "vdi", inner))
    error = fails(tmp_path, "vdi", image)
    assert error.status == 77
    assert "begins like another image (qcow2)" in str(error)


def test_threat_b19_a_disk_that_grows_while_it_is_written_is_stopped(tmp_path: Path) -> None:
    good.make(tmp_path, "qcow2", good.disk(32 * MIB))
    error = fails(tmp_path, "qcow2", Image(kind="qcow2", size=MIB))
    assert error.status == 74
    assert "SIGXFSZ" in str(error) or "File too large" in str(error)


def test_a_disk_of_another_size_than_judged_is_not_kept(tmp_path: Path) -> None:
    good.make(tmp_path, "qcow2", good.disk(2 * MIB))
    error = fails(tmp_path, "qcow2", Image(kind="qcow2", size=MIB))
    assert f"wrote {2 * MIB} bytes of a disk of {MIB}" in str(error)


def run(folder: Path, *words: str, limits: Limits) -> VmError:
    with pytest.raises(VmError) as caught:
        confine.run(str(folder), words, limits, tell=good.ignore)
    return caught.value


def test_threat_b19_a_processor_is_used_only_for_so_long() -> None:
    spinning = [sys.executable, "-ISBc", "while True: pass"]
    argv = [sys.executable, "-ISB", limited.__file__, "CPU=1,CORE=0", *spinning]
    assert subprocess.run(argv, check=False).returncode == -signal.SIGXCPU


def test_limits_are_taken_on_and_never_raised() -> None:
    shown = (
        "import resource as r; print(*r.getrlimit(r.RLIMIT_NOFILE), *r.getrlimit(r.RLIMIT_CORE))"
    )
    words = [sys.executable, "-ISB", limited.__file__]
    inner = [*words, "NOFILE=99999999,CORE=7", sys.executable, "-ISBc", shown]
    done = subprocess.run(
        [*words, "NOFILE=40,CORE=0", *inner], capture_output=True, text=True, check=True
    )
    assert done.stdout == "40 40 0 0\n"


def test_qemu_img_runs_with_all_of_its_limits() -> None:
    limits = Limits(cpu_s=120, file=4096, memory=8192)
    assert str(limits) == "CPU=120,FSIZE=4096,AS=8192,NOFILE=256,CORE=0"


def test_threat_b19_memory_is_limited(tmp_path: Path) -> None:
    good.make(tmp_path, "qcow2", good.disk())
    little = Limits(cpu_s=20, file=MIB, memory=200 * MIB)
    words = ["convert", "-f", "qcow2", "-O", "raw", "./qcow2", "./target"]
    assert run(tmp_path, *words, limits=little).status == 74


@pytest.fixture
def path(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all of PATH, with qemu-img in it."""
    folder = tmp_path_factory.mktemp("bin")
    (folder / "qemu-img").symlink_to(need("qemu-img"))
    monkeypatch.setenv("PATH", str(folder))
    return folder


def converted(folder: Path) -> list[str]:
    """What is told while an image is converted."""
    disk = good.disk()
    image = good.judged(good.make(folder, "vdi", disk))
    told: list[str] = []
    convert.convert(str(folder), "vdi", image, "target", "raw", tell=told.append)
    assert (folder / "target").read_bytes() == disk
    return told


def test_without_bwrap_it_is_told_and_the_limits_do(tmp_path: Path, path: Path) -> None:
    assert os.listdir(path) == ["qemu-img"]
    assert converted(tmp_path) == [
        "bwrap is missing, so qemu-img runs without a sandbox, under limits only"
    ]


def test_where_bwrap_does_not_work_it_is_told_and_the_limits_do(tmp_path: Path, path: Path) -> None:
    bwrap = path / "bwrap"
    bwrap.write_text(
        "#!/bin/sh\necho 'bwrap: No permissions to create new namespace' >&2\nexit 1\n"
    )
    bwrap.chmod(0o755)
    assert converted(tmp_path) == [
        "bwrap does not work here, so qemu-img runs without a sandbox, under limits only"
    ]


def test_without_qemu_img_it_is_told_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    error = fails(tmp_path, "a", Image(kind="vdi", size=512))
    assert error.status == 69
    assert str(error).startswith("qemu-img is missing\n  hint: install qemu-utils")


def fake(path: Path, script: str) -> None:
    """Another program in the place of qemu-img."""
    (path / "qemu-img").unlink()
    (path / "qemu-img").write_text(f"#!/bin/sh\n{script}\n")
    (path / "qemu-img").chmod(0o755)


def test_it_sees_an_environment_of_its_own_and_nobody_types_into_it(
    tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "token")
    monkeypatch.setenv("LD_PRELOAD", "")
    fake(path, "/usr/bin/env > env; /bin/cat > typed; pwd > cwd; exit 3")
    fails(tmp_path, "a", Image(kind="vdi", size=512))
    seen = dict(line.split("=", 1) for line in (tmp_path / "env").read_text().splitlines())
    assert {name: seen[name] for name in seen if name not in {"PWD", "OLDPWD", "_", "SHLVL"}} == {
        "PATH": "/usr/bin:/bin",
        "LC_ALL": "C",
        "HOME": "/",
    }
    assert (tmp_path / "typed").read_bytes() == b""
    assert (tmp_path / "cwd").read_text() == f"{tmp_path}\n"


def test_a_full_disk_is_told_as_one(tmp_path: Path, path: Path) -> None:
    fake(
        path, "echo half > target; echo 'error while writing: No space left on device' >&2; exit 1"
    )
    error = fails(tmp_path, "a", Image(kind="vdi", size=512))
    assert error.status == 69
    assert str(error).endswith("No space left on device\n  hint: make room and try again")


@pytest.mark.parametrize(
    ("script", "ended", "hint"),
    [
        ("exit 152", "SIGXCPU", "\n  hint: it took too long"),
        ("kill -XCPU $$", "SIGXCPU", "\n  hint: it took too long"),
        ("exit 153", "SIGXFSZ", "\n  hint: it wrote more than the disk has"),
        ("exit 7", "exit status 7", ""),
        ("echo; echo why >&2; exit 255", "exit status 255: why", ""),
    ],
)
def test_a_signal_is_called_by_its_name_also_when_bwrap_tells_of_it(
    tmp_path: Path, path: Path, script: str, ended: str, hint: str
) -> None:
    fake(path, script)
    assert str(fails(tmp_path, "a", Image(kind="vdi", size=512))).endswith(f": {ended}{hint}")


def test_when_it_is_interrupted_the_program_is_ended_and_nothing_stays(
    tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake(path, "echo $$ > pid; echo half > target; exec /bin/cat ready")
    os.mkfifo(tmp_path / "ready")  # opened by nobody, so it waits there
    started: list[subprocess.Popen[bytes]] = []
    wait = subprocess.Popen[bytes].wait

    def interrupted(process: subprocess.Popen[bytes], timeout: float | None = None) -> int:
        if process not in started:
            started.append(process)
            raise KeyboardInterrupt
        return wait(process, timeout)

    monkeypatch.setattr(subprocess.Popen, "wait", interrupted)
    with pytest.raises(KeyboardInterrupt):
        convert.convert(
            str(tmp_path), "a", Image(kind="vdi", size=512), "target", "raw", tell=good.ignore
        )
    assert not (tmp_path / "target").exists()
    assert started[0].returncode == -signal.SIGKILL


@pytest.mark.parametrize("kind", ["raw", "qcow2"])
def test_a_disk_grows_and_keeps_what_it_has(tmp_path: Path, kind: str) -> None:
    disk = good.disk()
    path = good.make(tmp_path, kind, disk)
    convert.grow(str(tmp_path), kind, kind, 8 * MIB + 1)
    assert good.judged(path).size == 8 * MIB + 512
    assert raw(path, kind) == disk + bytes(8 * MIB + 512 - len(disk))


@pytest.mark.parametrize("kind", ["raw", "qcow2"])
def test_a_disk_that_is_as_large_stays_as_it_is_and_none_shrinks(tmp_path: Path, kind: str) -> None:
    disk = good.disk()
    path = good.make(tmp_path, kind, disk)
    before = path.read_bytes()
    convert.grow(str(tmp_path), kind, kind, len(disk))
    with pytest.raises(VmError, match="would lose data"):
        convert.grow(str(tmp_path), kind, kind, len(disk) - 512)
    assert path.read_bytes() == before
