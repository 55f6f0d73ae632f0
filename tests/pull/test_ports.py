"""A free port for a guest's ssh."""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from vm_pull import ports
from vm_pull.ports import LOCK, can_be_bound, reserved, taken
from vm_spec import VmError

HOUSE = Path(__file__).parents[2]


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> int:
    """Where ports begin in this test: some that nobody listens on, whatever else runs here."""
    for first in range(20_000, 30_000, 20):
        if all(can_be_bound(port) for port in range(first, first + 20)):
            monkeypatch.setattr(ports, "FIRST", first)
            return first
    pytest.fail("no twenty ports in a row are free")


@pytest.fixture
def confdir(tmp_path: Path) -> Path:
    tmp_path.chmod(0o755)
    return tmp_path


def write(confdir: Path, name: str, text: str) -> None:
    file = confdir / name
    file.write_text(text)
    file.chmod(0o644)


def one(confdir: Path) -> int:
    with reserved(str(confdir)) as port:
        return port


def forward(*texts: str) -> str:
    listed = ", ".join(f'"{text}"' for text in texts)
    return f"[net.lan]\nforward = [{listed}]\n"


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    with socket.socket() as made:
        made.bind(("127.0.0.1", 0))
        made.listen()
        yield made


def test_the_first_port_is_vagrants_own() -> None:
    assert ports.FIRST == 2222


def test_the_first_free_port_is_taken(confdir: Path, free: int) -> None:
    assert one(confdir) == free
    write(confdir, "a.toml", forward(f"{free}:22"))
    assert one(confdir) == free + 1
    write(confdir, "b.toml", forward(f"{free + 1}:22"))
    assert one(confdir) == free + 2


def test_every_port_of_a_description_and_its_targets_is_taken(confdir: Path) -> None:
    more = '[targets.x]\ngraphic = { port = 5999 }\n[targets.x.net.other]\nforward = ["5:6"]\n'
    write(confdir, "a.toml", forward("udp:1:1", "tcp:0.0.0.0:2:22", "3:22") + more)
    write(confdir, "b.json", '{"net": {"lan": {"forward": ["4:22"]}}}')
    write(confdir, "c.toml", "[graphic]\nport = 5910\n")
    assert taken(str(confdir)) == {1, 2, 3, 4, 5, 5910, 5999}


@pytest.mark.parametrize(
    "text",
    [
        forward("2300:22") + "memroy = 1\n",
        forward("2300:22").replace("]\n", "\n", 1),
        'forward = "tcp:127.0.0.1:2300:22"',
    ],
)
def test_a_broken_description_s_ports_are_taken_all_the_same(confdir: Path, text: str) -> None:
    write(confdir, "broken.toml", text)
    assert 2300 in taken(str(confdir))


def test_what_cannot_be_read_takes_no_port_and_is_no_error(confdir: Path, free: int) -> None:
    (confdir / "folder.toml").mkdir()
    (confdir / "binary.toml").write_bytes(b"\xff\xfe2222:22")
    (confdir / "dangling.toml").symlink_to(confdir / "nowhere")
    assert taken(str(confdir)) == set()
    assert one(confdir) == free


def test_a_port_that_somebody_listens_on_is_passed_over(
    confdir: Path, listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = listener.getsockname()[1]
    monkeypatch.setattr(ports, "FIRST", port)
    assert one(confdir) > port


def test_when_no_port_is_free_that_is_told(
    confdir: Path, listener: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    port = listener.getsockname()[1]
    monkeypatch.setattr(ports, "FIRST", port)
    monkeypatch.setattr(ports, "_LAST", port)
    with pytest.raises(VmError, match="is free for a guest") as caught:
        one(confdir)
    assert caught.value.status == 69


def test_two_pulls_at_once_get_two_ports(confdir: Path, free: int) -> None:
    """Each writes its description while it has the port, as vm-pull does."""
    found: list[int] = []
    start = threading.Barrier(4)

    def pull(name: str) -> None:
        start.wait()
        with reserved(str(confdir)) as port:
            found.append(port)
            write(confdir, f"{name}.toml", forward(f"{port}:22"))

    threads = [threading.Thread(target=pull, args=(f"vm{n}",)) for n in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == [free, free + 1, free + 2, free + 3]


OTHER = """
import sys
from vm_pull.ports import reserved
print("asked", flush=True)
with reserved(sys.argv[1]) as port:
    print(port, flush=True)
"""


def test_another_process_waits_until_the_description_is_there(confdir: Path) -> None:
    with reserved(str(confdir)) as port:
        other = subprocess.Popen(
            [sys.executable, "-P", "-c", OTHER, str(confdir)],
            env={"PYTHONPATH": str(HOUSE)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert other.stdout
        assert other.stdout.readline() == "asked\n"
        write(confdir, "mine.toml", forward(f"{port}:22"))
    got, _ = other.communicate(timeout=60)
    assert int(got) > port


def test_the_lock_is_let_go_when_a_pull_fails(confdir: Path, free: int) -> None:
    with pytest.raises(RuntimeError, match="on purpose"), reserved(str(confdir)):
        msg = "on purpose"
        raise RuntimeError(msg)
    assert one(confdir) == free


def test_a_folder_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(VmError, match="cannot be locked: No such file") as caught:
        one(tmp_path / "none")
    assert caught.value.status == 74


@pytest.mark.parametrize("kind", ["symlink", "folder"])
def test_threat_b20_a_lock_that_is_no_file_of_ours_is_not_followed(
    confdir: Path, kind: str
) -> None:
    target = confdir / "target"
    if kind == "symlink":
        (confdir / LOCK).symlink_to(target)
    else:
        (confdir / LOCK).mkdir()
    with pytest.raises(VmError, match="cannot be locked"):
        one(confdir)
    assert not target.exists()


def test_the_lock_is_no_description(confdir: Path, free: int) -> None:
    assert one(confdir) == free
    assert (confdir / LOCK).exists()
    assert taken(str(confdir)) == set()
