"""Threads that share small pieces of work: all of it is done, and what one raises is raised."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import pytest

from vm_pull.images.crew import Crew

HOUSE = Path(__file__).parents[2]


@pytest.mark.parametrize("hands", [0, 1, 3])
def test_all_work_is_done_before_waiting_ends(hands: int) -> None:
    done: list[int] = []
    with Crew(hands) as crew:
        for number in range(500):
            crew.do(lambda number=number: done.append(number))  # type: ignore[misc]
        crew.wait()
        assert sorted(done) == list(range(500))
        crew.do(lambda: done.append(-1))
        crew.wait()
    assert done[-1] == -1
    assert alive() == []


def alive() -> list[str]:
    return [thread.name for thread in threading.enumerate() if thread.name == "vm-pull-hand"]


def fails() -> None:
    raise ValueError("this one")


@pytest.mark.parametrize("hands", [0, 1, 3])
def test_what_a_piece_raises_is_raised_and_nothing_is_done_after_it(hands: int) -> None:
    late: list[int] = []
    with pytest.raises(ValueError, match="this one"), Crew(hands) as crew:
        crew.do(fails)
        crew.wait()
        crew.do(lambda: late.append(1))
    assert late == []
    assert alive() == []


def test_only_so_much_waits_at_once() -> None:
    gate, begun = threading.Event(), threading.Event()

    def held() -> None:
        begun.set()
        gate.wait(60)

    given = 0

    def give(crew: Crew) -> None:
        nonlocal given
        for _ in range(1000):
            crew.do(held)
            given += 1

    with Crew(1) as crew:
        giver = threading.Thread(target=give, args=(crew,))
        giver.start()
        assert begun.wait(60)
        giver.join(0.2)
        assert giver.is_alive()
        assert given < 50
        gate.set()
        giver.join(60)
        crew.wait()
    assert given == 1000


def test_a_crew_that_is_left_in_an_error_leaves_no_thread() -> None:
    with pytest.raises(KeyboardInterrupt), Crew(2) as crew:
        crew.do(lambda: None)
        raise KeyboardInterrupt
    assert alive() == []


INTERRUPTED = """
import threading
start = threading.Thread.start
def interrupted(thread):
    start(thread)
    raise KeyboardInterrupt
threading.Thread.start = interrupted
from vm_pull.archive.pipe import ahead
from vm_pull.images.crew import Crew
"""


@pytest.mark.parametrize("begin", ["Crew(1)", "ahead(iter([1, 2, 3]), 1).__enter__()"])
def test_an_interrupt_while_a_thread_starts_ends_the_process(begin: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED + begin], cwd=HOUSE, check=False,
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    assert done.stderr.endswith("KeyboardInterrupt\n")
