"""What the self-check says about an installation."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vm_init import selfcheck
from vm_init.verdict import InitError

CHECKOUT = Path(__file__).parents[2]


def test_threat_76_an_installation_in_a_home_is_unsafe(tmp_path: Path) -> None:
    lib = tmp_path / "lib" / "vmman"
    lib.mkdir(parents=True)
    found = "\n".join(selfcheck.faults(str(lib), str(tmp_path / "etc")))
    assert str(tmp_path.parents[-2]) in found  # /tmp: everybody may write
    assert "without -IS" in found


def test_threat_76_what_is_unsafe_ends_with_78(monkeypatch: pytest.MonkeyPatch) -> None:
    def found() -> list[str]:
        return ["/a can be written by everybody", "/b belongs to uid 1000"]

    monkeypatch.setattr(selfcheck, "faults", found)
    with pytest.raises(InitError, match=r"/a can .*\n/b belongs") as told:
        selfcheck.check()
    assert told.value.status == 78


def test_a_safe_installation_is_passed_in_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    def found() -> list[str]:
        return []

    monkeypatch.setattr(selfcheck, "faults", found)
    selfcheck.check()


def test_every_part_is_looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lib = tmp_path / "lib" / "vmman"
    (lib / "vm_init").mkdir(parents=True)
    (lib / "vm_init" / "nodes.py").touch()
    (tmp_path / "etc" / "sudoers.d").mkdir(parents=True)
    (tmp_path / "etc" / "sudoers.d" / "vmman").touch()
    asked: list[str] = []

    def unsafe(path: str) -> str:
        asked.append(path)
        return ""

    monkeypatch.setattr(selfcheck, "unsafe", unsafe)
    selfcheck.faults(str(lib), str(tmp_path / "etc"))
    assert {
        sys.executable,
        os.path.dirname(os.__file__),
        f"{tmp_path}/bin",
        f"{tmp_path}/libexec/vmman/vm-init",
        f"{tmp_path}/etc/vmman/policy.toml",
        f"{tmp_path}/etc/sudoers.d/vmman",
        str(lib),
        f"{lib}/vm_init",
        f"{lib}/vm_init/nodes.py",
    } <= set(asked)
    assert len(asked) == len(set(asked))


# In a mount namespace: /usr/local is a tmpfs with the helper as `make install` puts it.
LAB = """
set -e
mount -t tmpfs -o mode=755 tmpfs /usr/local
umask 022
mkdir -p /usr/local/bin /usr/local/lib/vmman /usr/local/libexec/vmman /usr/local/etc/vmman
cp -R "$1"/vm_init /usr/local/lib/vmman
chown -R 0:0 /usr/local/lib/vmman
chmod -R u=rwX,go=rX /usr/local/lib/vmman
touch /usr/local/libexec/vmman/vm-init /usr/local/etc/vmman/policy.toml
check() {
    /usr/bin/python3 -ISB -c 'import sys; sys.path.append("/usr/local/lib/vmman")
from vm_init.selfcheck import faults
print(sys.argv[1], *faults(etc="/usr/local/etc"), sep="|")' "$1"
}
check safe
chmod o+w /usr/local/bin; check link; chmod o-w /usr/local/bin
chmod g+w /usr/local/libexec; check parent; chmod g-w /usr/local/libexec
chown 1234 /usr/local/lib/vmman/vm_init/nodes.py; check library
chown 0 /usr/local/lib/vmman/vm_init/nodes.py
chmod o+w /usr/local/etc/vmman/policy.toml; check policy; chmod o-w /usr/local/etc/vmman/policy.toml
rm /usr/local/libexec/vmman/vm-init; check helper
"""


@pytest.mark.root
@pytest.mark.skipif(not Path("/usr/bin/python3").exists(), reason="no python of the system")
def test_threat_76_each_unsafe_part_of_an_installation_is_named() -> None:
    ran = subprocess.run(
        ["unshare", "--mount", "sh", "-c", LAB, "sh", CHECKOUT],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    told = {line.split("|")[0]: line.split("|")[1:] for line in ran.stdout.splitlines()}
    assert told["safe"] == []
    assert told["link"] == ["/usr/local/bin can be written by everybody"]
    assert told["parent"] == ["/usr/local/libexec can be written by group 0"]
    assert told["library"] == ["/usr/local/lib/vmman/vm_init/nodes.py belongs to uid 1234"]
    assert told["policy"] == ["/usr/local/etc/vmman/policy.toml can be written by everybody"]
    assert "/usr/local/libexec/vmman/vm-init cannot be looked at" in told["helper"][0]
