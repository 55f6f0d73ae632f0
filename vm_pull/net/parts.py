"""Whether a part that a server sends belongs to what came before (RFC 9110, 13 and 14)."""

from __future__ import annotations

import re

from vm_pull.net import urls
from vm_pull.net.tries import LostError
from vm_spec.fault import Fault, VmError
from vm_spec.frozen import TYPE_CHECKING

if TYPE_CHECKING:
    from vm_pull.net.wire import Answer

__all__ = ["Parts"]

_RANGE = re.compile(r"bytes ([0-9]{1,19})-([0-9]{1,19})/([0-9]{1,19}|\*)", re.IGNORECASE)
_END = re.compile(r"bytes \*/([0-9]{1,19})", re.IGNORECASE)
_LENGTH = re.compile(r"[0-9]{1,19}")
_UNAVAILABLE = 69


class Parts:
    """What the first answer said of the whole, to compare later answers with.

    Attributes:
        total: bytes of the whole; none when the server does not say.
    """

    def __init__(self, answer: Answer) -> None:
        self.total = _length(answer)
        self._shown = urls.shown(answer.url)
        self._etag = answer.header("ETag")
        self._modified = answer.header("Last-Modified")

    def headers(self, at: int) -> dict[str, str]:
        """What asks for the rest from a byte on, of the same version.

        A weak ETag does not promise the same bytes, so it is no condition (RFC 9110, 13.1.5).
        """
        if not at:
            return {}
        strong = self._etag if self._etag.startswith('"') else ""
        condition = strong or self._modified
        return {"Range": f"bytes={at}-"} | ({"If-Range": condition} if condition else {})

    def passed(self, at: int, *, ended: bool) -> None:
        """Takes note of how many bytes came, and whether the server sees that as the end.

        Raises:
            LostError: it is less than the server said.
            VmError: it is more.
        """
        if self.total is None:
            return
        if at > self.total:
            raise self._changed(f"it sends more than its {self.total} bytes")
        if ended and at < self.total:
            raise LostError(Fault(problem=f"{self._shown} ended {self.total - at} bytes early"))

    def check_part(self, answer: Answer, at: int) -> None:
        """Passes a 206 that goes on where we are.

        Raises:
            LostError: it does not say which part it is, or where it ends.
            VmError: it is another part, or of another file.
        """
        given = answer.header("Content-Range")
        if not given:  # headers cut short look like this
            raise LostError(Fault(problem=f"{self._shown} came in a part that has no place"))
        found = _RANGE.fullmatch(given)
        if found is None or int(found[1]) != at:
            problem = f"{self._shown} was asked for bytes from {at} on and answered with {given}"
            raise VmError(Fault(problem=problem, hint="run the command again"), status=_UNAVAILABLE)
        self._compare(answer, None if found[3] == "*" else int(found[3]))

    def check_whole(self, answer: Answer) -> None:
        """Passes a 200 that sends the same from its first byte again.

        Raises:
            LostError: it does not say where it ends, and nor did any before.
            VmError: it is another file.
        """
        self._compare(answer, _length(answer))

    def check_end(self, answer: Answer, at: int) -> None:
        """Passes a 416 which says that there is nothing after what we have.

        Raises:
            VmError: it says something else.
        """
        found = _END.fullmatch(answer.header("Content-Range"))
        if found is None or self.total is not None or int(found[1]) != at:
            raise self._changed(f"nothing comes after {at} bytes")

    def _compare(self, answer: Answer, total: int | None) -> None:
        etag, modified = answer.header("ETag"), answer.header("Last-Modified")
        if self._etag and etag:
            same, compared = _opaque(etag) == _opaque(self._etag), True
        else:
            compared = bool(self._modified and modified)
            same = not compared or modified == self._modified
        if total is None and self.total is None and not answer.is_framed:
            raise LostError(Fault(problem=f"{self._shown} came in a part that has no end"))
        sized = total is not None and self.total is not None
        if not same:
            raise self._changed("it is another version now")
        if sized and total != self.total:
            raise self._changed(f"it has {total} bytes now, and had {self.total}")
        if not compared and not sized:
            problem = (
                f"{self._shown} cannot be continued: its server tells neither size nor version"
            )
            raise VmError(Fault(problem=problem, hint="run the command again"), status=_UNAVAILABLE)
        if self.total is None:
            self.total = total

    def _changed(self, how: str) -> VmError:
        problem = f"{self._shown} changed while it was fetched: {how}"
        return VmError(Fault(problem=problem, hint="run the command again"), status=_UNAVAILABLE)


def _length(answer: Answer) -> int | None:
    """The length of a body; a chunked one has none, whatever it says (RFC 9112, 6.3)."""
    text = answer.header("Content-Length")
    if answer.header("Transfer-Encoding") or not _LENGTH.fullmatch(text):
        return None
    return int(text)


def _opaque(etag: str) -> str:
    return etag.removeprefix("W/")
