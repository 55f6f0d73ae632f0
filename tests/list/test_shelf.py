"""What is kept of descriptions is used only while it is still true."""

import json
import os
import stat
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.copied import copied
from vm_list import facts, shelf

CHECKOUT = Path(__file__).parent.parent.parent
TEXTS = ['mem = "1G"\n', 'mem = "2G"\n', "mem = 99\n\n\n", "mmm = 3 \n \n", "cpu = 2\n"]
LONG_AGO = 10**9  # what is believed to lie 2 s back, in tests that cannot wait for it


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache of this test's own, which is worth its while for two descriptions."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(shelf, "_WORTH", 2)
    return tmp_path / "cache" / "vmman"


@pytest.fixture
def settled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Files that were just made are taken for old ones."""
    monkeypatch.setattr(shelf, "_SETTLED_NS", -LONG_AGO)


@pytest.fixture
def vms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of four descriptions on a file system that times can be believed of."""
    folder = tmp_path / "vm"
    folder.mkdir()
    monkeypatch.setenv("VMCONF_DIR", str(folder))
    for name in "abcd":
        (folder / f"{name}.toml").write_text(TEXTS[0])
    if not shelf.local_device(str(folder)):
        pytest.skip("the temporary folder is on no file system whose times can be believed")
    return folder


