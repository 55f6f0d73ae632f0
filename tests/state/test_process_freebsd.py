"""Processes that are not our children, as FreeBSD reports them. Untested on FreeBSD."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.lacking import need
from vm_state import process


@pytest.fixture
def ps(monkeypatch: pytest.MonkeyPatch) -> None:
    """No /proc, but the system's ps(1), which knows `lstart` on FreeBSD and on Linux."""
    need("ps")
    monkeypatch.setattr(process, "_LINUX", False)
    monkeypatch.setattr(process, "_descriptor", os.pidfd_open)


@pytest.mark.usefixtures("ps")
def test_a_process_has_one_start_and_another_process_another() -> None:
    born = process.started_at(1)
    other = subprocess.Popen(["cat"], stdin=subprocess.PIPE)
    try:
        started = process.started_at(other.pid)
        assert started == process.started_at(other.pid)
        assert abs(started - time.time()) < 3000  # less than any time zone is off
        assert 0 < born <= started
    finally:
        other.communicate()
    assert process.started_at(other.pid) == 0


@pytest.mark.usefixtures("ps")
def test_a_process_that_has_ended_is_none_before_anybody_asked_how() -> None:
    other = subprocess.Popen(["true"], stdin=subprocess.DEVNULL)
    watched = process.Process(other.pid, is_child=False)
    select.select([watched.fd], [], [], 30)
    assert process.started_at(other.pid) == 0
    watched.close()
    other.wait()


@pytest.mark.usefixtures("ps")
def test_without_ps_nothing_is_known(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert process.started_at(os.getpid()) == 0


class Event:
    def __init__(self, data: int) -> None:
        self.data = data


class Queue:
    """A kqueue that has told of an end."""

    events: list[Event] = []  # noqa: RUF012  one queue

    @classmethod
    def fromfd(cls, fd: int) -> Queue:
        os.close(fd)
        return cls()

    def control(self, changes: None, most: int, timeout: int) -> list[Event]:
        assert (changes, most, timeout) == (None, 1, 0)
        return self.events

    def close(self) -> None:
        """Closes what it was given, which `fromfd` did."""


def opened(pid: int) -> int:
    """A descriptor that stands for the end of a process."""
    assert pid == 1
    return os.open(os.devnull, os.O_RDONLY)


@pytest.mark.parametrize(
    ("status", "code"), [(0, 0), (1 << 8, 1), (signal.SIGTERM, -signal.SIGTERM)]
)
def test_a_kqueue_tells_how_a_process_that_is_no_child_has_ended(
    monkeypatch: pytest.MonkeyPatch, status: int, code: int
) -> None:
    monkeypatch.setattr(select, "kqueue", Queue, raising=False)
    monkeypatch.setattr(Queue, "events", [Event(status)])
    monkeypatch.setattr(process, "_LINUX", False)
    monkeypatch.setattr(process, "_descriptor", opened)
    ended = process.Process(1, is_child=False)
    assert ended.wait() == code
    monkeypatch.setattr(Queue, "events", [])
    assert ended.wait() is None
    ended.close()


def test_the_start_of_a_process_is_asked_of_ps_where_there_is_no_proc(
    request: pytest.FixtureRequest,
) -> None:
    ticks = process.started_at(os.getpid())
    here = process.uptime(ticks)
    request.getfixturevalue("ps")
    started = process.started_at(os.getpid())
    assert started != ticks
    assert abs(process.uptime(started) - here) < 3000  # less than any time zone is off
