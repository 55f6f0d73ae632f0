"""Machines of other tools: the keys and values of their documented examples, written anew.

Sources: vm-bhyve's sample templates; quickemu_conf(5), EXAMPLES; libvirt, Domain XML format,
QEMU/KVM/HVF hypervisor driver, Bhyve driver; what virt-install writes.
"""

from __future__ import annotations


def _conf(*groups: dict[str, object]) -> str:
    return "".join(f'{key}="{value}"\n' for group in groups for key, value in group.items())


def _lines(start: str, *commands: str) -> dict[str, object]:
    return {f"{start}{number}": command for number, command in enumerate(commands)}


def _size(cpu: int, memory: str) -> dict[str, object]:
    return {"cpu": cpu, "memory": memory}


_CARD: dict[str, object] = {"network0_type": "virtio-net", "network0_switch": "public"}
_E1000: dict[str, object] = {"network0_type": "e1000", "network0_switch": "public"}
_DISK: dict[str, object] = {"disk0_type": "virtio-blk", "disk0_name": "disk0.img"}
_SATA: dict[str, object] = {"disk0_type": "ahci-hd", "disk0_name": "disk0.img"}
_ZVOL: dict[str, object] = {
    "disk0_type": "virtio-blk", "disk0_name": "disk0", "disk0_dev": "sparse-zvol"
}  # fmt: skip
_GRUB: dict[str, object] = {"loader": "grub"}
_FREEBSD: dict[str, object] = {"loader": "bhyveload"}
_UEFI: dict[str, object] = {"loader": "uefi"}
_SCREEN: dict[str, object] = {"graphics": "yes", "xhci_mouse": "yes"}
_OLD_LINUX = ("linux /isolinux/vmlinuz", "initrd /isolinux/initrd.img")

VM_BHYVE: dict[str, str] = {
    "default": _conf(_FREEBSD, _size(1, "256M"), _CARD, _DISK),
    "freebsd-zvol": _conf(_FREEBSD, _size(1, "256M"), _CARD, _ZVOL),
    "alpine": _conf(
        _GRUB, _size(1, "512M"), _CARD, _DISK,
        _lines("grub_install", "linux /boot/vmlinuz-lts alpine_dev=cdrom:iso9660 modules=loop",
               "initrd /boot/initramfs-lts"),
        _lines("grub_run", "linux /boot/vmlinuz-lts root=/dev/vda3 modules=ext4",
               "initrd /boot/initramfs-lts"),
    ),
    "arch": _conf(
        _GRUB, _size(1, "512M"), _CARD, _DISK,
        _lines("grub_install",
               "linux /arch/boot/x86_64/vmlinuz-linux archisobasedir=arch archisolabel=ARCH ro",
               "initrd /arch/boot/x86_64/initramfs-linux.img"),
    ),
    "centos6": _conf(
        {"guest": "linux"}, _size(1, "512M"), _CARD, _DISK,
        _lines("grub_install", *_OLD_LINUX, "boot"), {"grub_run_partition": "msdos1"},
        _lines("grub_run", "linux /vmlinuz-2.6.32 root=/dev/mapper/VolGroup-lv_root",
               "initrd /initramfs-2.6.32.img", "boot"),
    ),
    "coreos": _conf(
        {"uefi": "yes"}, _size(1, "1024M"), _CARD, _DISK,
        _lines("grub_install", "linux /coreos/vmlinuz coreos.autologin", "initrd /coreos/cpio.gz"),
    ),
    "debian": _conf(
        _GRUB, _size(1, "512M"), _CARD, _SATA,
        {"grub_run_partition": "1", "grub_run_dir": "/boot/grub"},
    ),
    "debian-preseed": _conf(
        _GRUB, _size(1, "512M"), _CARD, _SATA,
        _lines("grub_install", "linux /install.amd/vmlinuz install auto=true priority=critical",
               "initrd /install.amd/initrd.gz"),
    ),
    "dragonfly": _conf({"uefi": "yes", "graphics": "yes"}, _size(1, "4G"), _CARD, _SATA),
    "freepbx": _conf(
        _GRUB, _size(1, "512M"), _CARD, _DISK,
        _lines("grub_install", "linux /isolinux/vmlinuz ks=cdrom:/ks.cfg console=ttyS0",
               _OLD_LINUX[1]),
        _lines("grub_run", "linux /vmlinuz-2.6.32 root=/dev/mapper/VolGroup-lv_root console=ttyS0",
               "initrd /initramfs-2.6.32.img"),
    ),
    "linux-zvol": _conf(_GRUB, _size(1, "512M"), _CARD, _ZVOL),
    "netbsd": _conf(
        {"guest": "generic"}, _GRUB, _size(1, "256M"), _CARD, _DISK,
        _lines("grub_install", "knetbsd -h -r cd0a /netbsd", "boot"),
        {"grub_run_partition": "msdos1"}, _lines("grub_run", "knetbsd -h -r ld0a /netbsd", "boot"),
    ),
    "openbsd": _conf(
        _GRUB, _size(1, "256M"), _CARD, _DISK,
        _lines("grub_install", "kopenbsd -h com0 /7.0/amd64/bsd.rd"),
        {"grub_run_partition": "openbsd1"}, _lines("grub_run", "kopenbsd -h com0 -r sd0a /bsd"),
    ),
    "openbsd-uefi": _conf(_UEFI, _size(1, "512M"), _CARD, _SATA),
    "resflash": _conf(
        _GRUB, _size(1, "256M"), _CARD, _DISK, {"grub_run_partition": "openbsd4"},
        _lines("grub_run", "kopenbsd -h com0 -r sd0d /bsd"), {"bhyve_options": "-w"},
    ),
    "ubuntu": _conf(_GRUB, _size(1, "512M"), _CARD, _DISK),
    "windows": _conf({"uefi": "yes"}, _SCREEN, _size(2, "2G"), _E1000, _SATA),
    "android": _conf(
        _UEFI, _size(2, "4G"), _CARD, _DISK,
        {"graphics": 1, "graphics_wait": 1, "xhci_mouse": 1},
        _lines("grub_run", "linuxefi /kernel root=/dev/memdisk", "initrdefi /initrd"),
    ),
    "flatcar": _conf(
        _UEFI, _size(1, "1024M"), _CARD, _DISK,
        {"fwcfg": "qemu", "bhyve_options": "-A -f name=opt/config,file=/vm/p.ign"},
    ),
    "fortitester": _conf(
        _GRUB, {"grub_run_partition": "1"},
        _lines("grub_run", "linux /vmlinuz rw root=/dev/ram0", " initrd /rootfs.gz"),
        _size(8, "16g"), {"network0_type": "e1000"}, _SATA,
        {"disk1_type": "ahci-hd", "disk1_name": "disk1.img"},
    ),
    "everything": _conf(
        {"loader": "uefi-csm"}, _size(2, "256M"), {"cpu_sockets": 2}, _SATA,
        {"virt_console0": "yes", "virt_random": "yes", "sound": "yes"},
    ),
}  # fmt: skip

