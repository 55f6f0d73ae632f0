"""A vm-bhyve `.conf` as a description.

Source: vm-bhyve, vm(8), GUEST CONFIGURATION FORMAT, and config.sample; bhyve(8).
"""

from __future__ import annotations

import re

from vm_import import shell, vmbhyve_boot, vmbhyve_devices
from vm_import.draft import Draft, decoded
from vm_import.heard import OFF, Keys, number
from vm_spec.fault import Fault, VmError

__all__ = ["imported"]

_KNOWN = re.compile(r"(?:loader|guest|uefi|disk0_(?:type|name)|network0_(?:type|switch))", re.ASCII)
_DOCUMENTED = re.compile(
    r"bhyveload_(?:loader|args)|loader_timeout|uefi_vars|grub_(?:install|run)\d+"
    r"|grub_run_(?:partition|no_partition|dir|file)|graphics_\w+|vnc_password"
    r"|(?:disk|network)\d+_\w+|passthru\d+_options|virt_console\d+|sound_(?:play|rec)"
    r"|cpu_(?:sockets|cores|threads)",
    re.ASCII,
)
_NOT_HERE = {
    "debug": "what bhyve says is always kept in its log",
    "start_slot": "slots are chosen here, and stay",
    "install_slot": "slots are chosen here, and stay",
    "ahci_device_limit": "each SATA device has a controller of its own",
    "zfs_dataset_opts": "nothing is created here; zfs create -o takes them",
    "zfs_zvol_opts": "nothing is created here; zfs create -V -o takes them",
    "prestart": "nothing is run before a start; autostart's unit can do that",
    "priority": "start it by nice(1)",
    "limit_pcpu": "rctl(8) sets limits",
    "limit_rbps": "rctl(8) sets limits",
    "limit_wbps": "rctl(8) sets limits",
    "limit_riops": "rctl(8) sets limits",
    "limit_wiops": "rctl(8) sets limits",
    "nulliso_fix": "give it a CD of its own, if its guest wants one",
}


def imported(text: bytes | str, name: str) -> str:
    """The native TOML of a configuration of vm-bhyve.

    Args:
        text: the file.
        name: the machine's.

    Raises:
        VmError: it has none of vm-bhyve's keys, is not text, or contradicts itself.
    """
    words, others = _read(decoded(text, "vm-bhyve configuration"))
    if not any(map(_KNOWN.fullmatch, words)):
        problem = "is no vm-bhyve configuration: it has neither a loader nor disk0_name"
        raise VmError(Fault(problem=problem, hint="vm-bhyve's are called NAME/NAME.conf"))
    draft = Draft(name, "Imported from a vm-bhyve configuration.")
    said = Keys(words)
    _machine(draft, said)
    _switches(draft, said)
    _outcomes(draft, said)
    vmbhyve_devices.devices(draft, said)
    vmbhyve_boot.boot(draft, said)
    _rest(draft, said)
    for line in others:
        draft.lost(f"{line} (not a plain key and value)")
    return draft.text()


def _rest(draft: Draft, said: Keys) -> None:
    """Names what nobody has asked for, known or not."""
    for key, value in said.rest():
        why = _NOT_HERE.get(key, "")
        if (why or _DOCUMENTED.fullmatch(key)) and value.lower() in OFF:
            continue
        why = why or ("nothing uses it" if _DOCUMENTED.fullmatch(key) else "is not known")
        draft.lost(f"{key} {value}: {why}")


def _read(text: str) -> tuple[dict[str, str], list[str]]:
    """The keys with their values, and the lines that are something else.

    vm-bhyve reads the lines that begin with a key, each up to a `#`, and none goes on in the next.
    """
    words: dict[str, str] = {}
    others: list[str] = []
    for line in (whole.partition("#")[0].rstrip() for whole in text.split("\n")):
        if line[:1].strip():
            found = shell.read(line)
            words |= found.words
            others += [] if found.words else [line]
    return words, others


def _machine(draft: Draft, said: Keys) -> None:
    count = number(said.get("cpu", "1"))
    parts = {part: number(said.get(f"cpu_{part}")) or 1 for part in ("sockets", "cores", "threads")}
    product = parts["sockets"] * parts["cores"] * parts["threads"]
    if product > 1 and product != count:
        draft.hint(f"cpu is {count}, and sockets, cores and threads make {product}.")
    draft.put("cpu", parts if product > 1 else count)
    memory = said.get("memory", "256M")
    draft.put("mem", f"{memory}M" if number(memory) > 0 else memory)
    for port in said.get("comports", "com1").split():
        if port in ("com1", "com2", "com3", "com4"):
            draft.put(port, "socket")
        else:
            draft.lost(f"comports {port}: is no serial port")
    if uuid := said.get("uuid"):
        draft.put("uuid", uuid)
    if options := said.get("bhyve_options"):
        draft.within("bhyve", args=options)


def _switches(draft: Draft, said: Keys) -> None:
    if not said.on("utctime", "yes"):
        draft.put("utc_clock", False)
    if said.on("wired_memory"):
        draft.put("wire_guest_mem", True)
    bridge = said.get("hostbridge", "standard")
    if bridge == "amd":
        draft.put("hostbridge", "amd_hostbridge")
    elif bridge != "standard":
        draft.lost(f"hostbridge {bridge}: there is always one")
    if said.on("ignore_bad_msr"):
        draft.within("bhyve", config={"x86.strictmsr": False})
    if (interface := said.get("fwcfg", "bhyve")) != "bhyve":
        draft.within("bhyve", config={"lpc.fwcfg": interface})


def _outcomes(draft: Draft, said: Keys) -> None:
    """After which ends it is started again; of the faults bhyve's exits from 3 on."""
    again = ["reboot"] if said.get("on_restart", "restart") == "restart" else []
    if said.get("on_fault") == "restart":
        again += ["triple-fault", "error"]
    if again != ["reboot"]:
        draft.put("reboot_on", again)
