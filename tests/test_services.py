"""VMs as services: the units and the rc.d script, checked, and run by the real thing."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.lacking import lacking
from vm_init.__main__ import Arguments, parse_arguments

CHECKOUT = Path(__file__).parent.parent
UNITS = CHECKOUT / "etc" / "systemd"


def tool(name: str) -> str:
    if shutil.which(name) is None:
        lacking(f"{name} is missing")
    return name


def output(*argv: str | Path, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        argv,
        env={"PATH": os.environ["PATH"]} | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def fitted(source: Path, prefix: Path) -> str:
    """A service as the installation writes it."""
    return source.read_text().replace("/usr/local", str(prefix))


@pytest.mark.parametrize("unit", sorted(UNITS.glob("*/*.service")), ids=lambda path: path.name)
def test_systemd_finds_nothing_wrong_with(unit: Path, tmp_path: Path) -> None:
    for name in ("bin/vm-run", "bin/vm-stop", "libexec/vmman/vm-init"):
        program = tmp_path / name
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text("#!/bin/sh\n")
        program.chmod(0o755)
    units = tmp_path / "units"
    units.mkdir()
    for each in unit.parent.iterdir():
        (units / each.name).write_text(fitted(each, tmp_path))
    whose = f"--{unit.parent.name}"
    argv = (tool("systemd-analyze"), "verify", "--man=no", whose, units / unit.name)
    done = output(*argv, XDG_RUNTIME_DIR=str(tmp_path))
    assert (done.returncode, done.stderr) == (0, "")


def test_the_unit_of_root_asks_vm_init_for_what_its_instance_says(tmp_path: Path) -> None:
    text = fitted(UNITS / "system" / "vm-init@.service", tmp_path)
    program = tmp_path / "libexec" / "vmman" / "vm-init"
    program.parent.mkdir(parents=True)
    program.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    program.chmod(0o755)
    asked: list[Arguments] = []
    for key in ("ExecStart", "ExecStop"):
        line = re.search(rf"(?m)^{key}=(.*)$", text)
        assert line is not None
        # What systemd.service(5), COMMAND LINES, and systemd.unit(5), SPECIFIERS, do to a line.
        command = re.sub(
            r"%%|\$\$|%i", lambda found: {"%i": "alice:my-vm"}.get(found[0], found[0][0]), line[1]
        )
        asked.append(parse_arguments(output("/bin/sh", "-c", command).stdout.splitlines()))
    assert asked == [
        Arguments("give", "my-vm", {"--for-user": "alice"}),
        Arguments("--release", "my-vm", {"--for-user": "alice"}),
    ]


RC_SUBR = """
load_rc_config() { vmman_enable=YES; vmman_list=$LIST; }
run_rc_command() { eval "\\${$1_cmd}"; }
"""
# A user's login, and root's helper: both only say what they are asked.
SU = """#!/bin/sh
user=$1 command=${3##*/}
echo "$user: $command" >>"$LOG"
case $user:$command in
"bob:vm-run --autostart --names") printf 'db\\napp web\\n' ;;
"eve:vm-run --autostart --names") printf '$(touch got)\\n;reboot\\n--user\\na --force\\nok\\n' ;;
"zoe:vm-run --detach bad") exit 69 ;;
esac
"""
INIT = '#!/bin/sh\necho "root: vm-init $*" >>"$LOG"\n'


class Bsd:
    """A FreeBSD host's rc.d, with a stand-in for everything around the script."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.log = folder / "log"
        (folder / "rc.subr").write_text(RC_SUBR)
        for name, text in {"su": SU, "libexec/vmman/vm-init": INIT}.items():
            program = folder / name
            program.parent.mkdir(parents=True, exist_ok=True)
            program.write_text(text)
            program.chmod(0o755)
        script = fitted(CHECKOUT / "etc" / "rc.d" / "vmman", folder)
        self.script = folder / "vmman"
        self.script.write_text(script.replace("/etc/rc.subr", f"{folder}/rc.subr"))

    def service(self, act: str, machines: str) -> tuple[int, list[str]]:
        """`service vmman ACT`: its status, and what was asked of whom."""
        self.log.write_text("")
        path = f"{self.folder}:/usr/bin:/bin"
        argv = [shutil.which("dash") or "/bin/sh", str(self.script), act]
        done = output(*argv, PATH=path, LIST=machines, LOG=str(self.log))
        assert done.stderr == ""
        return done.returncode, self.log.read_text().splitlines()


@pytest.fixture
def bsd(tmp_path: Path) -> Bsd:
    return Bsd(tmp_path)


def test_rc_starts_each_machine_as_its_user_after_roots_part(bsd: Bsd) -> None:
    assert bsd.service("start", "alice:my-vm bob") == (0, [
        "root: vm-init --for-user alice -- my-vm",
        "alice: vm-run --detach my-vm",
        "bob: vm-run --autostart --names",
        "root: vm-init --for-user bob -- db",
        "bob: vm-run --detach db",
        "root: vm-init --for-user bob -- app",
        "bob: vm-run --detach app",
        "root: vm-init --for-user bob -- web",
        "bob: vm-run --detach web",
    ])  # fmt: skip


def test_rc_stops_in_the_reverse_order_and_waits_before_root_takes_back(bsd: Bsd) -> None:
    assert bsd.service("stop", "alice:my-vm bob") == (0, [
        "bob: vm-run --autostart --names",
        "bob: vm-stop app web",
        "root: vm-init --for-user bob --release -- app",
        "root: vm-init --for-user bob --release -- web",
        "bob: vm-stop db",
        "root: vm-init --for-user bob --release -- db",
        "alice: vm-stop my-vm",
        "root: vm-init --for-user alice --release -- my-vm",
    ])  # fmt: skip


def test_rc_tells_of_each_user_once(bsd: Bsd) -> None:
    assert bsd.service("status", "alice:a alice:b bob") == (0, ["alice: vm-list", "bob: vm-list"])


def test_rc_goes_on_after_one_that_fails_and_says_so(bsd: Bsd) -> None:
    status, asked = bsd.service("start", "zoe:bad alice:good")
    assert status == 1
    assert asked[-1] == "alice: vm-run --detach good"


def test_rc_has_nothing_to_do_for_an_empty_list(bsd: Bsd) -> None:
    assert [bsd.service(act, "") for act in ("start", "stop", "status")] == [(0, [])] * 3


def test_threat_a_name_that_a_user_makes_up_is_no_word_of_a_command(bsd: Bsd) -> None:
    _, asked = bsd.service("start", "eve")
    assert asked == [
        "eve: vm-run --autostart --names",
        "root: vm-init --for-user eve -- ok",
        "eve: vm-run --detach ok",
    ]
    assert not (bsd.folder / "got").exists()


def test_the_rc_script_is_sound() -> None:
    script = CHECKOUT / "etc" / "rc.d" / "vmman"
    done = output(tool("shellcheck"), script)
    assert done.returncode == 0, done.stdout
    assert output(tool("dash"), "-n", script).returncode == 0
