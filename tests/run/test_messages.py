"""What vm-run says while a guest runs and when it is over: whole sentences."""

from __future__ import annotations

import io
import sys
from typing import Any

import pytest

from vm_run.messages import describe, describe_ending, ended, list_forwards, say
from vm_run.reboot import Ending
from vm_spec import Context, loads
from vm_spec.machine import Outcome


def ending(outcome: str, **changes: Any) -> Ending:
    given: dict[str, Any] = {
        "outcome": Outcome(outcome),
        "target": "default",
        "asked": False,
        "forced": False,
        "detail": "",
        "why": "only reboot restarts it",
        "starts": 1,
        "seconds": 12.34,
    } | changes
    return Ending(**given)


@pytest.mark.parametrize(
    ("given", "said", "status"),
    [
        (
            ending("poweroff"),
            "guest powered off after 12.3 s (target default); "
            "not started again: only reboot restarts it",
            0,
        ),
        (
            ending("killed", asked=True, forced=True, detail="SIGKILL", why="it was asked to stop"),
            "guest was killed (SIGKILL), forced, after 12.3 s (target default); "
            "not started again: it was asked to stop",
            0,
        ),
        (
            ending("triple-fault", starts=3, target="install"),
            "guest crashed after 12.3 s (target install, start 3); "
            "not started again: only reboot restarts it",
            3,
        ),
        (
            ending("error", detail="exit status 1"),
            "guest could not go on: the hypervisor failed (exit status 1) after 12.3 s "
            "(target default); not started again: only reboot restarts it",
            4,
        ),
    ],
)
def test_the_end_is_one_sentence_and_one_status(given: Ending, said: str, status: int) -> None:
    assert describe_ending(given) == said
    assert given.status == status


@pytest.mark.parametrize("outcome", [*Outcome.NUMBERED, "killed"])
def test_every_outcome_has_its_words_and_a_status(outcome: str) -> None:
    made = ending(outcome)
    assert describe_ending(made).startswith(f"guest {ended(outcome)} after ")
    assert made.status == {"triple-fault": 3, "error": 4, "killed": 4}.get(outcome, 0)


@pytest.mark.parametrize(
    ("event", "said"),
    [
        ({"event": "note", "text": "as it is"}, "as it is"),
        (
            {"event": "restarting", "outcome": "reboot", "target": "default"},
            "guest rebooted; starting again: target default",
        ),
        ({"event": "recovered", "pid": 7, "target": "two"}, "took over pid 7, target two"),
        (
            {"event": "stopping", "by": "SIGINT", "timeout": 60},
            "SIGINT: pressing the power button, waiting up to 60 s; "
            "a second signal kills the guest",
        ),
        ({"event": "forcing", "why": "SIGINT again"}, "forcing the guest: SIGINT again"),
        ({"event": "started", "pid": 7}, ""),
        ({"event": "of a later version"}, ""),
    ],
)
def test_an_event_is_a_line_or_nothing(event: dict[str, Any], said: str) -> None:
    assert describe(event) == said


def test_a_standard_error_that_is_gone_is_no_reason_to_stop(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gone = io.StringIO()
    gone.close()
    monkeypatch.setattr(sys, "stderr", gone)
    say("vm", "hello")


def test_a_line_begins_with_the_name_of_its_vm(capsys: pytest.CaptureFixture[str]) -> None:
    say("vm", "hello")
    assert capsys.readouterr().err == "vm: hello\n"


def test_a_port_that_leads_into_the_guest_is_told() -> None:
    text = (
        '[net.lan]\nforward = ["2222:22", "udp:5353:53"]\n[net.other]\n[disk.a]\npath = "a.img"\n'
    )
    assert list(list_forwards(loads(text, Context(name="web")).machine)) == [
        "127.0.0.1:2222 is forwarded to guest port 22",
        "127.0.0.1:5353 is forwarded to guest port 53 (udp)",
    ]
