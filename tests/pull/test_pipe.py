"""Blocks go from one thread to the next, and no thread stays behind."""

import hashlib
import threading
from collections.abc import Iterator

import pytest

from vm_pull.archive.pipe import ahead, hashed
from vm_spec.fault import Fault, VmError


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    before = threading.enumerate()
    yield
    assert threading.enumerate() == before


def test_blocks_arrive_in_their_order() -> None:
    with ahead(iter(range(1000)), 3) as taken:
        assert list(taken) == list(range(1000))


def test_they_are_made_in_another_thread() -> None:
    def makers() -> Iterator[str]:
        yield threading.current_thread().name

    with ahead(makers(), 1) as taken:
        assert next(taken) != threading.current_thread().name


@pytest.mark.parametrize("depth", [1, 2, 7])
def test_never_more_wait_than_the_depth(depth: int) -> None:
    made = 0
    full = threading.Event()

    def makers() -> Iterator[int]:
        nonlocal made
        while True:
            made += 1
            if made > depth:
                full.set()
            yield made

    with ahead(makers(), depth) as taken:
        assert next(taken) == 1
        assert full.wait(10)
        made_ahead = made
    assert made_ahead <= depth + 1
    assert made <= depth + 2


def test_what_the_producer_raises_comes_after_its_blocks() -> None:
    def makers() -> Iterator[int]:
        yield 1
        raise VmError(Fault(problem="the line is cut"), status=74)

    got: list[int] = []
    with pytest.raises(VmError, match="the line is cut") as caught, ahead(makers(), 4) as taken:
        got.extend(taken)
    assert got == [1]
    assert caught.value.status == 74


@pytest.mark.parametrize("error", [KeyboardInterrupt, VmError])
def test_an_error_of_the_consumer_ends_the_thread(error: type[BaseException]) -> None:
    with pytest.raises(error), ahead(iter(int, 1), 2) as taken:
        next(taken)
        raise error


def test_a_consumer_that_stops_early_closes_the_producer() -> None:
    closed = threading.Event()

    def makers() -> Iterator[int]:
        try:
            while True:
                yield 1
        finally:
            closed.set()

    with ahead(makers(), 2) as taken:
        next(taken)
    assert closed.is_set()


def test_a_producer_that_waits_for_ever_is_interrupted() -> None:
    never = threading.Event()

    def makers() -> Iterator[int]:
        yield 1
        assert never.wait(60)

    with pytest.raises(KeyboardInterrupt), ahead(makers(), 2, never.set) as taken:
        next(taken)
        raise KeyboardInterrupt


def test_nothing_is_interrupted_when_all_went_well() -> None:
    calls: list[str] = []
    with ahead(iter("ab"), 1, lambda: calls.append("interrupted")) as taken:
        assert "".join(taken) == "ab"
    assert calls == []


def test_every_digest_sees_every_block() -> None:
    first, second = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
    assert b"".join(hashed([b"ab", memoryview(b"c")], first, second)) == b"abc"
    assert first.digest() == hashlib.sha256(b"abc").digest()
    assert second.digest() == hashlib.md5(b"abc", usedforsecurity=False).digest()
