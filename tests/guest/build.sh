#!/bin/sh
# build.sh OUTDIR: makes a tiny Linux guest for the tests out of Debian's own packages.
#
#   OUTDIR/vmlinuz     Debian's cloud kernel
#   OUTDIR/initrd.img  busybox, ./init and the kernel modules it loads
#   OUTDIR/disk.img    a disk with the two, booted by a BIOS (syslinux) and by UEFI (systemd-boot)
#   OUTDIR/esp.img     the same disk, under the name a UEFI test asks for
#   OUTDIR/media.iso   a CD with HELLO.TXT
#   OUTDIR/key         what it was made from
#
# Needs no root, no mount and no loop device. What is not installed is fetched with apt-get
# and unpacked in a temporary folder, so a bare Debian 12 or 13 is enough. It does nothing when
# OUTDIR is up to date. GUEST_HOST=/nonexistent makes it fetch kernel and busybox although
# they are installed.
set -eu

HOST=${GUEST_HOST-}
MODULES="virtio_pci virtio_mmio virtio_blk virtio_net virtio_scsi ata_piix ata_generic nvme
    sd_mod sr_mod isofs virtio_console virtio-rng 9p 9pnet_virtio button evdev
    pvpanic-mmio pvpanic-pci"
CMDLINE="console=ttyS0 quiet"
DISK_SECTORS=98304     # 48 MiB, sparse
PARTITION_START=2048   # sectors; 1 MiB as fdisk does
PARTITION_SECTORS=$((DISK_SECTORS - PARTITION_START))

step() {
    echo "guest: $*"
}

fail() {
    echo "build.sh: $*" >&2
    exit 1
}

# --- what it is made from -------------------------------------------------------

