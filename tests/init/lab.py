"""A machine of the test's own: an overlay of this one, with alice, bob, real sudo and no network.

    with Lab() as lab:
        lab.install()
        lab.write("/home/alice/vm/web.toml", "cpu = 1", owner="alice")
        done = lab.run("sudo", "vm-init", "web", user="alice")
        links = lab.run("ip", "-j", "link")

Nothing that is done inside is seen outside, but for /dev: it is this machine's, because devtmpfs
has one instance. Only its /dev/net/tun is the lab's own, open to all as udev makes it: where no
udev runs, this machine's is root's alone. Mount, network, PID and host name namespaces are its
own, and PID 1 in it is in its network namespace too, as on a real machine.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tests.copied import copied
from tests.lacking import lacking

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

__all__ = ["CHECKOUT", "LIB", "PYTHON", "SUDOERS", "USERS", "Lab", "in_a_lab"]

CHECKOUT = Path(__file__).resolve().parents[2]
PYTHON = os.path.realpath(sys.executable)
"""The interpreter that the virtual environment of the checkout was made with."""

USERS = ("alice", "bob")
LIB = "/usr/local/lib/vmman"
SUDOERS = """\
Cmnd_Alias VMMAN_INIT = /usr/local/bin/vm-init
Defaults!VMMAN_INIT env_keep = "VMCONF_DIR", secure_path = "/usr/sbin:/usr/bin:/sbin:/bin"
Defaults!VMMAN_INIT !setenv, use_pty
%vmusers ALL = (root:root) NOPASSWD: NOSETENV: VMMAN_INIT
"""
TOOLS = ("ip", "nsenter", "setpriv", "sudo", "unshare", "useradd", "visudo")
PATH = "/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# Arguments: an empty folder, the checkout, its virtual environment's prefix, the interpreter's.
BUILD = """
set -eu
mount --make-rprivate /
lab=$1
shift
mount -t tmpfs -o mode=755 lab "$lab"
mkdir "$lab/up" "$lab/wk" "$lab/root"
root=$lab/root
mount -t overlay -o "lowerdir=/,upperdir=$lab/up,workdir=$lab/wk" lab "$root"
mount --rbind /dev "$root/dev"
mount -t tmpfs -o mode=1777 lab "$root/dev/shm"
[ -c "$root/dev/net/tun" ] || { echo "there is no /dev/net/tun: modprobe tun" >&2; exit 1; }
mknod -m 666 "$lab/tun" c 10 200
mount --bind "$lab/tun" "$root/dev/net/tun"
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount -t tmpfs -o mode=755 lab "$root/run"
mount -t tmpfs -o mode=1777 lab "$root/tmp"
see() {
    mkdir -p "$root$2"
    mount --bind "$1" "$root$2"
    mount -o remount,bind,ro "$root$2"
    folder=$2
    while folder=${folder%/*} && [ "$folder" ]; do chmod a+x "$root$folder"; done
}
see "$1" /mnt/vmman
see "$1" "$1"
for prefix in "$2" "$3"; do
    case $prefix in /usr | /usr/local | "$1"/*) ;; *) see "$prefix" "$prefix" ;; esac
done
hostname lab
echo 127.0.0.1 lab >>"$root/etc/hosts"
cd "$root"
exec chroot . /bin/bash -c '
ip link set lo up
echo ready
read -r _
'
"""


class Lab:
    """A running lab; it ends with the `with`, and everything in it.

    Attributes:
        root: its / as this process sees it, for reading and writing files as root.
    """

    root: Path

    def __init__(self) -> None:
        missing = [tool for tool in TOOLS if not shutil.which(tool)]
        if os.getuid() != 0 or missing:
            lacking(f"a lab needs root and {' '.join(missing) or 'nothing else'}")
        self._first: subprocess.Popen[str] | None = None
        self._pid = 0
        self._folder = ""

    def __enter__(self) -> Self:
        self._folder = tempfile.mkdtemp(prefix="lab-")
        namespaces = ["unshare", "-m", "-n", "-p", "-u", "--fork", "--mount-proc", "--kill-child"]
        prefixes = [sys.prefix, sys.base_prefix]
        self._first = subprocess.Popen(
            [*namespaces, "bash", "-c", BUILD, "lab", self._folder, CHECKOUT, *prefixes],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self._first.stdout is not None
        if self._first.stdout.readline() != "ready\n":
            lacking(f"the lab cannot be built: {self._first.communicate(timeout=10)[1]}")
        own = self._first.pid
        self._pid = int(Path(f"/proc/{own}/task/{own}/children").read_text().split()[0])
        self.root = Path(f"/proc/{self._pid}/root")
        self.check("groupadd", "--force", "vmusers")
        for user in USERS:
            self.check("useradd", "-m", "-U", "-G", "vmusers", "-s", "/bin/bash", user)
            self.check("chmod", "755", f"/home/{user}")  # Debian 13 lets nobody else in
            self.check("mkdir", "-m", "755", f"/home/{user}/vm", user=user)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._first is not None
        self._first.kill()  # and with it, by --kill-child, PID 1 and all of the lab
        self._first.communicate(timeout=30)
        os.rmdir(self._folder)  # empty: what was mounted there went with the namespace

    def argv(
        self, *argv: str, user: str = "root", cwd: str = "/", env: Mapping[str, str] | None = None
    ) -> list[str]:
        """The command that runs a command inside; its environment is PATH, HOME, USER and `env`."""
        home = "/root" if user == "root" else f"/home/{user}"
        given = {"PATH": PATH, "HOME": home, "USER": user, "LANG": "C.UTF-8", **(env or {})}
        return [
            *("nsenter", f"--target={self._pid}", "--mount", "--net", "--pid", "--uts"),
            *("--root", f"--wd={self.root}{cwd}", "--"),
            *("setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", "--inh-caps=-all"),
            *("env", "-i", *(f"{key}={value}" for key, value in given.items())),
            *argv,
        ]

    def run(  # what a test wants to say of a command
        self,
        *argv: str,
        user: str = "root",
        cwd: str = "/",
        env: Mapping[str, str] | None = None,
        given: str = "",
        timeout_s: float = 60,
    ) -> subprocess.CompletedProcess[str]:
        """A command that was run inside, as root or as another user, with what it said.

        Args:
            argv: the command.
            user: root, alice or bob; the groups are those of /etc/group.
            cwd: the folder, inside, that it starts in.
            env: added to its environment.
            given: what it reads from its standard input.
            timeout_s: after this many seconds it is killed.
        """
        return subprocess.run(
            self.argv(*argv, user=user, cwd=cwd, env=env),
            input=given,
            capture_output=True,
            text=True,
            errors="backslashreplace",
            timeout=timeout_s,
            check=False,
        )

    def check(self, *argv: str, user: str = "root", given: str = "") -> str:
        """What a command inside, which must succeed, wrote to its standard output."""
        done = self.run(*argv, user=user, given=given)
        assert done.returncode == 0, f"{argv} ended with {done.returncode}: {done.stderr}"
        return done.stdout

    def start(
        self, *argv: str, user: str = "root", env: Mapping[str, str] | None = None
    ) -> subprocess.Popen[str]:
        """A command that is running inside, with pipes as 0 to 2."""
        pipe = subprocess.PIPE
        return subprocess.Popen(
            self.argv(*argv, user=user, env=env), stdin=pipe, stdout=pipe, stderr=pipe, text=True
        )

    def path(self, inside: str) -> Path:
        """A file of the lab, as this process sees it; for folders and files, not for symlinks."""
        return self.root / inside.lstrip("/")

    def write(self, inside: str, text: str, owner: str = "root", mode: int = 0o644) -> None:
        """Write a file inside; folders that lack are made, root's."""
        path = self.path(inside)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        path.chmod(mode)
        self.check("chown", f"{owner}:{owner}", inside)

    def uid(self, user: str) -> int:
        """A user's id, which is another one on another machine."""
        return int(self.check("id", "-u", user))

    def install(self) -> None:
        """Put vm-init in /usr/local as `make install` does, and let the group vmusers sudo it."""
        lib = self.path(LIB)
        for package in CHECKOUT.glob("vm_*"):
            copied(package, lib / package.name)
        for module in ("tomli", "tomli_w", "pyroute2"):
            _copy_module(module, lib)
        self.check("chmod", "-R", "u=rwX,go=rX", LIB)
        self.helper("/usr/local/bin/vm-init")
        self.sudoers("vmman", SUDOERS)

    def helper(self, inside: str) -> None:
        """Put vm-init itself there, as `make install` does."""
        body = (CHECKOUT / "etc" / "vm-init.body").read_text()
        self.write(inside, f"#!{PYTHON} -ISB\nLIB = {LIB!r}\n{body}", mode=0o755)

    def launcher(self, command: str, code: str) -> None:
        """Put a program in /usr/local/bin that starts as the installed ones do."""
        start = f"#!{PYTHON} -ISB\nimport sys\nsys.path.append({LIB!r})\n"
        self.write(f"/usr/local/bin/{command}", start + code, mode=0o755)

    def sudoers(self, name: str, text: str) -> None:
        """Put a file, which visudo finds right, in /etc/sudoers.d."""
        self.write(f"/etc/sudoers.d/{name}", text, mode=0o440)
        self.check("visudo", "-cf", f"/etc/sudoers.d/{name}")


def in_a_lab() -> Iterator[Lab]:
    """A lab with vm-init installed: `lab = pytest.fixture(scope="module")(in_a_lab)`."""
    with Lab() as lab:
        lab.install()
        yield lab


def _copy_module(name: str, lib: Path) -> None:
    """Copy a package of this interpreter, with the compiled modules that lie beside it."""
    spec = importlib.util.find_spec(name)
    assert spec is not None
    assert spec.origin is not None
    package = Path(spec.origin).parent
    copied(package, lib / package.name)
    for compiled in package.parent.glob("*__mypyc*.so"):
        shutil.copy(compiled, lib)
