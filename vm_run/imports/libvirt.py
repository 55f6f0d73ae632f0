"""A libvirt domain, QEMU's or bhyve's, as a description.

Nothing that the XML names is opened, and no daemon is asked: a network or a volume of libvirt's
is only a name here, and becomes a comment.

Source: libvirt, Domain XML format; libvirt, Bhyve driver.
"""

from __future__ import annotations

import re

from vm_pull.hardware import xml
from vm_run.imports import libvirt_devices
from vm_run.imports.draft import Draft, decoded
from vm_spec.fault import Fault, VmError
from vm_spec.value import TYPE_CHECKING

if TYPE_CHECKING:
    from vm_pull.hardware.xml import Element

__all__ = ["imported"]

_TYPES = ("kvm", "qemu", "bhyve")
_UNITS = {
    "b": 1, "bytes": 1, "kb": 10**3, "k": 1 << 10, "kib": 1 << 10, "mb": 10**6, "m": 1 << 20,
    "mib": 1 << 20, "gb": 10**9, "g": 1 << 30, "gib": 1 << 30, "tb": 10**12, "t": 1 << 40,
    "tib": 1 << 40,
}  # fmt: skip
_SILENT = {
    "name", "uuid", "title", "description", "metadata", "memory", "currentMemory", "vcpu", "os",
    "features", "cpu", "clock", "on_poweroff", "on_reboot", "on_crash", "on_lockfailure",
    "devices", "pm", "resource", "seclabel", "commandline", "memoryBacking", "maxMemory",
    "bootloader", "bootloader_args",
}  # fmt: skip
_WORD = re.compile("[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", re.ASCII)


def imported(text: bytes | str, name: str) -> str:
    """The native TOML of a domain.

    Args:
        text: the XML, as `virsh dumpxml --inactive` gives it.
        name: the machine's, where the domain has none.

    Raises:
        VmError: it is no domain of QEMU's or bhyve's for x86, not well-formed, has a DOCTYPE, or
            contradicts itself.
    """
    domain = _read(text)
    kind = domain.get("type")
    if domain.name != "domain" or kind not in _TYPES:
        problem = f"is no domain of {', '.join(_TYPES)}"
        raise VmError(Fault(problem=problem, hint="virsh dumpxml --inactive NAME writes one"))
    arch = domain.one("os").one("type").get("arch")
    if arch not in ("", "x86_64", "i686", "amd64"):
        raise VmError(Fault(problem=f"is a domain for {arch}, and x86_64 is what runs here"))
    draft = Draft(domain.one("name").text or name, f"Imported from a libvirt domain for {kind}.")
    draft.put("hypervisor", "bhyve" if kind == "bhyve" else "qemu")
    if kind == "qemu":
        draft.within("qemu", accel="tcg")
    _size(draft, domain)
    _boot(draft, domain)
    _habits(draft, domain)
    libvirt_devices.devices(draft, domain)
    _own_words(draft, domain)
    for child in domain.children:
        if child.name not in _SILENT:
            draft.lost(f"<{child.name}>")
    return draft.text()


def _read(text: bytes | str) -> Element:
    """The domain; our reader of XML speaks of boxes, and this is none."""
    data = text if isinstance(text, bytes) else decoded(text, "domain").encode()
    try:
        return xml.read(data, "the domain")
    except VmError as error:
        problem = error.faults[0].problem.partition(", which no OVF")[0]
        hint = "virsh dumpxml --inactive NAME writes one"
        raise VmError(Fault(problem=problem, hint=hint)) from None


def _number(text: str) -> int:
    """A whole number; 0 for what is none."""
    return int(text) if re.fullmatch("[0-9]{1,18}", text, re.ASCII) else 0


def _bytes(element: Element) -> int:
    unit = (element.get("unit") or "KiB").lower()
    return _number(element.text) * _UNITS.get(unit, 0)


def _size(draft: Draft, domain: Element) -> None:
    memory, current = _bytes(domain.one("memory")), _bytes(domain.one("currentMemory"))
    if memory:
        whole = memory >> 20 if memory % (1 << 20) == 0 else 0
        draft.put("mem", f"{whole}M" if whole else memory)
    else:
        draft.lost("memory: no amount is given")
    if current and current != memory:
        draft.lost(f"currentMemory of {current >> 20} MiB: there is no balloon")
    vcpu, topology = domain.one("vcpu"), domain.one("cpu").one("topology")
    count = _number(vcpu.text) or 1
    cpu = {part: _number(topology.get(part)) or 1 for part in ("sockets", "cores", "threads")}
    cpu["cores"] *= (_number(topology.get("dies")) or 1) * (_number(topology.get("clusters")) or 1)
    same = cpu["sockets"] * cpu["cores"] * cpu["threads"] == count
    draft.put("cpu", cpu if topology and same else count)
    if topology and not same:
        draft.lost(f"a topology for another number of processors than {count}")
    if _number(vcpu.get("current")) not in (0, count):
        draft.lost(f"{vcpu.get('current')} of {count} processors at the start: it has all")
    if domain.one("uuid"):
        draft.put("uuid", domain.one("uuid").text)


