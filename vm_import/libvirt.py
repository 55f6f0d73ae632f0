"""A libvirt domain, QEMU's or bhyve's, as a description.

Nothing that the XML names is opened, and no daemon is asked: a network or a volume of libvirt's
is only a name here, and becomes a comment.

Source: libvirt, Domain XML format; libvirt, Bhyve driver.
"""

from __future__ import annotations

from vm_import import libvirt_boot, libvirt_cpu, libvirt_devices
from vm_import.draft import Draft, decoded
from vm_import.heard import number
from vm_import.libvirt_xml import Node
from vm_spec import xml
from vm_spec.fault import Fault, VmError

__all__ = ["imported"]

_WRITES_ONE = "virsh dumpxml --inactive NAME writes one"
_TYPES = ("kvm", "qemu", "bhyve")
_UNITS = {
    "b": 1, "bytes": 1, "kb": 10**3, "k": 1 << 10, "kib": 1 << 10, "mb": 10**6, "m": 1 << 20,
    "mib": 1 << 20, "gb": 10**9, "g": 1 << 30, "gib": 1 << 30, "tb": 10**12, "t": 1 << 40,
    "tib": 1 << 40,
}  # fmt: skip
_IDLE = {
    "address", "alias", "backingStore", "controller", "description", "emulator", "hub",
    "metadata", "panic", "pm", "resource", "seclabel", "title",
}  # fmt: skip
_IDLE_ATTRIBUTES = {
    ("", "id"), ("console", "tty"), ("cpu", "check"), ("cpu", "match"), ("cpu", "migratable"),
    ("disk", "snapshot"), ("driver", "name"), ("graphics", "autoport"), ("hostdev", "managed"),
    ("hostdev", "mode"), ("loader", "readonly"), ("mac", "type"), ("model", "fallback"),
    ("nvram", "template"), ("serial", "tty"), ("source", "index"), ("vcpu", "placement"),
}  # fmt: skip


def imported(text: bytes | str, name: str) -> str:
    """The native TOML of a domain.

    Args:
        text: the XML, as `virsh dumpxml --inactive` gives it.
        name: the machine's, where the domain has none.

    Raises:
        VmError: it is no domain of QEMU's or bhyve's for x86, not well-formed, has a DOCTYPE, or
            contradicts itself.
    """
    data = text if isinstance(text, bytes) else decoded(text, "domain").encode()
    domain = Node(xml.read(data, "the domain", _WRITES_ONE))
    kind = domain.get("type")
    if domain.name != "domain" or kind not in _TYPES:
        problem = f"is no domain of {', '.join(_TYPES)}"
        raise VmError(Fault(problem=problem, hint=_WRITES_ONE))
    arch = domain.one("os").one("type").get("arch")
    if arch not in ("", "x86_64", "i686", "amd64"):
        raise VmError(Fault(problem=f"is a domain for {arch}, and x86_64 is what runs here"))
    draft = Draft(domain.one("name").text or name, f"Imported from a libvirt domain for {kind}.")
    draft.put("hypervisor", "bhyve" if kind == "bhyve" else "qemu")
    if kind == "qemu":
        draft.within("qemu", accel="tcg")
    _memory(draft, domain)
    libvirt_cpu.processors(draft, domain)
    libvirt_boot.boot(draft, domain)
    _habits(draft, domain)
    libvirt_devices.devices(draft, domain)
    _own_words(draft, domain)
    _rest(draft, domain)
    return draft.text()


def _rest(draft: Draft, domain: Node) -> None:
    """Names what nobody has asked for."""
    told: set[str] = set()
    for way, attribute, value in domain.rest():
        last = way[-1] if way else ""
        idle = next((name for name in way if name in _IDLE), "")
        if idle or (last, attribute) in _IDLE_ATTRIBUTES:
            draft.idle(f"<{idle}>" if idle else f"<{last or 'domain'}> {attribute}")
            continue
        names = " ".join(f"<{name}>" for name in way if name != "devices")
        said = " ".join(filter(None, (names, f"{attribute}={value}" if attribute else value)))
        if said not in told:
            draft.lost(said)
        told.add(said)


def _bytes(element: Node) -> int:
    unit = (element.get("unit") or "KiB").lower()
    return number(element.text) * _UNITS.get(unit, 0)


def _memory(draft: Draft, domain: Node) -> None:
    memory, current = _bytes(domain.one("memory")), _bytes(domain.one("currentMemory"))
    if memory:
        whole = memory >> 20 if memory % (1 << 20) == 0 else 0
        draft.put("mem", f"{whole}M" if whole else memory)
    else:
        draft.lost("memory: no amount is given")
    if current and current != memory:
        draft.lost(f"currentMemory of {current >> 20} MiB: there is no balloon")
    backing = domain.one("memoryBacking")
    if backing.one("locked"):
        draft.put("wire_guest_mem", True)
    if backing.one("hugepages"):
        draft.within("qemu", hugepages="/dev/hugepages")


def _habits(draft: Draft, domain: Node) -> None:
    if domain.one("uuid"):
        draft.put("uuid", domain.one("uuid").text)
    offset = domain.one("clock").get("offset")
    if offset == "localtime":
        draft.put("utc_clock", False)
    elif offset not in ("", "utc"):
        draft.lost(f"the clock's offset {offset}")
    _outcomes(draft, domain)


def _outcomes(draft: Draft, domain: Node) -> None:
    reboot, poweroff, crash = (
        domain.one(f"on_{event}").text for event in ("reboot", "poweroff", "crash")
    )
    again = ["reboot"] if reboot in ("", "restart") else []
    again += ["poweroff"] if poweroff == "restart" else []
    again += ["triple-fault"] if crash == "restart" else []
    if again != ["reboot"]:
        draft.put("reboot_on", again)
    for event, wanted in (("reboot", reboot), ("poweroff", poweroff), ("crash", crash)):
        if wanted not in ("", "restart", "destroy"):
            draft.lost(f"on_{event} {wanted}")


def _own_words(draft: Draft, domain: Node) -> None:
    """Arguments that libvirt passes as they are."""
    for command in domain.all("commandline"):
        table = "bhyve" if "bhyve" in command.namespace else "qemu"
        words = [argument.get("value") for argument in command.all("arg")]
        if words:
            draft.within(table, args=words)
            draft.hint(f"args in [{table}] are passed as they are: read them before you start it.")
        for variable in command.all("env"):
            draft.lost(f"<env> {variable.get('name')} of the environment")
            variable.done()
