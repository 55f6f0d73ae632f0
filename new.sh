#!/bin/sh
# Writes a first description of a virtual machine. Copy it and change it to suit your place.
#
#   new.sh NAME [IMAGE] [--iso ISO] [--net user|bridge:BR|macvtap:IF]
#
#   new.sh web debian.qcow2              a machine from an image that you have
#   new.sh web --iso debian.iso          an empty disk, and a target that installs on it
#   new.sh web debian.qcow2 --net bridge:br0
#
# It makes $VMCONF_DIR/NAME.toml (default ~/vm/NAME.toml) and, without IMAGE, the disk NAME.img
# beside it. Nothing that is there already is changed.
# Exit status: 0 done, 64 wrong command line, 66 no such image, 73 exists or cannot be made.

MEM=1G        # memory
CPU=2         # processors
DISK_SIZE=20G # of a new disk, in M, G or T; it takes no room until it is written to
NET=user      # user, bridge:BR or macvtap:IF
BOOTROM=      # empty for a BIOS; uefi, or the path of a firmware

[ "$(uname)" != FreeBSD ] || BOOTROM=${BOOTROM:-uefi} # bhyve has no BIOS

set -fu
export LC_ALL=C # a letter is one of A to Z, a length is in bytes
umask go-w      # vm-run believes no description that others can write

usage='new.sh NAME [IMAGE] [--iso ISO] [--net user|bridge:BR|macvtap:IF]'

# die STATUS PROBLEM [HINT]
die() {
    printf 'new.sh: %s\n' "$2" >&2
    [ $# -lt 3 ] || printf '  hint: %s\n' "$3" >&2
    exit "$1"
}

# --- what is asked for ----------------------------------------------------------

# A line of a description must stay one line, and a terminal is not to be told what to do.
check_text() {
    case $1 in
    *[[:cntrl:]]*) die 64 'a name or path must have no control characters' ;;
    esac
    command -v iconv >/dev/null || return 0
    printf '%s' "$1" | iconv -f UTF-8 -t UTF-8 >/dev/null 2>&1 || die 64 'a path must be UTF-8'
}

# The same rule as vm-run's.
check_name() {
    case $1 in
    '' | [!A-Za-z0-9]* | *[!A-Za-z0-9_.-]*) ;;
    *) [ ${#1} -gt 64 ] || return 0 ;;
    esac
    die 64 "a VM's name must be 1 to 64 letters, digits, '.', '_' or '-', the first a letter or digit"
}

is_interface() {
    case $1 in
    '' | all | default | [!A-Za-z]* | *[!A-Za-z0-9_.-]*) return 1 ;;
    esac
    [ ${#1} -le 15 ]
}

check_net() {
    case $1 in
    user) return ;;
    bridge:* | macvtap:*) ! is_interface "${1#*:}" || return 0 ;;
    esac
    die 64 '--net must be user, bridge:BR or macvtap:IF' 'ip link shows the interfaces'
}

check_image() {
    check_text "$1"
    [ -e "$1" ] || die 66 "$1 does not exist"
    [ ! -d "$1" ] || die 66 "$1 is a folder"
    [ -r "$1" ] || die 66 "$1 cannot be read"
}

for word; do check_text "$word"; done
name='' image='' iso=''
while [ $# -gt 0 ]; do
    case $1 in
    -h | --help) echo "usage: $usage" && exit ;;
    --iso | --net) [ $# -ge 2 ] || die 64 "$1 needs a value" "$usage" ;;
    esac
    case $1 in
    --iso) iso=$2 && shift ;;
    --net) NET=$2 && shift ;;
    --iso=*) iso=${1#*=} ;;
    --net=*) NET=${1#*=} ;;
    -*) die 64 "$1 is not known" "$usage" ;;
    *)
        [ -z "$image" ] || die 64 "$1 is one word too many" "$usage"
        if [ -n "$name" ]; then image=$1; else name=$1; fi
        ;;
    esac
    shift
done
[ -n "$name" ] || die 64 'the name of the new VM is missing' "$usage"
check_name "$name"
check_net "$NET"

