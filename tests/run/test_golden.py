"""The command line of every example, as it was last agreed to.

After a change that is meant, `python -m tests.run.test_golden` writes them anew: read the diff.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from vm_run import dry_run as rendering
from vm_spec import Context, Description, VmError, loads

HOUSE = Path(__file__).parents[2]
GOLDEN = HOUSE / "tests" / "golden"
EXAMPLES = sorted(
    path for path in (HOUSE / "examples").iterdir() if path.suffix in (".toml", ".json")
)


def described(path: Path) -> Description:
    context = Context(
        file=f"examples/{path.name}",
        folder="examples",
        name=path.stem,
        user="alice",
        home="/home/alice",
        confdir="/home/alice/vm",
        syntax=path.suffix[1:],
    )
    return loads(path.read_text(), context)


def shown(path: Path) -> str:
    """What each target of an example becomes, on each hypervisor, or why it cannot."""
    description = described(path)
    targets = ["default", *(str(target.name) for target in description.targets)]
    blocks = [_block(path, hypervisor, target) for hypervisor in ("qemu", "bhyve")
              for target in targets]  # fmt: skip
    return "\n".join(blocks)


def _block(path: Path, hypervisor: str, target: str) -> str:
    from vm_spec.frozen import replace
    from vm_spec.machine import HypervisorName

    description = described(path)
    machine = replace(description.machine, hypervisor=HypervisorName(hypervisor))
    title = f"# {hypervisor}, target {target}\n"
    try:
        line = rendering.dry_run(replace(description, machine=machine), target, [], "shell")
    except VmError as error:
        return f"{title}{error}\n"
    return title + line.replace(" -", " \\\n-") + "\n"


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: str(path.name))
def test_an_example_becomes_the_agreed_command_line(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("QEMU_BIN", raising=False)
    monkeypatch.delenv("BHYVE_BIN", raising=False)
    assert shown(path) == (GOLDEN / f"{path.name}.txt").read_text()


def test_there_is_no_agreed_command_line_without_an_example() -> None:
    assert {path.name for path in GOLDEN.iterdir()} == {f"{path.name}.txt" for path in EXAMPLES}


WATCHED = """
import json, sys
asked = []
def hook(event, arguments):
    if event in ("open", "os.listdir", "subprocess.Popen", "os.posix_spawn", "socket.connect"):
        asked.append(str(arguments[0]))
sys.addaudithook(hook)
from vm_run.__main__ import main
status = main(sys.argv[1:])
print(json.dumps(asked))
sys.exit(status)
"""


def dry_run(*words: str, **environment: str) -> tuple[str, list[str]]:
    """What a dry run prints, and everything that it opened, listed or started."""
    done = subprocess.run(
        [sys.executable, "-P", "-c", WATCHED, *words, "-d"],
        cwd=HOUSE,
        env={"PYTHONPATH": str(HOUSE), **environment},
        capture_output=True,
        text=True,
        check=True,
    )
    line, asked = done.stdout.splitlines()
    return line, json.loads(asked)


def test_a_dry_run_asks_nothing_of_the_host_and_is_one_line() -> None:
    line, asked = dry_run("-c", "examples/vmrun.json", PATH="/nowhere", HOME="/nowhere")
    code = (str(HOUSE), sys.prefix, sys.base_prefix, os.path.dirname(os.__file__))
    strange = [path for path in asked if not path.startswith(code) and not path.isdigit()]
    assert strange == ["examples/vmrun.json"]
    assert line.startswith("/usr/bin/qemu-system-x86_64 -nodefaults -no-user-config ")
    elsewhere, _ = dry_run(
        "-c", "examples/vmrun.json", PATH=os.environ["PATH"], HOME="/", XDG_RUNTIME_DIR="/x"
    )
    assert elsewhere == line


def test_a_dry_run_can_be_read_by_a_shell_and_by_a_program() -> None:
    import shlex

    line, _ = dry_run("-c", "examples/share.toml", HOME="/nowhere")
    as_json, _ = dry_run("-c", "examples/share.toml", "--format", "json", HOME="/nowhere")
    assert shlex.split(line) == json.loads(as_json)


if __name__ == "__main__":
    for example in EXAMPLES:
        (GOLDEN / f"{example.name}.txt").write_text(shown(example))
