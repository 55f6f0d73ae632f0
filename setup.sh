# shellcheck shell=sh
# What demo.sh and test.sh share: Debian packages, the virtual environment, the tiny guest.
# They source it; it is no command of its own.

say() { printf '%s: %s\n' "${0##*/}" "$*"; }
die() {
    say "$*" >&2
    exit 69
}
failures=0
check() { # SENTENCE COMMAND...
    sentence=$1
    shift
    if "$@"; then
        printf '  yes  %s\n' "$sentence"
    else
        printf '  NO   %s\n' "$sentence"
        failures=$((failures + 1))
    fi
}
all_yes() { [ "$failures" -eq 0 ]; }
have() { command -v "$1" >/dev/null 2>&1; }
patiently() { # COMMAND...: a quiet one, which tells every ten seconds that it goes on
    began=$(date +%s)
    while sleep 10 >/dev/null 2>&1 && kill -0 $$ 2>/dev/null; do
        say "  at it for $(($(date +%s) - began)) s"
    done &
    ticker=$! patiently_status=0
    "$@" || patiently_status=$?
    kill "$ticker" 2>/dev/null || true
    return "$patiently_status"
}

# --- Debian's packages -------------------------------------------------------------------------

missing=
want() { # PACKAGE COMMAND...: the package is missing when the command fails
    package=$1
    shift
    "$@" >/dev/null 2>&1 || missing="$missing $package"
}

can_sudo() { # asks for a password now, and not below a line that says what goes on
    sudo -n true 2>/dev/null || sudo -v
}
as_root() { if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi; }
can_be_root() { [ "$(id -u)" -eq 0 ] || have sudo; }
apt_install() {
    # shellcheck disable=SC2086  # one word for each package
    as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o Dpkg::Use-Pty=0 \
        install --yes --no-install-recommends $missing >/dev/null
}
known() { # PACKAGE...: whether apt has heard of each
    for package; do
        apt-cache policy "$package" | grep -q 'Candidate: [0-9]' || return 1
    done
}
update() {
    say 'apt-get update'
    patiently as_root apt-get -qq update
}

install_missing() {
    [ -n "$missing" ] || { say 'every Debian package is here' && return; }
    have apt-get || { say "cannot install, this is not Debian:$missing" && return 1; }
    can_be_root || { say "cannot install, neither root nor sudo:$missing" && return 1; }
    [ "$(id -u)" -eq 0 ] || can_sudo || return 1
    # shellcheck disable=SC2086  # one word for each package
    known $missing || update || return 1
    say "apt-get install$missing"
    patiently apt_install || { update && patiently apt_install; } ||
        { say "apt-get failed:$missing" && return 1; }
}

python=/usr/bin/python3
[ -x "$python" ] || python=$(command -v python3) || python=/usr/bin/python3

# python3-venv, and the emulator with the firmware that it depends on
want_to_run() {
    want python3 have "$python"
    want python3-venv "$python" -c 'import ensurepip, venv'
    want qemu-system-x86 have qemu-system-x86_64
}

# --- the virtual environment -------------------------------------------------------------------

pip() { PIP_QUIET=1 PIP_DISABLE_PIP_VERSION_CHECK=1 .venv/bin/python -m pip "$@"; }
venv_state() { pwd && "$python" --version && cat pyproject.toml; }
venv_has() { venv_state | cmp -s - ".venv/has-$1"; } # run | dev

make_venv() { # an empty one, unless there is one that works
    "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
        die "$python is missing or older than Python 3.11"
    .venv/bin/python -m pip --version >/dev/null 2>&1 && return
    say "making .venv with $python"
    patiently "$python" -m venv --clear .venv
}

install_program() {
    make_venv
    if venv_has run; then
        say '.venv is up to date'
    else
        say 'installing vmman and the Python packages that it needs into .venv'
        patiently pip install --editable .
        venv_state >.venv/has-run
    fi
}

# --- the guest ---------------------------------------------------------------------------------

# What its build fetches without installing it.
GUEST_PACKAGES='linux-image-cloud-amd64 busybox-static mtools syslinux syslinux-common xorriso
    systemd-boot-efi'

update_for_guest() { # FOLDER: an image without lists of packages needs them now
    # shellcheck disable=SC2086  # one word for each package
    if [ -e "$1/key" ] || ! have apt-get || known $GUEST_PACKAGES; then return; fi
    ! can_be_root || update
}

build_guest() { # FOLDER
    say "the guest in $1 (built unless it is up to date)"
    mkdir -p -- "${1%/*}"
    update_for_guest "$1"
    tests/guest/build.sh "$1"
}
