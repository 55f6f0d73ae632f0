"""How a guest of vm-bhyve's boots: by firmware, or by a loader on the host.

A vm-bhyve configuration never names its installation's medium, so the target that installs
has everything but that.

Source: vm-bhyve, vm(8), GUEST CONFIGURATION FORMAT, and config.sample; grub-bhyve(8); bhyveload(8).
"""

from __future__ import annotations

from vm_import.heard import OFF
from vm_run.bhyve.lpc import FIRMWARE
from vm_spec.frozen import TYPE_CHECKING

if TYPE_CHECKING:
    from vm_import.draft import Draft
    from vm_import.heard import Keys

__all__ = ["boot"]

_CSM = f"{FIRMWARE}BHYVE_UEFI_CSM.fd"
_UEFI = {
    "uefi": "",
    "uefi-devel": "This is the firmware of this host, not the one for its developers.",
    "uefi-custom": "Its firmware was .config/BHYVE_UEFI.fd in vm-bhyve's folder: bootrom names it.",
}


def boot(draft: Draft, said: Keys) -> None:
    """Puts the firmware or the loader of a guest into its description."""
    loader = _loader(said)
    if loader in _UEFI:
        _firmware(draft, said, loader)
    elif loader == "uefi-csm":
        draft.within("bhyve", config={"bootrom": _CSM, "lpc.bootrom": _CSM})
        draft.hint("It boots by a BIOS: QEMU's own; on bhyve by the firmware in [bhyve] config.")
    elif loader == "grub":
        _grub(draft, said)
    elif loader == "bhyveload":
        _bhyveload(draft, said)
    else:
        draft.lost(f"the loader {loader or 'is missing'}")
    draft.hint("To install: add [targets.install.cd.iso] with its path, and")
    draft.hint(f"vm-run {draft.name} -t install")


def _loader(said: Keys) -> str:
    """The loader; an older file has uefi or guest instead."""
    loader, older, guest = said.get("loader"), said.get("uefi"), said.get("guest")
    if not loader and older.lower() not in OFF:
        return "uefi-csm" if "csm" in older else "uefi"
    if not loader and guest:
        return "bhyveload" if guest == "freebsd" else "grub"
    return loader


def _firmware(draft: Draft, said: Keys, loader: str) -> None:
    draft.put("bootrom", "uefi")
    # vm-bhyve ignores registers that are not there whenever a guest boots by UEFI
    draft.within("bhyve", config={"x86.strictmsr": False})
    if said.on("uefi_vars"):
        draft.hint("uefi_vars: the variables are new ones; vm-bhyve's are uefi-vars.fd.")
    if _UEFI[loader]:
        draft.hint(_UEFI[loader])


def _grub(draft: Draft, said: Keys) -> None:
    root = f"hd0,{said.get('grub_run_partition', '1')}"
    if said.on("grub_run_no_partition"):
        root = "hd0"
    draft.within("bhyve", loader="grub-bhyve", grub_root=root)
    commands = said.row("grub_run")
    if commands:
        draft.within("bhyve", grub_commands=_script(commands))
    else:
        words = (("-d", said.get("grub_run_dir")), ("-g", said.get("grub_run_file")))
        arguments = [word for pair in words if pair[1] for word in pair]
        if arguments:
            draft.within("bhyve", loader_args=arguments)
    install = _script(said.row("grub_install"))
    draft.at("install", "bhyve", grub_root="cd0", grub_commands=install)
    draft.hint("On bhyve grub-bhyve boots it; on QEMU its disk boots by a BIOS.")


def _script(commands: list[str]) -> list[str]:
    """The commands, with the one that boots last whether it was written or not."""
    lines = [line.strip() for line in commands if line.strip() != "boot"]
    return [*lines, "boot"] if lines else []


def _bhyveload(draft: Draft, said: Keys) -> None:
    words: list[str] = []
    if delay := said.get("loader_timeout"):
        words += ["-e", f"autoboot_delay={delay}"]
    words += said.get("bhyveload_args").split()
    if path := said.get("bhyveload_loader"):
        words += ["-l", path]
    draft.within("bhyve", loader="bhyveload")
    if words:
        draft.within("bhyve", loader_args=words)
    draft.hint("On bhyve bhyveload boots it; on QEMU its disk boots by a BIOS.")
