"""The native form as JSON Schema (draft 2020-12), made from the types: `vm-run --schema`."""

from __future__ import annotations

import inspect
import re

from vm_spec.devices import KINDS, Band, Device, Graphic
from vm_spec.emulations import SHORTCUTS
from vm_spec.encode import plain
from vm_spec.frozen import TYPE_CHECKING
from vm_spec.limits import MOST_EMULATIONS, TEXT_LIMITS, WHOLE_LIMITS
from vm_spec.machine import BASE_ONLY, Machine, Outcome
from vm_spec.reader import RECORDS, WORDS
from vm_spec.types import Label, Mac, Word

if TYPE_CHECKING:
    from vm_spec.frozen import Value

__all__ = ["schema"]

Schema = dict[str, object]

_ABOUT = (
    "A virtual machine for vm-run: vm.toml(5), in TOML or JSON. vmrun's first generation "
    "(frontend, backend) and vmman's sections are read as well, and are not described here."
)
_VARIABLE = r"%[(%]"  # a text with a variable may become anything
_CHOICE = re.compile(r"[\w-]+(?:\|[\w-]+)+")


def schema() -> Schema:
    """The schema of a description in its native form, shortcuts and targets included."""
    emulations = {
        "type": "array",
        "maxItems": MOST_EMULATIONS,
        "items": {"required": ["device"], "oneOf": [_ref(kind) for kind in KINDS]},
        "description": "the devices, in order",
    }
    common = {"emulations": emulations} | {name: _shortcut(name) for name in SHORTCUTS}
    common |= {"graphic": {"anyOf": [{"const": False}, _ref("graphic")]}}
    machine = _properties(Machine, ("emulations", "graphic")) | common
    target = _properties(Machine, ("emulations", "graphic", *BASE_ONLY)) | common
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "vm.toml(5)",
        "description": _ABOUT,
        **_closed(
            machine | {"vars": _named({"type": "string"}), "targets": _labelled(_ref("target"))}
        ),
        "$defs": {
            "target": _closed(target | {"remove": _list(_word(Label))}),
            "graphic": _closed(_properties(Graphic, ("label",))),
            "properties": _named({"anyOf": [_SCALAR, _ref("properties")]}),
            **{kind: _device(cls) for kind, cls in KINDS.items()},
            **{name: _closed(_properties(cls)) | _needed(cls) for name, cls in RECORDS.items()},
            **{name: _word(cls) for name, cls in WORDS.items() if cls not in (Word, Band)},
            **_PARSED,
        },
    }


def _device(cls: type[Device]) -> Schema:
    """A device; only where a shortcut stands for it, `device` may be left out."""
    found = _closed({"device": {"const": cls.kind}} | _properties(cls)) | _needed(cls)
    return found | {"description": (cls.__doc__ or "").partition("\n")[0]}


def _shortcut(name: str) -> Schema:
    obvious, *others = SHORTCUTS[name]
    kinds = [_ref(obvious), *(_ref(kind) | {"required": ["device"]} for kind in others)]
    about = f"each stands for a {obvious}, or for the device that it names"
    return _labelled({"oneOf": kinds}) | {"description": about}


def _properties(cls: type[Value], skip: tuple[str, ...] = ()) -> Schema:
    """Every key of a class; hyphens may stand for underscores."""
    told = _told(cls)
    found: Schema = {}
    for field, annotation in cls.fields.items():
        if field not in skip:
            key = _typed(annotation.removesuffix(" | None"), field)
            key |= {"description": told[field]} if field in told else {}
            key |= _default(cls, field)
            found |= {field: key, field.replace("_", "-"): key}
    return found


def _default(cls: type[Value], field: str) -> Schema:
    default = cls.defaults.get(field)
    return {} if default is None else {"default": plain(default, cls.fields[field])}


def _told(cls: type[Value]) -> dict[str, str]:
    """What the docstrings of a class and of those it builds on say of each field."""
    told: dict[str, str] = {}
    for base in reversed(cls.__mro__):
        lines = inspect.cleandoc(base.__doc__ or "").partition("Attributes:")[2]
        for name, text in re.findall(r"^ {4}(\w+): (.+(?:\n {5,}.+)*)", lines, re.MULTILINE):
            told[name] = " ".join(text.split())
    return told


def _typed(kind: str, field: str) -> Schema:
    if kind in _SIMPLE:
        return dict(_SIMPLE[kind])
    if kind == "str":
        return _text(TEXT_LIMITS.get(field, 4096))
    if kind == "int":
        return _whole(field)
    if kind.startswith("tuple["):
        return _list(_typed(kind.removeprefix("tuple[").removesuffix(", ...]"), field))
    return _ref(kind)


