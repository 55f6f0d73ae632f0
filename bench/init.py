"""Taps of a user, in a bridge and up: vm-init beside the ways to have them from `ip`.

python3 -m bench.init [-n COUNT] [--only SECTION]... [--json]
"""

from __future__ import annotations

import json
import os
import select
import shutil
import subprocess
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, NamedTuple

from bench import program
from bench.measure import TIMEOUT_S, Contender, Section
from tests.init.lab import LIB, PYTHON, TOOLS, Lab

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import IO


SECTIONS = {"one": 1, "ten": 10, "hundred": 100}
GIVE, RELEASE = "give ms", "release ms"
USER, BRIDGE = "alice", "br0"
PER_VM = 50  # vm-init takes 64 requests of one description
SLEEPS_S = 2  # vmman's, for each tap
POLICY = f"""\
[[grant]]
who = ["{USER}"]
bridges = ["{BRIDGE}"]
interfaces = ["vm*"]
most-interfaces = 200
"""
CARD = """\
[net.card{number}]
name = "{tap}"
bridge = "{bridge}"
"""
# The aims of facts about speed: milliseconds of ours, else a ratio.
OURS = {"one": 90, "ten": 95, "hundred": 150}
OF_VMMAN = {"one": 0.045}
OF_A_LOOP = {"hundred": 0.45}

# Runs commands one after another where they are measured: no start of nsenter is in the figure. A
# number among them is slept. It reads JSON lines and answers each: milliseconds, status, words.
TIMER = """
import json, os, sys, time
said = os.memfd_create('said')
actions = [(os.POSIX_SPAWN_DUP2, said, 1), (os.POSIX_SPAWN_DUP2, said, 2)]
actions.append((os.POSIX_SPAWN_OPEN, 0, os.devnull, os.O_RDONLY, 0))
for line in sys.stdin:
    os.ftruncate(said, 0)
    os.lseek(said, 0, os.SEEK_SET)
    status = 0
    began = time.monotonic()
    for words in json.loads(line):
        if isinstance(words, list):
            child = os.posix_spawnp(words[0], words, os.environ, file_actions=actions)
            status = status or os.waitpid(child, 0)[1]
        else:
            time.sleep(words)
    took = (time.monotonic() - began) * 1000
    words = os.pread(said, 2000, 0).decode('ascii', 'replace')
    print(json.dumps([took, status, words]), flush=True)
"""

Step = list[str] | int
"""A command, or seconds to sleep."""


