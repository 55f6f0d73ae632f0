"""How much there is to read of root's half, and what it loads.

What runs as the caller only is not counted: the reading of a description, and inspections, which
give root up first. Tests here see to it that root's half of a Linux host loads none of it, nor
FreeBSD's file, nor anything of third parties.
"""

from __future__ import annotations

import ast
import importlib.util
import io
import re
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[2]
MODULES = sorted((CHECKOUT / "vm_init").glob("*.py"))
AS_ROOT = 1_663  # the aim is 1,000; this only ever goes down
FREEBSD = 160
NOT_AS_ROOT = {"description.py", "inspect.py", "freebsd.py"}

SILENT = {
    *(tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT),
    tokenize.ENDMARKER,
}
# What runs what it reads, by whatever name it comes.
RUNNERS = {"pickle", "marshal", "shelve", "multiprocessing", "dill", "jsonpickle", "yaml", "code"}
CALLS = {"eval", "exec", "compile", "__import__"}
DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)

LOADED = """
import sys
sys.path.append(sys.argv[1])
import vm_init.__main__
print(*sys.modules)
"""

# All of root's half up to the first act, but for what only root can do.
JUDGED = """
import sys
sys.path.append(sys.argv[1])
import os
from vm_init import __main__, ask, caller, hardening
hardening.close_from(3)
who = caller.Caller(os.getuid() or 1, os.getgid(), "alice", (), (), "/")
def become(*_):
    os.environ["VMCONF_DIR"] = sys.argv[2]
    sys.path.append(sys.argv[4])
ask.become = become
def get_ready():
    __main__._load_policy()
    from vm_init import policy
    rule = b'[[grant]]\\nwho = ["alice"]\\nbridges = ["br0"]\\ninterfaces = ["web"]'
    return policy.parse(rule, "policy.toml")
requests, given = ask.ask(who, "web", "", get_ready)
from vm_init import ledger, policy
(granted,) = policy.judge(who, requests, given)
assert granted.rule == "policy.toml: grant 1 (bridges)", granted
with ledger.lock(1, sys.argv[3]):
    ledger.Ledger(who.uid, "web", sys.argv[3])
from vm_init import apply, links, netlink, nodes, pci
netlink.create_macvtap(7, "m", 1, "02:00:00:00:00:01")
print(*sys.modules)
"""


def size(path: Path) -> int:
    """How many lines of a module have code: no comment, no docstring, no blank."""
    text = path.read_text()
    spoken: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            spoken |= lines(node.body[0])
    written: set[int] = set()
    for token in tokenize.generate_tokens(io.StringIO(text).readline):
        if token.type not in SILENT:
            written |= set(range(token.start[0], token.end[0] + 1))
    return len(written - spoken)


def lines(node: ast.stmt) -> set[int]:
    return set(range(node.lineno, (node.end_lineno or node.lineno) + 1))


def loaded(program: str, *words: str) -> set[str]:
    """The modules that a program has, started as the helper is."""
    done = subprocess.run(
        [sys.executable, "-ISB", "-c", program, str(CHECKOUT), *words],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return set(done.stdout.split())


def foreign(modules: set[str]) -> set[str]:
    tops = {module.partition(".")[0] for module in modules}
    return tops - sys.stdlib_module_names - {"vm_init", "__main__"}


def imported(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        match node:
            case ast.Import(names=names):
                yield from (alias.name for alias in names)
            case ast.ImportFrom(module=str(module)):
                yield module
            case _:
                pass


def test_roots_half_does_not_grow() -> None:
    sizes = {path.name: size(path) for path in MODULES}
    rows = [f"{sizes[name]:5} {name}" for name in sorted(sizes, key=lambda name: -sizes[name])]
    as_root = sum(number for name, number in sizes.items() if name not in NOT_AS_ROOT)
    rows.append(f"{as_root:5} lines of code can run as root on Linux; {AS_ROOT} are allowed")
    sys.stdout.write("\n".join(["", *rows, ""]))
    assert sizes.keys() > NOT_AS_ROOT
    assert 0 < as_root <= AS_ROOT
    assert 0 < sizes["freebsd.py"] <= FREEBSD


def test_comments_docstrings_and_blanks_are_not_counted(tmp_path: Path) -> None:
    module = tmp_path / "module.py"
    module.write_text('"""One.\n\nTwo.\n"""\n\n# three\nx = (  # four\n\n    5,\n)\n\n\n'
                      'def f():\n    """Six."""\n    return """a\n\nb"""\n')  # fmt: skip
    assert size(module) == 3 + 1 + 3


def test_threat_13_root_half_starts_with_the_standard_library_alone() -> None:
    modules = loaded(LOADED)
    sys.stdout.write(f"\n{' '.join(sorted(modules))}\n")
    assert foreign(modules) == set()
    assert {module for module in modules if module in RUNNERS} <= {"marshal"}  # import's own
    acts = {f"vm_init.{name}" for name in ("netlink", "links", "nodes", "pci")}
    assert modules & acts == set()


def test_threat_13_nothing_foreign_is_loaded_before_the_first_act(tmp_path: Path) -> None:
    (tmp_path / "vm").mkdir(mode=0o700)
    description = tmp_path / "vm" / "web.toml"
    description.write_text('[net.lan]\nname = "web"\nbridge = "br0"\n')
    description.chmod(0o600)
    packages = importlib.util.find_spec("tomli")
    assert packages is not None
    assert packages.origin is not None
    site = Path(packages.origin).parents[1]  # for the child that reads
    modules = loaded(JUDGED, str(tmp_path / "vm"), str(tmp_path / "ledger"), str(site))
    assert "vm_init.policy" in modules
    assert foreign(modules) == set()
    assert "vm_init.links" in modules  # loaded while the child read
    if sys.platform == "linux":
        assert modules & {f"vm_init.{name.removesuffix('.py')}" for name in NOT_AS_ROOT} == set()


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.name)
def test_threat_13_no_module_can_run_what_it_reads(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert {name.partition(".")[0] for name in imported(tree)} & RUNNERS == set()
    called = {node.func.id for node in ast.walk(tree)
              if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)}  # fmt: skip
    assert called & CALLS == set()
    assert not re.search(r"\bos\.(system|popen|exec\w*|spawn\w*)\(", path.read_text())


def test_programs_are_run_on_freebsd_only() -> None:
    trees = {path.name: ast.parse(path.read_text()) for path in MODULES}
    assert [name for name in trees if "subprocess" in imported(trees[name])] == ["freebsd.py"]


def test_no_module_names_pyroute2() -> None:
    assert [path.name for path in MODULES if "pyroute2" in path.read_text()] == []