def _whole(field: str) -> Schema:
    low, high = WHOLE_LIMITS.get(field, (-(2**63), 2**64 - 1))
    number: Schema = {"type": "integer", "minimum": low, "maximum": high}
    if field == "mtu":  # vmrun's is a text
        return {"anyOf": [number, {"type": "string", "pattern": "^[0-9]+$"}]}
    return number


def _word(cls: type[Word]) -> Schema:
    if _CHOICE.fullmatch(cls.pattern):
        words: list[Schema] = [{"enum": cls.pattern.split("|")}, {"pattern": _VARIABLE}]
        found: Schema = {"type": "string", "anyOf": words}
    else:
        found = _matching(cls.pattern.replace(r"\Z", "$").replace(r"\0", r"\u0000"))
    return found | {"description": cls.rule}


def _matching(pattern: str) -> Schema:
    return {"type": "string", "pattern": f"^(?:{pattern})$|{_VARIABLE}"}


def _text(most: int) -> Schema:
    return {"type": "string", "anyOf": [{"maxLength": most}, {"pattern": _VARIABLE}]}


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


def _named(items: Schema) -> Schema:
    return {"type": "object", "additionalProperties": items}


def _labelled(items: Schema) -> Schema:
    return _named(items) | {"propertyNames": _ref("Label")}


def _ref(name: str) -> Schema:
    return {"$ref": f"#/$defs/{name}"}


def _closed(properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _needed(cls: type[Value]) -> Schema:
    """The keys that must be there; a label is made when it is left out."""
    needed = [name for name in cls.fields if name not in (*cls.defaults, "label")]
    return {"required": needed} if needed else {}


_SCALAR: Schema = {"type": ["string", "number", "boolean"]}
_SIMPLE: dict[str, Schema] = {
    "bool": {"type": "boolean"},
    "Properties": _ref("properties"),
    "CloudInit": {"anyOf": [{"const": False}, _ref("CloudInit")]},
    "Tpm": {"anyOf": [{"const": False}, _ref("Tpm")]},
    "Blanks": {"anyOf": [{"type": "string"}, _list({"type": "string"})]},
    "Arguments": {"anyOf": [{"type": "string"}, _list({"type": "string"})]},
    "tuple[str, ...]": _list({"type": "string"}),
    "Cpu": {"anyOf": [_whole("cores"), _ref("Cpu")]},
    "tuple[ConsolePort, ...]": {
        "anyOf": [
            _list(_ref("FilePath")) | {"minItems": 1, "maxItems": 16},
            _labelled(_ref("FilePath")) | {"minProperties": 1, "maxProperties": 16},
        ]
    },
}
_COLONS = "[0-9]{1,3}(?::[0-9]{1,3}){0,2}"
_PCI = "(?:[0-9a-fA-F]{4}:)?[0-9a-fA-F]{2}:[01][0-9a-fA-F][.][0-7]|[0-9]+([:/])[0-9]+[:/][0-9]+"
# What is read by `parse`, or read more freely than its words are kept.
_PARSED: dict[str, Schema] = {
    "Size": {
        "description": 'a size such as "512M" or "2G", or a number of bytes',
        "anyOf": [
            {"type": "integer", "minimum": 1, "maximum": 2**63 - 1},
            _matching("[0-9]{1,19}[kKmMgGtT]?[bB]?"),
        ],
    },
    "PciSlot": {
        "description": "a PCI slot: 0 to 31, or slot:function, or bus:slot:function",
        "anyOf": [{"type": "integer", "minimum": 0, "maximum": 31}, _matching(_COLONS)],
    },
    "Mac": _matching(Mac.pattern.replace("a-f", "a-fA-F").replace("ace", "aceACE"))
    | {"description": Mac.rule},
    "Outcome": {
        "description": Outcome.rule,
        "anyOf": [
            {"enum": [*Outcome.pattern.split("|"), "crash"]},
            {"type": "integer", "minimum": 0, "maximum": 5},
            {"type": "string", "pattern": f"^[0-5]$|{_VARIABLE}"},
        ],
    },
    "PciId": _matching(_PCI) | {"description": "a PCI address such as 0000:01:00.0 or 1:0:0"},
    "Forward": _matching("(?:(?:tcp|udp):)?(?:[0-9.]{7,15}:)?[0-9]{1,5}:[0-9]{1,5}")
    | {"description": "a port forward such as 2222:22 or tcp:127.0.0.1:8080:80"},
}
