"""What a browser asks: one request of HTTP/1.1, read strictly and answered whole.

Source: RFC 9112, 2 to 5; RFC 9110, 15.
"""

from __future__ import annotations

import re
from http import HTTPStatus

from vm_spec.frozen import TYPE_CHECKING, Value

if TYPE_CHECKING:
    from collections.abc import Mapping

__all__ = ["LONGEST_HEAD", "Answer", "Asked", "RequestError", "parse"]

LONGEST_HEAD = 16384  # bytes
NO_HEADERS: Mapping[str, str] = {}
_LINE = re.compile(r"([A-Z]{1,16}) (/[!-~]{0,4096}) HTTP/1\.1")
_HEADER = re.compile(r"([!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}):[ \t]*([\t -~\x80-\xff]*)")


class RequestError(Exception):
    """A request that is not served.

    Attributes:
        status: why, as HTTP says it.
        problem: why, as a person reads it.
    """

    def __init__(self, status: int, problem: str) -> None:
        super().__init__(problem)
        self.status = status
        self.problem = problem


class Asked(Value):
    """One request.

    Attributes:
        path: as it was sent, nothing decoded, without the query.
        query: what stood behind the first question mark.
        headers: lower-case name -> value; two of one name are joined by a comma.
    """

    path: str
    query: str
    headers: Mapping[str, str]

    def lists(self, name: str, word: str) -> bool:
        """Whether a header that is a list has a word in it."""
        listed = self.headers.get(name, "").split(",")
        return word in (part.strip().lower() for part in listed)


class Answer(Value):
    """One answer.

    Attributes:
        status: HTTP's number.
        kind: media type; empty for none.
        body: what follows the head.
        headers: name -> value, besides those that every answer has.
    """

    status: int = 200
    kind: str = ""
    body: bytes = b""
    headers: Mapping[str, str] = NO_HEADERS

    def whole(self) -> bytes:
        """The answer as it is sent; one that switches protocols leaves the connection open."""
        lines = [f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}"]
        if self.kind:
            lines.append(f"Content-Type: {self.kind}")
        if self.status != HTTPStatus.SWITCHING_PROTOCOLS:
            lines += [f"Content-Length: {len(self.body)}", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in self.headers.items()]
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + self.body


def parse(head: bytes) -> Asked:
    """The request in what stands before the first empty line.

    Raises:
        RequestError: it is none that we serve.
    """
    first, *rest = head.decode("latin-1").split("\r\n")
    line = _LINE.fullmatch(first)
    if line is None:
        raise RequestError(400, "this is no request of HTTP/1.1")
    if line[1] != "GET":
        raise RequestError(405, "there is nothing here but to look")
    headers: dict[str, str] = {}
    for text in rest:
        header = _HEADER.fullmatch(text)
        if header is None:
            raise RequestError(400, "a header is not understood")
        name, value = header[1].lower(), header[2].strip()
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    path, _, query = line[2].partition("?")
    return Asked(path=path, query=query, headers=headers)
