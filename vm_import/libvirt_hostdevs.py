"""What of the host a libvirt domain is given.

Source: libvirt, Domain XML format, Host device assignment, TPM device, Input devices, Filesystems.
"""

from __future__ import annotations

from vm_spec.frozen import TYPE_CHECKING

if TYPE_CHECKING:
    from vm_import.draft import Draft, Table
    from vm_import.libvirt_xml import Node

__all__ = ["folder", "given", "passthru", "tpm"]

_NUMBERS = ("domain", "bus", "slot", "function")


def given(draft: Draft, device: Node) -> None:
    """Puts a device of the host's into a description."""
    if device.get("type") == "pci":
        passthru(draft, device)
        return
    source = device.one("source")
    ids = (source.one(word).get("id") for word in ("vendor", "product"))
    said = " ".join(filter(None, (device.get("type"), *ids)))
    draft.lost(f"a device of the host's: {said}; [qemu] args can name one")
    device.done()


def passthru(draft: Draft, device: Node) -> None:
    """Puts a PCI device of the host's into a description."""
    where = device.one("source").one("address")
    numbers = [where.get(part) or "0" for part in _NUMBERS]
    where.done()
    try:
        domain, bus, slot, function = (int(number, 0) for number in numbers)
    except ValueError:
        draft.lost(f"the PCI device {' '.join(numbers)}")
        return
    driver = device.one("driver").get("name")
    if driver not in ("", "vfio", "kvm"):
        draft.lost(f"<{device.name}> <driver> {driver}")
    fields: Table = {"src": f"{domain:04x}:{bus:02x}:{slot:02x}.{function}"}
    if rom := device.one("rom").get("file"):
        fields["rom"] = rom
    draft.device("passthru", "passthru", fields)


def tpm(draft: Draft, device: Node) -> None:
    """Puts a Trusted Platform Module into a description."""
    backend, model = device.one("backend"), device.get("model")
    kind, version = backend.get("type"), backend.get("version") or "2.0"
    interface = {"tpm-tis": "tis", "": "tis", "tpm-crb": "crb"}.get(model, "")
    if kind not in ("emulator", "passthrough") or version != "2.0" or not interface:
        draft.lost(f"<tpm> {' '.join(filter(None, (model, kind, version)))}")
        device.done()
        return
    if kind == "emulator":
        draft.within("tpm", type="swtpm", interface=interface)
        draft.hint("Its TPM is a new one: what libvirt's has sealed stays with libvirt.")
        return
    draft.within("tpm", type="passthru", interface=interface)
    if path := backend.one("device").get("path"):
        draft.within("tpm", path=path)


def folder(draft: Draft, share: Node) -> None:
    """Puts a shared folder into a description."""
    kind = share.get("type") or "mount"
    fields: Table = {
        "sharename": share.one("target").get("dir"),
        "path": share.one("source").get("dir"),
    }
    if kind != "mount":
        draft.lost(f"<filesystem> {kind} {fields['sharename']}")
        share.done()
        return
    if share.one("readonly"):
        fields["ro"] = True
    driver = share.one("driver").get("type")
    if driver == "virtiofs":
        draft.hint("A folder was shared by virtiofs; here it is 9p, and mounted as that.")
    draft.device("virtio-9p", "folder", fields)
