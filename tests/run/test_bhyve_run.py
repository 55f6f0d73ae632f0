"""Supervising bhyve: by a program of its name, first in PATH. Untested on FreeBSD."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.run.vm import Vm
from vm_run.supervise import Signals

FAKE = """#!/bin/sh
printf '%s\\n' "$*" >> calls
case $0 in
*bhyvectl) exit 0 ;;
esac
trap 'exit 1' TERM
status=$(head -n 1 plan)
sed -i 1d plan
if [ "$status" = wait ]; then
    echo waiting
    while :; do read -r line < fifo || :; done
fi
exit "$status"
"""


@pytest.fixture
def bhyve(vm: Vm, monkeypatch: pytest.MonkeyPatch) -> Vm:
    """A VM for bhyve, with a bhyve and a bhyvectl that do what `plan` says."""
    programs = vm.folder / "bin"
    programs.mkdir()
    for name in ("bhyve", "bhyvectl"):
        (programs / name).write_text(FAKE)
        (programs / name).chmod(0o755)
    os.mkfifo(vm.folder / "fifo")
    monkeypatch.setenv("PATH", f"{programs}:{os.environ['PATH']}")
    rom = vm.folder / "rom.fd"
    rom.write_bytes(b"")
    vm.describe(
        f'hypervisor = "bhyve"\nbootrom = "{rom}"\n[targets.install]\nnext_target = "default"\n'
    )
    return vm


def calls(vm: Vm) -> list[str]:
    return (vm.folder / "calls").read_text().splitlines()


@pytest.mark.parametrize(
    ("status", "outcome", "ours"),
    [
        ("1", "poweroff", 0),
        ("2", "halt", 0),
        ("3", "triple-fault", 3),
        ("4", "error", 4),
        ("5", "suspend", 0),
        ("64", "error", 4),
    ],
)
def test_an_exit_status_of_bhyve_is_an_outcome(
    bhyve: Vm, status: str, outcome: str, ours: int
) -> None:
    (bhyve.folder / "plan").write_text(f"{status}\n")
    done = bhyve.run()
    assert [event["outcome"] for event in bhyve.events("ended")] == [outcome]
    assert done.returncode == ours, done.stderr


def test_status_0_is_a_reboot_into_the_next_target(bhyve: Vm) -> None:
    (bhyve.folder / "plan").write_text("0\n1\n")
    done = bhyve.run("-t", "install")
    assert done.returncode == 0, done.stderr
    assert [event["target"] for event in bhyve.events("ended")] == ["install", "default"]
    assert [call.split()[-1] for call in calls(bhyve)] == ["vm", "vm"]


def test_sigterm_is_handed_on_as_the_power_button(bhyve: Vm) -> None:
    (bhyve.folder / "plan").write_text("wait\n")
    process = bhyve.start()
    bhyve.wait_for(lambda: bhyve.events("running"))
    bhyve.wait_for(lambda: "waiting" in (bhyve.folder / "vm.0.out").read_text())
    process.terminate()
    done = bhyve.finish(process)
    assert [event["outcome"] for event in bhyve.events("ended")] == ["poweroff"]
    assert done.returncode == 0, done.stderr


def test_arguments_behind_two_hyphens_stand_before_the_name(bhyve: Vm) -> None:
    (bhyve.folder / "plan").write_text("1\n")
    bhyve.run("--", "-x", "-o", "a=b")
    assert calls(bhyve)[0].endswith(" -x -o a=b vm")


def test_a_record_says_who_runs_it(bhyve: Vm) -> None:
    (bhyve.folder / "plan").write_text("wait\n")
    process = bhyve.start()
    bhyve.wait_for(lambda: bhyve.events("running"))
    assert bhyve.record["hypervisor"] == "bhyve"
    assert bhyve.record["supervisor"] == process.pid
    bhyve.wait_for(lambda: "waiting" in (bhyve.folder / "vm.0.out").read_text())
    process.terminate()
    bhyve.finish(process)


def test_signals_are_given_back() -> None:
    import signal

    before = signal.getsignal(signal.SIGTERM)
    signals = Signals()
    assert signal.getsignal(signal.SIGTERM) is not before
    os.kill(os.getpid(), signal.SIGHUP)
    assert signals.take() == ["SIGHUP"]
    assert signals.take() == []
    signals.close()
    assert signal.getsignal(signal.SIGTERM) is before


def test_events_have_a_time_and_a_vm(bhyve: Vm) -> None:
    (bhyve.folder / "plan").write_text("1\n")
    bhyve.run()
    for line in bhyve.events_file.read_text().splitlines():
        event = json.loads(line)
        assert event["vm"] == "vm"
        assert event["time"] > 1e9
    assert not Path(bhyve.state / "state.json").exists()
