"""A domain's XML, and which of it has been asked for.

What nobody has asked for is still there at the end, to be named: an attribute, a text, or an
element whole.
"""

from __future__ import annotations

from vm_spec.frozen import TYPE_CHECKING
from vm_spec.xml import Element

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["Node"]

_NOBODY = Element(name="", attributes={})
_SECRETS = ("passwd", "password")  # what they say is never shown


class Node:
    """An element of which each part is asked for by name."""

    def __init__(self, element: Element) -> None:
        self._element = element
        self._asked: set[str] = set()  # attributes; "" is its text
        self._children = [Node(child) for child in element.children]
        self._met = False

    @property
    def name(self) -> str:
        """Its local name; empty for what stands in for an element that is not there."""
        return self._element.name

    @property
    def namespace(self) -> str:
        """Its namespace's URI."""
        return self._element.namespace

    @property
    def text(self) -> str:
        """What stands directly in it."""
        self._asked.add("")
        return self._element.text

    def get(self, attribute: str) -> str:
        """An attribute's value; empty when there is none."""
        self._asked.add(attribute)
        return self._element.get(attribute)

    def all(self, *names: str) -> list[Node]:
        """Its children with one of these names, in order."""
        found = [child for child in self._children if child.name in names]
        for child in found:
            child._met = True
        return found

    def one(self, name: str) -> Node:
        """Its first child of this name; an empty one when there is none."""
        first = next((child for child in self._children if child.name == name), None)
        if first is None:
            return Node(_NOBODY)
        first._met = True
        return first

    def done(self) -> None:
        """Takes all that is in it for asked for: it has been told, or carried, as a whole."""
        self._met = True
        self._asked |= {"", *self._element.attributes}
        for child in self._children:
            child.done()

    def rest(self, way: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], str, str]]:
        """What nobody asked for: the way to its element, the attribute, and what it says.

        The attribute is empty for a text, and for an element that is told whole.
        """
        if way and not self._met:
            yield way, "", self._said()
            return
        for key, value in self._element.attributes.items():
            if key not in self._asked:
                yield way, key, "..." if key in _SECRETS else value
        if self._element.text and "" not in self._asked:
            yield way, "", self._element.text
        for child in self._children:
            yield from child.rest((*way, child.name))

    def _said(self) -> str:
        """What tells an element from others of its name, then the rest of it."""
        said = dict(self._element.attributes)
        first = next((said.pop(key) for key in ("type", "model", "name") if said.get(key)), "")
        more = (f"{key}={value}" for key, value in said.items() if key not in _SECRETS)
        return " ".join(filter(None, (first, *more, self._element.text)))

    def __bool__(self) -> bool:
        """False for what stands in for an element that is not there."""
        return bool(self._element.name)
