"""docs/bhyve.md: its examples load, its commands are commands, its names are those of the code."""

from __future__ import annotations

import os
import re

import pytest

from tests.typed import HOUSE, blocks, calls, typed, understood
from vm_init import freebsd
from vm_init.policy import parse
from vm_run.bhyve import vmm
from vm_run.dry_run import dry_run
from vm_run.host import bhyve_requirements as needs_bhyve
from vm_run.host import freebsd as host_bsd
from vm_spec import Context, loads

PAGE = HOUSE / "docs" / "bhyve.md"
TEXT = PAGE.read_text()
OF_FREEBSD = ("bhyve", "kldload", "pciconf", "pkg", "pw", "service", "sysctl")
POLICY, DESCRIPTION = blocks(PAGE, "toml")


def test_each_line_that_one_types_is_understood() -> None:
    lines = typed(PAGE)
    assert len(lines) > 10
    ours = [call for line in lines for call in calls(line) if call[0] not in OF_FREEBSD]
    assert [said for call in ours if (said := understood(call))] == []


def test_the_description_runs_on_bhyve_and_the_policy_names_what_it_asks_for() -> None:
    context = Context(name="alice-web", user="alice", folder="/home/alice/vm")
    description = loads(f'hypervisor = "bhyve"\n{DESCRIPTION}', context)
    said = dry_run(description, "default", [], "shell")
    assert "/dev/nmdm-alice-web.1A" in said
    (grant,) = re.findall(r"\[\[grant\]\]\n(.*)", POLICY, re.DOTALL)
    assert parse(POLICY.encode(), "policy.toml").grants
    for word in ('"%u-*"', '"bridge0"', '"tap*"'):
        assert word in grant


def test_the_modules_that_it_loads_are_those_that_are_asked_for() -> None:
    (line,) = [line for line in typed(PAGE) if line.startswith("kldload")]
    assert set(line.split()[1:]) == {each for names in freebsd.MODULES.values() for each in names}
    for module in line.split()[1:]:
        assert f'{module}_load="YES"' in TEXT


@pytest.mark.parametrize(
    "name",
    [vmm.CONTROL, vmm.NODES, f"{vmm.MEMORY}/NAME.bootrom", host_bsd.UP, "vm.max_user_wired"],
)
def test_the_names_in_it_are_those_that_the_code_looks_at(name: str) -> None:
    assert name in TEXT


@pytest.mark.parametrize("hint", [needs_bhyve.EDK2, needs_bhyve.GRUB])
def test_the_packages_in_it_are_those_that_are_hinted_at(hint: str) -> None:
    assert hint.removeprefix("sudo pkg install ") in TEXT


def test_what_vm_run_is_quoted_with_is_what_it_says() -> None:
    source = (HOUSE / "vm_run" / "host" / "freebsd.py").read_text()
    for words in ("is root's, and bhyve opens it for a firmware", "docs/bhyve.md"):
        assert words in source
    assert "is root's, and bhyve opens it for a firmware" in TEXT


def test_where_it_leads_to_is_there() -> None:
    links = re.findall(r"\]\(([^)]+)\)", TEXT)
    headings = {
        heading.lower().replace(" ", "-")
        for heading in re.findall(r"^#+ (.*)$", TEXT, re.MULTILINE)
    }
    assert links
    for link in links:
        assert link[1:] in headings if link.startswith("#") else os.path.exists(PAGE.parent / link)
