"""The pages in docs/ say what is so: their examples load, their commands are commands."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

from tests.typed import HOUSE, blocks, calls, typed, understood
from vm_init.policy import parse
from vm_run.dry_run import dry_run
from vm_spec import Context, loads, select

DOCS = HOUSE / "docs"
PAGES = [DOCS / "coming-from.md", DOCS / "cluster.md"]
COMING, CLUSTER = PAGES
TOOLS = ["vm-bhyve", "quickemu", "libvirt", "Vagrant", "vmrun", "vmman"]


def of_tables(page: Path) -> list[str]:
    """The commands of ours that stand in the last column of a table."""
    rows = re.findall(r"^\|.*\| (.*) \|$", page.read_text(), re.MULTILINE)
    codes = [code for row in rows for code in re.findall(r"`([^`]+)`", row)]
    return [code for code in codes if re.match(r"(sudo )?(vm-\w+|new\.sh)\b", code)]


@pytest.mark.parametrize("text", blocks(COMING, "toml"))
def test_each_example_for_those_who_come_can_be_run(text: str) -> None:
    description = loads(text, Context(name="web", user="mike", home="/home/mike", folder="/vm"))
    for target in ["default", *(target.name for target in description.targets)]:
        assert select(description, target).name == "web"
        assert "web" in dry_run(description, target, [], "shell")


def test_each_tool_has_a_section_with_an_example_and_says_what_is_not_here() -> None:
    _, *sections = re.split(r"^## (.*)\n", COMING.read_text(), flags=re.MULTILINE)
    assert sections[::2] == TOOLS
    for section in sections[1::2]:
        assert section.count("```toml\n") == 1
        assert section.count("```console\n") == 1
        assert "\nNot here: " in section


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_each_line_that_one_types_is_understood(page: Path) -> None:
    lines = typed(page)
    assert len(lines) > 5
    assert [said for line in lines for call in calls(line) if (said := understood(call))] == []


def test_each_command_of_ours_in_a_table_is_understood() -> None:
    commands = [code for code in of_tables(COMING) if " " in code]
    assert len(commands) > 25
    assert [said for line in commands for call in calls(line) if (said := understood(call))] == []


def of_manual(page: Path) -> list[str]:
    """The commands of ours that a manual page's EXAMPLES has, as they are typed."""
    examples = page.read_text().partition("\n.Sh EXAMPLES\n")[2].partition("\n.Sh ")[0]
    lines = re.findall(r"^(?:\.It Li )?((?:sudo )?vm-\w+ .*)$", examples, re.MULTILINE)
    return [re.sub(r" <\S+", "", line.replace("\\", "")) for line in lines]


@pytest.mark.parametrize("page", sorted((HOUSE / "man").glob("vm-*.[18]")), ids=lambda p: p.name)
def test_each_example_of_a_manual_page_is_understood(page: Path) -> None:
    ours = [call for line in of_manual(page) for call in calls(line) if call[0].startswith("vm-")]
    assert ours
    assert [said for call in ours if (said := understood(call))] == []


def test_a_command_that_is_none_is_noticed() -> None:
    assert "--nonsense" in understood(["vm-run", "web", "--nonsense"])
    assert "--nonsense" in understood(["vm-list", "--nonsense"])
    assert "--nonsense" in understood(["vm-stop", "--nonsense"])
    assert "usage" in understood(["vm-init", "--nonsense", "x y"])
    with pytest.raises(AssertionError, match="nobody here knows"):
        understood(["vm-frobnicate"])
    with pytest.raises(AssertionError, match="no unit"):
        understood(["systemctl", "start", "vm-walk@web"])


def test_the_policy_of_a_node_is_one_and_serves_the_description_beside_it() -> None:
    policy_text, description_text = blocks(CLUSTER, "toml")
    policy = parse(policy_text.encode(), "policy.toml")
    description = loads(description_text, Context(name="web", user="mike", confdir="/vm"))
    (network,) = [
        word
        for device in select(description, "default").emulations
        if (word := getattr(device, "network", None))
    ]
    assert network in policy.networks
    assert policy.networks[network]["bridge"] == "br0"
    assert "br0" in policy.bridges


def test_the_hook_for_slurm_is_the_one_of_the_manual() -> None:
    manual = (HOUSE / "man" / "vm-init.8").read_text()
    (hook,) = blocks(CLUSTER, "sh")
    (settings,) = blocks(CLUSTER, "ini")
    for text in (hook, settings):
        assert f".Bd -literal -offset indent\n{text}.Ed\n" in manual
    (user,) = [line for line in typed(CLUSTER) if line.startswith("sbatch ")]
    assert user in manual
    job = re.findall(r"^\w+\*\) \$init (.*) ;;$", hook, re.MULTILINE)
    filled = [re.sub(r'"\$\w+"', "4711", line).replace('"4711"', "4711") for line in job]
    assert len(filled) == 2
    assert [understood(["vm-init", *line.split()]) for line in filled] == ["", ""]


@pytest.mark.parametrize("page", [*PAGES, HOUSE / "README.md"], ids=lambda page: page.name)
def test_where_a_page_leads_to_is_there(page: Path) -> None:
    links = re.findall(r"\]\(([^)]+)\)", page.read_text())
    assert links
    headings = re.findall(r"^#+ (.*)$", page.read_text(), re.MULTILINE)
    for link in links:
        if link.startswith("#"):
            assert link[1:] in [heading.lower().replace(" ", "-") for heading in headings]
        else:
            assert os.path.exists(page.parent / link), link
