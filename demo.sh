#!/bin/sh
# Boots a real guest from nothing: the first command to type on a bare Debian 12 or 13.
#
#   ./demo.sh     as an ordinary user, or as root: then it makes and uses the user vmman-demo
#
# First the user runs a guest that needs no privilege, and pulls the same guest as a Vagrant box
# from a web server; then, with root, in namespaces that leave this host's network and /etc as they
# are, vm-init gives him a tap by an admin's policy.
#
# It names each Debian package before it installs it, keeps the program in .venv, and the guest
# and its description in ~/.cache/vmman. Its exit status is 0 only if all of it went as it should.
set -eu
umask 022
cd -- "$(dirname -- "$0")"
PATH=$PATH:/usr/sbin:/sbin

# shellcheck source=/dev/null  # setup.sh is checked by itself
. ./setup.sh

DEMO_USER=vmman-demo
LIMIT_S=150  # an emulated guest needs some fifteen seconds for its two boots
want_to_run
[ "$(id -u)" -ne 0 ] || want passwd have useradd
install_missing || die 'install these as root (apt-get install), then run it again'

# --- what both root and an ordinary user do -----------------------------------------------------

second_part() { # USER GUEST
    echo
    if [ "$(id -u)" -eq 0 ]; then
        tests/guest/network.sh "$@"
    elif may_sudo; then
        say 'the second part, vm-init, by sudo'
        sudo -- "$PWD/tests/guest/network.sh" "$@"
    else
        say 'the second part, vm-init, is left out: it needs root, or sudo'
    fi
}
may_sudo() {
    have sudo || return 1
    sudo -n true 2>/dev/null && return
    [ -t 0 ] || return 1
    say 'the second part, vm-init, wants root, and leaves this host as it is: sudo may ask you'
    sudo -v
}

what_next() { # CHECKOUT VMCONF_DIR
    cat <<END

What to type next, in $1:

  export PATH="$1/.venv/bin:\$PATH" VMCONF_DIR="$2"
  vm-run hello                            the guest without the CD
  vm-run hello -t install --explain       each argument, and the key that it comes from
  vm-run hello -o cpu=2 -o mem=512M       with other values, just this once
  vm-run --help
  ./new.sh my-vm IMAGE                    a description of your own, beside hello.toml

  man ./man/vm.toml.5                     everything that a description can say (mandoc, man-db)
  man ./man/vm-policy.toml.5              what vm-init may give, and to whom
  ./test.sh                               the tests
END
}

# --- root makes an ordinary user, who does all the rest -----------------------------------------

kvm_group() { # the group that may use /dev/kvm, if that is no user's business but its own
    [ -c /dev/kvm ] || return 0
    group=$(stat -c %G /dev/kvm)
    case $group in root | UNKNOWN) ;; *) echo "$group" ;; esac
}

make_user() {
    group=$(kvm_group)
    say "making the ordinary user $DEMO_USER, who can not log in${group:+, in the group $group}"
    useradd --create-home --user-group --shell /bin/sh --comment 'runs the demo of vmman' \
        ${group:+--groups "$group"} "$DEMO_USER"
}

as_user() { # with none of root's folders in the environment
    env -u XDG_CACHE_HOME -u XDG_CONFIG_HOME -u XDG_DATA_HOME -u XDG_RUNTIME_DIR -u TMPDIR \
        HOME="$home" USER="$DEMO_USER" LOGNAME="$DEMO_USER" \
        setpriv --reuid="$DEMO_USER" --regid="$DEMO_USER" --init-groups --inh-caps=-all -- "$@"
}

# This folder may be one that only root can read.
copy_checkout() {
    [ "$(pwd -P)" != "$(realpath -m "$copy")" ] || return 0
    say "copying this folder to $copy"
    # shellcheck disable=SC2016  # the inner shell expands it
    tar --exclude='./.?*' --exclude=./build --exclude=__pycache__ -cf - . |
        as_user sh -c 'mkdir -p "$1" && cd "$1" && rm -rf ./[!.]* && tar -xf -' sh "$copy"
}

