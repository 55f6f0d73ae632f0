#!/bin/sh
# Runs every test that this machine can serve, and first sets up what they need on a bare Debian 12.
#
#   ./test.sh                  all of them
#   ./test.sh -k slots         words after the name go to pytest
#   VMMAN_NETWORK=1 ./test.sh  also those that talk to servers on the Internet
#   CI=true ./test.sh          a tool that is missing is an error, not a skipped test
#
# It keeps a virtual environment in .venv and a tiny guest in ~/.cache/vmman.
set -eu
cd -- "$(dirname -- "$0")"

say() { printf 'test.sh: %s\n' "$*"; }
die() {
    say "$*" >&2
    exit 69
}
have() { command -v "$1" >/dev/null 2>&1; }
in_ci() { case ${CI:-} in '' | 0 | false) return 1 ;; esac; }

# --- Debian's packages -------------------------------------------------------------------------

missing=
want() { # PACKAGE COMMAND...: the package is missing when the command fails
    package=$1
    shift
    "$@" >/dev/null 2>&1 || missing="$missing $package"
}

as_root() { if [ "$(id -u)" -eq 0 ]; then "$@"; else sudo "$@"; fi; }
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
    as_root apt-get -qq update
}

install_missing() {
    have apt-get || { say "cannot install, this is not Debian:$missing" && return 1; }
    [ "$(id -u)" -eq 0 ] || have sudo ||
        { say "cannot install, neither root nor sudo:$missing" && return 1; }
    # shellcheck disable=SC2086  # one word for each package
    known $missing || update || return 1
    say "apt-get install$missing"
    apt_install || { update && apt_install; } || { say "apt-get failed:$missing" && return 1; }
}

python=/usr/bin/python3
[ -x "$python" ] || python=$(command -v python3) || python=/usr/bin/python3

want python3 have "$python"
want python3-venv "$python" -c 'import ensurepip, venv'
want qemu-system-x86 have qemu-system-x86_64
want qemu-utils have qemu-img
want ovmf test -e /usr/share/OVMF/OVMF_CODE_4M.fd
want make have make
want shellcheck have shellcheck
want mandoc have mandoc

if [ -z "$missing" ]; then
    say 'every Debian package is here'
elif ! install_missing; then
    if in_ci; then die 'in CI every tool must be here'; fi
    say 'going on: the tests that need them are skipped or fail'
fi

# --- the virtual environment -------------------------------------------------------------------

"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    die "$python is missing or older than Python 3.11"

stamp=.venv/installed
pip() { PIP_QUIET=1 PIP_DISABLE_PIP_VERSION_CHECK=1 .venv/bin/python -m pip "$@"; }
state() { pwd && "$python" --version && cat pyproject.toml; }

if ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
    say "making .venv with $python"
    "$python" -m venv --clear .venv
fi
if state | cmp -s - "$stamp"; then
    say '.venv is up to date'
else
    say 'installing the project and what its tests need into .venv'
    rm -f "$stamp"
    pip install --editable '.[dev]'
    # What `make install` will want, so that its test needs no network.
    pip wheel --wheel-dir .venv/wheels 'setuptools>=77' .
    state >"$stamp"
fi
PATH=$PWD/.venv/bin:$PATH
export PATH

# --- the guest ---------------------------------------------------------------------------------

VMMAN_GUEST=${XDG_CACHE_HOME:-$HOME/.cache}/vmman/guest
export VMMAN_GUEST
say "building the guest in $VMMAN_GUEST"
mkdir -p -- "${VMMAN_GUEST%/*}"
# It fetches packages without installing them; an image without lists of packages needs them now.
[ -e "$VMMAN_GUEST/key" ] || known linux-image-cloud-amd64 || update
tests/guest/build.sh "$VMMAN_GUEST"

# --- what this machine can serve ---------------------------------------------------------------

left_out=
without() { # MARKER COMMAND...: its tests are left out when the command fails
    marker=$1
    shift
    "$@" 2>/dev/null || left_out="${left_out:+$left_out and }not $marker"
}
works_kvm() { (: <>/dev/kvm) && grep -Eqw 'vmx|svm' /proc/cpuinfo; }

without root test "$(id -u)" -eq 0
without kvm works_kvm
without bhyve kldstat -q -m vmm
without network test -n "${VMMAN_NETWORK:-}"

say "running pytest (markers: ${left_out:-all})"
exec python -m pytest -n auto --dist loadgroup -m "$left_out" "$@"
