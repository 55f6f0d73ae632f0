"""Who may start vm-init: the rules, and `make` putting them and the helper in place."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.copied import copied
from tests.lacking import need
from vm_init import admission

CHECKOUT = Path(__file__).parents[2]
PYTHON = "/usr/bin/python3"


def run(*argv: str | Path, cwd: Path = CHECKOUT, **environment: str) -> str:
    ran = subprocess.run(
        argv,
        cwd=cwd,
        env=os.environ | {"PATH": f"{os.environ['PATH']}:/usr/sbin"} | environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout + ran.stderr


def test_the_sudoers_file_is_what_the_code_generates() -> None:
    assert (CHECKOUT / "sudoers.d" / "vm-init").read_bytes() == admission.sudoers().encode()


def test_the_doas_example_is_what_the_code_generates() -> None:
    lines = (CHECKOUT / "etc" / "doas.conf").read_text().splitlines(keepends=True)
    rules = [line for line in lines if not line.startswith("#")]
    assert rules == [admission.doas()]
    assert "keepenv" not in rules[0]


def test_sudo_is_asked_for_nothing_that_the_caller_chooses() -> None:
    helper, link = "/opt/vmman/libexec/vmman/vm-init", "/opt/vmman/bin/vm-init"
    rule = admission.sudoers("kvm", helper, link)
    assert rule.startswith(f"Cmnd_Alias VMMAN_INIT = {link}, {helper}\n")
    assert rule.endswith("\n%kvm ALL = (root:root) NOPASSWD: NOSETENV: VMMAN_INIT\n")
    assert "*" not in rule
    assert "!setenv" in rule


@pytest.mark.parametrize("group", ["", "a b", "vm\nalice ALL=(ALL) ALL", "%x", "a,b", "#0", "ALL"])
def test_a_group_cannot_bring_a_rule_of_its_own(group: str) -> None:
    with pytest.raises(ValueError, match="cannot stand in a rule"):
        admission.sudoers(group)


@pytest.mark.parametrize("helper", ["vm-init", "/a b", "/a,/b", "/a\n", "/a/*", "/a/../b", "/a//b"])
def test_a_path_cannot_bring_a_rule_of_its_own(helper: str) -> None:
    with pytest.raises(ValueError, match="cannot stand in a rule"):
        admission.doas(helper=helper)
    with pytest.raises(ValueError, match="cannot stand in a rule"):
        admission.sudoers(link=helper)


def test_visudo_accepts_the_file() -> None:
    need("visudo")
    assert "parsed OK" in run("visudo", "-cf", CHECKOUT / "sudoers.d" / "vm-init")


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    need("make")
    need(PYTHON)
    folder = tmp_path / "copy"
    copied(CHECKOUT / "vm_init", folder / "vm_init")
    copied(CHECKOUT / "etc", folder / "etc")
    (folder / "etc" / "policy.toml").write_text("# as installed\n")
    for name in ("Makefile", "pyproject.toml"):
        shutil.copy(CHECKOUT / name, folder)
    return folder


def make(copy: Path, target: str, stage: Path, *words: str) -> str:
    return run(
        "make",
        target,
        f"DESTDIR={stage}",
        "PREFIX=/usr/local",
        f"PYTHON={PYTHON}",
        *words,
        cwd=copy,
    )


def installed(stage: Path) -> dict[str, str]:
    return {
        str(path.relative_to(stage)): oct(path.lstat().st_mode & 0o777)
        for path in stage.rglob("*")
        if path.is_symlink() or not path.is_dir()
    }


@pytest.mark.skipif(os.uname().sysname != "Linux", reason="the paths of Linux")
def test_threat_76_the_helper_is_installed_with_its_rules(copy: Path, tmp_path: Path) -> None:
    need("visudo")
    stage = tmp_path / "stage"
    make(copy, "helper", stage)
    found = installed(stage)
    assert found.pop("usr/local/bin/vm-init")
    assert found == {
        "usr/local/libexec/vmman/vm-init": "0o755",
        "etc/vmman/policy.toml": "0o644",
        "etc/sudoers.d/vmman": "0o440",
        "etc/tmpfiles.d/vmman.conf": "0o644",
        "usr/local/lib/systemd/system/vm-init@.service": "0o644",
    }
    assert (stage / "etc/sudoers.d/vmman").read_text() == admission.sudoers()
    assert (stage / "usr/local/bin/vm-init").resolve() == stage / "usr/local/libexec/vmman/vm-init"
    first, *rest = (stage / "usr/local/libexec/vmman/vm-init").read_text().splitlines()
    assert first == f"#!{PYTHON} -ISB"
    assert len(first) < 127
    assert "LIB = '/usr/local/lib/vmman'" in rest


def test_the_helper_starts_only_by_its_own_first_line(copy: Path, tmp_path: Path) -> None:
    stage = tmp_path / "stage"
    make(copy, "helper", stage)
    helper = stage / "usr/local/libexec/vmman/vm-init"
    started = subprocess.run(
        [PYTHON, helper], capture_output=True, text=True, timeout=20, check=False
    )
    assert started.returncode == 1
    assert "start the installed file itself" in started.stderr


@pytest.mark.skipif(os.uname().sysname != "Linux", reason="the paths of Linux")
def test_an_admins_policy_is_never_overwritten_nor_removed(copy: Path, tmp_path: Path) -> None:
    stage = tmp_path / "stage"
    make(copy, "helper", stage)
    policy = stage / "etc/vmman/policy.toml"
    policy.write_text("# mine\n")
    make(copy, "helper", stage)
    make(copy, "uninstall", stage)
    assert policy.read_text() == "# mine\n"
    assert list(installed(stage)) == ["etc/vmman/policy.toml"]
    assert not (stage / "usr/local/libexec/vmman").exists()


@pytest.mark.skipif(os.uname().sysname != "Linux", reason="the paths of Linux")
def test_a_rule_that_visudo_refuses_is_not_installed(copy: Path, tmp_path: Path) -> None:
    stage, fakes = tmp_path / "stage", tmp_path / "fakes"
    fakes.mkdir()
    (fakes / "visudo").write_text("#!/bin/sh\nexit 1\n")
    (fakes / "visudo").chmod(0o755)
    path = f"PATH={fakes}:{os.environ['PATH']}"
    with pytest.raises(AssertionError):
        make(copy, "helper", stage, path)
    assert list((stage / "etc/sudoers.d").iterdir()) == []


def test_a_path_that_is_too_long_for_a_first_line_is_refused(copy: Path, tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="too long for a first line"):
        run("make", "helper", f"DESTDIR={tmp_path}", f"PYTHON=/{'p' * 120}", cwd=copy)
