"""A real guest on a tap and on a macvtap, in a network namespace of the test's own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.vm import HOUSE

pytestmark = [pytest.mark.real, pytest.mark.root]


def inside(kind: str, guest: Path, folder: Path) -> str:
    done = subprocess.run(
        ["unshare", "-n", "-m", "sh", "-c", 'mount -t sysfs sysfs /sys && exec "$@"', "sh",
         sys.executable, "-m", "tests.run.in_namespace", kind, guest, folder],
        cwd=HOUSE,
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_guest_on_a_tap_answers_and_the_tap_is_known_to_be_in_use(
    guest: Path, tmp_path: Path
) -> None:
    answer, *said, status = inside("tap", guest, tmp_path).splitlines()
    assert answer == "hello from the guest"
    assert status == "0"
    assert "tap vmtap9 is in use" in "\n".join(said)


def test_a_guest_on_a_macvtap_gets_it_as_a_descriptor(guest: Path, tmp_path: Path) -> None:
    answer, *said, status = inside("macvtap", guest, tmp_path).splitlines()
    assert answer == "hello from the guest"
    assert status == "0"
    assert "vmmac9 exists and is no tap" in "\n".join(said)
