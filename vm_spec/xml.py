"""XML from a stranger, read without any of the things that make XML dangerous.

No DOCTYPE, so no entities and no external files; two encodings; caps on bytes, depth and elements.
expat checks that the text is well-formed; which encoding it is was decided before it sees a byte.
"""

from __future__ import annotations

from xml.parsers import expat

from vm_spec.fault import Fault, VmError
from vm_spec.frozen import TYPE_CHECKING, Value

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Element", "read"]

MOST_BYTES = 1 << 20  # what describes one machine has 5 to 40 KiB
MOST_DEPTH = 64
MOST_ELEMENTS = 20_000
_ENCODINGS = ("utf-8", "utf8", "utf-16", "us-ascii", "ascii")
_BOMS = {b"\xef\xbb\xbf": "utf-8", b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}


class Element(Value):
    """One element with all that is in it.

    Names are local ones: a namespace is written as the default, or with any prefix.

    Attributes:
        namespace: its namespace's URI; empty for none.
        name: its local name.
        attributes: values by local name; of two with one local name the first.
        text: what stands directly in it, without blanks at the ends.
        children: in order of the text.
    """

    namespace: str = ""
    name: str
    attributes: dict[str, str]
    text: str = ""
    children: tuple[Element, ...] = ()

    def get(self, attribute: str) -> str:
        """An attribute's value; empty when there is none."""
        return self.attributes.get(attribute, "")

    def all(self, *names: str) -> Iterator[Element]:
        """Its children with one of these names, in order."""
        return (child for child in self.children if child.name in names)

    def one(self, name: str) -> Element:
        """Its first child of this name; an empty element when there is none."""
        return next(self.all(name), Element(name="", attributes={}))

    def __bool__(self) -> bool:
        """False for what stands in for an element that is not there."""
        return bool(self.name)


def read(data: bytes, what: str, hint: str = "") -> Element:
    """The root element of a document.

    Args:
        data: the document.
        what: how messages call it: `box.ovf`.
        hint: the next step where it is refused.

    Raises:
        VmError: it is not well-formed, has a DOCTYPE, is in another encoding than UTF-8 or (with
            a byte order mark) UTF-16, or is beyond the caps.

    Source: XML 1.0 (Fifth Edition), 2.8 and 4.3.3; Namespaces in XML 1.0.
    """
    try:
        return _root(data)
    except _XmlError as error:
        raise VmError(Fault(problem=f"{what} {error}", hint=hint)) from None


class _XmlError(Exception):
    """What is wrong, as the end of a sentence that begins with the document's name."""


def _root(data: bytes) -> Element:
    if len(data) > MOST_BYTES:
        raise _XmlError(f"is longer than {MOST_BYTES >> 20} MiB")
    text = _decoded(data)
    if "\0" in text:  # expat takes it for UTF-16, whatever it is told
        raise _XmlError("has a NUL in it")
    building = _Building()
    try:
        building.parser.Parse(text.encode(), True)
    except expat.ExpatError as error:
        line, reason = error.lineno, expat.ErrorString(error.code)
        raise _XmlError(f"is not well-formed XML: line {line}: {reason}") from None
    return building.root


def _decoded(data: bytes) -> str:
    """The document's text; its byte order mark decides, and UTF-8 is the only other way."""
    mark = next((mark for mark in _BOMS if data.startswith(mark)), b"")
    encoding = _BOMS.get(mark, "utf-8")
    try:
        return data[len(mark) :].decode(encoding)
    except UnicodeDecodeError:
        raise _XmlError(f"is not text in {encoding}") from None


class _Frame:
    """An element of which the end has not been seen yet."""

    def __init__(self, name: str, attributes: dict[str, str]) -> None:
        self.namespace, _, self.name = name.rpartition(" ")
        self.attributes: dict[str, str] = {}
        for key, value in attributes.items():
            self.attributes.setdefault(key.rpartition(" ")[2], value)
        self.texts: list[str] = []
        self.children: list[Element] = []

    def element(self) -> Element:
        return Element(
            namespace=self.namespace,
            name=self.name,
            attributes=self.attributes,
            text="".join(self.texts).strip(),
            children=tuple(self.children),
        )


class _Building:
    """The tree while expat reads; every limit is looked at before memory is spent."""

    def __init__(self) -> None:
        self.count = 0
        self.open: list[_Frame] = []
        self.root = Element(name="", attributes={})
        # the last blank is before the local name; the encoding given here overrides a declared one
        self.parser = expat.ParserCreate("utf-8", " ")
        self.parser.buffer_text = True
        self.parser.XmlDeclHandler = self.declaration
        self.parser.StartDoctypeDeclHandler = self.doctype
        self.parser.StartElementHandler = self.start
        self.parser.EndElementHandler = self.end
        self.parser.CharacterDataHandler = self.characters

    def declaration(self, _version: str, encoding: str | None, _standalone: int) -> None:
        if encoding is not None and encoding.lower() not in _ENCODINGS:
            raise _XmlError(f"says that it is in {encoding}, and only UTF-8 is read")

    def doctype(self, *_: object) -> None:
        raise _XmlError("has a DOCTYPE, and none is read")

    def start(self, name: str, attributes: dict[str, str]) -> None:
        self.count += 1
        if self.count > MOST_ELEMENTS:
            raise _XmlError(f"has more than {MOST_ELEMENTS} elements")
        if len(self.open) >= MOST_DEPTH:
            raise _XmlError(f"is nested deeper than {MOST_DEPTH} elements")
        self.open.append(_Frame(name, attributes))

    def end(self, _name: str) -> None:
        made = self.open.pop().element()
        if self.open:
            self.open[-1].children.append(made)
        else:
            self.root = made

    def characters(self, text: str) -> None:
        self.open[-1].texts.append(text)