QUICKEMU: dict[str, str] = {
    "linux": _conf({"guest_os": "linux", "disk_img": "debian/disk.qcow2", "iso": "debian/dvd.iso"}),
    "macos": _conf({
        "guest_os": "macos", "img": "macos/RecoveryImage.img", "disk_img": "macos/disk.qcow2",
        "macos_release": "catalina",
    }),
    "windows-11": _conf({
        "guest_os": "windows", "disk_img": "windows-11/disk.qcow2", "iso": "windows-11/11.iso",
        "fixed_iso": "windows-11/virtio-win.iso", "tpm": "on", "secureboot": "on",
    }),
    "legacy": _conf({
        "guest_os": "linux", "boot": "legacy", "disk_img": "old/disk.qcow2", "cpu_cores": 4,
        "ram": "4G", "disk_size": "16G", "preallocation": "metadata",
    }),
    "freedos": _conf({
        "guest_os": "freedos", "boot": "legacy", "disk_img": "freedos/disk.qcow2",
        "iso": "freedos/FD13LIVE.iso", "floppy": "freedos/floppy.img",
    }),
    "network": _conf({
        "guest_os": "freebsd", "disk_img": "freebsd/disk.qcow2", "network": "br0",
        "macaddr": "52:54:00:AB:51:AE",
    }) + 'usb_devices=("046d:082d" "046d:085e")\n',
    "ports": _conf({"guest_os": "linux", "disk_img": "web/disk.qcow2", "iso": "web/web.iso"})
    + 'port_forwards=("8123:8123" "8888:80")\n',
}  # fmt: skip

_ENDINGS = """<on_poweroff>destroy</on_poweroff><on_reboot>restart</on_reboot>
  <on_crash>destroy</on_crash>"""
_BHYVE_DISKS = """<disk type='file'><driver name='file' type='raw'/>
      <source file='disk.img'/><target dev='hda' bus='sata'/></disk>
    <disk type='file' device='cdrom'><driver name='file' type='raw'/>
      <source file='media.iso'/><target dev='hdc' bus='sata'/><readonly/></disk>
    <interface type='bridge'><model type='virtio'/><source bridge='virbr0'/></interface>"""

