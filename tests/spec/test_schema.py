"""The JSON Schema: it and the decoder agree."""

import inspect
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import tomli
import tomli_w
from hypothesis import HealthCheck, given, settings
from jsonschema import Draft202012Validator

from tests.strategies import tables
from vm_spec import Context, VmError, encode, loads
from vm_spec.devices import Nvme
from vm_spec.machine import Machine
from vm_spec.schema import schema

EXAMPLES = Path(__file__).parents[2] / "examples"
OTHER = ("vmman.toml", "vmrun-first-generation.json")
FILES = [
    path
    for path in sorted([*EXAMPLES.glob("*.toml"), *EXAMPLES.glob("*.json")])
    if path.name not in OTHER
]
VALIDATOR = Draft202012Validator(schema())
BAD: list[dict[str, Any]] = [
    {"memroy": "1G"},
    {"mem": "1X"},
    {"mem": 0},
    {"mem": True},
    {"cpu": 0},
    {"cpu": {"core": 1}},
    {"cpu": "2"},
    {"name": "a/b"},
    {"name": 1},
    {"com1": "tty"},
    {"utc_clock": 1},
    {"reboot_on": ["crashed"]},
    {"reboot_on": [6]},
    {"stop_timeout": -1},
    {"targets": {"t": {"autostart": True}}},
    {"graphic": True},
    {"graphic": {"port": 0}},
    {"graphic": {"width": 100}},
    {"qemu": {"memory": 1}},
    {"qemu": {"accel": "hvf"}},
    {"bhyve": {"config": {"a": [1]}}},
    {"emulations": {}},
    {"emulations": [{}]},
    {"emulations": [{"device": "virtio-blk"}]},
    {"emulations": [{"device": "virtio-blc", "path": "a"}]},
    {"emulations": [{"device": "virtio-blk", "path": ""}]},
    {"emulations": [{"device": "virtio-blk", "path": "a", "slot": 32}]},
    {"emulations": [{"device": "virtio-net", "mac": "01:00:00:00:00:00"}]},
    {"emulations": [{"device": "virtio-net", "mtu": 45}]},
    {"emulations": [{"device": "virtio-net", "name": "all"}]},
    {"emulations": [{"device": "virtio-console", "ports": []}]},
    {"emulations": [{"device": "passthru", "src": "x"}]},
    {"disk": {"a": {"device": "ahci-cd", "path": "a"}}},
    {"disk": {"1": {"path": "a"}}},
    {"disk": []},
    {"targets": {"t": {"name": "x"}}},
    {"targets": {"t": {"remove": "a"}}},
    {"targets": {"t u": {}}},
    {"targets": {"t": {"emulations": [{"device": "x"}]}}},
    {"vars": {"a": 1}},
]


def parsed(path: Path) -> Any:
    return json.loads(path.read_text()) if path.suffix == ".json" else tomli.loads(path.read_text())


def faults(found: Any) -> list[str]:
    errors: Iterable[Any] = VALIDATOR.iter_errors(found)  # pyright: ignore[reportUnknownMemberType]
    return [error.message for error in errors]


def test_it_is_a_schema() -> None:
    Draft202012Validator.check_schema(schema())
    assert json.loads(json.dumps(schema())) == schema()


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_each_example_is_valid(path: Path) -> None:
    assert faults(parsed(path)) == []


def test_the_mtu_of_vmrun_is_a_text() -> None:
    found = {"name": "a", "emulations": [{"device": "virtio-net", "name": "tap0", "mtu": "9000"}]}
    assert faults(found) == []
    loads(json.dumps(found), Context(syntax="json"))


def test_the_schema_is_the_same_where_python_dedents_docstrings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    before = schema()
    for cls in (Machine, Nvme, *Nvme.__mro__[1:-1]):
        monkeypatch.setattr(cls, "__doc__", inspect.cleandoc(cls.__doc__ or ""))
    assert schema() == before


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(tables())
def test_what_the_decoder_takes_is_valid_before_and_after(raw: dict[str, Any]) -> None:
    description = loads(tomli_w.dumps(raw), Context(name="web"))
    assert faults(raw) == []
    assert faults(encode.tables(description)) == []


@pytest.mark.parametrize("raw", BAD, ids=json.dumps)
def test_what_is_not_valid_the_decoder_refuses_too(raw: dict[str, Any]) -> None:
    assert faults(raw)
    with pytest.raises(VmError):
        loads(json.dumps(raw), Context(name="web", syntax="json"))


def test_every_key_is_described() -> None:
    keys: Any = schema()["properties"]
    for key, told in keys.items():
        if key not in ("graphic", "vars", "targets"):
            assert told.get("description"), key