def _boot(draft: Draft, domain: Element) -> None:
    os = domain.one("os")
    _firmware(draft, os)
    for tag, key in (("kernel", "kernel"), ("initrd", "initrd"), ("cmdline", "cmdline")):
        if os.one(tag).text and (key == "kernel" or os.one("kernel").text):
            draft.put(key, os.one(tag).text)
    kind = os.one("type").get("machine")
    if kind == "pc" or kind.startswith("pc-i440fx"):
        draft.within("qemu", machine="pc")
    elif kind and not kind.startswith(("q35", "pc-q35")):
        draft.lost(f"the machine type {kind}: it is a q35")
    first = os.one("boot").get("dev")
    if first not in ("", "hd"):
        draft.hint(f"It was booted from {first} first; here disks come before CDs in the base.")
    for child in os.children:
        if child.name in ("smbios", "bios", "bootmenu", "acpi", "dtb", "shim"):
            draft.lost(f"<os> <{child.name}>")


def _firmware(draft: Draft, os: Element) -> None:
    loader, nvram = os.one("loader"), os.one("nvram")
    flash = loader.get("type") == "pflash"
    odd = nvram.get("format") not in ("", "raw") or loader.get("format") not in ("", "raw")
    if loader.get("secure") == "yes":
        draft.lost("Secure Boot")
    if loader.text and (nvram.text or not flash) and not odd:
        draft.put("bootrom", loader.text)
        if nvram.text and "bootrom" in draft.tables:
            draft.put("varfile", nvram.text)
            draft.hint("varfile is libvirt's own, which it may keep from you: copy it.")
    elif loader.text or os.get("firmware") == "efi":
        draft.put("bootrom", "uefi")
        draft.hint("The UEFI variables are new ones, not those that libvirt has.")
    if os.get("firmware") not in ("", "efi", "bios"):
        draft.lost(f"the firmware {os.get('firmware')}")


def _habits(draft: Draft, domain: Element) -> None:
    features, cpu = domain.one("features"), domain.one("cpu")
    if not features.one("acpi"):
        draft.put("generate_acpi", False)
    if features.one("kvm").one("hidden").get("state") == "on":
        draft.within("qemu", hide_hypervisor=True)
    for child in features.children:
        if child.name not in ("acpi", "apic", "pae", "kvm", "vmport"):
            draft.lost(f"<features> <{child.name}>")
    if cpu.one("model").text and cpu.get("mode") in ("", "custom"):
        _model(draft, cpu)
    _clock(draft, domain.one("clock").get("offset"))
    _outcomes(draft, domain)
    _backing(draft, domain.one("memoryBacking"))


def _clock(draft: Draft, offset: str) -> None:
    if offset == "localtime":
        draft.put("utc_clock", False)
    elif offset not in ("", "utc"):
        draft.lost(f"the clock's offset {offset}")


def _backing(draft: Draft, backing: Element) -> None:
    if backing.one("locked"):
        draft.put("wire_guest_mem", True)
    for child in backing.children:
        if child.name != "locked":
            draft.lost(f"<memoryBacking> <{child.name}>")


def _model(draft: Draft, cpu: Element) -> None:
    words = [cpu.one("model").text]
    for feature in cpu.all("feature"):
        state = {"disable": "off", "forbid": "off"}.get(feature.get("policy"), "on")
        words.append(f"{feature.get('name')}={state}")
    if all(_WORD.fullmatch(word.partition("=")[0]) for word in words):
        draft.within("qemu", cpu=",".join(words))
    else:
        draft.lost(f"the processor {' '.join(words)}")


def _outcomes(draft: Draft, domain: Element) -> None:
    again = ["reboot"] if domain.one("on_reboot").text in ("", "restart") else []
    again += ["poweroff"] if domain.one("on_poweroff").text == "restart" else []
    if again != ["reboot"]:
        draft.put("reboot_on", again)
    if domain.one("on_crash").text not in ("", "destroy"):
        draft.lost(f"on_crash {domain.one('on_crash').text}")


def _own_words(draft: Draft, domain: Element) -> None:
    """Arguments that libvirt passes as they are."""
    for command in domain.all("commandline"):
        table = "bhyve" if "bhyve" in command.namespace else "qemu"
        words = [argument.get("value") for argument in command.all("arg")]
        if words:
            draft.within(table, args=words)
            draft.hint(f"args in [{table}] are passed as they are: read them before you start it.")
        for variable in command.all("env"):
            draft.lost(f"the variable {variable.get('name')} of the environment")
    if domain.one("bootloader"):
        draft.lost(f"the loader {domain.one('bootloader').text}")
