"""What every test may ask for."""

import fcntl
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from tests import home as homes
from tests.lacking import lacking
from tests.vm import Vm

# A machine that is busy with other things is slow, and proves nothing.
settings.register_profile("vmman", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("vmman")

BUILD = Path(__file__).parent / "guest" / "build.sh"

home = pytest.fixture(homes.home)


@pytest.fixture
def vm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Vm]:
    """A VM with directories of its own; what it leaves running is ended."""
    made = Vm(tmp_path_factory.mktemp("v"))
    yield made
    made.close()


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process that stands for a hypervisor, or for one that has nothing to do with any VM."""
    process = subprocess.Popen(["sleep", "1000"], stdin=subprocess.DEVNULL)
    yield process
    process.kill()
    process.wait()


@pytest.fixture(scope="session")
def guest() -> Path:
    """The folder of the tiny guest: what tests/guest/build.sh writes."""
    given = os.environ.get("VMMAN_GUEST")
    if given:
        folder = Path(given)
        assert folder.is_dir(), f"VMMAN_GUEST={given} is not a folder"
        return folder
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = cache / "vmman" / "guest"
    folder.mkdir(parents=True, exist_ok=True)
    _build(folder)
    return folder


def _build(folder: Path) -> None:
    """Build the guest, one of pytest's workers at a time; the later ones find it built."""
    with folder.with_suffix(".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        built = subprocess.run(
            [BUILD, folder], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
    if built.returncode:
        lacking(f"{BUILD.name} ended with {built.returncode}:\n{built.stderr[-2000:]}")
