"""The body of one address, which goes on when its connection breaks off."""

from __future__ import annotations

import threading
import zlib

from vm_pull.net import magic, urls
from vm_pull.net.parts import Parts
from vm_pull.net.statuses import refusal
from vm_pull.net.tries import LostError
from vm_spec.fault import Fault, VmError
from vm_spec.frozen import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vm_pull.net.tries import Tries
    from vm_pull.net.web import Web
    from vm_pull.net.wire import Answer

__all__ = ["Download"]

_BLOCK = 128 << 10
_BEYOND = 416
_ELSEWHERE = {401, 403, 404, 410}  # a signed address at the end of a redirect lives for minutes
_GZIP = {"gzip", "x-gzip", "deflate"}
_EITHER_HEADER = 47  # wbits: gzip's or zlib's
_UNAVAILABLE = 69


class Download:
    """What comes from a server; it is passed on once.

    Attributes:
        url: the address that has answered, after redirects, without user and password.
        size: bytes of the whole; none when the server does not say.
        first: its first bytes, `magic.NEEDED` of them or all there are; not consumed.
    """

    def __init__(self, web: Web, asked: str, answer: Answer, tries: Tries, first: bytes) -> None:
        """Takes over an answer that has status 200.

        Args:
            web: who asks again.
            asked: the address before redirects.
            answer: it is closed by `close`.
            tries: the failures until now.
            first: what was read of it already.
        """
        self.url = answer.url
        self._asked = asked
        self._web = web
        self._answer: Answer | None = answer
        self._tries = tries
        self._stop = web.wire.cutter.stop
        self._lock = threading.Lock()  # close() comes from another thread than the reader
        self._parts = Parts(answer)
        self._encoding = answer.header("Content-Encoding").lower()
        self._raw = first
        self._at = 0
        self._done = False
        self.first = self._plain(first)

    @property
    def size(self) -> int | None:
        """Bytes of the whole; none when the server does not say."""
        return self._parts.total

    def _plain(self, first: bytes) -> bytes:
        """The first bytes, decoded if that makes a text of them: a box is itself gzip."""
        if self._encoding in _GZIP:
            try:
                plain = zlib.decompressobj(_EITHER_HEADER).decompress(first, magic.NEEDED)
            except zlib.error:
                plain = b""
            if magic.kind(plain) in ("catalog", "html"):
                return plain
        self._encoding = ""
        return first

    def text(self, most_bytes: int, deadline_s: float) -> bytes:
        """The whole of a small body, decoded.

        Args:
            most_bytes: how much it may be.
            deadline_s: seconds for all of it, tries included.

        Raises:
            VmError: it is larger, or took longer (69).
        """
        late = threading.Event()

        def expire() -> None:
            late.set()
            self._stop.set()
            self._web.wire.cutter.cut()

        timer = threading.Timer(deadline_s, expire)
        timer.daemon = True
        timer.start()
        try:
            return self._small(most_bytes)
        except VmError:
            if not late.is_set():
                raise
            problem = f"{urls.shown(self.url)} took more than {deadline_s:g} seconds"
            raise VmError(Fault(problem=problem, hint="try again"), status=_UNAVAILABLE) from None
        finally:
            timer.cancel()
            timer.join()

    def _small(self, most_bytes: int) -> bytes:
        body = bytearray()
        for block in self.blocks():
            body += block
            if len(body) > most_bytes:
                raise self._too_large(most_bytes)
        if not self._encoding:
            return bytes(body)
        unpack = zlib.decompressobj(_EITHER_HEADER)
        try:
            plain = unpack.decompress(bytes(body), most_bytes + 1)
        except zlib.error:
            plain = b""
        if len(plain) > most_bytes:
            raise self._too_large(most_bytes)
        if not unpack.eof:
            problem = f"{urls.shown(self.url)} is not the {self._encoding} that it says it is"
            raise VmError(Fault(problem=problem), status=_UNAVAILABLE)
        return plain

    def _too_large(self, most_bytes: int) -> VmError:
        problem = f"{urls.shown(self.url)} is larger than {most_bytes >> 10} KiB"
        hint = "is it a catalog? They are a few KiB"
        return VmError(Fault(problem=problem, hint=hint), status=_UNAVAILABLE)

    def blocks(self) -> Iterator[bytes]:
        """The body, up to 128 KiB at a time, across as many connections as it takes.

        Raises:
            VmError: it cannot be had (69), it changed on the way (69), or `close` was called.
        """
        while block := self._next():
            yield block

    def _next(self) -> bytes:
        with self._lock:
            while not self._done:
                if self._stop.is_set():
                    problem = f"{urls.shown(self.url)} was left before its end"
                    raise VmError(Fault(problem=problem), status=_UNAVAILABLE)
                try:
                    return self._read()
                except LostError as lost:
                    self._drop()
                    self._again(lost)
        return b""

    def _read(self) -> bytes:
        """The next bytes; empty at the end.

        Raises:
            LostError: there are none yet.
        """
        if self._raw:
            block, self._raw = self._raw, b""
        else:
            answer = self._answer or self._go_on()
            block = answer.read(_BLOCK) if answer else b""
        self._at += len(block)
        self._parts.passed(self._at, ended=not block)
        if block:
            self._tries.progressed()
        else:
            self._done = True
            self._drop()
        return block

    def _go_on(self) -> Answer | None:
        """An answer that begins where the last one broke off; none when that was the end.

        Raises:
            LostError: there is none yet.
            VmError: it is not the same file any more.
        """
        with self._web.hurry():
            answer = self._ask_again()
        try:
            self._fit(answer)
        except BaseException:
            answer.close()
            raise
        if answer.status == _BEYOND:
            answer.close()
            return None
        self._answer = answer
        return answer

    def _fit(self, answer: Answer) -> None:
        """Has an answer begin at the byte where we are.

        Raises:
            VmError: it does not fit.
        """
        match answer.status:
            case 206:
                self._parts.check_part(answer, self._at)
            case 200:
                self._parts.check_whole(answer)
                self._skip(answer)
            case 416:
                self._parts.check_end(answer, self._at)
            case _:
                raise refusal(answer)

    def _ask_again(self) -> Answer:
        headers = self._parts.headers(self._at)
        answer = self._web.ask(self.url, headers)
        if answer.status in _ELSEWHERE and self.url != self._asked:
            answer.close()
            answer = self._web.ask(self._asked, headers)
        return answer

    def _skip(self, answer: Answer) -> None:
        """Reads over what was passed on already: the server sends only wholes."""
        self._tries.say(f"{urls.host(self.url)} begins again from the start; we skip what we have")
        left = self._at
        while left:
            block = answer.read(min(_BLOCK, left))
            if not block:
                raise LostError(Fault(problem=f"the connection to {urls.host(self.url)} broke off"))
            left -= len(block)

    def _again(self, lost: LostError) -> None:
        """Waits for the next try.

        Raises:
            VmError: there were enough.
        """
        if self._stop.is_set():
            return
        try:
            self._tries.again(lost)
        except LostError:
            whole = "" if self.size is None else f" of {self.size}"
            why = lost.faults[0]
            problem = f"{urls.shown(self.url)} stopped at byte {self._at}{whole}: {why.problem}"
            fault = Fault(problem=problem, hint=why.hint or "run the command again")
            raise VmError(fault, status=lost.status) from None

    def _drop(self) -> None:
        answer, self._answer = self._answer, None
        if answer:
            answer.close()

    def close(self) -> None:
        """Ends it, also while another thread waits for bytes; that thread gets a VmError."""
        self._stop.set()
        if not self._done:
            self._web.wire.cutter.cut()
        with self._lock:
            self._drop()
