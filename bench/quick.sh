#!/bin/bash
# quick.sh FILE: a launcher in the manner of quickemu, written for this benchmark. Not quickemu.
#
# It sources a description, asks the same kinds of programs about the host about as often as
# quickemu does for a Linux guest, builds QEMU's command line and executes $QEMU_BIN.
# shellcheck disable=SC2154  # the description assigns these
set -u
export LC_ALL=C

QEMU=$(command -v qemu-system-x86_64 || command -v true)
QEMU_IMG=$(command -v qemu-img || command -v true)
args=()

cpu_info() {
    lscpu | grep -E "$1" | cut -d ':' -f 2 | sed 's/ //g' | sort -u
}

has_flag() {
    lscpu | grep -o "^Flags.*: .*\b$1\b" >/dev/null
}

free_port() {
    local port
    for ((port = $1; port < $1 + 9; port++)); do
        timeout 0.1s bash -c "echo >/dev/tcp/127.0.0.1/$port" >/dev/null 2>&1
        if [ $? -eq 1 ]; then echo "$port" && return; fi
    done
}

host() {
    kernel=$(uname -s)
    release=$(uname -r)
    arch=$(uname -m)
    node=$(uname -n | cut -d '.' -f 1)
    version=$("$QEMU_IMG" --version | head -n 1 | awk '{print $3}')
    short=$(echo "${version//./}" | cut -c 1-2)
    distribution=$(grep PRETTY_NAME /etc/os-release | cut -d '"' -f 2)
    echo "on $node: $distribution, $kernel $release $arch, QEMU $version ($short)"
}

processor() {
    local cores sockets vendor smt=off
    cores=$(nproc)
    echo "cpu: $(cpu_info '^Model name:')"
    sockets=$(cpu_info 'Socket')
    vendor=$(cpu_info 'Vendor')
    case $vendor in
    GenuineIntel) has_flag vmx || echo 'no VT-x' ;;
    AuthenticAMD) has_flag svm || echo 'no SVM' ;;
    esac
    [ -e /sys/devices/system/cpu/smt/control ] && smt=$(cat /sys/devices/system/cpu/smt/control)
    echo "cores: $cores, SMT $smt"
    args+=(-cpu max -smp "cores=1,threads=1,sockets=${sockets//[^0-9]/}")
}

memory() {
    local size
    size=$(free --giga | tr ' ' '\n' | grep -m 1 '[0-9]')
    echo "memory: $ram of ${size}G"
    args+=(-m "$ram")
}

storage() {
    local image size used number=0
    for image in "${disk_imgs[@]}"; do
        args+=(-drive "file=$image,if=none,id=disk$number,format=raw")
        args+=(-device "virtio-blk-pci,drive=disk$number")
        number=$((number + 1))
    done
    size=$("$QEMU_IMG" info "$disk_img" | grep 'virtual size' | cut -d '(' -f 2 | cut -d ' ' -f 1)
    used=$(stat -c %b "$disk_img")
    echo "disk: $disk_img, $size bytes, $used blocks"
    for image in "${isos[@]}"; do
        args+=(-drive "media=cdrom,index=$number,file=$image")
        number=$((number + 1))
    done
}

network() {
    local nic port spice
    port=$(free_port 22220)
    spice=$(free_port 5930)
    echo "ssh: $port, spice: $spice"
    for nic in "${nics[@]}"; do
        args+=(-netdev "user,id=$nic" -device "virtio-net,netdev=$nic")
    done
}

extras() {
    local sound=pa
    pidof pipewire >/dev/null || pidof pulseaudio >/dev/null || sound=alsa
    echo "sound: $sound, share: $(stat -c %A "$share")"
    args+=(-device virtio-rng-pci -device qemu-xhci)
    args+=(-fsdev "local,id=share,path=$share,security_model=mapped-xattr")
    args+=(-device "virtio-9p-pci,fsdev=share,mount_tag=$(basename "$share")")
}

# shellcheck source=/dev/null
. "$1"
folder=$(dirname "$(realpath "$1")")
name=$(basename "$1" .conf)
echo "$name by $(whoami) in $folder: $guest_os, $boot"
host
processor
memory
storage
network
extras
echo "${args[@]}" >"$folder/$name.sh"
exec "${QEMU_BIN:-$QEMU}" -name "$name" -machine q35 "${args[@]}"