class Timer:
    """A process inside the lab that runs commands there and tells how long they took."""

    def __init__(self, lab: Lab, user: str) -> None:
        # Not lab.start: nobody here reads its pipe for errors.
        self._process = subprocess.Popen(
            lab.argv(PYTHON, "-ISB", "-c", TIMER, user=user),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def __enter__(self) -> Timer:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate(timeout=TIMEOUT_S)

    def took(self, steps: list[Step]) -> float:
        """Milliseconds for all of them.

        Raises:
            AssertionError: one failed.
        """
        stdin, stdout = self._pipes()
        stdin.write(json.dumps(steps) + "\n")
        stdin.flush()
        ready, _, _ = select.select([stdout], [], [], TIMEOUT_S)
        assert ready, f"{steps[0]} ...: not done in {TIMEOUT_S} s"
        took, status, words = json.loads(stdout.readline())
        assert status == 0, f"{steps[0]} ...: {words}"
        return float(took)

    def _pipes(self) -> tuple[IO[str], IO[str]]:
        assert self._process.stdin
        assert self._process.stdout
        return self._process.stdin, self._process.stdout


class Way(NamedTuple):
    """How taps are had, and how they are taken back.

    Attributes:
        timer: who runs it.
        give: what gives them.
        release: what takes them back.
    """

    timer: Timer
    give: list[Step]
    release: list[Step]


def main(argv: list[str]) -> int:
    """Measures, and prints the tables."""
    call = program.options("bench.init", __doc__, SECTIONS, n=9).parse_args(argv)
    lacking = [tool for tool in TOOLS if not shutil.which(tool)]
    if os.getuid() != 0 or lacking:
        print(f"init: not measured: it needs root {' '.join(lacking)}".rstrip())
        return 0
    with ExitStack() as stack:
        lab = _prepared(stack.enter_context(Lab()))
        timers = {user: stack.enter_context(Timer(lab, user)) for user in ("root", USER)}
        keys: list[str] = call.only or list(SECTIONS)
        program.show((_section(key, lab, timers, call.n) for key in keys), json=call.json)
    return 0


def _prepared(lab: Lab) -> Lab:
    """A lab with vm-init as `make install` leaves it, compiled too, and a bridge."""
    lab.install()
    once = ("-q", "-d", LIB, "--invalidation-mode", "unchecked-hash", LIB)
    lab.check(PYTHON, "-I", "-m", "compileall", *once)
    lab.write("/etc/vmman/policy.toml", POLICY)
    lab.check("ip", "link", "add", BRIDGE, "address", "02:00:00:00:00:0b", "type", "bridge")
    lab.check("ip", "link", "set", BRIDGE, "up")
    return lab


def _section(key: str, lab: Lab, timers: Mapping[str, Timer], n: int) -> Section:
    taps = [f"vm{number}" for number in range(SECTIONS[key])]
    root = timers["root"]
    vms = _described(lab, key, taps)
    helper = _vm_init(root, vms, ["vm-init", "--for-user", USER])
    by_sudo = _vm_init(timers[USER], vms, ["sudo", "-n", "vm-init"])
    loop = _loop(root, taps)
    contenders = [
        _contender("vm-init", helper, lab, taps, {GIVE: OURS[key]}),
        _contender("sudo vm-init", by_sudo, lab, taps),
        *_with_sleeps(key, loop, lab, taps),
        _contender("ip -batch", _batch(root, lab, key, taps), lab, taps),
    ]
    runs = f"; vm-init runs {len(vms)} times" if len(vms) > 1 else ""
    title = f"{len(taps)} x a tap of a user, in a bridge, up{runs}"
    return Section(key=key, title=title, metrics=(GIVE, RELEASE), contenders=contenders, n=n)


def _described(lab: Lab, key: str, taps: list[str]) -> list[str]:
    """Descriptions of VMs that have these taps between them: the names."""
    parts = [taps[first : first + PER_VM] for first in range(0, len(taps), PER_VM)]
    names = [f"{key}{number}" for number in range(len(parts))]
    for name, part in zip(names, parts, strict=True):
        cards = [CARD.format(number=i, tap=tap, bridge=BRIDGE) for i, tap in enumerate(part)]
        lab.write(f"/home/{USER}/vm/{name}.toml", "".join(cards), owner=USER)
    return names


def _vm_init(timer: Timer, vms: list[str], command: list[str]) -> Way:
    return Way(timer, [[*command, vm] for vm in vms], [[*command, "--release", vm] for vm in vms])


def _loop(timer: Timer, taps: list[str]) -> Way:
    give = [["ip", *words] for tap in taps for words in _commands(tap)]
    return Way(timer, [*give], [["ip", "link", "del", tap] for tap in taps])


def _commands(tap: str) -> list[list[str]]:
    return [
        ["tuntap", "add", tap, "mode", "tap", "user", USER],
        ["link", "set", tap, "master", BRIDGE],
        ["link", "set", tap, "up"],
    ]


def _batch(timer: Timer, lab: Lab, key: str, taps: list[str]) -> Way:
    give = [" ".join(words) for tap in taps for words in _commands(tap)]
    release = [f"link del {tap}" for tap in taps]
    way = Way(timer, [], [])
    for steps, lines, name in ((way.give, give, "give"), (way.release, release, "release")):
        file = f"/root/{key}-{name}"
        lab.write(file, "\n".join([*lines, ""]))
        steps.append(["ip", "-batch", file])
    return way


def _with_sleeps(key: str, loop: Way, lab: Lab, taps: list[str]) -> list[Contender]:
    """The way of vmman and the same without its sleeps; of many taps the former is computed."""
    plain = _contender("ip, 3 commands a tap", loop, lab, taps, _aims(OF_A_LOOP, key))
    absent = "it takes nothing back"
    aims = _aims(OF_VMMAN, key)
    if len(taps) == 1:
        add, *others = loop.give
        slept = loop._replace(give=[add, SLEEPS_S // 2, *others, SLEEPS_S // 2])

        def vmman() -> Mapping[str, float]:
            return {GIVE: _sampled(slept, lab, taps)[GIVE]}

        return [
            Contender(name="vmman's way, with its sleeps", sample=vmman, absent=absent, aims=aims),
            plain,
        ]
    last: dict[str, float] = {}

    def measured() -> Mapping[str, float]:
        last.update(_sampled(loop, lab, taps))
        return last

    def computed() -> Mapping[str, float]:
        return {GIVE: last[GIVE] + len(taps) * SLEEPS_S * 1000}

    return [
        Contender(name=plain.name, sample=measured, aims=plain.aims),
        Contender(name="vmman's way, computed", sample=computed, absent=absent, aims=aims),
    ]


def _aims(of: Mapping[str, float], key: str) -> Mapping[str, float]:
    return {GIVE: of[key]} if key in of else {}


def _contender(
    name: str, way: Way, lab: Lab, taps: list[str], aims: Mapping[str, float] | None = None
) -> Contender:
    return Contender(name=name, sample=lambda: _sampled(way, lab, taps), aims=aims or {})


def _sampled(way: Way, lab: Lab, taps: list[str]) -> Mapping[str, float]:
    """One turn; what is between and after is looked at, and is not in the figures."""
    give = way.timer.took(way.give)
    _expect(lab, set(taps))
    release = way.timer.took(way.release)
    _expect(lab, set())
    return {GIVE: give, RELEASE: release}


def _expect(lab: Lab, taps: set[str]) -> None:
    """Exactly these taps are there, the user's, in the bridge and up; or this ends."""
    uid = lab.uid(USER)
    found = json.loads(lab.check("ip", "-j", "-d", "link"))
    are: set[str] = set()
    for one in found:
        if one.get("linkinfo", {}).get("info_kind") != "tun":
            continue
        told = (one["linkinfo"]["info_data"].get("user"), one.get("master"), "UP" in one["flags"])
        assert told in ((USER, BRIDGE, True), (uid, BRIDGE, True), (str(uid), BRIDGE, True)), one
        are.add(one["ifname"])
    assert are == taps, f"{sorted(are ^ taps)}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
