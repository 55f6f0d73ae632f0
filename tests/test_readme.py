"""What the README shows is so.

Each line that one types is read by the real parser of its command. Run for real, with what is
seen compared: vm-pull, vm-run, vm-list, vm-console, vm-stop, new.sh, vm-run --screenshot (with a
real guest, at a terminal) and vm-init with and without sudo (in a lab). Compared with what the
program would say: the doctor, and vm-run over an installation. Read only: what wants a browser,
systemd's manager or root of this host.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import terminal as terminals
from tests.home import Home
from tests.home import home as homes
from tests.init.lab import Lab
from tests.pull.server import Reply, Seen
from tests.pull.whole import Puller
from tests.terminal import PROMPT, Terminal
from tests.typed import HOUSE, blocks, calls, typed, understood
from tests.vm import Vm
from vm_run.host import report
from vm_run.messages import describe, describe_ending
from vm_run.reboot import Ending
from vm_spec import Context, loads, select
from vm_spec.machine import Outcome

PAGE = HOUSE / "README.md"
README = PAGE.read_text()
SLOW_HOST = r"(?:\S+: KVM does not work here, so the guest is emulated \(TCG\), which is slower\n)?"

user = pytest.fixture(terminals.user)
terminal = pytest.fixture(terminals.terminal)
home = pytest.fixture(homes)


@pytest.fixture
def vm(tmp_path: Path) -> Vm:
    return Vm(tmp_path)


def shown(command: str) -> str:
    """What the README shows that a command answers, line by line."""
    (block,) = [text for text in blocks(PAGE, "console") if f"$ {command}\n" in text]
    return re.split(r"^[$#] ", block.partition(f"$ {command}\n")[2], flags=re.MULTILINE)[0].strip()


def pattern(text: str, home: object = "/home/alice") -> str:
    """A pattern for a text whose numbers, sizes and addresses may be others, as may its gaps."""
    varies = (
        r"(https?://\S+|\bvm[0-9a-z]+-[0-9a-v]{5}\b|/home/alice|\.\.\."
        r"|[0-9a-f]*\d[0-9a-f.]*(?: ?[KMGT](?:iB)?\b)?|\s+|─+)"
    )
    made = ""
    for number, part in enumerate(re.split(varies, text)):
        if number % 2 == 0:
            made += re.escape(part)
        elif part.startswith("http"):
            made += r"https?://\S+"
        elif re.fullmatch(r"vm[0-9a-z]+-[0-9a-v]{5}", part):
            made += r"vm[0-9a-z]+-[0-9a-v]{5}"
        elif part.startswith("/home"):
            made += re.escape(str(home))
        elif part == "...":
            made += r"[\s\S]*?"
        else:
            made += r"\s+" if part.isspace() else "─+" if "─" in part else r"[0-9a-f:.]+( ?\w+)?"
    return made


def test_its_description_loads_and_its_installer_has_a_cd() -> None:
    (text,) = blocks(PAGE, "toml")
    description = loads(text, Context(name="web"))
    kinds = [device.kind for device in select(description, "install").emulations]
    assert kinds == ["virtio-blk", "virtio-net", "ahci-cd"]
    assert select(description, "install").next_target == "default"


def test_each_line_that_one_types_is_understood() -> None:
    lines = typed(PAGE)
    assert len(lines) > 20
    assert [said for line in lines for call in calls(line) if (said := understood(call))] == []


def test_the_four_commands_come_first_in_the_order_in_which_one_types_them() -> None:
    first = [call[0] for line in typed(PAGE) for call in calls(line) if call[0].startswith("vm-")]
    assert list(dict.fromkeys(first))[:4] == ["vm-pull", "vm-init", "vm-run", "vm-list"]


def test_its_program_is_python() -> None:
    (program,) = blocks(PAGE, "python")
    compile(program, "README.md", "exec")


def test_the_files_that_it_names_exist() -> None:
    for name in re.findall(r"`((?:examples|bench|docs)/[\w./-]+|[A-Z]+\.md)`", README):
        assert (HOUSE / name).exists(), name


def test_the_report_of_the_host_is_as_shown() -> None:
    def closed() -> str:
        hint = "sudo usermod -aG kvm alice, then log in again"
        raise report.lacking("/dev/kvm is not yours to open", hint)

    lines, _ = report.report(
        {
            "QEMU": (lambda: "7.2.22 /usr/bin/qemu-system-x86_64", ""),
            "KVM": (closed, report.LINUX["KVM"][1]),
            "hugepages": (str, ""),
        }
    )
    assert shown("vm-run --check").splitlines() == [*lines[:3], "...", lines[-1]]


def test_what_one_machine_lacks_is_told_as_shown(home: Home) -> None:
    (home.folder / "web.toml").write_text('[net.lan]\nbridge = "br0"\n')
    said = home.says("web", "--check")
    assert re.fullmatch(pattern(shown("vm-run web --check")), said.err.strip())


@pytest.mark.parametrize("words", ["-d", "--explain", "--debug", "-t install -d"])
def test_what_runs_nothing_can_be_looked_at(home: Home, words: str) -> None:
    (text,) = blocks(PAGE, "toml")
    (home.folder / "web.toml").write_text(text)
    said = home.says("web", *words.split())
    assert (said.status, said.err) == (0, "")
    assert "web" in said.out


def test_what_vm_run_is_shown_to_say_of_an_installation_it_says() -> None:
    rebooted = {"event": "restarting", "outcome": "reboot", "target": "default"}
    ending = Ending(
        outcome=Outcome("poweroff"), target="default", asked=False, forced=False, detail="",
        why="only reboot restarts it", starts=2, seconds=83.0,
    )  # fmt: skip
    said = [describe(rebooted), describe_ending(ending)]
    assert shown("vm-run web -t install").splitlines() == [f"web: {text}" for text in said]


@pytest.fixture
def alices(guest: Path) -> Iterator[Lab]:
    """A lab with the README's policy, a bridge, and alice's web, which has a card on it."""
    assert guest.is_dir()
    (policy,) = [text for text in blocks(PAGE, "console") if "policy.toml" in text and "[[" in text]
    with Lab() as lab:
        lab.install()
        lab.write("/etc/vmman/policy.toml", policy[policy.index("[[grant]]") :])
        lab.check("ip", "link", "add", "br0", "address", "02:00:00:00:00:0b", "type", "bridge")
        lab.write("/home/alice/vm/web.toml", '[net.lan]\nbridge = "br0"\n', owner="alice")
        yield lab


@pytest.mark.root
@pytest.mark.slow
def test_alice_is_given_what_the_policy_says_as_shown(alices: Lab) -> None:
    for command in ("vm-init web --dry-run", "sudo vm-init web"):
        done = alices.run(*command.split(), user="alice")
        assert re.fullmatch(pattern(shown(command)), done.stdout.strip()), done.stdout + done.stderr
    released = alices.run("sudo", "vm-init", "--release", "web", user="alice")
    assert (released.returncode, alices.check("ls", "/sys/class/net")) == (0, "br0\nlo\n")


@pytest.mark.real
@pytest.mark.slow
def test_a_person_sees_what_is_shown(user: Puller, terminal: Terminal) -> None:
    user.server.at("/api/v2/vagrant/debian/bookworm64", renamed(user))
    shutil.copy(HOUSE / "new.sh", user.folder)
    (user.folder / "debian.img").write_bytes(bytes(512))
    for command in ("vm-pull debian/bookworm64", "vm-run bookworm64 --detach", "vm-list"):
        sees(terminal, user, command)
    picture = "vm-run bookworm64 --screenshot now.png"
    assert picture in typed(PAGE)
    terminal.sees(picture)
    assert (user.folder / "now.png").read_bytes().startswith(b"\x89PNG")
    terminal.types("clear; vm-console bookworm64")
    terminal.reads(r"^[~/] # ?\Z")
    terminal.keys("C-]")
    screen = terminal.reads(rf"{re.escape(PROMPT.strip())}\Z")
    assert re.search(pattern(shown("vm-console bookworm64")), screen)
    sees(terminal, user, "vm-stop bookworm64")
    sees(terminal, user, "./new.sh mail debian.img")


def renamed(user: Puller) -> Reply:
    """The catalog of user/box as that of the box of the README."""
    found = user.server.answer(Seen("/api/v2/vagrant/user/box", {}))
    return Reply(200, found.body.replace(b"user/box", b"debian/bookworm64"))


def sees(terminal: Terminal, user: Puller, command: str) -> None:
    """Types a command of the README, and sees what it shows; long paths are cut in a list."""
    text = shown(command)
    if command == "vm-list":
        text = text.replace("/home/alice/vm/bookworm64.toml", "...")
    terminal.sees(command, SLOW_HOST + pattern(text, user.folder))
