#!/bin/sh
# A machine that nobody has prepared: a minbase chroot of Debian, and there the README's commands.
#
#   tests/debian.sh 12|13 [root|user [COMMAND...]]
#
#   tests/debian.sh 13 user                            ./demo.sh, ./test.sh, and both once more
#   tests/debian.sh 12 root ./demo.sh './test.sh tests/spec'
#   CHROOT=/var/tmp/d13 tests/debian.sh 13 user ...    keeps the chroot there, and uses it again
#
# It needs root, mmdebstrap and 6 GB. Each command is one of sh, in a fresh clone of this checkout's
# last commit, with a fresh home: root's, or that of an ordinary user who may use sudo. What it says
# is in CHROOT/said, and its status, time and what it left on the disk are told at the end.
#
# Packages come from where this system has its own from, with the other suite's name: apt's sources
# and settings, pip's, and the certificates that they need, are copied.
set -eu
cd -- "$(dirname -- "$0")/.."
HERE=$PWD

# shellcheck source=/dev/null  # setup.sh is checked by itself
. ./setup.sh

usage() {
    echo 'usage: tests/debian.sh 12|13 [root|user [COMMAND...]]' >&2
    exit 64
}
suite_of() {
    case $1 in 12) echo bookworm ;; 13) echo trixie ;; *) return 1 ;; esac
}

CERTIFICATES=/etc/ssl/certs/ca-certificates.crt

# --- the chroot ---------------------------------------------------------------------------------

# Those sources of this system that name its suite, with the other suite's name.
sources() {
    # shellcheck source=/dev/null
    own=$(. /etc/os-release && echo "${VERSION_CODENAME:?}")
    for file in /etc/apt/sources.list /etc/apt/sources.list.d/*.list; do
        [ ! -e "$file" ] || sed -n "/^deb .*\\<$own\\>/s/\\<$own\\>/$suite/gp" "$file"
    done
    for file in /etc/apt/sources.list.d/*.sources; do
        [ ! -e "$file" ] || awk -v RS= -v own="$own" '$0 ~ own { print $0 "\n" }' "$file" |
            sed "s/\\<$own\\>/$suite/g"
    done
}

make_chroot() {
    say "making a minbase chroot of $suite in $chroot"
    settings=$(mktemp -d)
    sources >"$settings/sources"
    apt-config dump | grep -E '^Acquire::(Check|[a-z]+::).* "' |
        grep -v '^Acquire::cdrom' >"$settings/apt.conf" || true
    mmdebstrap --quiet --variant=minbase --include=sudo --aptopt="$settings/apt.conf" \
        "$suite" "$chroot" "$settings/sources"
    rm -r "$settings"
    for file in /etc/resolv.conf /etc/hosts /etc/pip.conf; do
        [ ! -e "$file" ] || install -D -m 644 "$file" "$chroot$file"
    done
    user_settings=${PIP_CONFIG_FILE:-$HOME/.config/pip/pip.conf}
    [ ! -e "$user_settings" ] || install -D -m 644 "$user_settings" "$chroot/etc/xdg/pip/pip.conf"
    # Not in their own place: the package ca-certificates, when it comes, makes that anew.
    [ ! -e "$CERTIFICATES" ] || cp "$CERTIFICATES" "$chroot/etc/pip.crt"
    chroot "$chroot" useradd --create-home --shell /bin/bash newcomer
    echo 'newcomer ALL=(ALL:ALL) NOPASSWD: ALL' >"$chroot/etc/sudoers.d/newcomer"
    mkdir "$chroot/said"
}

# --- inside of namespaces that end with it ------------------------------------------------------

# /dev is the kernel's, as where no udev runs: /dev/net/tun is root's alone.
mount_system() {
    mount --make-rprivate /
    mount --bind "$chroot" "$chroot"
    mount -t proc proc "$chroot/proc"
    mount -t sysfs sysfs "$chroot/sys"
    mount -t devtmpfs dev "$chroot/dev"
    mount -t devpts -o newinstance,ptmxmode=666,mode=620,gid=5 devpts "$chroot/dev/pts"
    mount -t tmpfs -o mode=1777 shm "$chroot/dev/shm"
    mount -t tmpfs -o mode=755 run "$chroot/run"
    mknod -m 600 "$chroot/run/tun" c 10 200
    mount --bind "$chroot/run/tun" "$chroot/dev/net/tun"
}

inside() { # COMMAND...: as who it is for, with that one's home and no more than pip's settings
    if [ "$who" = root ]; then home=/root name=root; else home=/home/newcomer name=newcomer; fi
    # shellcheck disable=SC2046  # one word for each variable
    chroot "$chroot" setpriv --reuid="$name" --regid="$name" --init-groups \
        env --default-signal -i HOME="$home" USER="$name" LOGNAME="$name" LANG=C.UTF-8 TERM="${TERM:-dumb}" \
        PATH=/usr/local/bin:/usr/bin:/bin \
        $(env | grep '^PIP_[A-Z_]*=[^ ]*$') ${certificates:+"PIP_CERT=$certificates"} "$@"
}

used() { du --summarize --one-file-system --block-size=1M "$chroot" | cut -f 1; }

run_all() { # COMMAND...
    mount_system
    certificates=
    [ ! -e "$chroot/etc/pip.crt" ] || certificates=/etc/pip.crt
    for command; do
        number=$((${number:-0} + 1)) status=0 before=$(used) began=$(date +%s)
        say "$name_of_run: $command"
        inside sh -c "cd ~/vmman && $command" </dev/null >"$chroot/said/$number" 2>&1 || status=$?
        took=$(($(date +%s) - began))
        tail -n 4 "$chroot/said/$number" | sed 's/^/    /'
        told="$told
  $status  $(printf '%4d s  %+5d MB' $took $(($(used) - before)))  $command"
        [ "$status" -eq 0 ] || failures=$((failures + 1))
    done
    say "$name_of_run: status, time, disk$told"
    all_yes
}

# --- the story ----------------------------------------------------------------------------------

version=${1-} who=${2:-root} told=
suite=$(suite_of "$version") || usage
case $who in root | user) ;; *) usage ;; esac
name_of_run="Debian $version as $who"
if [ "${INSIDE:-}" ]; then
    chroot=$INSIDE
    shift 2
    run_all "$@"
    exit
fi

[ "$(id -u)" -eq 0 ] || die 'only root can do this'
want mmdebstrap have mmdebstrap
want git have git
install_missing || die 'install these, then run it again'
chroot=${CHROOT:-$(mktemp -d /var/tmp/debian.XXXXXX)}
[ "${CHROOT:-}" ] || trap 'rm -rf --one-file-system "$chroot"' EXIT
[ -d "$chroot/said" ] || make_chroot
home=$chroot/root
[ "$who" = root ] || home=$chroot/home/newcomer
rm -rf "$home/vmman"
git clone --quiet "$HERE" "$home/vmman"
chown -R --reference="$home" "$home/vmman"

[ $# -gt 2 ] || set -- "$version" "$who" ./demo.sh ./test.sh ./demo.sh ./test.sh
INSIDE=$chroot unshare --mount --pid --uts --ipc --fork --kill-child \
    tests/debian.sh "$@"
