"""The gate in front of qemu-img: no image shows a file that it may not (threats B14 to B19, B23).

Every hostile image is tried twice: at the gate, which refuses it; and, as if there were no gate,
in the sandbox, where there is nothing for it to show.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.lacking import need
from tests.pull import good, hostile
from vm_pull.images import confine
from vm_pull.images.confine import Limits
from vm_pull.images.convert import convert
from vm_spec.fault import VmError

Lab = tuple[Path, dict[str, bytes]]

NOBODY = 65534
LIMITS = Limits(cpu_s=20, file=16 << 20)
LEAKING = {
    "qcow2 with a backing file": "qcow2",
    "qcow2 with a json backing file": "qcow2",
    "qcow2 of version 2 with a backing file": "qcow2",
    "qcow2 with a data file": "qcow2",
    "flat VMDK": "vmdk",
    "split VMDK by a path": "vmdk",
    "VMDK of capacity 0 with a flat descriptor": "vmdk",
    "VMDK with a parent": "vmdk",
    "VMDK with a parent where only QEMU looks": "vmdk",
    "VMDK with a parent and no descriptor": "vmdk",
    "VMDK with a parent behind its first grain": "vmdk",
}
"""Attacks that work on a qemu-img that runs as it is."""


@pytest.fixture(scope="module")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """A canary, and every hostile image, which points at it."""
    folder = tmp_path_factory.mktemp("lab")
    need("qemu-img")
    canary = hostile.canary(folder)
    content = good.disk(2 << 20)
    kinds = ("vdi", "vhd", "vhd-fixed", "vhdx")
    made = {kind: good.make(folder, kind, content).read_bytes() for kind in kinds}
    return canary, hostile.images(canary, made)


def accepted(folder: Path, images: dict[str, bytes]) -> dict[str, object]:
    """The images that the gate lets through, and what it said of them."""
    found: dict[str, object] = {}
    for name, content in images.items():
        path = folder / "image"
        path.write_bytes(content)
        try:
            found[name] = good.judged(path)
        except VmError as error:
            assert error.status in {65, 77}, name
    return found


def refused(lab: Lab, folder: Path, names: Iterable[str]) -> None:
    _, images = lab
    chosen = {name: images[name] for name in names}
    assert len(chosen) >= 7
    assert accepted(folder, chosen) == {}


def test_threat_b14_backing_files_are_refused(lab: Lab, tmp_path: Path) -> None:
    refused(lab, tmp_path, hostile.backing_files(lab[0]))


def test_threat_b15_data_files_unknown_features_and_encryption_are_refused(
    lab: Lab, tmp_path: Path
) -> None:
    refused(lab, tmp_path, hostile.features(lab[0]))


def test_threat_b16_content_decides_and_several_formats_at_once_are_refused(
    lab: Lab, tmp_path: Path
) -> None:
    refused(lab, tmp_path, hostile.disguises())


def test_threat_b17_descriptors_that_name_other_files_are_refused(lab: Lab, tmp_path: Path) -> None:
    refused(lab, tmp_path, hostile.descriptors(lab[0]))


def test_threat_b18_sparse_vmdks_that_lead_elsewhere_are_refused(lab: Lab, tmp_path: Path) -> None:
    refused(lab, tmp_path, hostile.embedded(lab[0]))


def test_threat_b19_sizes_and_tables_that_cost_too_much_are_refused(
    lab: Lab, tmp_path: Path
) -> None:
    refused(lab, tmp_path, hostile.bombs())


def test_every_hostile_image_is_refused(lab: Lab, tmp_path: Path) -> None:
    _, images = lab
    assert len(images) >= 100
    assert accepted(tmp_path, images) == {}


def test_the_images_that_the_hostile_ones_were_made_of_are_accepted(tmp_path: Path) -> None:
    """So that it is the hostile part for which each is refused."""
    images = {
        "qcow2": hostile.qcow2(),
        "old qcow2": hostile.qcow2(version=2),
        "vmdk": hostile.vmdk(),
        "part": hostile.vmdk(descriptor_at=0),
        "split": hostile.SPLIT.encode(),
        "split with a plain part": hostile.SPLIT.replace("disk.vmdk", "disk-s001.vmdk").encode(),
    }
    assert accepted(tmp_path, images).keys() == images.keys()


def shown(folder: Path, argv: list[str]) -> bytes:
    """What a program writes into `out`."""
    subprocess.run(argv, cwd=folder, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    out = folder / "out"
    return out.read_bytes() if out.exists() else b""


def words_for(kind: str) -> list[str]:
    return ["convert", "-f", kind, "-O", "raw", "./image", "./out"]


@pytest.mark.parametrize("name", LEAKING)
def test_the_attack_is_real(lab: Lab, tmp_path: Path, name: str) -> None:
    (tmp_path / "image").write_bytes(lab[1][name])
    assert hostile.CANARY in shown(tmp_path, [need("qemu-img"), *words_for(LEAKING[name])])


def sandboxed() -> None:
    """Whether a sandbox can be made here: inside some containers none can."""
    words = [*confine.sandbox(need("bwrap"), "/usr"), "/bin/true"]
    tried = subprocess.run(words, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    if tried.returncode:
        pytest.skip(f"bwrap does not work here: {tried.stderr.decode()}")


def silent(text: str) -> None:
    pytest.fail(f"without a sandbox: {text}")


def test_in_the_sandbox_there_is_one_folder_and_no_network(tmp_path: Path) -> None:
    sandboxed()
    (tmp_path / "image").touch()
    script = "ls -a /disk; echo; ls -a /etc; echo; ls -d /root /home /tmp /proc /sys; ls image"
    room = confine.sandbox(need("bwrap"), str(tmp_path))
    seen = subprocess.run(
        [*room, "/bin/sh", "-c", f"{script}; mkdir /usr/x"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert seen.stdout == ".\n..\nimage\n\n.\n..\nld.so.cache\n\nimage\n"
    assert "Read-only file system" in seen.stderr
    own = os.readlink("/proc/self/ns/net")
    asked = [*room[:-1], "--proc", "/proc", "--", "/bin/readlink", "/proc/self/ns/net"]
    inside = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    assert inside.startswith("net:[")
    assert inside.strip() != own


def test_a_good_image_is_converted_in_the_sandbox(tmp_path: Path) -> None:
    sandboxed()
    disk = good.disk()
    image = good.judged(good.make(tmp_path, "vdi", disk))
    convert(str(tmp_path), "vdi", image, "target", "raw", tell=silent)
    assert (tmp_path / "target").read_bytes() == disk


def formats(content: bytes) -> list[str]:
    """What an attacker would have qemu-img take it for."""
    if content[:4] == b"KDMV" or content[:6] == b"# Disk":
        return ["vmdk"]
    return ["qcow2"] if content[:4] == b"QFI\xfb" else []


def test_threat_b23_without_the_gate_the_sandbox_shows_nothing(lab: Lab, tmp_path: Path) -> None:
    sandboxed()
    canary, images = lab
    hungry = {
        **hostile.backing_files(canary),
        **hostile.descriptors(canary),
        **hostile.embedded(canary),
    }
    tried = 0
    for name in [*hungry, "qcow2 with a data file", "qcow2 with the name of a data file"]:
        for kind in formats(images[name]):
            (tmp_path / "image").write_bytes(images[name])
            try:
                confine.run(str(tmp_path), words_for(kind), LIMITS, tell=silent)
            except VmError:
                pass
            out = tmp_path / "out"
            assert hostile.CANARY[:20] not in (out.read_bytes() if out.exists() else b""), name
            tried += 1
            out.unlink(missing_ok=True)
    assert tried >= 35


@pytest.fixture
def open_lab() -> Iterator[Path]:
    """A folder that everybody may read, with a canary; and in it `work`, which is nobody's."""
    need("qemu-img")
    with TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        hostile.canary(folder)
        (folder / "work").mkdir()
        os.chown(folder / "work", NOBODY, NOBODY)
        yield folder


@pytest.mark.root
@pytest.mark.parametrize("name", LEAKING)
def test_threat_b23_nor_does_it_for_an_ordinary_user(open_lab: Path, name: str) -> None:
    sandboxed()
    work = open_lab / "work"
    canary = open_lab / "canary"
    images = {
        **hostile.backing_files(canary),
        **hostile.features(canary),
        **hostile.descriptors(canary),
        **hostile.embedded(canary),
    }
    (work / "image").write_bytes(images[name])
    as_nobody = [need("setpriv"), f"--reuid={NOBODY}", f"--regid={NOBODY}", "--clear-groups"]
    room = confine.sandbox(need("bwrap"), str(work))
    argv = [need("qemu-img"), *words_for(LEAKING[name])]
    assert hostile.CANARY in shown(work, [*as_nobody, *argv])
    (work / "out").unlink()
    assert hostile.CANARY[:20] not in shown(work, [*as_nobody, *room, *argv])
