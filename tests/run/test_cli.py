"""What is typed: every option, and every mistake."""

from __future__ import annotations

import json
import os
import re
import shlex

import pytest

from tests.home import Home, command
from vm_run import cli
from vm_run.__main__ import main
from vm_run.options import Options
from vm_run.reboot import Policy
from vm_spec import Context, loads
from vm_spec.fault import VmError
from vm_spec.machine import Outcome


def options(*words: str) -> Options:
    return cli.options(cli.parse(["vm", *words]))


@pytest.mark.parametrize(
    ("words", "given"),
    [
        ([], {}),
        (["-t", "install"], {"target": "install"}),
        (["--target", "install"], {"target": "install"}),
        (["-f"], {"force": True}),
        (["--force"], {"force": True}),
        (["--recover"], {"recover": True}),
        (["--fix"], {"fix": True}),
        (["--detach"], {"detached": True}),
        (["--no-requirement-check"], {"check": False}),
        (["-p", "a", "-P", "b"], {"pid_file": "a", "supervisor_pid_file": "b"}),
        (["--panic-on-failed-cleanup"], {"panic_on_failed_cleanup": True}),
        (["--no-reboot"], {"policy": Policy(reboot=False)}),
        (["--reboot-count", "0"], {"policy": Policy(most=0)}),
        (["--reboot-on", ""], {"policy": Policy(on=())}),
        (
            ["--reboot-on", "0,crash,poweroff"],
            {
                "policy": Policy(
                    on=(Outcome("reboot"), Outcome("triple-fault"), Outcome("poweroff"))
                )
            },
        ),
        (["--", "-S", "--", "-t"], {"extra": ("-S", "--", "-t")}),
        (["--"], {}),
    ],
)
def test_an_option_becomes_how_a_session_is_run(words: list[str], given: dict[str, object]) -> None:
    assert options(*words) == Options(**({"handle": "vm"} | given))  # type: ignore[arg-type]


def test_options_may_stand_before_the_name_and_between() -> None:
    for line in ("-t two vm -f", "vm -t two -f", "-f -t two vm", "-f vm -t two"):
        call = cli.parse(shlex.split(line))
        assert (call.name, call.target, call.force) == ("vm", "two", True)


