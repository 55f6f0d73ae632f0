"""vm-list as a command."""

import fcntl
import json
import os
import pty
import struct
import subprocess
import sys
import termios
from importlib.metadata import PackageNotFoundError
from pathlib import Path

import pytest

from vm_list.__main__ import main

CHECKOUT = Path(__file__).parent.parent.parent
COMMAND = [sys.executable, "-m", "vm_list"]


@pytest.fixture
def vms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "vm"
    folder.mkdir()
    monkeypatch.setenv("VMCONF_DIR", str(folder))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    for name in ("web", "db"):
        (folder / f"{name}.toml").write_text('mem = "1G"\n')
    (folder / "odd.toml").write_text('memroy = "1G"\n')
    return folder


def test_plain_it_lists_every_vm(vms: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([]) == 0
    shown = capsys.readouterr()
    assert [line.split()[:2] for line in shown.out.splitlines()] == [
        ["NAME", "STATE"], ["db", "stopped"], ["odd", "broken"], ["web", "stopped"],
    ]  # fmt: skip
    assert "memroy: is not a known key" in shown.out
    assert shown.err == ""


def test_names_are_one_a_line_and_broken_ones_too(
    vms: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (vms / "a\nb.toml").touch()
    assert main(["--names"]) == 0
    assert capsys.readouterr().out == "a\\nb\ndb\nodd\nweb\n"


def test_json_is_an_object_with_a_version(vms: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--json"]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert listed["version"] == 1
    assert [vm["name"] for vm in listed["vms"]] == ["db", "odd", "web"]
    assert listed["vms"][0]["file"] == f"{vms}/db.toml"


@pytest.mark.parametrize(("option", "shown"), [("", ""), ("--names", "")])
def test_without_vms_it_says_where_it_looked_and_what_to_do(
    vms: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    option: str,
    shown: str,
) -> None:
    monkeypatch.setenv("VMCONF_DIR", str(vms / "none"))
    assert main([option] if option else []) == 0
    told = capsys.readouterr()
    assert told.out == shown
    if not option:
        assert f"{vms}/none" in told.err
        assert "new.sh NAME" in told.err
        assert "vm-pull" in told.err


def test_without_vms_json_is_an_object_and_nothing_else(
    tmp_path: Path, vms: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert vms.is_dir()
    monkeypatch.setenv("VMCONF_DIR", str(tmp_path / "none"))
    assert main(["--json"]) == 0
    shown = capsys.readouterr()
    assert json.loads(shown.out) == {"version": 1, "vms": []}
    assert shown.err == ""


def test_a_folder_that_cannot_be_read_ends_with_66(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("VMCONF_DIR", "/dev/null")
    assert main([]) == 66
    assert "hint: " in capsys.readouterr().err


@pytest.mark.parametrize("argv", [["--jsn"], ["web"], ["--json", "--names"], ["--", "--json"]])
def test_a_wrong_command_line_ends_with_64_and_names_the_help(
    argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(argv) == 64
    shown = capsys.readouterr()
    assert shown.out == ""
    assert "vm-list --help" in shown.err


@pytest.mark.parametrize("argv", [["--help"], ["-h"], ["--json", "--help"]])
def test_help_has_examples_and_every_state(
    argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(argv) == 0
    shown = capsys.readouterr().out
    for word in ("examples:", "running", "orphaned", "crashed", "stopped", "broken", "--names"):
        assert word in shown


def test_version_needs_no_installation(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def none(_: str) -> str:
        raise PackageNotFoundError

    monkeypatch.setattr("importlib.metadata.version", none)
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == "vm-list (not installed)\n"


def run(**changes: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        COMMAND, cwd=CHECKOUT, env=os.environ | changes, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, check=False,
    )  # fmt: skip


def test_a_locale_without_the_characters_gets_them_escaped(vms: Path) -> None:
    (vms / "机.toml").touch()
    done = run(PYTHONIOENCODING="latin-1", PYTHONUTF8="0")
    assert done.returncode == 0
    assert "\\u673a" in done.stdout


def test_a_reader_that_has_seen_enough_is_no_error(vms: Path) -> None:
    assert vms.is_dir()
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        COMMAND, cwd=CHECKOUT, stdout=write, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_full_disk_is_said(vms: Path) -> None:
    assert vms.is_dir()
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            COMMAND, cwd=CHECKOUT, stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 74
    assert done.stderr == "vm-list: cannot write: No space left on device\n"


def test_on_a_terminal_lines_are_cut_to_its_width(vms: Path) -> None:
    (vms / f"{'x' * 60}.toml").touch()
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 25, 72, 0, 0))
    done = subprocess.run(COMMAND, cwd=CHECKOUT, stdout=theirs, check=False)
    os.close(theirs)
    shown = os.read(ours, 65536).decode().splitlines()
    os.close(ours)
    assert done.returncode == 0
    assert max(map(len, shown)) == 72


def test_plain_and_with_one_option_it_loads_no_parser_of_command_lines(vms: Path) -> None:
    heavy = "'argparse', 'typing', 'dataclasses', 'pathlib', 'subprocess', 'shutil', 'textwrap'"
    program = (
        "import sys\nfrom vm_list.__main__ import main\nmain(sys.argv[1:])\n"
        f"print({{{heavy}}} & sys.modules.keys(), file=sys.stderr)"
    )
    (vms / "odd.toml").unlink()  # a fault's hint is worth its modules
    for option in ([], ["--json"], ["--names"]):
        done = subprocess.run(
            [
                sys.executable,
                "-IS",
                "-c",
                f"import sys; sys.path[:0] = {sys.path}\n{program}",
                *option,
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stderr == "set()\n"
