"""The processors of a libvirt domain, and what of them its guest is told.

Source: libvirt, Domain XML format, CPU model and topology, Hypervisor features, CPU Tuning;
libvirt, Bhyve driver; qemu(1), -cpu; bhyve_config(5).
"""

from __future__ import annotations

import re

from vm_import.heard import number
from vm_spec.frozen import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    from vm_import.draft import Draft
    from vm_import.libvirt_xml import Node

__all__ = ["processors"]

_WORD = re.compile("[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", re.ASCII)
_SET = re.compile("[0-9]{1,4}(?:[,-][0-9]{1,4})*", re.ASCII)
_HYPERV = (
    "relaxed", "vapic", "vpindex", "runtime", "synic", "stimer", "reset", "frequencies",
    "reenlightenment", "tlbflush", "ipi", "evmcs", "avic",
)  # fmt: skip
_ALWAYS = ("acpi", "apic", "pae")  # an x86 machine here has them
_MODES = ("", "custom", "host-passthrough", "host-model", "maximum")


def processors(draft: Draft, domain: Node) -> None:
    """Puts the processors of a domain and its features into a description."""
    _count(draft, domain.one("vcpu"), domain.one("cpu").one("topology"))
    features, cpu = domain.one("features"), domain.one("cpu")
    words = [*_model(draft, cpu), *_enlightened(features.one("hyperv"))]
    if len(words) > 1 or words[:1] != ["max"]:
        draft.within("qemu", cpu=",".join(words))
    _features(draft, features)
    _pins(draft, domain)


def _count(draft: Draft, vcpu: Node, topology: Node) -> None:
    count = number(vcpu.text) or 1
    cpu = {part: number(topology.get(part)) or 1 for part in ("sockets", "cores", "threads")}
    cpu["cores"] *= (number(topology.get("dies")) or 1) * (number(topology.get("clusters")) or 1)
    same = cpu["sockets"] * cpu["cores"] * cpu["threads"] == count
    draft.put("cpu", cpu if topology and same else count)
    if topology and not same:
        draft.lost(f"a topology for another number of processors than {count}")
    now = vcpu.get("current")
    if number(now) not in (0, count):
        draft.lost(f"<vcpu> current={now}: it has all {count} at the start")


def _model(draft: Draft, cpu: Node) -> list[str]:
    """The model and its features, as -cpu has them; max is what there is without a word."""
    mode, model = cpu.get("mode"), cpu.one("model").text
    if mode not in _MODES:
        draft.lost(f"<cpu> mode={mode}")
    words = [model if model and mode in ("", "custom") else "max"]
    names = [words[0], *(feature.get("name") for feature in cpu.all("feature"))]
    for feature in cpu.all("feature"):
        state = {"disable": "off", "forbid": "off"}.get(feature.get("policy"), "on")
        words.append(f"{feature.get('name')}={state}")
    if all(map(_WORD.fullmatch, names)):
        return words
    draft.lost(f"<cpu> {' '.join(words)}")
    return ["max"]


def _enlightened(hyperv: Node) -> Iterator[str]:
    """What Windows is told of its hypervisor, as properties of -cpu."""
    if hyperv.get("mode") == "passthrough":
        yield "hv-passthrough=on"
    for name in _HYPERV:
        feature = hyperv.one(name)
        if feature.get("state") == "on":
            yield f"hv-{name}=on"
        if feature.one("direct").get("state") == "on":
            yield f"hv-{name}-direct=on"
    locks = hyperv.one("spinlocks")
    if locks.get("state") == "on":
        yield f"hv-spinlocks={number(locks.get('retries')) or 4095}"
    vendor = hyperv.one("vendor_id")
    if vendor.get("state") == "on" and _WORD.fullmatch(vendor.get("value")):
        yield f"hv-vendor-id={vendor.get('value')[:12]}"


def _features(draft: Draft, features: Node) -> None:
    for name in _ALWAYS:
        found = features.one(name)
        if name == "acpi" and not found:
            draft.put("generate_acpi", False)
    if features.one("kvm").one("hidden").get("state") == "on":
        draft.within("qemu", hide_hypervisor=True)
    unknown = features.one("msrs").get("unknown")
    if unknown == "ignore":
        draft.within("bhyve", config={"x86.strictmsr": False})
    elif unknown:
        draft.lost(f"<features> <msrs> unknown={unknown}")


def _pins(draft: Draft, domain: Node) -> None:
    """Which of the host's processors each runs on: bhyve has a word for that, QEMU none."""
    for pin in domain.one("cputune").all("vcpupin"):
        processor, those = pin.get("vcpu"), pin.get("cpuset")
        if domain.get("type") == "bhyve" and processor.isdecimal() and _SET.fullmatch(those):
            draft.within("bhyve", config={f"vcpu.{int(processor[:5])}.cpuset": those})
        else:
            draft.lost(f"<cputune> <vcpupin> {processor} on {those}")
