"""The command line of vm-pull."""

from __future__ import annotations

import argparse

from vm_spec.frozen import TYPE_CHECKING
from vm_spec.types import Size
from vm_state.parser import Parser

if TYPE_CHECKING:
    pass

__all__ = ["Call", "parse", "parser"]

EXAMPLES = """\
examples:
  vm-pull ubuntu/trusty64                  the newest version, as ~/vm/trusty64.toml
  vm-pull debian/bookworm64 --list         what there is; nothing is fetched but the list
  vm-pull ubuntu/trusty64 --version '~> 20190514.0'
  vm-pull oraclelinux/8 https://oracle.github.io/vagrant-projects/boxes/oraclelinux/8.json
  vm-pull ./my.box --name web --size 40G   a box that is here already

exit status: 0 done, 64 wrong command line, 65 wrong box, 66 no such box, 69 the network or the host
lacks something, 70 our bug, 74 cannot be written, 75 busy, 77 refused
"""


def _size(text: str) -> int:
    try:
        return Size.parse(text).bytes
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def parser() -> Parser:
    """The parser; vm-pull(1) has the same words."""
    made = Parser(
        "vm-pull",
        "vm-pull USER/BOX [URL|FILE] [OPTION...]\n       vm-pull URL|FILE [OPTION...]",
        "Fetch a Vagrant box: a disk image and a description that vm-run boots.",
        EXAMPLES,
    )
    made.add_argument("words", metavar="USER/BOX", nargs="*", help="a box's name in the registry")
    made.add_argument("--version", metavar="VERSION", nargs="?", const="", dest="wanted",
        help="'= != > < >= <= ~>' as Vagrant has them; alone: the version of vm-pull",
    )  # fmt: skip
    _which(made.add_argument_group("which box"))
    _what(made.add_argument_group("what becomes of it"))
    return made


def _which(group: argparse._ArgumentGroup) -> None:  # pyright: ignore[reportPrivateUsage]
    group.add_argument("--provider", metavar="NAME", default="", help="libvirt, virtualbox, ...")
    group.add_argument("--arch", metavar="ARCH", default="", help="amd64, arm64, ...")
    group.add_argument("--list", action="store_true", help="print the versions that there are")
    group.add_argument(
        "--checksum", metavar="TYPE:HEX", default="", help="what the box must have, over the list's"
    )
    group.add_argument("--insecure", action="store_true", help="http is allowed beside https")


def _what(group: argparse._ArgumentGroup) -> None:  # pyright: ignore[reportPrivateUsage]
    group.add_argument("--name", metavar="NAME", default="", help="what the VM is called")
    group.add_argument(
        "--format", choices=("raw", "qcow2"), help="the disk's; as the box has it when left out"
    )
    group.add_argument(
        "--size", metavar="SIZE", type=_size, default=0, help="grow the first disk to this size"
    )
    group.add_argument(
        "--image-only", action="store_true",
        help="only the disk, as USER-BOX.img in the current folder",
    )  # fmt: skip
    group.add_argument("-f", "--force", action="store_true", help="overwrite what is there")
    group.add_argument("-q", "--quiet", action="store_true", help="say nothing but faults")


class Call(argparse.Namespace):
    """What was typed."""

    words: list[str]
    wanted: str | None
    provider: str
    arch: str
    list: bool
    checksum: str
    insecure: bool
    name: str
    format: str | None
    size: int
    image_only: bool
    force: bool
    quiet: bool


def parse(argv: list[str]) -> Call:
    """What was typed, checked.

    Raises:
        VmError: it is not understood (64).
    """
    made = parser()
    call = made.parse_intermixed_args(argv, namespace=Call())
    if call.wanted == "" and not call.words:
        return call
    if call.wanted == "":
        made.error("--version wants a version, such as '>= 2.0'")
    if not call.words:
        made.error("the name of a box is missing")
    if len(call.words) > 2:
        made.error(f"unexpected argument: {call.words[2]}")
    return call