LIBVIRT: dict[str, str] = {
    "bhyve": f"""<domain type='bhyve'>
  <name>bee</name><uuid>df3be7e7-a104-11e3-aeb0-50e5492bd3dc</uuid>
  <memory>219136</memory><currentMemory>219136</currentMemory><vcpu>1</vcpu>
  <os><type>hvm</type></os><features><apic/><acpi/></features><clock offset='utc'/>
  {_ENDINGS}
  <devices>{_BHYVE_DISKS}</devices></domain>""",
    "bhyve-grub": f"""<domain type='bhyve'>
  <name>bee</name><memory>262144</memory><vcpu>1</vcpu>
  <bootloader>/usr/local/sbin/grub-bhyve</bootloader>
  <os><type>hvm</type></os><features><apic/><acpi/></features><clock offset='utc'/>
  {_ENDINGS}
  <devices>{_BHYVE_DISKS}</devices></domain>""",
    "bhyve-uefi": """<domain type='bhyve'>
  <name>bee</name><memory unit='M'>256</memory><vcpu>2</vcpu>
  <os><type>hvm</type>
    <loader readonly='yes' type='pflash'>/usr/local/share/uefi-firmware/BHYVE_UEFI.fd</loader></os>
  <features><apic/><acpi/></features><clock offset='utc'/>
  <devices>
    <disk type='file' device='cdrom'><driver name='file' type='raw'/><source file='media.iso'/>
      <target dev='hdc' bus='sata'/><readonly/></disk>
    <disk type='file' device='disk'><driver name='file' type='raw'/><source file='disk.img'/>
      <target dev='hda' bus='sata'/></disk>
    <interface type='bridge'><model type='virtio'/><source bridge='virbr0'/></interface>
    <serial type='nmdm'><source master='/dev/nmdm0A' slave='/dev/nmdm0B'/></serial>
    <graphics type='vnc' port='5904'><listen type='address' address='127.0.0.1'/></graphics>
    <controller type='usb' model='nec-xhci'/><input type='tablet' bus='usb'/>
  </devices></domain>""",
    "pc": f"""<domain type='qemu'>
  <name>old</name><uuid>c7a5fdbd-cdaf-9455-926a-d65c16db1809</uuid>
  <memory>219200</memory><currentMemory>219200</currentMemory><vcpu>2</vcpu>
  <os><type arch='i686' machine='pc'>hvm</type><boot dev='cdrom'/></os>
  <features><acpi/></features>
  {_ENDINGS}
  <devices><emulator>/usr/bin/qemu-system-x86_64</emulator>
    <disk type='file' device='cdrom'><source file='media.iso'/><target dev='hdc' bus='ide'/>
      <readonly/></disk>
    <disk type='file' device='disk'><source file='disk.img'/><target dev='hda' bus='ide'/></disk>
    <interface type='network'><source network='default'/></interface>
    <serial type='pty'/><graphics type='vnc' port='-1'/>
  </devices></domain>""",
    "q35": f"""<domain type='kvm'>
  <name>web</name><uuid>2d57a4b2-6e6a-4d0a-8d6a-1a3e0d6a9d11</uuid>
  <metadata><libosinfo:libosinfo xmlns:libosinfo='http://libosinfo.org/xmlns/libvirt/domain/1.0'>
    <libosinfo:os id='http://debian.org/debian/12'/></libosinfo:libosinfo></metadata>
  <memory unit='KiB'>262144</memory><currentMemory unit='KiB'>262144</currentMemory>
  <vcpu placement='static'>2</vcpu>
  <os firmware='efi'><type arch='x86_64' machine='pc-q35-7.2'>hvm</type><boot dev='hd'/></os>
  <features><acpi/><apic/><vmport state='off'/></features>
  <cpu mode='host-passthrough' check='none' migratable='on'/>
  <clock offset='utc'><timer name='rtc' tickpolicy='catchup'/>
    <timer name='hpet' present='no'/></clock>
  {_ENDINGS}
  <pm><suspend-to-mem enabled='no'/><suspend-to-disk enabled='no'/></pm>
  <devices><emulator>/usr/bin/qemu-system-x86_64</emulator>
    <disk type='file' device='disk'>
      <driver name='qemu' type='qcow2' cache='none' discard='unmap'/>
      <source file='disk.qcow2'/><target dev='vda' bus='virtio'/></disk>
    <disk type='file' device='cdrom'><driver name='qemu' type='raw'/><source file='media.iso'/>
      <target dev='sda' bus='sata'/><readonly/></disk>
    <controller type='usb' model='qemu-xhci' ports='15'/><controller type='pci' model='pcie-root'/>
    <interface type='user'><mac address='52:54:00:de:88:05'/><model type='virtio'/></interface>
    <serial type='pty'><target port='0'/></serial>
    <console type='pty'><target type='serial' port='0'/></console>
    <channel type='unix'><source mode='bind'/>
      <target type='virtio' name='org.qemu.guest_agent.0'/></channel>
    <input type='tablet' bus='usb'/><graphics type='vnc' port='5938' listen='127.0.0.1'/>
    <video><model type='vga' vram='16384' heads='1' primary='yes'/></video>
    <memballoon model='virtio'/>
    <rng model='virtio'><backend model='random'>/dev/urandom</backend></rng>
  </devices></domain>""",
    "kernel": """<domain type='kvm'>
  <name>direct</name><memory unit='MiB'>192</memory><vcpu>1</vcpu>
  <os><type>hvm</type><kernel>vmlinuz</kernel><initrd>initrd.img</initrd>
    <cmdline>console=ttyS0 quiet vmman.do=poweroff vmman.tag=50%</cmdline></os>
  <features><acpi/></features>
  <devices><serial type='pty'/></devices></domain>""",
}
"""Files beside these are called disk.img, disk.qcow2, media.iso, vmlinuz and initrd.img."""