run_as_user() {
    id "$DEMO_USER" >/dev/null 2>&1 || make_user
    home=$(getent passwd "$DEMO_USER" | cut -d : -f 6)
    copy=$home/vmman
    copy_checkout
    update_for_guest "$home/.cache/vmman/guest"
    say "going on as $DEMO_USER: nothing of the first part needs root"
    as_user "$copy/demo.sh" first-part
    install_program  # root's own: nothing of a user's runs as root
    second_part "$DEMO_USER" "$home/.cache/vmman/guest"
    what_next "$copy" "$home/.cache/vmman/demo"
    cat <<END

To try them, become that user first; to remove it with all of this afterwards:

  runuser -l $DEMO_USER
  userdel --remove $DEMO_USER && rm -r /tmp/vm-$(id -u "$DEMO_USER")
END
}

if [ "$(id -u)" -eq 0 ]; then
    run_as_user
    exit
fi

# --- the program, the guest, the description ----------------------------------------------------

install_program
PATH=$PWD/.venv/bin:$PATH

cache=${XDG_CACHE_HOME:-$HOME/.cache}/vmman
build_guest "$cache/guest"

[ -w "${XDG_RUNTIME_DIR:-/nonexistent}" ] || unset XDG_RUNTIME_DIR  # another user's, after su
VMCONF_DIR=$cache/demo
export PATH VMCONF_DIR

describe() {
    cat <<'END'
# The whole of a virtual machine. vm.toml(5) has every key.

mem = "256M"
com1 = "stdio"              # its first serial port is this terminal

[disk.system]
path = "disk.img"           # beside this file

[net.lan]                   # with no more said: a network that needs no privilege

# What is different while the system is installed: there is a CD. When the installer ends in a
# reboot, the machine boots again as the target "default", which is the above and nothing else.
[targets.install]
next_target = "default"

# An IDE or SATA drive (device = "ahci-cd") is the usual thing. This guest's kernel is Debian's
# for clouds, which has no AHCI driver.
[targets.install.cd.media]
device = "virtio-scsi"
path = "media.iso"
END
}

say "writing $VMCONF_DIR/hello.toml, with a copy of the guest's disk and CD"
mkdir -p -- "$VMCONF_DIR"
rm -f -- "$VMCONF_DIR/disk.img" "$VMCONF_DIR/media.iso"
cp --sparse=always -- "$cache/guest/disk.img" "$cache/guest/media.iso" "$VMCONF_DIR/"
describe >"$VMCONF_DIR/hello.toml"
echo
sed 's/^/    /' "$VMCONF_DIR/hello.toml"

# --- the run ------------------------------------------------------------------------------------

echo
say 'vm-run hello -t install --dry-run    (the command line that this stands for)'
echo
vm-run hello -t install --dry-run | sed 's/^/    /'
echo
say 'vm-run hello -t install              (what follows is the guest, and vm-run about it)'
echo

seen=$VMCONF_DIR/seen
mkdir -p "$seen"
echo 'it was interrupted' >"$seen/status"
{
    status=0
    timeout --foreground --kill-after=90 "$LIMIT_S" vm-run hello -t install </dev/null 2>&1 ||
        status=$?
    echo "$status" >"$seen/status"
} | tee -i "$seen/output"

# --- the proof ----------------------------------------------------------------------------------

boot() { # NUMBER: the lines of this boot, the first or the second
    tr -d '\r' <"$seen/output" |
        awk -v number="$1" '/^guest: hello, / { at++ } at == number'
}
says() { boot "$1" | grep -qxF -- "guest: $2"; } # NUMBER LINE
says_hello() { [ -n "$(boot "$1")" ]; }
again() { says_hello 2 && grep -q '^hello: .*starting again: target default' "$seen/output"; }
ended_well() { [ "$(cat "$seen/status")" = 0 ]; }
left_behind() { # .ports.lock, vm-pull's, is no machine's and stays
    find "$VMCONF_DIR" "${XDG_RUNTIME_DIR:-/tmp/vm-$(id -u)}/vm/hello" \
        \( -type s -o -name lock -o -name .hello.lock -o -name pid -o -name state.json \) 2>&1
}
# The brackets keep grep from finding itself.
still_running() { grep -ls -- "$VMCONF_DIR/[d]isk.img" /proc/[0-9]*/cmdline; }
nothing_left() { [ -z "$(left_behind)" ] && ! still_running >/dev/null; }

