"""vm-list as a command."""

import fcntl
import json
import os
import pty
import re
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


@pytest.mark.parametrize(
    "argv", [["--jsn"], ["--names", "web"], ["--json", "--names"], ["--", "--json"]]
)
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


@pytest.mark.parametrize("names", [[], ["web"]])
def test_json_of_some_has_only_those(
    vms: Path, capsys: pytest.CaptureFixture[str], names: list[str]
) -> None:
    assert vms.is_dir()
    assert main(["--json", *names]) == 0
    listed = json.loads(capsys.readouterr().out)
    assert [vm["name"] for vm in listed["vms"]] == (names or ["db", "odd", "web"])


def test_of_one_vm_everything_is_told(vms: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (vms / "web.toml").write_text(
        'mem = "1G"\ncpu = 2\ncom1 = "socket"\nhypervisor = "bhyve"\n'
        'graphic = { port = 5903 }\n[net.lan]\nname = "tap3"\nmac = "52:00:00:00:00:01"\n'
        '[targets.install]\nmem = "2G"\n'
    )
    assert main(["web"]) == 0
    shown = capsys.readouterr()
    assert shown.out == (
        "web\n"
        "  state       stopped\n"
        f"  file        {vms}/web.toml\n"
        "  target      - (there are: default, install)\n"
        "  hypervisor  bhyve\n"
        "  cpus        2\n"
        "  memory      1G\n"
        "  network     lan: tap, tap3, mac 52:00:00:00:00:01\n"
        "  console     com1: socket\n"
        "  vnc         127.0.0.1:5903\n"
    )
    assert shown.err == ""


def test_of_a_broken_vm_the_fault_is_told_and_the_next_step(
    vms: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["odd"]) == 0
    assert capsys.readouterr().out == (
        "odd\n"
        "  state       broken\n"
        f"  file        {vms}/odd.toml\n"
        f"  fault       {vms}/odd.toml:1: memroy: is not a known key\n"
        "  hint        did you mean mem?\n"
    )


def test_a_vm_that_there_is_not_ends_with_66_and_costs_the_others_nothing(
    vms: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["wbe", "db"]) == 66
    shown = capsys.readouterr()
    assert shown.out.startswith("db\n")
    assert shown.err == (
        f"vm-list: there is no VM wbe in {vms}\nvm-list:   hint: did you mean web?\n"
    )


def on_terminal(columns: int, *options: str, **changes: str) -> list[str]:
    """What vm-list writes on a terminal, line by line."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 25, columns, 0, 0))
    environment = os.environ | {"TERM": "xterm", "PYTHONUTF8": "1", "NO_COLOR": ""} | changes
    done = subprocess.run(
        [*COMMAND, *options], cwd=CHECKOUT, stdin=subprocess.DEVNULL, stdout=theirs,
        env=environment, check=False,
    )  # fmt: skip
    os.close(theirs)
    shown = os.read(ours, 65536).decode().splitlines()
    os.close(ours)
    assert done.returncode == 0
    return shown


def uncoloured(lines: list[str]) -> list[str]:
    return [re.sub(r"\x1b\[[0-9]*m", "", line) for line in lines]


def test_on_a_terminal_lines_are_cut_to_its_width(vms: Path) -> None:
    (vms / f"{'x' * 60}.toml").touch()
    assert max(map(len, uncoloured(on_terminal(72)))) == 72


def test_on_a_terminal_there_are_colours_and_a_ruled_line(vms: Path) -> None:
    (vms / "odd.toml").unlink()
    head, rule, *lines = on_terminal(200)
    assert head.startswith("\x1b[1mNAME")
    assert set(rule) == {"\u2500"}
    assert ["\x1b[2mstopped\x1b[0m" in line for line in lines] == [True, True]


@pytest.mark.parametrize("changes", [{"NO_COLOR": "1"}, {"TERM": "dumb"}])
def test_who_wants_no_colours_gets_none(vms: Path, changes: dict[str, str]) -> None:
    assert vms.is_dir()
    assert not any("\x1b" in line for line in on_terminal(80, **changes))


@pytest.mark.parametrize("changes", [{"TERM": "dumb"}, {"PYTHONIOENCODING": "ascii"}])
def test_a_terminal_that_cannot_draw_gets_no_drawn_line(vms: Path, changes: dict[str, str]) -> None:
    assert vms.is_dir()
    assert all(line.isascii() and "\\u2500" not in line for line in on_terminal(80, **changes))


def test_details_on_a_terminal_are_whole(vms: Path) -> None:
    lines = uncoloured(on_terminal(20, "web"))
    assert f"  file        {vms}/web.toml" in lines


@pytest.mark.parametrize("option", ["--json", "--names"])
def test_what_is_for_programs_is_the_same_on_a_terminal(vms: Path, option: str) -> None:
    assert vms.is_dir()
    done = subprocess.run(
        [*COMMAND, option], cwd=CHECKOUT, stdin=subprocess.DEVNULL, capture_output=True, text=True,
        check=True,
    )  # fmt: skip
    assert on_terminal(40, option) == done.stdout.splitlines()


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