@pytest.fixture
def read_afresh(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the descriptions that were opened, in order."""
    opened: list[str] = []
    of = facts.of

    def noted(file: str) -> facts.Facts:
        opened.append(Path(file).stem)
        return of(file)

    monkeypatch.setattr(facts, "of", noted)
    return opened


def read(vms: Path) -> list[facts.Facts]:
    return shelf.read(str(vms), [str(vms / f"{name}.toml") for name in "abcd"])


@pytest.mark.usefixtures("settled")
def test_what_has_not_changed_is_not_opened_again(vms: Path, read_afresh: list[str]) -> None:
    first = read(vms)
    assert read_afresh == ["a", "b", "c", "d"]
    assert read(vms) == first
    assert read_afresh == ["a", "b", "c", "d"]


@pytest.mark.usefixtures("settled")
def test_a_change_of_one_is_seen_and_the_others_are_not_opened(
    vms: Path, read_afresh: list[str]
) -> None:
    read(vms)
    del read_afresh[:]
    (vms / "b.toml").write_text('mem = "7G"\n')
    assert [said["memory"] >> 30 for said in read(vms)] == [1, 7, 1, 1]
    assert read_afresh == ["b"]


def test_a_file_that_was_changed_a_moment_ago_is_not_kept(
    vms: Path, read_afresh: list[str]
) -> None:
    read(vms)
    read(vms)
    assert read_afresh == [*"abcd", *"abcd"]


def test_a_file_is_kept_once_its_change_is_older_than_any_tick(
    vms: Path, read_afresh: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    changed = [(vms / f"{name}.toml").stat().st_ctime_ns for name in "abcd"]
    monkeypatch.setattr(time, "time_ns", lambda: min(changed) + 2_000_000_000)
    read(vms)
    monkeypatch.setattr(time, "time_ns", lambda: max(changed) + 2_000_000_001)
    read(vms)
    read(vms)
    assert read_afresh == [*"abcd", *"abcd"]


def test_a_clock_that_was_set_back_keeps_nothing(
    vms: Path, read_afresh: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = time.time_ns()
    monkeypatch.setattr(time, "time_ns", lambda: now - 10**12)
    read(vms)
    read(vms)
    assert read_afresh == [*"abcd", *"abcd"]


@pytest.mark.usefixtures("settled")
def test_the_same_size_and_the_same_modification_time_hide_nothing(vms: Path) -> None:
    file = vms / "a.toml"
    old = file.stat()
    read(vms)
    file.write_text('mem = "9G"\n')
    os.utime(file, ns=(old.st_atime_ns, old.st_mtime_ns))
    new = file.stat()
    assert (new.st_size, new.st_mtime_ns, new.st_ino) == (old.st_size, old.st_mtime_ns, old.st_ino)
    assert read(vms)[0]["memory"] == 9 << 30


def _rewrite(file: Path, text: str) -> None:
    file.write_text(text)


def _rewrite_and_hide(file: Path, text: str) -> None:
    old = file.stat()
    file.write_text(text)
    os.utime(file, ns=(old.st_atime_ns, old.st_mtime_ns))


def _replace(file: Path, text: str) -> None:
    other = file.with_name(".new")
    other.write_text(text)
    other.rename(file)


def _swap(file: Path, text: str) -> None:
    """Two descriptions change places; no contents do."""
    other = file.with_name("a.toml" if file.name != "a.toml" else "b.toml")
    between = file.with_name(".between")
    for source, target in ((file, between), (other, file), (between, other)):
        source.rename(target)
    del text


def _link(file: Path, text: str) -> None:
    target = file.with_name(f".{text[-6:-2].strip()}{len(text)}.target")
    target.write_text(text)
    file.unlink()
    file.symlink_to(target)


def _let_everybody_write(file: Path, text: str) -> None:
    file.chmod(0o666 if stat.S_IMODE(file.stat().st_mode) != 0o666 else 0o644)
    del text


def _let_everybody_into_the_folder(file: Path, text: str) -> None:
    folder = file.parent
    folder.chmod(0o777 if stat.S_IMODE(folder.stat().st_mode) != 0o777 else 0o755)
    del text


def _remove(file: Path, text: str) -> None:
    file.unlink()
    del text


EDITS = [
    _rewrite, _rewrite_and_hide, _replace, _swap, _link, _let_everybody_write,
    _let_everybody_into_the_folder, _remove,
]  # fmt: skip


@pytest.mark.usefixtures("settled")
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    edits=st.lists(
        st.tuples(st.sampled_from(EDITS), st.sampled_from("abcd"), st.sampled_from(TEXTS)),
        max_size=8,
    )
)
def test_whatever_is_edited_what_is_kept_never_lies(vms: Path, edits: list[Any]) -> None:
    vms.chmod(0o755)
    for edit, name, text in [(None, "", ""), *edits]:
        for file in (vms / f"{each}.toml" for each in "abcd"):
            if not file.exists():
                file.write_text(TEXTS[0])
        if edit:
            edit(vms / f"{name}.toml", text)
        afresh = [facts.of(str(vms / f"{each}.toml")) for each in "abcd"]
        assert read(vms) == afresh
        assert read(vms) == afresh


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize("variable", ["HOME", "VMCONF_DIR"])
def test_what_a_description_may_mention_is_part_of_what_is_kept(
    vms: Path, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    word = {"HOME": "home", "VMCONF_DIR": "confdir"}[variable]
    (vms / "a.toml").write_text(f'name = "%({word})"\n')  # no good name: the fault shows it
    monkeypatch.setenv(variable, "/one")
    first = read(vms)
    monkeypatch.setenv(variable, "good")
    assert read(vms)[0] == facts.of(str(vms / "a.toml"))
    assert read(vms)[0] != first[0]


@pytest.mark.usefixtures("settled")
def test_another_version_of_the_program_believes_nothing(
    vms: Path, read_afresh: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    read(vms)
    del read_afresh[:]
    copied(CHECKOUT / "vm_spec", tmp_path / "vm_spec")
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    read(vms)
    assert read_afresh == [*"abcd"]


def test_a_program_in_an_archive_keeps_nothing(
    vms: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shelf, "_CODE", ("no_such_package",))
    assert read(vms)[0]["cpus"] == 1
    assert not cache.exists()


@pytest.mark.usefixtures("settled")
def test_another_user_believes_nothing(
    vms: Path, read_afresh: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    read(vms)
    del read_afresh[:]
    monkeypatch.setattr(os, "getgroups", lambda: [4711])
    read(vms)
    assert read_afresh == [*"abcd"]


def test_on_a_file_system_of_another_host_nothing_is_kept(
    vms: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An NFS client shows times that are seconds old, of a clock that is not ours."""
    monkeypatch.setattr(shelf, "_LOCAL", {"nfs4"})
    read(vms)
    assert not cache.exists()


@pytest.mark.usefixtures("settled")
@pytest.mark.parametrize(
    "text", ["", "[]", "{}", "[[],{}]", "[" * 100000, "\0", '[null,{"a":[1]}]', "9" * 5000]
)
def test_a_cache_with_anything_in_it_is_never_fatal(vms: Path, cache: Path, text: str) -> None:
    good = read(vms)
    (file,) = cache.iterdir()
    file.write_text(text)
    assert read(vms) == good
    assert json.loads(file.read_text())[1].keys() == {str(vms / f"{n}.toml") for n in "abcd"}


@pytest.mark.usefixtures("settled")
def test_a_cache_that_others_could_have_written_is_not_believed(
    vms: Path, cache: Path, read_afresh: list[str]
) -> None:
    read(vms)
    (file,) = cache.iterdir()
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.chmod(0o620)
    read(vms)
    file.chmod(0o600)
    cache.chmod(0o722)
    read(vms)
    assert read_afresh == [*"abcd", *"abcd", *"abcd"]


@pytest.mark.usefixtures("settled")
def test_a_cache_that_is_a_link_is_not_followed(
    vms: Path, cache: Path, tmp_path: Path, read_afresh: list[str]
) -> None:
    read(vms)
    (file,) = cache.iterdir()
    file.rename(tmp_path / "kept")
    file.symlink_to(tmp_path / "kept")
    read(vms)
    assert read_afresh == [*"abcd", *"abcd"]
    assert not file.is_symlink()


@pytest.mark.usefixtures("settled")
def test_where_nothing_can_be_kept_everything_is_still_read(
    vms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    assert [said["cpus"] for said in read(vms)] == [1, 1, 1, 1]
    monkeypatch.setenv("XDG_CACHE_HOME", "relative")
    monkeypatch.setenv("HOME", "/dev/null")
    assert [said["cpus"] for said in read(vms)] == [1, 1, 1, 1]
    assert not Path("relative").exists()


@pytest.mark.usefixtures("settled")
def test_what_uclcmd_makes_of_a_file_is_not_kept(vms: Path, cache: Path) -> None:
    (vms / "u.ucl").write_text("mem: 1G\n")
    shelf.read(str(vms), [str(vms / "a.toml"), str(vms / "u.ucl")])
    (file,) = cache.iterdir()
    assert json.loads(file.read_text())[1].keys() == {str(vms / "a.toml")}


@pytest.mark.usefixtures("settled")
def test_a_link_is_not_kept_for_it_may_lead_elsewhere_while_it_is_read(
    vms: Path, cache: Path
) -> None:
    (vms / "a.toml").rename(vms / "a.real")
    (vms / "a.toml").symlink_to("a.real")
    read(vms)
    (file,) = cache.iterdir()
    assert json.loads(file.read_text())[1].keys() == {str(vms / f"{n}.toml") for n in "bcd"}


@pytest.mark.usefixtures("settled")
def test_a_file_of_another_file_system_than_the_folders_is_not_kept(
    vms: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file can be mounted on a file."""
    monkeypatch.setattr(shelf, "local_device", hash)  # of a text: no device of a file here
    read(vms)
    (file,) = cache.iterdir()
    assert json.loads(file.read_text())[1] == {}


@pytest.mark.usefixtures("settled")
def test_no_other_file_is_left_beside_the_cache(vms: Path, cache: Path) -> None:
    read(vms)
    (vms / "a.toml").write_text(TEXTS[1])
    read(vms)
    assert len(list(cache.iterdir())) == 1


def test_a_few_descriptions_leave_no_cache(
    vms: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shelf, "_WORTH", 100)
    read(vms)
    assert not cache.exists()


# In a process of its own, for pytest's may have threads, and those do not survive a fork.
MANY = """
import os, sys
from vm_list import facts
folder, wanted = sys.argv[1], sys.argv[2]
facts._A_PROCESS, facts._processors = 2, lambda: 3
me, of = os.getpid(), facts.of
def odd(file):
    if os.getpid() != me:
        raise RuntimeError if wanted == "raise" else SystemExit
    return of(file)
if wanted != "good":
    facts.of = odd
files = sorted(entry.path for entry in os.scandir(folder))
assert facts.each(files) == [of(file) for file in files]
print(len(files), "as one by one")
"""


@pytest.mark.parametrize("wanted", ["good", "raise", "exit"])
def test_many_at_once_are_read_as_one_by_one_even_if_a_helper_fails(vms: Path, wanted: str) -> None:
    for number in range(9):
        (vms / f"{number}.toml").write_text(TEXTS[number % len(TEXTS)])
    (vms / "\udcff.toml").write_text("mem = 0\n")
    done = subprocess.run(
        [sys.executable, "-c", MANY, str(vms), wanted], cwd=CHECKOUT, stdin=subprocess.DEVNULL,
        capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert (done.returncode, done.stderr, done.stdout) == (0, "", "14 as one by one\n")


def test_where_all_is_kept_no_decoder_is_loaded(vms: Path) -> None:
    program = (
        "import sys\nfrom vm_list import __main__ as m, shelf\nshelf._WORTH = 2\n"
        f"shelf._SETTLED_NS = -{LONG_AGO}\nm.main([])\nprint('vm_spec.decode' in sys.modules)"
    )
    for expected in ("True", "False"):
        done = subprocess.run(
            [sys.executable, "-c", program], cwd=CHECKOUT, stdin=subprocess.DEVNULL,
            capture_output=True, text=True, check=True,
            env=os.environ | {"XDG_RUNTIME_DIR": str(vms.parent)},
        )  # fmt: skip
        assert done.stdout.splitlines()[-1] == expected
