"""How a libvirt domain boots: by firmware, a kernel, or one of bhyve's loaders.

Source: libvirt, Domain XML format, Operating system booting, SMBIOS System Information; libvirt,
Bhyve driver; qemu(1), -smbios; bhyve_config(5).
"""

from __future__ import annotations

from vm_spec.frozen import TYPE_CHECKING

if TYPE_CHECKING:
    from vm_import.draft import Draft
    from vm_import.libvirt_xml import Node

__all__ = ["boot"]

_LOADERS = ("bhyveload", "grub-bhyve")
# the names that libvirt, QEMU and bhyve give to what stands in an SMBIOS table
_BLOCKS = {
    "bios": ("0", "bios", ("vendor", "version", "date", "release")),
    "system": ("1", "system", ("manufacturer", "product", "version", "serial", "uuid", "sku",
                               "family")),
    "baseBoard": ("2", "board", ("manufacturer", "product", "version", "serial", "asset",
                                 "location")),
    "chassis": ("3", "chassis", ("manufacturer", "version", "serial", "asset", "sku")),
}  # fmt: skip
_BHYVE = {"date": "release_date", "product": "product_name", "serial": "serial_number",
          "family": "family_name", "asset": "asset_tag"}  # fmt: skip


def boot(draft: Draft, domain: Node) -> None:
    """Puts what boots a domain into a description."""
    os, bhyve = domain.one("os"), domain.get("type") == "bhyve"
    _firmware(draft, os, bhyve)
    if bhyve and "bootrom" not in draft.tables:
        _loader(draft, domain)
    for tag in ("kernel", "initrd", "cmdline"):
        text = os.one(tag).text
        if text and (tag == "kernel" or os.one("kernel").text):
            draft.put(tag, text)
    _board(draft, os.one("type"))
    _tables(draft, os.one("smbios").get("mode"), domain.one("sysinfo"), bhyve)


def _board(draft: Draft, kind: Node) -> None:
    machine = kind.get("machine")
    if kind.text not in ("", "hvm"):
        draft.lost(f"<os> <type> {kind.text}")
    if machine == "pc" or machine.startswith("pc-i440fx"):
        draft.within("qemu", machine="pc")
    elif machine and not machine.startswith(("q35", "pc-q35")):
        draft.lost(f"the machine type {machine}: it is a q35")


def _firmware(draft: Draft, os: Node, bhyve: bool) -> None:
    loader, nvram, kind = os.one("loader"), os.one("nvram"), os.get("firmware")
    flash = loader.get("type") == "pflash" and not bhyve
    odd = nvram.get("format") not in ("", "raw") or loader.get("format") not in ("", "raw")
    secure = loader.get("secure") == "yes"
    for feature in os.one("firmware").all("feature"):
        name, enabled = feature.get("name"), feature.get("enabled") == "yes"
        secure = secure or (enabled and name == "secure-boot")
        if enabled and name != "secure-boot":
            draft.lost(f"<os> <firmware> <feature> {name}")
    if secure:
        draft.lost("Secure Boot")
    if loader.text and (nvram.text or not flash) and not odd:
        draft.put("bootrom", loader.text)
        if nvram.text and "bootrom" in draft.tables:
            draft.put("varfile", nvram.text)
            draft.hint("varfile is libvirt's own, which it may keep from you: copy it.")
    elif loader.text or kind == "efi":
        draft.put("bootrom", "uefi")
        draft.hint("The UEFI variables are new ones, not those that libvirt has.")
    if kind not in ("", "efi", "bios"):
        draft.lost(f"the firmware {kind}")


def _loader(draft: Draft, domain: Node) -> None:
    """What libvirt starts before bhyve where there is no firmware."""
    path = domain.one("bootloader").text or "bhyveload"
    name = path.rpartition("/")[2]
    words = domain.one("bootloader_args").text.split()
    if name not in _LOADERS:
        draft.lost(f"<bootloader> {path}: [bhyve] loader is one of {', '.join(_LOADERS)}")
        return
    draft.within("bhyve", loader=name)
    if words:
        draft.within("bhyve", loader_args=words)
        draft.hint("loader_args were all of the loader's; here they follow those that are made.")
    draft.hint(f"On bhyve {name} boots it; on QEMU its disk boots by a BIOS.")


def _tables(draft: Draft, mode: str, info: Node, bhyve: bool) -> None:
    """What the guest's dmidecode shows."""
    if mode not in ("", "emulate", "sysinfo"):
        draft.lost(f"<os> <smbios> mode={mode}")
    if info.get("type") != "smbios" or (mode != "sysinfo" and not bhyve):
        return
    arguments: list[str] = []
    for tag, (number, group, names) in _BLOCKS.items():
        said = {entry.get("name"): entry.text for entry in info.one(tag).all("entry")}
        good = {name: said.pop(name) for name in names if said.get(name)}
        for name in said:
            draft.lost(f"<sysinfo> <{tag}> <entry> {name}")
        if good and not bhyve:
            pairs = (f"{name}={text.replace(',', ',,')}" for name, text in good.items())
            arguments.append(",".join((f"type={number}", *pairs)))
        for name, text in good.items() if bhyve else ():
            draft.within("bhyve", config={f"{group}.{_BHYVE.get(name, name)}": text})
    if arguments:
        draft.within("qemu", smbios=arguments)