folder=${VMCONF_DIR:-${HOME:?}/vm}
case $folder in /*) ;; *) folder=$PWD/$folder ;; esac
check_text "$folder"
case $image in '' | /*) ;; *) image=$PWD/$image ;; esac
case $iso in '' | /*) ;; *) iso=$PWD/$iso ;; esac
[ -z "$iso" ] || check_image "$iso"
case $image in
'') ;;
*.[iI][sS][oO]) die 64 "$image is a CD, not a disk" "new.sh $name --iso ISO" ;;
*) check_image "$image" ;;
esac

# --- the description --------------------------------------------------------------

# quoted TEXT: as a TOML string, in which %% is a percent sign
quoted() {
    printf '"%s"' "$(printf '%s' "$1" | sed 's/\\/\\\\/g; s/"/\\"/g; s/%/%%/g')"
}

# The format that an image's ending speaks for; it is never guessed from what is in it.
format_of() {
    case $1 in
    *.[qQ][cC][oO][wW]2) echo qcow2 ;;
    *.[vV][mM][dD][kK]) echo vmdk ;;
    *.[vV][dD][iI]) echo vdi ;;
    *.[vV][hH][dD][xX]) echo vhdx ;;
    *.[vV][hH][dD] | *.[vV][pP][cC]) echo vpc ;;
    *) echo raw ;;
    esac
}

# Made of the user's and the VM's name: always the same, and the one that vm-run would give it
# (FNV-1a of 64 bits, folded to 40; vm_spec/emulations.py).
mac() {
    user=$(id -un 2>/dev/null) || user=$(id -u)
    hash=-3750763034362895579
    for byte in $(printf '%s\0%s\0lan' "$user" "$name" | od -An -v -tu1); do
        hash=$(((hash ^ byte) * 1099511628211))
    done
    hash=$(((hash ^ (hash >> 40 & 0xFFFFFF)) & 0xFFFFFFFFFF))
    printf '52%s\n' "$(printf '%010x' "$hash" | sed 's/../:&/g')"
}

description() {
    cat <<END
# $name, written by new.sh. Every key is in vm.toml(5).

cpu = $CPU
mem = "$MEM"
com1 = "stdio" # the first serial port is your terminal; "socket" keeps it for vm-console
${BOOTROM:+bootrom = $(quoted "$BOOTROM")
}
# [graphic] # a screen: VNC on 127.0.0.1, port 5900

[disk.root]
path = $(quoted "${image:-$name.img}")
format = "$(format_of "${image:-$name.img}")"

[net.lan]
mac = "$(mac)"
END
    case $NET in
    user) echo '# forward = ["2222:22"] # ssh -p 2222 localhost' ;;
    bridge:*) echo "bridge = \"${NET#*:}\"" ;;
    macvtap:*) echo "host-interface = \"${NET#*:}\"" ;;
    esac
    [ -z "$iso" ] || cat <<END

[targets.install]
next_target = "default" # what boots after the installer's reboot

[targets.install.cd.installer]
path = $(quoted "$iso")
END
}

# --- writing it ------------------------------------------------------------------

exists() {
    [ -e "$1" ] || [ -L "$1" ]
}

# create FILE: makes it, empty, unless it exists; no other program can come between
create() {
    (set -C && : >"$1") 2>/dev/null && return
    ! exists "$1" || die 73 "$1 exists already" "${2-}"
    die 73 "$1 cannot be made"
}

make_disk() {
    number=${DISK_SIZE%[MGT]}
    case $number in '' | 0* | *[!0-9]*) die 64 "DISK_SIZE=$DISK_SIZE must be like 20G" ;; esac
    case $DISK_SIZE in
    *M) ;;
    *G) number=$((number * 1024)) ;;
    *T) number=$((number * 1048576)) ;;
    *) die 64 "DISK_SIZE=$DISK_SIZE must be like 20G" ;;
    esac
    create "$folder/$name.img" "to use it: new.sh $name $folder/$name.img"
    disk=$folder/$name.img
    dd if=/dev/null of="$disk" bs=1048576 seek="$number" 2>/dev/null ||
        die 73 "$disk cannot be made $DISK_SIZE long"
}

# Takes away what this run made, and nothing else, when it could not be finished.
undo() {
    [ -z "$draft" ] || rm -f -- "$draft"
    [ -z "$disk" ] || rm -f -- "$disk"
}

file=$folder/$name.toml draft='' disk=''
trap undo EXIT
trap 'exit 129' HUP
trap 'exit 130' INT
trap 'exit 143' TERM

mkdir -p -- "$folder" 2>/dev/null || die 73 "$folder cannot be made"
for ending in toml json ucl conf; do
    ! exists "$folder/$name.$ending" || die 73 "$folder/$name.$ending exists already"
done
[ -n "$image" ] || make_disk

create "$folder/.$name.toml.$$"
draft=$folder/.$name.toml.$$
text=$(description)
printf '%s\n' "$text" >"$draft" || die 73 "$draft cannot be written"
trap '' HUP INT TERM # the description and its disk: both or none
if ! ln -- "$draft" "$file" 2>/dev/null; then # it appears whole, and never in another's place
    ! exists "$file" || die 73 "$file exists already"
    die 73 "$file cannot be made"
fi
disk=''

# --- what to do next --------------------------------------------------------------

if [ -n "$image" ] && [ "$(format_of "$image")" = raw ] && [ -f "$image" ] &&
    [ "$(od -An -tx1 -N4 -- "$image" | tr -d ' \n')" = 514649fb ]; then
    echo "note: $image begins like a qcow2 image; if it is one, say so: format = \"qcow2\""
fi
[ -n "$image$iso" ] || echo "note: $name.img is empty; --iso ISO would have added an installer"
echo "$file is made; next:"
[ "$NET" = user ] || echo "  sudo vm-init $name"
[ -z "$iso" ] || echo "  vm-run $name -t install"
echo "  vm-run $name"