echo
say 'what happened:'
check 'The guest booted from its disk and said hello.' says_hello 1
check 'Its target install had a CD, and the guest read it.' \
    says 1 'cd sr0: hello from the installation CD'
check 'It rebooted, and vm-run started the target default.' again
check 'There the CD was gone.' says 2 'cd none'
check 'The guest powered off, and vm-run ended with status 0.' ended_well
check 'No process, socket, pid file or lock was left behind.' nothing_left

if ! all_yes; then
    say "vm-run ended with $(cat "$seen/status"); what was seen is in $seen/output"
    left_behind
    still_running
    exit 1
fi

# --- the same guest as a Vagrant box ------------------------------------------------------------

pack_box() { # a box and its catalog in $boxes, as somebody would publish them
    rm -rf -- "$boxes" && mkdir -p -- "$boxes/files"
    cp --sparse=always -- "$cache/guest/disk.img" "$boxes/files/disk.img"
    echo '{"provider": "bhyve"}' >"$boxes/files/metadata.json"
    tar -C "$boxes/files" -czf "$boxes/hello.box" metadata.json disk.img
    rm -r -- "$boxes/files"
    sum=$(sha256sum "$boxes/hello.box")
    cat >"$boxes/hello.json" <<END
{"name": "demo/hello", "versions": [{"version": "1.0", "providers": [{"name": "bhyve",
  "url": "hello.box", "checksum_type": "sha256", "checksum": "${sum%% *}"}]}]}
END
}

serve_boxes() { # sets server and port
    mkfifo "$boxes/said"
    .venv/bin/python -u -m http.server --bind 127.0.0.1 --directory "$boxes" 0 \
        >"$boxes/said" 2>/dev/null &
    server=$!
    trap 'kill "$server" 2>/dev/null || true' EXIT
    read -r _ _ _ _ _ port _ <"$boxes/said"
}

boxes=$cache/boxes
echo
say "packing the guest's disk as a box, and serving it on 127.0.0.1"
pack_box
serve_boxes
url=http://127.0.0.1:$port/hello.json
say "vm-pull demo/hello $url --name pulled"
echo
rm -f -- "$VMCONF_DIR/pulled.toml" "$VMCONF_DIR/pulled.img"
vm-pull demo/hello "$url" --name pulled
kill "$server"
echo
vm-list
echo
say 'vm-run pulled'
status=0
timeout --foreground --kill-after=90 "$LIMIT_S" vm-run pulled </dev/null || status=$?

pulled_log=${XDG_RUNTIME_DIR:-/tmp/vm-$(id -u)}/vm/pulled/console.log
same_disk() { cmp -s "$VMCONF_DIR/pulled.img" "$cache/guest/disk.img"; }
pulled_ended_well() { [ "$status" -eq 0 ]; }
pulled_says_hello() { grep -q 'guest: hello' "$pulled_log"; }
no_room_left() { [ ! -e "$VMCONF_DIR/.pulled.pull" ]; }

echo
say 'what happened:'
check 'The disk came through whole; its checksum is the one in the catalog.' same_disk
check 'The pulled guest booted and said hello on its console.' pulled_says_hello
check 'It powered off, and vm-run ended with status 0.' pulled_ended_well
check 'Of the pull nothing is left but the disk and the description.' no_room_left
all_yes || exit 1

# Whoever started this as root goes on with the second part himself.
[ "${1:-}" != first-part ] || exit 0
second_part "$(id -un)" "$cache/guest"
what_next "$PWD" "$VMCONF_DIR"
