"""OVFs as VirtualBox, VMware and others write them, each part of which a test may replace."""

from __future__ import annotations

UUID = "5b8a5c7e-0000-4000-8000-00000000000"  # and one more digit


def vbox_disk(port: int, number: int) -> str:
    return (
        f'<AttachedDevice type="HardDisk" hotpluggable="false" port="{port}" device="0">'
        f'<Image uuid="{{{UUID}{number}}}"/></AttachedDevice>'
    )


def sata(*attachments: str, kind: str = "AHCI") -> str:
    inside = "".join(attachments)
    return f'<StorageController name="{kind}" type="{kind}">{inside}</StorageController>'


IDE_CD = (
    '<StorageController name="IDE" type="PIIX4"><AttachedDevice passthrough="false" type="DVD"'
    ' port="1" device="0"/></StorageController>'
)
ADAPTER = (
    '<Adapter slot="0" enabled="true" MACAddress="080027A1B2C3" type="82540EM"><NAT/></Adapter>'
)


def machine(
    hardware: str = '<CPU count="2"/><Memory RAMSize="1024"/>',
    network: str = ADAPTER,
    controllers: str = IDE_CD + sata(vbox_disk(0, 1)),
) -> str:
    """What VirtualBox notes for itself."""
    return f"""<vbox:Machine ovf:required="false" version="1.15-linux" uuid="{{{UUID}9}}"
      name="box" OSType="Ubuntu_64">
      <Hardware>{hardware}<Network>{network}</Network></Hardware>
      <StorageControllers>{controllers}</StorageControllers></vbox:Machine>"""


def item(kind: int, number: int, more: str = "") -> str:
    """An item of an OVF's hardware section."""
    return (
        f"<Item><rasd:InstanceID>{number}</rasd:InstanceID>"
        f"<rasd:ResourceType>{kind}</rasd:ResourceType>{more}</Item>"
    )


def rasd(**words: object) -> str:
    return "".join(f"<rasd:{name}>{text}</rasd:{name}>" for name, text in words.items())


ITEMS = (
    item(3, 1, rasd(VirtualQuantity=1)),
    item(4, 2, rasd(AllocationUnits="MegaBytes", VirtualQuantity=512)),
    item(20, 5, rasd(ResourceSubType="AHCI")),
    item(10, 6, rasd(ResourceSubType="E1000")),
    item(17, 7, rasd(AddressOnParent=0, Parent=5, HostResource="/disk/vmdisk1")),
)
FILE = '<File ovf:id="file1" ovf:href="box-disk001.vmdk" ovf:size="4096"/>'
DISK = (
    '<Disk ovf:capacity="42949672960" ovf:diskId="vmdisk1" ovf:fileRef="file1"'
    f' vbox:uuid="{UUID}1"/>'
)


def second(number: int) -> tuple[str, str]:
    """One more File and its Disk."""
    file = f'<File ovf:id="file{number}" ovf:href="box-disk00{number}.vmdk"/>'
    disk = (
        f'<Disk ovf:capacity="1024" ovf:diskId="vmdisk{number}" ovf:fileRef="file{number}"'
        f' vbox:uuid="{UUID}{number}"/>'
    )
    return file, disk


def ovf(
    *items: str,
    vbox: str = "",
    files: str = FILE,
    disks: str = DISK,
    more: str = "",
) -> bytes:
    """A whole OVF as VirtualBox writes it: its namespace is the default one."""
    return f"""<?xml version="1.0"?>
<Envelope ovf:version="1.0" xml:lang="en-US" xmlns="http://schemas.dmtf.org/ovf/envelope/1"
  xmlns:ovf="http://schemas.dmtf.org/ovf/envelope/1"
  xmlns:rasd="http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/CIM_ResourceAllocationSettingData"
  xmlns:vmw="http://www.vmware.com/schema/ovf"
  xmlns:vbox="http://www.virtualbox.org/ovf/machine">
  <References>{files}</References>
  <DiskSection><Info>disks</Info>{disks}</DiskSection>
  <VirtualSystem ovf:id="box"><Info>A machine</Info>
    <OperatingSystemSection ovf:id="94"><Description>Ubuntu_64</Description>
    </OperatingSystemSection>
    <VirtualHardwareSection>{"".join(items or ITEMS)}{more}</VirtualHardwareSection>
    {vbox}
  </VirtualSystem>
</Envelope>""".encode()


def prefixed(text: bytes) -> bytes:
    """The same OVF as others write it: every element of it with a prefix."""
    import re

    names = "Envelope|References|File|DiskSection|Disk|VirtualSystem|OperatingSystemSection"
    names += "|VirtualHardwareSection|Item|Info|Description"
    shown = re.sub(rf"<(/?)({names})\b", r"<\1ovf:\2", text.decode())
    return shown.replace(' xmlns="http://schemas.dmtf.org/ovf/envelope/1"', "").encode()
