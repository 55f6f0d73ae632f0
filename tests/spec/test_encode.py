"""The way back, from a description to text."""

from pathlib import Path

import pytest
import tomli

from vm_spec import Context, encode, loads
from vm_spec.frozen import replace

EXAMPLES = Path(__file__).parents[2] / "examples"
FILES = sorted([*EXAMPLES.glob("*.toml"), *EXAMPLES.glob("*.json")])
CONTEXT = Context(file="web.toml", name="web", user="u", folder="vms", home="/home/u")


def again(text: str, context: Context = CONTEXT) -> dict[str, object]:
    return encode.tables(loads(text, context))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_each_example_is_the_same_when_written_and_read_again(path: Path) -> None:
    context = replace(CONTEXT, syntax=path.suffix.removeprefix("."))
    description = loads(path.read_text(), context)
    found = loads(encode.toml(description), replace(context, syntax="toml"))
    assert found == replace(description, notes=())  # vmman's sections are gone, and their notes
    assert loads(encode.json(description), replace(context, syntax="json")) == found


def test_only_what_differs_from_its_default_is_written() -> None:
    assert again('mem = "256M"\ncpu = 1\nutc_clock = true\n[qemu]\nsandbox = true') == {
        "name": "web"
    }


def test_what_was_made_up_is_written() -> None:
    assert again('bootrom = "uefi"\n[net.lan]\nbridge = "br0"') == {
        "name": "web",
        "bootrom": "uefi",
        "varfile": "./web.vars.fd",
        "emulations": [
            {
                "device": "virtio-net",
                "label": "lan",
                "name": "vm0-vbr2c",
                "bridge": "br0",
                "mac": "52:d4:36:c1:6d:7f",
            }
        ],
    }


@pytest.mark.parametrize(
    ("given", "written"),
    [
        ("a.img", "./a.img"),
        ("./a.img", "./a.img"),
        ("../a.img", "./../a.img"),
        ("/a.img", "/a.img"),
        ("~/a.img", "/home/u/a.img"),
        (".//a.img", ".//a.img"),
        ("100%%.img", "./100%%.img"),
    ],
)
def test_a_path_starts_where_it_started(given: str, written: str) -> None:
    assert again(f'kernel = "{given}"')["kernel"] == written


def test_a_target_writes_what_it_changes_even_to_a_default() -> None:
    text = 'cpu = 2\n[qemu]\ncpu = "host"\n[targets.t]\ncpu = 1\nqemu = { cpu = "" }'
    assert again(text)["targets"] == {"t": {"cpu": 1, "qemu": {"cpu": ""}}}


def test_the_text_is_plain_toml() -> None:
    description = loads('cmdline = "a%%b\\n"\nkernel = "/k"', CONTEXT)
    assert tomli.loads(encode.toml(description)) == encode.tables(description)