# The release of the newest cloud kernel installed here, empty without one.
installed_kernel() {
    for image in "$HOST"/boot/vmlinuz-*-cloud-amd64; do
        release=${image##*/vmlinuz-}
        [ -r "$image" ] && [ -d "$HOST/lib/modules/$release" ] && echo "$release"
    done | sort -V | tail -n 1
}

sources_hash() {
    cat "$HERE/build.sh" "$HERE/init" | sha256sum | cut -d ' ' -f 1
}

# Made from these sources, and from the installed kernel if one is installed. (A fetched
# kernel stays until the sources change or OUTDIR is removed: asking apt takes a second.)
up_to_date() {
    [ -f "$OUT/key" ] || return 1
    { read -r hash && read -r kernel; } <"$OUT/key"
    [ "$hash" = "$(sources_hash)" ] || return 1
    installed=$(installed_kernel)
    [ -z "$installed" ] || [ "$kernel" = "$installed" ]
}

# Replacing OUTDIR removes what is in it: only ours, or nothing.
refuse_foreign_folder() {
    [ ! -e "$OUT" ] || [ -f "$OUT/key" ] || [ -z "$(ls -A "$OUT")" ] ||
        fail "$OUT holds something else; name a new folder"
}

# --- Debian packages ------------------------------------------------------------

# fetch [PACKAGE...]: into $ROOT, without installing anything.
fetch() {
    [ $# -gt 0 ] || return 0
    for package; do
        step "fetching $package (Debian package)"
    done
    (cd "$DEBS" && apt-get -qq -o APT::Sandbox::User=root download "$@") ||
        fail "apt-get cannot fetch these packages; type: sudo apt-get update"
    for deb in "$DEBS"/*.deb; do
        dpkg-deb -x "$deb" "$ROOT"
        rm "$deb"
    done
}

# packages_for PACKAGE...: these and what they depend on, less what is installed.
packages_for() {
    apt-get -s -o Debug::NoLocking=true --no-install-recommends install "$@" 2>/dev/null |
        sed -n 's/^Inst \([^ ]*\) .*/\1/p'
}

# The one real package behind the name which always means the newest cloud kernel.
kernel_package() {
    apt-cache depends linux-image-cloud-amd64 2>/dev/null |
        sed -n 's/^ *Depends: \(linux-image-.*-cloud-amd64\)$/\1/p'
}

# Sets RELEASE, KERNEL (the folder that holds boot/) and TREE, where its modules are: the packages
# of Debian 13 have no more /lib of their own.
find_kernel() {
    RELEASE=$(installed_kernel)
    KERNEL=$HOST/
    if [ -z "$RELEASE" ]; then
        package=$(kernel_package)
        [ -n "$package" ] ||
            fail "apt-get knows no linux-image-cloud-amd64; type: sudo apt-get update"
        fetch "$package"
        RELEASE=${package#linux-image-}
        KERNEL=$ROOT
    fi
    TREE=$KERNEL/lib/modules/$RELEASE
    [ -d "$TREE" ] || TREE=$KERNEL/usr/lib/modules/$RELEASE
    step "kernel $RELEASE"
}

# Sets BUSYBOX, a static one.
find_busybox() {
    BUSYBOX=$HOST/bin/busybox
    [ -e "$HOST/usr/share/doc/busybox-static" ] && [ -x "$BUSYBOX" ] && return
    fetch busybox-static
    BUSYBOX=$ROOT/bin/busybox
    [ -x "$BUSYBOX" ] || BUSYBOX=$ROOT/usr/bin/busybox
}

# The tools for disk and CD: those installed, and in $ROOT those which are not.
find_tools() {
    # shellcheck disable=SC2046 # one word per package
    fetch $(packages_for mtools syslinux syslinux-common xorriso systemd-boot-efi)
    PATH=$ROOT/usr/bin:$ROOT/bin:$PATH:/usr/sbin:/sbin
    LD_LIBRARY_PATH=$ROOT/usr/lib/x86_64-linux-gnu:$ROOT/lib/x86_64-linux-gnu
    export PATH LD_LIBRARY_PATH
    for tool in mformat syslinux xorriso; do
        command -v "$tool" >/dev/null ||
            fail "apt-get finds no package with $tool; type: sudo apt-get update"
    done
}

# from_package PATH: where a package's file is, fetched or installed.
from_package() {
    if [ -e "$ROOT$1" ]; then echo "$ROOT$1"; else echo "$1"; fi
}

SYSTEMD_BOOT=/usr/lib/systemd/boot/efi/systemd-bootx64.efi
SYSLINUX_MBR=/usr/lib/syslinux/mbr/mbr.bin

# --- the initrd -----------------------------------------------------------------

# module_file NAME: its path; - and _ mean the same, some kernels compress.
module_file() {
    pattern=$(echo "$1" | sed 's/[-_]/[-_]/g')
    find "$TREE/" -name "$pattern.ko" -o -name "$pattern.ko.xz" |
        head -n 1
}

# module_needs FILE: the names of the modules which must be loaded before it.
module_needs() {
    tr '\0' '\n' <"$1" | sed -n 's/^depends=//p' | tr ',' ' '
}

# copy_module NAME: it and what it needs, into $MODULE_TREE. A module which this kernel has
# not is built in or left out, and the guest does without.
copy_module() {
    file=$(module_file "$1")
    [ -n "$file" ] || return 0
    copy=$MODULE_TREE/$(basename "$file" .xz)
    [ ! -e "$copy" ] || return 0
    case $file in
    *.xz) "$BUSYBOX" xzcat "$file" >"$copy" ;;
    *) cp "$file" "$copy" ;;
    esac
    for needed in $(module_needs "$copy"); do
        copy_module "$needed"
    done
}

fill_initrd() {
    MODULE_TREE=$1/lib/modules/$RELEASE
    mkdir -p "$1/bin" "$1/dev" "$1/proc" "$1/sys" "$1/cd" "$1/www" "$1/etc/modprobe.d" "$MODULE_TREE"
    cp "$BUSYBOX" "$1/bin/busybox"
    ln -s busybox "$1/bin/sh"
    cp "$HERE/init" "$1/init"
    chmod 755 "$1/init" "$1/bin/busybox"
    for module in $MODULES; do
        copy_module "$module"
    done
    [ -n "$(ls "$MODULE_TREE")" ] || fail "no module that the guest needs is in $TREE"
    "$BUSYBOX" depmod -b "$1" "$RELEASE"
    echo "$MODULES" | xargs -n 1 >"$1/etc/modules"
    echo "options scsi_mod scan=sync" >"$1/etc/modprobe.d/guest.conf"
    echo "hello from the guest" >"$1/www/index.html"
}

make_initrd() {
    step "initrd.img"
    fill_initrd "$TEMP/initrd"
    (cd "$TEMP/initrd" && find . | sort | "$BUSYBOX" cpio -o -H newc -R 0:0 2>/dev/null) |
        gzip -9n >"$NEW/initrd.img"
}

# --- the disk -------------------------------------------------------------------

# little_endian NUMBER: its four bytes, as a printf format.
little_endian() {
    printf '\\%03o\\%03o\\%03o\\%03o' \
        $(($1 & 255)) $(($1 >> 8 & 255)) $(($1 >> 16 & 255)) $(($1 >> 24 & 255))
}

# The first sector: boot code, and one partition which is active (for the BIOS) and of type
# EF, an EFI System Partition (for UEFI). Its CHS fields say "too far, use the LBA".
write_mbr() {
    dd if="$(from_package "$SYSLINUX_MBR")" of="$1" conv=notrunc 2>/dev/null
    # shellcheck disable=SC2059 # the format holds the octal bytes
    printf "\200\376\377\377\357\376\377\377$(little_endian $PARTITION_START)$(little_endian $PARTITION_SECTORS)" |
        dd of="$1" bs=1 seek=446 conv=notrunc 2>/dev/null
    printf '\125\252' | dd of="$1" bs=1 seek=510 conv=notrunc 2>/dev/null
}

boot_settings() {
    mkdir -p "$1"
    cat >"$1/syslinux.cfg" <<END
default guest
prompt 0
label guest
  kernel /vmlinuz
  append initrd=/initrd.img $CMDLINE
END
    cat >"$1/guest.conf" <<END
title guest
linux /vmlinuz
initrd /initrd.img
options $CMDLINE
END
    echo "timeout 0" >"$1/loader.conf"
}

make_disk() {
    step "disk.img"
    disk=$NEW/disk.img
    settings=$TEMP/settings
    offset=$((PARTITION_START * 512))
    boot_settings "$settings"
    truncate -s $((DISK_SECTORS * 512)) "$disk"
    write_mbr "$disk"
    MTOOLS_SKIP_CHECK=1 TMPDIR=$TEMP
    export MTOOLS_SKIP_CHECK TMPDIR
    mformat -i "$disk@@$offset" -T $PARTITION_SECTORS -H $PARTITION_START -h 255 -s 63 -v GUEST ::
    mcopy -i "$disk@@$offset" "$NEW/vmlinuz" "$NEW/initrd.img" "$settings/syslinux.cfg" ::
    mmd -i "$disk@@$offset" ::/EFI ::/EFI/BOOT ::/loader ::/loader/entries
    mcopy -i "$disk@@$offset" "$(from_package "$SYSTEMD_BOOT")" ::/EFI/BOOT/BOOTX64.EFI
    mcopy -i "$disk@@$offset" "$settings/loader.conf" ::/loader/
    mcopy -i "$disk@@$offset" "$settings/guest.conf" ::/loader/entries/
    syslinux --install --offset $offset "$disk"
    ln -s disk.img "$NEW/esp.img"
}

# --- the CD ---------------------------------------------------------------------

make_cd() {
    step "media.iso"
    mkdir "$TEMP/cd"
    echo "hello from the installation CD" >"$TEMP/cd/HELLO.TXT"
    xorriso -as mkisofs -quiet -R -V GUEST -o "$NEW/media.iso" "$TEMP/cd" 2>"$TEMP/xorriso.log" ||
        fail "xorriso says: $(cat "$TEMP/xorriso.log")"
}

# --- the story ------------------------------------------------------------------

make_all() {
    find_kernel
    find_busybox
    find_tools
    cp "$KERNEL/boot/vmlinuz-$RELEASE" "$NEW/vmlinuz"
    make_initrd
    make_disk
    make_cd
    printf '%s\n%s\n' "$(sources_hash)" "$RELEASE" >"$NEW/key"
}

# In one rename; where somebody else was quicker, theirs is as good as ours.
put_in_place() {
    if [ -e "$OUT" ] && ! up_to_date; then mv -T "$OUT" "$TEMP/old"; fi
    mv -T "$NEW" "$OUT" 2>/dev/null || up_to_date || fail "$OUT cannot be written"
}

main() {
    [ $# -eq 1 ] || fail "usage: build.sh OUTDIR"
    HERE=$(cd "$(dirname "$0")" && pwd)
    mkdir -p "$(dirname "$1")"
    OUT=$(cd "$(dirname "$1")" && pwd)/$(basename "$1")
    if up_to_date; then return; fi
    refuse_foreign_folder
    TEMP=$(mktemp -d "$OUT.XXXXXX")
    trap 'rm -rf "$TEMP"' EXIT
    trap 'exit 130' INT TERM HUP
    ROOT=$TEMP/root
    DEBS=$TEMP/debs
    NEW=$TEMP/new
    mkdir "$ROOT" "$DEBS" "$NEW"
    chmod 755 "$NEW"
    make_all
    put_in_place
    step "ready in $OUT"
}

main "$@"
