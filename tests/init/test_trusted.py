"""Only what nobody but root could have written is believed (threats 65, 66, 76)."""

import os
import shutil
import stat
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lacking import need
from vm_init import policy, trusted
from vm_init.errors import InitError
from vm_init.inspect import find_unsafe

OTHER = 65534


@pytest.fixture
def safe() -> Iterator[Path]:
    """A folder of root's with nothing but root's above it, which /tmp is not."""
    if os.geteuid():
        pytest.skip("needs root")
    folder = Path(tempfile.mkdtemp(dir="/run", prefix="vmman-test-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def file(safe: Path) -> Path:
    inner = safe / "etc" / "vmman"
    inner.mkdir(parents=True)
    made = inner / "policy.toml"
    made.write_text("# mine\n")
    return made


def refusal(path: Path | str) -> str:
    with pytest.raises(InitError) as told:
        trusted.read(str(path))
    assert told.value.status == 78
    return str(told.value)


pytestmark = pytest.mark.root


def test_what_only_root_could_write_is_read_whole(file: Path) -> None:
    assert trusted.read(str(file)) == b"# mine\n"
    assert policy.load(str(file)).found
    assert find_unsafe(str(file)) == find_unsafe(str(file.parent)) == ""
    assert find_unsafe("/") == ""


@pytest.mark.parametrize("below", ["etc/vmman/none", "none/policy.toml"])
def test_threat_65_what_is_missing_is_told_apart(file: Path, below: str) -> None:
    path = str(file.parent.parent.parent / below)
    with pytest.raises(FileNotFoundError):
        trusted.read(path)
    assert not policy.load(path).found


def test_threat_66_it_cannot_be_hidden_by_another_below_an_unsafe_folder(file: Path) -> None:
    """A file that is missing where others could have moved it is no missing file."""
    file.parent.chmod(0o777)
    file.unlink()
    assert f"{file.parent} has mode 777" in refusal(file)


@pytest.mark.parametrize("mode", [0o666, 0o664, 0o646, 0o620, 0o602])
@pytest.mark.parametrize("levels", [0, 1, 2, 3])
def test_threat_66_a_part_that_others_can_write_is_refused(
    file: Path, mode: int, levels: int
) -> None:
    part = [file, *file.parents][levels]
    part.chmod(mode | (0o111 if levels else 0))
    said = refusal(file)
    assert said.startswith(f"{part} has mode ")
    assert find_unsafe(str(file)).startswith(f"{part} can be written by ")


@pytest.mark.parametrize("levels", [0, 1, 2, 3])
def test_threat_66_a_part_of_another_owner_is_refused(file: Path, levels: int) -> None:
    part = [file, *file.parents][levels]
    os.chown(part, OTHER, -1)
    assert refusal(file).startswith(f"{part} belongs to uid {OTHER}")
    assert find_unsafe(str(file)).startswith(f"{part} belongs to uid {OTHER}")


def test_threat_66_a_sticky_folder_does_not_help(file: Path) -> None:
    file.parent.chmod(0o1777)
    assert "has mode 1777" in refusal(file)
    assert "/tmp can be written by everybody" in find_unsafe("/tmp/x")


def test_threat_66_the_first_unsafe_part_is_named(file: Path) -> None:
    file.chmod(0o666)
    file.parent.parent.chmod(0o777)
    assert refusal(file).startswith(f"{file.parent.parent} ")


def test_threat_66_a_link_is_refused_even_of_roots(file: Path) -> None:
    link = file.with_name("link")
    link.symlink_to(file)
    assert "is a symbolic link" in refusal(link)
    folder = file.parent.with_name("linked")
    folder.symlink_to(file.parent)
    assert refusal(folder / file.name).startswith(f"{folder} is a symbolic link")


def test_threat_66_a_fifo_is_refused_at_once(file: Path) -> None:
    fifo = file.with_name("fifo")
    os.mkfifo(fifo)
    done = threading.Thread(target=refusal, args=(fifo,), daemon=True)
    done.start()
    done.join(5)
    assert not done.is_alive()
    assert "is neither a regular file nor a directory" in find_unsafe(str(fifo))


@pytest.mark.parametrize("path", ["/dev/null", "/dev", "/"])
def test_threat_66_what_is_no_file_is_refused(path: str) -> None:
    assert "not" in refusal(path)


@pytest.mark.parametrize("path", ["", "policy.toml", "/etc/../x", "/etc/./x", "//etc", "/a\0b"])
def test_threat_66_a_path_is_absolute_and_plain(path: str) -> None:
    assert "is not an absolute path" in refusal(path)


def test_threat_66_a_part_that_is_a_file_is_refused(file: Path) -> None:
    assert "not a directory" in refusal(file / "x")


def test_threat_66_what_is_too_large_is_refused(file: Path) -> None:
    file.write_bytes(b"#" * trusted.MAX_BYTES)
    assert len(trusted.read(str(file))) == trusted.MAX_BYTES
    file.write_bytes(b"#" * (trusted.MAX_BYTES + 1))
    assert "larger than 256 KiB" in refusal(file)


def test_threat_66_access_lists_show_as_the_groups_write(file: Path) -> None:
    need("setfacl")
    subprocess.run(["setfacl", "-m", f"u:{OTHER}:rw", file], check=True)
    assert stat.S_IMODE(file.stat().st_mode) & 0o020
    assert "only its owner may be able to write it" in refusal(file)


def test_another_owner_can_be_asked_for(file: Path) -> None:
    os.chown(file, OTHER, -1)
    assert trusted.read(str(file), OTHER) == b"# mine\n"
    os.chown(file, 0, -1)
    with pytest.raises(InitError, match="belongs to uid 0"):
        trusted.read(str(file), OTHER)


def test_threat_67_every_reading_is_of_one_version(file: Path) -> None:
    """A file that is replaced all the time is read whole, in one version or another."""
    versions = [b"# one\n" * 1000, b"# two, which is longer\n" * 5000]
    stop = threading.Event()

    def replace() -> None:
        new = file.with_name("new")
        while not stop.is_set():
            for version in versions:
                new.write_bytes(version)
                new.rename(file)

    file.write_bytes(versions[0])
    replacer = threading.Thread(target=replace)
    replacer.start()
    try:
        assert {trusted.read(str(file)) for _ in range(500)} <= set(versions)
    finally:
        stop.set()
        replacer.join()


def test_no_descriptor_stays_open(file: Path) -> None:
    def opened() -> int:
        return len(os.listdir("/proc/self/fd"))

    before = opened()
    trusted.read(str(file))
    for path in (file.parent, file / "x", file.with_name("none"), Path("/tmp/x")):
        with pytest.raises((InitError, FileNotFoundError)):
            trusted.read(str(path))
    assert opened() == before


# --- unsafe: for the installation ----------------------------------------------------------------


def test_threat_76_pythons_own_links_are_followed(file: Path) -> None:
    link = file.with_name("python3")
    link.symlink_to("../vmman/./policy.toml")
    assert find_unsafe(str(link)) == ""
    file.chmod(0o666)
    assert find_unsafe(str(link)).startswith(f"{file} can be written")


def test_threat_76_a_link_of_another_user_is_unsafe(file: Path) -> None:
    link = file.with_name("python3")
    link.symlink_to(file)
    os.chown(link, OTHER, -1, follow_symlinks=False)
    assert find_unsafe(str(link)) == f"{link} belongs to uid {OTHER}"


def test_threat_76_a_link_into_a_home_is_unsafe(file: Path, safe: Path) -> None:
    home = safe / "home"
    home.mkdir()
    (home / "venv").write_text("")
    os.chown(home, OTHER, -1)
    link = file.with_name("python3")
    link.symlink_to(home / "venv")
    assert find_unsafe(str(link)) == f"{home} belongs to uid {OTHER}"


def test_threat_76_links_in_a_circle_end(file: Path) -> None:
    link = file.with_name("a")
    link.symlink_to("a")
    assert "too many symbolic links" in find_unsafe(str(link))


def test_threat_76_what_is_not_there_is_told(file: Path) -> None:
    assert "No such file" in find_unsafe(str(file.with_name("none")))


def test_threat_76_this_systems_python_is_safe() -> None:
    if not Path("/usr/bin/python3").exists():
        pytest.skip("no Python of the system")
    assert find_unsafe("/usr/bin/python3") == ""
