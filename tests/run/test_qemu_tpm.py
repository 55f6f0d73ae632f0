"""A TPM on QEMU's command line: who answers, what the guest sees, and where it cannot be."""

from __future__ import annotations

import pytest

from tests.run.qemu_given import MICROVM, placed, read, refused, said
from vm_run.qemu import arguments
from vm_run.wiring import Wiring
from vm_spec.machine import Tpm, TpmInterface, TpmType
from vm_spec.types import FilePath


def told(tpm: Tpm, wiring: Wiring) -> list[tuple[str, object]]:
    found = [one for one in arguments(placed(tpm=tpm), wiring) if one.key == "tpm"]
    return [(one.words[0], read(one.words[1])) for one in found]


@pytest.mark.parametrize(("interface", "driver"), [("crb", "tpm-crb"), ("tis", "tpm-tis")])
def test_qemu_connects_to_the_swtpm_in_the_state_folder(interface: str, driver: str) -> None:
    tpm = Tpm(path=FilePath("/home/a/web.tpm"), interface=TpmInterface(interface))
    assert told(tpm, Wiring(state="/run/vm/web")) == [
        ("-chardev", "socket,id=tpm,path=/run/vm/web/swtpm.sock"),
        ("-tpmdev", "emulator,id=tpm,chardev=tpm"),
        ("-device", {"driver": driver, "tpmdev": "tpm"}),
    ]


def test_a_comma_in_the_state_folder_is_no_new_option() -> None:
    first, *_ = told(Tpm(), Wiring(state="/run/a,server=on"))
    assert first == ("-chardev", "socket,id=tpm,path=/run/a,,server=on/swtpm.sock")


@pytest.mark.parametrize("path", [None, FilePath("/dev/tpm7")])
def test_the_hosts_tpm_is_passed_through_without_a_file_to_cancel_its_commands(
    path: FilePath | None,
) -> None:
    device = path or "/dev/tpm0"
    assert told(Tpm(type=TpmType("passthru"), path=path), Wiring()) == [
        ("-tpmdev", f"passthrough,id=tpm,path={device},cancel-path=/dev/null"),
        ("-device", {"driver": "tpm-crb", "tpmdev": "tpm"}),
    ]


def test_a_machine_without_a_tpm_has_nothing_of_one() -> None:
    assert not [word for word in said() if "tpm" in word]


def test_a_microvm_has_no_tpm() -> None:
    assert refused(**MICROVM, tpm=Tpm()).startswith("tpm: is not seen by a guest of microvm\n")
