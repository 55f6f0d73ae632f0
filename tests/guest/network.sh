#!/bin/sh
# The second part of ../../demo.sh, which starts it as root: vm-init gives a user a tap, by policy.
#
#   network.sh USER GUEST   GUEST is what build.sh made
#
# It all happens in mount, network and process namespaces of its own. /etc and /usr/local are
# overlays there, /run is empty, and the only links are what is made below: this host's network and
# files stay as they are, and nothing is left when PID 1, which is this program too, has ended.
# /dev/net/tun is a node of their own too, open to all as udev makes it: where no udev runs, as in
# a container, the host's is root's alone.
set -eu
umask 022
user=$1 guest=$2
cd -- "$(dirname -- "$0")/../.."
PATH=$PATH:/usr/sbin:/sbin

# shellcheck source=/dev/null  # setup.sh is checked by itself
. ./setup.sh

BRIDGE=br0 TAP=vmhello HOST=10.9.9.1 GUEST=10.9.9.2
LIMIT_S=150 # an emulated guest is up after some seven seconds

skip() {
    say "the second part is left out: $*"
    exit 0
}

# --- from outside -------------------------------------------------------------------------------

# TERM does not reach the first process of a namespace; KILL does, and ends all of it.
separate() { # COMMAND...: in namespaces that end with it
    timeout --foreground --kill-after=5 "$LIMIT_S" \
        unshare -m -n -p --fork --kill-child --mount-proc -- "$@" </dev/null
}

if [ "${3:-}" != inside ]; then
    [ -c /dev/net/tun ] || skip 'there is no /dev/net/tun here (modprobe tun makes it)'
    want iproute2 have ip
    [ -z "$missing" ] || install_missing || skip 'it needs iproute2'
    # shellcheck disable=SC2016  # the inner shell expands it
    try='mount -t tmpfs demo /run && mkdir /run/up /run/work && mount -t sysfs demo /sys &&
        mount -t overlay -o lowerdir=/etc,upperdir=/run/up,workdir=/run/work demo /etc &&
        mknod -m 666 /run/tun c 10 200 && mount --bind /run/tun /dev/net/tun &&
        : <>/dev/net/tun && ip link add "$0" type bridge'
    why=$(separate sh -c "$try" "$BRIDGE" 2>&1) ||
        skip "no namespaces, overlays, nodes or bridges can be made here (${why##*
})"
    status=0
    separate env -i PATH="$PATH" LANG=C.UTF-8 \
        "$PWD/tests/guest/network.sh" "$user" "$guest" inside || status=$?
    case $status in 124 | 137) say "it was killed, or took more than $LIMIT_S s" ;; esac
    exit "$status"
fi

# --- a host of its own --------------------------------------------------------------------------

trap 'exit 130' INT
trap 'exit 143' HUP TERM

mount -t tmpfs -o mode=755 demo /run
mount -t sysfs demo /sys
mknod -m 666 /run/tun c 10 200
mount --bind /run/tun /dev/net/tun
overlay() { # FOLDER
    mkdir -p "/run/demo$1/up" "/run/demo$1/work"
    mount -t overlay -o "lowerdir=$1,upperdir=/run/demo$1/up,workdir=/run/demo$1/work" demo "$1"
}
overlay /etc
overlay /usr/local
echo "127.0.0.1 $(uname -n)" >>/etc/hosts # sudo asks
uid=$(id -u "$user")
XDG_RUNTIME_DIR=/run/user/$uid
VMCONF_DIR=$XDG_RUNTIME_DIR/vm
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH VMCONF_DIR

as_user() {
    env HOME="$(getent passwd "$user" | cut -d : -f 6)" USER="$user" LOGNAME="$user" \
        XDG_RUNTIME_DIR="$XDG_RUNTIME_DIR" \
        setpriv --reuid="$user" --regid="$(id -g "$user")" --init-groups --inh-caps=-all -- "$@"
}
mkdir -p "$VMCONF_DIR"
chmod 700 "$XDG_RUNTIME_DIR"
chown -R "$user" "$XDG_RUNTIME_DIR"

# What `make install` does, without a network: the packages are those of .venv.
lib=/usr/local/lib/vmman
helper=/usr/local/libexec/vmman/vm-init
start() { # FILE MODULE
    rm -rf "$1"
    printf '%s\n' "#!${python:?} -ISB" 'import sys' "sys.path.append('$lib')" \
        "from $2.__main__ import entry" 'entry()' >"$1"
    chmod 755 "$1"
}
say 'installing vm-init, in namespaces of its own: this host keeps its network, /etc and /usr/local'
rm -rf "$lib"
mkdir -p "$lib" "${helper%/*}" /etc/vmman
cp -R .venv/lib/python3*/site-packages/. vm_* "$lib"
chmod -R u=rwX,go=rX "$lib"
start "$helper" vm_init
start /usr/local/bin/vm-run vm_run
ln -sf "$helper" /usr/local/bin/vm-init

