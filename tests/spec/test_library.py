# ruff: noqa: E501  a row of a table is one line
"""From a name to a file, and what is refused before it is read."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from vm_spec import VmError, load
from vm_spec.library import content as held
from vm_spec.library import find, names

CHECKOUT = Path(__file__).parents[2]
NOBODY = 65534
root = pytest.mark.skipif(os.getuid() != 0, reason="makes files of another user")

# what a hostile file may not cost: the reader runs in this much address space
LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, (256 << 20, 256 << 20))
sys.path.insert(0, sys.argv[1])
from vm_spec import VmError, load
try:
    load(sys.argv[2])
except VmError as error:
    print(error.status)
    print(error)
"""


def limited(path: Path) -> tuple[int, str]:
    """The exit status and the report of reading a file with little memory."""
    done = subprocess.run(
        [sys.executable, "-c", LIMITED, CHECKOUT, path],
        capture_output=True, text=True, check=False, timeout=20, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert done.stderr == ""
    status, _, report = done.stdout.partition("\n")
    return int(status), report.replace(str(path), "FILE").rstrip()


def fifo(path: Path) -> None:
    os.mkfifo(path)


def sparse(path: Path) -> None:
    path.touch()
    os.truncate(path, 10 << 30)


def content(data: bytes) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(data)


NESTED = "FILE: is nested too deeply"
HOSTILE: list[tuple[str, Callable[[Path], object], int, str]] = [
    ("a.toml", fifo, 66, "FILE: is not a regular file"),
    ("a.toml", Path.mkdir, 66, "FILE: is not a regular file"),
    ("a.toml", lambda path: path.symlink_to("/dev/zero"), 66, "FILE: is not a regular file"),
    ("a.toml", lambda path: path.symlink_to("a.toml"), 66, "FILE: cannot be read: Too many levels of symbolic links"),
    ("a.toml", sparse, 65, "FILE: is longer than 64 KiB: not a description"),
    ("a.json", sparse, 65, "FILE: is longer than 64 KiB: not a description"),
    ("a.toml", content(b"a." * 32765 + b"a=1"), 65, ""),
    ("a.toml", content(b"[" + b"a." * 32765 + b"a]"), 65, ""),
    ("a.toml", content(b"x = " + b"[" * 30000), 65, ""),
    ("a.toml", content(b"x = " + b"[" * 30000 + b"]" * 30000), 65, ""),
    ("a.toml", content(b"x = " + b"{a=" * 20000), 65, ""),
    ("a.json", content(b'{"x": ' + b"[" * 30000), 65, NESTED),
    ("a.json", content(b'{"x": ' + b"[" * 30000 + b"]" * 30000 + b"}"), 65, NESTED),
    ("a.json", content(b'{"x": ' * 10000), 65, NESTED),
    ("a.toml", content(b"mem = " + b"9" * 5000), 65, ""),
    ("a.json", content(b'{"mem": ' + b"9" * 5000 + b"}"), 65, ""),
    ("a.toml", content(b"mem = 0x" + b"f" * 60000), 65, ""),
    ("a.toml", content(b"[qemu]\ncpu = 0x" + b"f" * 60000), 65, ""),
    ("a.toml", content(b"[bhyve.config]\na = 0x" + b"f" * 60000), 65, ""),
    ("a.toml", content(b'name = "\xff"'), 65, "FILE: is not UTF-8 text"),
    ("a.json", content(b'{"name": "\xed\xa0\x80"}'), 65, "FILE: is not UTF-8 text"),
    ("a.toml", content(b"\0"), 65, ""),
    ("a.toml", content(b'cmdline = "\\u0000"'), 65, ""),
    ("a.json", content(b'{"cmdline": "\\ud800"}'), 65, "FILE:1: cmdline: must be a text"),
    ("a.toml", content(b'x = "%(v0)"\n[vars]\n' + b"\n".join(b'v%d = "%%(v%d)%%(v%d)"' % (n, n + 1, n + 1) for n in range(900)) + b'\nv900 = "x"'), 65, ""),
    ("a.toml", content(b'vars.a = "' + b"x" * 30000 + b'"\nx = [' + b'"%(a)",' * 5000 + b"]"), 65, ""),
    ("a.toml", content(b'vars.a = "' + b"x" * 30000 + b'"\nx = "' + b'%(a)' * 8000 + b'"'), 65, ""),
    ("a.toml", content(b"\n".join(b"[a%d]" % number for number in range(7000))), 65, ""),
]  # fmt: skip


@pytest.mark.parametrize(("name", "make", "status", "report"), HOSTILE)
def test_a_hostile_file_is_refused_with_little_memory(
    tmp_path: Path, name: str, make: Callable[[Path], object], status: int, report: str
) -> None:
    path = tmp_path / name
    make(path)
    found, shown = limited(path)
    assert found == status
    assert shown
    assert not report or shown == report


def refused(path: Path) -> tuple[int, str]:
    with pytest.raises(VmError) as caught:
        load(str(path))
    return caught.value.status, caught.value.faults[0].problem


@root
def test_what_another_user_owns_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.touch()
    os.chown(path, NOBODY, -1)
    assert refused(path) == (77, "it belongs to another user")


@root
def test_what_stands_in_another_users_folder_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir()
    os.chown(folder, NOBODY, -1)
    (folder / "a.toml").touch()
    assert refused(folder / "a.toml") == (77, "its folder belongs to another user")


def test_what_everybody_can_write_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.touch()
    path.chmod(0o666)
    assert refused(path) == (77, "it can be written by everybody")


@root
def test_what_another_group_can_write_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.touch()
    os.chown(path, -1, NOBODY)
    path.chmod(0o664)
    assert refused(path) == (77, "it can be written by another group")


def test_what_stands_where_everybody_can_write_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "open"
    folder.mkdir()
    folder.chmod(0o777)
    (folder / "a.toml").touch()
    assert refused(folder / "a.toml") == (77, "its folder can be written by everybody")


def test_what_is_only_looked_at_may_be_anybodys(tmp_path: Path) -> None:
    path = tmp_path / "theirs.xml"
    path.write_bytes(b"\xff" * 100)
    path.chmod(0o666)
    assert held(str(path), 100) == b"\xff" * 100
    with pytest.raises(VmError) as caught:
        held(str(path), 99)
    assert caught.value.status == 65
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(VmError) as caught:
        held(str(tmp_path / "fifo"), 99)
    assert (caught.value.status, caught.value.faults[0].problem) == (66, "is not a regular file")


def test_in_a_sticky_folder_ones_own_file_is_believed(tmp_path: Path) -> None:
    folder = tmp_path / "tmp"
    folder.mkdir()
    folder.chmod(0o1777)
    (folder / "a.toml").touch()
    assert load(str(folder / "a.toml")).name == "a"


def test_a_symbolic_link_is_followed_and_gives_the_name(tmp_path: Path) -> None:
    (tmp_path / "real.toml").write_text("mem = '1G'")
    link = tmp_path / "web.toml"
    link.symlink_to("real.toml")
    assert load(str(link)).name == "web"


def test_a_name_given_wins_over_the_description(tmp_path: Path) -> None:
    path = tmp_path / "a.toml"
    path.write_text("name = 'b'")
    assert load(str(path)).name == "b"
    assert load(str(path), "c").name == "c"


def test_a_vm_is_found_by_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VMCONF_DIR", str(tmp_path))
    for file in ("web.toml", "mail.json", "old.conf", ".hidden.toml", "notes.txt"):
        (tmp_path / file).touch()
    assert find("mail") == f"{tmp_path}/mail.json"
    assert [name for name, _ in names(str(tmp_path))] == ["mail", "old", "web"]


def test_when_there_is_no_such_vm_the_nearest_name_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("VMCONF_DIR", str(tmp_path))
    (tmp_path / "bookworm64.toml").touch()
    with pytest.raises(VmError) as caught:
        find("bokworm64")
    assert caught.value.status == 66
    assert str(caught.value) == (
        f"there is no VM bokworm64 in {tmp_path}\n  hint: did you mean bookworm64?"
    )


def test_a_path_is_no_name() -> None:
    with pytest.raises(VmError) as caught:
        find("./web.toml")
    assert caught.value.status == 64
    assert caught.value.faults[0].hint == "a file is run by vm-run -c ./web.toml"


def test_ucl_is_read_through_uclcmd(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    program = tmp_path / "bin" / "uclcmd"
    program.parent.mkdir()
    file = tmp_path / "web.conf"
    file.write_text("mem: 1G\n")
    said = json.dumps({"mem": "1G"})
    program.write_text(f"#!/bin/sh\n[ \"$*\" = 'get -c -f {file}' ] && echo '{said}'\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    assert load(str(file)).machine.mem.mib == 1024


def test_when_uclcmd_refuses_its_words_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    program = tmp_path / "bin" / "uclcmd"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho 'unexpected }' >&2\nexit 1\n")
    program.chmod(0o755)
    (tmp_path / "web.ucl").touch()
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    assert refused(tmp_path / "web.ucl") == (65, "uclcmd refused it: unexpected }")


def test_without_uclcmd_the_next_step_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "web.ucl").touch()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert refused(tmp_path / "web.ucl") == (69, "is UCL, and uclcmd is not installed")


@pytest.mark.parametrize("text", ["mem = '1G'\n", '{"mem": "1G"}', ' \n{"mem": "1G"}'])
def test_standard_input_is_read_in_either_syntax(
    text: str,
) -> None:
    program = "from vm_spec import load; print(load('-', 'web').machine.mem)"
    done = subprocess.run(
        [sys.executable, "-c", program], input=text, capture_output=True, text=True, check=True,
        cwd=CHECKOUT,
    )  # fmt: skip
    assert done.stdout == "1G\n"


def test_of_two_files_of_one_name_the_one_that_runs_is_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for ending in (".conf", ".json", ".toml"):
        (tmp_path / f"web{ending}").write_text("")
    monkeypatch.setenv("VMCONF_DIR", str(tmp_path))
    listed = dict(names(str(tmp_path)))
    assert listed == {"web": find("web")} == {"web": f"{tmp_path}/web.toml"}