def test_a_file_with_a_name_and_one_without() -> None:
    for line in ("-c web.toml vm", "vm -c web.toml", "vm --config web.toml"):
        call = cli.parse(shlex.split(line))
        assert (call.config, call.name) == ("web.toml", "vm")
        assert cli.options(call).handle == ""  # its own name, whatever decided that
    assert cli.parse(["-c", "-"]).config == "-"


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("", "the name of a VM is missing"),
        ("-f", "the name of a VM is missing"),
        ("-- vm", "the name of a VM is missing"),
        ("-c ''", "the name of a VM is missing"),
        ("vm other -f", "unrecognized arguments: other"),
        ("vm -f other", "unrecognized arguments: other"),
        ("vm --nope", "unrecognized arguments: --nope"),
        ("vm --dry", "unrecognized arguments: --dry"),
        ("vm -c", "argument -c/--config: expected one argument"),
        ("vm -o mem", "argument -o: must be KEY=VALUE"),
        ("vm -o =4G", "argument -o: must be KEY=VALUE"),
        ("vm --reboot-count -1", "argument --reboot-count: must be a whole number from 0"),
        ("vm --reboot-count 1.5", "argument --reboot-count: must be a whole number from 0"),
        ("vm --reboot-count ²", "argument --reboot-count: must be a whole number from 0"),
        ("vm --reboot-on 6", "argument --reboot-on: must be one of reboot, poweroff, halt, "
         "triple-fault, error, suspend, or their numbers 0 to 5"),
        ("vm --format json", "--format is for --dry-run"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_line_and_the_next_step(home: Home, line: str, problem: str) -> None:
    said = home.says(*shlex.split(line))
    assert (said.status, said.out) == (64, "")
    assert said.err == f"vm-run: {problem}\n  hint: vm-run --help\n"


def test_a_format_that_is_none_is_told_with_those_that_are(home: Home) -> None:
    said = home.says("vm", "-d", "--format", "xml")
    assert said.status == 64
    assert "argument --format: invalid choice: 'xml' (choose from " in said.err


def test_a_mistake_is_a_fault_for_programs_too() -> None:
    with pytest.raises(VmError) as caught:
        cli.parse([])
    assert caught.value.status == 64


@pytest.mark.parametrize("word", ["--help", "--version"])
def test_help_and_version_are_no_mistakes(home: Home, word: str) -> None:
    with pytest.raises(SystemExit) as caught:
        home.says("vm", word)
    assert caught.value.code == 0


def test_help_has_examples_that_parse_and_every_exit_status() -> None:
    shown = cli.parser().format_help()
    lines = [line.split("  ")[0] for line in cli.EXAMPLES.splitlines() if "vm-run" in line]
    assert len(lines) >= 5
    for line in (line.strip().split("| ")[-1] for line in cli.EXAMPLES.splitlines()[1:7]):
        words = shlex.split(line.split("   ")[0])
        assert words[0] == "vm-run"
        cli.parse(words[1:])
    for status in ("0", "3", "4", "64", "65", "66", "69", "70", "75", "77"):
        assert f"{status} " in shown


def test_help_names_every_option_once() -> None:
    shown = cli.parser().format_help()
    words = (
        "-c|-t|-o|-d|-f|-p|-P|--explain|--schema|--check|--debug|--detach|--recover|--fix|--events"
    )
    for word in [*words.split("|"), "--reboot-on"]:  # Python 3.13: -c, --config FILE
        assert len(re.findall(rf"^  {word}\b", shown, re.MULTILINE)) == 1


@pytest.mark.parametrize(
    ("over", "words"),
    [
        (["mem=4G"], ["-m", "4096M"]),
        (["cpu=3"], ["-smp", "3,sockets=1,cores=3,threads=1"]),
        (["cpu.cores=2", "cpu.threads=2"], ["-smp", "4,sockets=1,cores=2,threads=2"]),
        (["utc_clock=false"], ["-rtc", "base=localtime"]),
        (["name=other"], ["-name", "guest=other"]),
        (["kernel=/k", 'cmdline=a = "b, c"'], ["-append", 'a = "b, c"']),
        (["mem=1G", "mem=2G"], ["-m", "2048M"]),
        (["qemu.cpu=host"], ["-cpu", "host"]),
        (["uuid=0f3dbd4a-3a5e-11ee-be56-0242ac120002"],
         ["-uuid", "0f3dbd4a-3a5e-11ee-be56-0242ac120002"]),
    ],
)  # fmt: skip
def test_a_key_laid_over_the_description_is_on_the_command_line(
    home: Home, over: list[str], words: list[str]
) -> None:
    home.vm.describe('mem = "512M"\n')
    said = home.says("vm", "-d", "--format", "json", *(w for o in over for w in ("-o", o)))
    assert said.status == 0, said.err
    argv: list[str] = json.loads(said.out)
    assert words[0] in argv
    assert argv[argv.index(words[0]) + 1] == words[1]


@pytest.mark.parametrize(
    "over", ["memroy=4G", "mem=much", "cpu.coers=2", "disk=3", "targets=1", "=", "mem.x.y=1"]
)
def test_a_key_that_cannot_be_laid_over_is_told_and_nothing_starts(home: Home, over: str) -> None:
    home.vm.describe("")
    said = home.says("vm", "-d", "-o", over)
    assert said.status in (64, 65)
    assert "Traceback" not in said.err
    assert said.out == ""


@pytest.mark.parametrize(
    "words",
    [["--import"], ["--import", "a.xml", "--", "bhyve", "x"], ["--import", "-c", "a.toml"]],
    ids=" ".join,
)
def test_an_import_is_of_one_file_or_of_one_command_line(words: list[str]) -> None:
    with pytest.raises(VmError, match="needs a FILE"):
        cli.parse(words)


@pytest.mark.parametrize(
    ("words", "executed"),
    [
        (["--import", "a.xml"], ["vm-import", "a.xml"]),
        (["--import", "--", "bhyve", "x"], ["vm-import", "--", "bhyve", "x"]),
        (["web", "--screenshot", "a.png"], ["vm-console", "web", "--screenshot", "a.png"]),
    ],
)
def test_two_options_execute_another_command(
    words: list[str], executed: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []

    def execv(_path: str, argv: list[str]) -> None:
        seen.extend(argv)
        raise KeyboardInterrupt  # nothing of vm-run comes after it

    def argv_of(name: str) -> list[str]:
        return [name]

    monkeypatch.setattr(os, "execv", execv)
    monkeypatch.setattr("vm_state.cli.argv_of", argv_of)
    assert main(words) == 130
    assert seen == executed


def test_a_command_line_of_bhyve_is_printed_as_a_description(home: Home) -> None:
    words = shlex.split("-c 2 -m 1G -s 0,hostbridge -s 3,virtio-blk,web.img web")
    done = command(home.vm, "--import", "--", "bhyve", *words)
    assert loads(done.stdout, Context(name="x")).machine.mem.mib == 1024
    assert command(home.vm, "--import", "--", *words).returncode == 64