# Real sudo by the rule that is installed; root himself where there is none, or it may not be root.
by_sudo=no
rule='import sys; sys.path.append(sys.argv[1]); from vm_init.admission import sudoers
print(sudoers(sys.argv[2], sys.argv[3]))'
if have sudo && [ -d /etc/sudoers.d ] &&
    "$python" -ISBc "$rule" "$lib" "$(id -gn "$user")" "$helper" >/run/demo/rule 2>/dev/null &&
    install -m 440 /run/demo/rule /etc/sudoers.d/vmman &&
    as_user sudo -n vm-init --grants >/dev/null 2>&1; then
    by_sudo=yes
fi

shown() { # root|user COMMAND...: with its output, kept in /run/demo/said, and its status
    who=$1
    shift
    if [ "$who" = root ]; then title "root: $*"; else title "$user: $*"; fi
    status=0
    if [ "$who" = root ]; then "$@"; else as_user "$@"; fi >/run/demo/said 2>&1 || status=$?
    if [ -s /run/demo/said ]; then sed 's/^/    /' /run/demo/said; else echo '    (nothing)'; fi
    return "$status"
}
said() { grep -q -- "$1" /run/demo/said; }
as_root_for_user() { # WORD...: vm-init
    if [ "$by_sudo" = yes ]; then
        shown user sudo vm-init "$@"
    else
        shown root vm-init --for-user "$user" "$@"
    fi
}
title() {
    echo
    say "$*"
    echo
}

# --- a bridge, a policy, a description ----------------------------------------------------------

ip link set lo up
ip link add "$BRIDGE" address 02:00:00:00:00:01 type bridge
ip addr add "$HOST/24" dev "$BRIDGE"
ip link set "$BRIDGE" up

cat >/etc/vmman/policy.toml <<END
[[grant]]
who = ["$user"]
bridges = ["$BRIDGE"]
interfaces = ["$TAP"]
END
# shellcheck disable=SC2016  # the inner shell expands it
as_user sh -c 'cat >"$1"' sh "$VMCONF_DIR/hello-net.toml" <<END
mem = "192M"
com1 = "stdio"
kernel = "$guest/vmlinuz"
initrd = "$guest/initrd.img"
cmdline = "console=ttyS0 quiet vmman.do=net vmman.ip=$GUEST/24"

[net.lan]
name = "$TAP"
bridge = "$BRIDGE"
END
shown root cat /etc/vmman/policy.toml
shown user cat "$VMCONF_DIR/hello-net.toml"

# --- the tap, the guest, the way back -----------------------------------------------------------

links() { ip -o link show | sed 's/^[0-9]*: \([^:@]*\).*/\1/'; }
before=$(links)
plan=no tap=no page=no ping=no ran=no kept=no released=no

! shown user vm-init hello-net --dry-run || ! said 'granted.*grant 1' || plan=yes

is_the_users() { [ "$(cat "/sys/class/net/$TAP/owner")" = "$uid" ]; }
! as_root_for_user hello-net || ! shown root ip link show master "$BRIDGE" ||
    ! said " $TAP: .* master $BRIDGE " || ! is_the_users || tap=yes

title "$user: vm-run hello-net    (what follows is the guest)"
log=/run/demo/console
ended=/run/demo/status
{
    status=0
    as_user vm-run hello-net </dev/null 2>&1 || status=$?
    echo "$status" >"$ended"
} | tee -i "$log" &
tenths=0
until grep -q 'guest: net up' "$log" || [ -e "$ended" ] || [ "$tenths" -ge 900 ]; do
    sleep 0.1
    tenths=$((tenths + 1))
done 2>/dev/null

fetch='import sys, urllib.request as r; print(r.urlopen(sys.argv[1], timeout=20).read().decode())'
title "root: a look at http://$GUEST/"
! "$python" -ISBc "$fetch" "http://$GUEST/" >/run/demo/said 2>&1 || ! said hello || page=yes
grep . /run/demo/said | tail -n 1 | sed 's/^/    /'
! have ping || ! shown root ping -c 1 -W 5 "$GUEST" || ping=yes

title "$user: kill PID    (TERM to vm-run is the guest's power button)"
find_pid='import json, sys; print(json.load(sys.stdin)["supervisor"])'
state=$XDG_RUNTIME_DIR/vm/hello-net/state.json
# shellcheck disable=SC2016  # the inner shell expands it
[ ! -e "$state" ] || ! pid=$("$python" -ISBc "$find_pid" <"$state") ||
    ! as_user sh -c 'kill "$1"' sh "$pid" || wait
[ "$(cat "$ended" 2>&1)" != 0 ] || ran=yes
[ "$(links)" = "$before" ] || kept=yes

! as_root_for_user --release hello-net || ! shown root ip -brief link ||
    [ "$(links)" != "$before" ] || ! shown root vm-init --grants || said . || released=yes

# --- the proof ----------------------------------------------------------------------------------

echo
say 'what happened:'
check 'The plan, made without root, named the rule that allows the tap.' test $plan = yes
check "vm-init made the tap, on $BRIDGE and $user's own." test $tap = yes
check "The host fetched a page from the guest, over $BRIDGE and the tap." test $page = yes
! have ping || check 'The guest answered ping.' test $ping = yes
check 'The power button ended the guest, and vm-run with status 0.' test $ran = yes
check 'The tap was still there, for the next vm-run.' test $kept = yes
check 'After vm-init --release there was no tap and no grant.' test $released = yes
all_yes
