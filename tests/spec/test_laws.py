"""Laws of the whole language: the way back, and what every fault says."""

import json
from typing import Any

import pytest
import tomli
import tomli_w
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.strategies import CONTEXTS, broken, tables
from vm_spec import Context, VmError, encode, loads
from vm_spec.frozen import replace

SLOW = settings(
    max_examples=100,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.large_base_example],
)
CORPUS = settings(SLOW, max_examples=500)
NATIVE: dict[str, Any] = {
    "name": "web", "cpu": {"cores": 2, "threads": 1}, "mem": "512M", "bootrom": "uefi",
    "com1": "stdio", "kernel": "vmlinuz", "reboot_on": ["reboot", 3], "vars": {"d": "/images"},
    "graphic": {"port": 5901, "wait": False}, "qemu": {"args": ["-x"], "hide-hypervisor": True},
    "emulations": [
        {"device": "virtio-blk", "path": "%(d)/a.img", "label": "root", "slot": "0:5:0"},
        {"device": "virtio-net", "bridge": "br0", "mtu": "9000", "qemu": {"a": {"b": 1}}},
        {"device": "virtio-console", "ports": {"agent": "a.sock"}},
        {"device": "passthru", "lookup": {"vendor": "0x10de1b80", "device": "0x10de1b80"}},
    ],
    "disk": {"data": {"path": "data.img"}},
    "net": {"lan": {"forward": ["2222:22"]}},
    "targets": {"install": {
        "next_target": "default", "remove": ["root"], "qemu": {"cpu": "max"},
        "emulations": [{"device": "ahci-cd", "path": "a.iso"}],
    }},
}  # fmt: skip
VMRUN: dict[str, Any] = {
    "name": "freebsd-test", "cpu": 2, "mem": "512M", "com1": "stdio", "bootrom": "/BHYVE_UEFI.fd",
    "emulations": [
        {"frontend": "virtio-net", "backend": "tap", "name": "tap3"},
        {"frontend": "virtio-blk", "device": "disk.img"},
    ],
    "targets": {"install": {
        "emulations": [{"frontend": "ahci-cd", "device": "a.iso"}], "next_target": "default",
    }},
}  # fmt: skip
VMMAN: dict[str, Any] = {
    "base": {"main": {"machine": "q35", "smp": "2", "mem": "512", "serial": "stdio"}},
    "storage": {"main": {"driver": "virtio", "file": "main.img"}},
    "tapbridge": {"lan": {
        "interface": "tap0", "bridge": "br0", "driver": "virtio-net-pci",
        "mac": "02:00:5e:10:00:01",
    }},
    "bridge": {"wan": {
        "interface": "mv0", "host-interface": "e0", "mac": "02:00:5e:10:00:02", "driver": "e1000",
    }},
    "pcie-passthrough": {"gpu": {"dev": "0000:01:00.0", "romfile": "a.rom"}},
    "apple-smc": {"smc": {"osk": "key"}},
}  # fmt: skip
TABLES = st.sampled_from([NATIVE, VMRUN, VMMAN])
CONTEXT = Context(file="web.toml", name="web", user="u", home="/home/u", confdir="/vm")


@SLOW
@given(tables(), CONTEXTS)
def test_a_description_that_was_written_and_read_again_is_equal(
    raw: dict[str, Any], context: Context
) -> None:
    description = loads(tomli_w.dumps(raw), context)
    assert loads(encode.toml(description), context) == description
    as_json = replace(context, syntax="json")
    assert loads(encode.json(description), as_json) == description


@SLOW
@given(tables(), CONTEXTS)
def test_toml_and_json_mean_the_same(raw: dict[str, Any], context: Context) -> None:
    as_json = replace(context, syntax="json")
    text = tomli_w.dumps(raw)
    assert loads(text, context) == loads(json.dumps(tomli.loads(text)), as_json)


@SLOW
@given(tables(), CONTEXTS)
def test_a_description_of_json_that_was_written_as_toml_is_equal(
    raw: dict[str, Any], context: Context
) -> None:
    description = loads(json.dumps(raw), replace(context, syntax="json"))
    assert loads(encode.toml(description), context) == description


@CORPUS
@given(broken(NATIVE))
def test_a_broken_native_description_is_refused_with_a_place(raw: dict[str, Any]) -> None:
    refused_with_a_place(json.dumps(raw), "json")


@CORPUS
@given(broken(VMRUN))
def test_a_broken_description_of_vmrun_is_refused_with_a_place(raw: dict[str, Any]) -> None:
    refused_with_a_place(json.dumps(raw), "json")


@CORPUS
@given(broken(VMMAN))
def test_a_broken_description_of_vmman_is_refused_with_a_place(raw: dict[str, Any]) -> None:
    refused_with_a_place(json.dumps(raw), "json")


@CORPUS
@given(
    st.sampled_from([NATIVE, VMRUN, VMMAN]), st.integers(0), st.integers(0, 9), st.text(max_size=9)
)
def test_a_text_with_other_characters_in_it_is_refused_with_a_place(
    raw: dict[str, Any], at: int, taken: int, put: str
) -> None:
    for syntax, text in (("toml", tomli_w.dumps(raw)), ("json", json.dumps(raw, indent=1))):
        place = at % len(text)
        refused_with_a_place(text[:place] + put + text[place + taken :], syntax)


@pytest.mark.parametrize("depth", [100, 480, 900, 950, 980, 1000, 1100])
def test_at_any_depth_it_is_refused_or_read(depth: int) -> None:
    refused_with_a_place('{"x": ' + "[" * depth + "]" * depth + "}", "json")
    refused_with_a_place("x = " + "[" * depth + "]" * depth, "toml")
    refused_with_a_place('{"x": ' * depth + "1" + "}" * depth, "json")
    refused_with_a_place("[qemu." + "a." * depth + "a]", "toml")
    refused_with_a_place(
        '{"bhyve": {"config": ' + '{"x": ' * depth + "1" + "}" * depth + "}}", "json"
    )


def refused_with_a_place(text: str, syntax: str) -> None:
    """Reads it: any exception but VmError is a bug of ours."""
    try:
        loads(text, replace(CONTEXT, syntax=syntax))
    except VmError as error:
        assert error.faults
        for fault in error.faults:
            assert fault.path or fault.line or fault.problem == "is nested too deeply"
            assert fault.problem.strip()
            assert fault.problem.isprintable() or str(error).replace("\n", "").isprintable()
