#!/bin/sh
# Runs every test that this machine can serve, and first sets up what they need, on a bare Debian 12
# or 13.
#
#   ./test.sh                  all of them
#   ./test.sh -k slots         words after the name go to pytest
#   VMMAN_NETWORK=1 ./test.sh  also those that talk to servers on the Internet
#   CI=true ./test.sh          a tool that is missing is an error, not a skipped test
#
# It keeps a virtual environment in .venv and a tiny guest in ~/.cache/vmman.
set -eu
cd -- "$(dirname -- "$0")"

# shellcheck source=/dev/null  # setup.sh is checked by itself
. ./setup.sh
PATH=$PATH:/usr/sbin:/sbin  # after su there is neither, and visudo is in one
in_ci() { case ${CI:-} in '' | 0 | false) return 1 ;; esac; }

# --- Debian's packages -------------------------------------------------------------------------

want_to_run
want qemu-utils have qemu-img
want ovmf test -e /usr/share/OVMF/OVMF_CODE_4M.fd
want make have make
want iproute2 have ip
want strace have strace
want acl have setfacl
want bubblewrap have bwrap
want swtpm have swtpm
want openssl have openssl
want libarchive-tools have bsdtar
want tmux have tmux
want novnc test -e /usr/share/novnc/core/rfb.js
want chromium-headless-shell have chromium-headless-shell
want sudo have visudo
want busybox have busybox
want jq have jq
want zsh have zsh
want fish have fish
want systemd have systemd-analyze
want shellcheck have shellcheck
want mandoc have mandoc

if ! install_missing; then
    if in_ci; then die 'in CI every tool must be here'; fi
    say 'going on: the tests that need them are skipped or fail'
fi

# --- the virtual environment -------------------------------------------------------------------

make_venv
if venv_has dev; then
    say '.venv is up to date'
else
    say 'installing the project and what its tests need into .venv'
    rm -f .venv/has-*
    patiently pip install --editable '.[dev]'
    # What `make install` will want, so that its test needs no network.
    say 'and the wheels that the test of make install needs'
    patiently pip wheel --wheel-dir .venv/wheels 'setuptools>=77' '.[fast]'
    venv_state | tee .venv/has-run >.venv/has-dev
fi
PATH=$PWD/.venv/bin:$PATH
export PATH

# --- the guest ---------------------------------------------------------------------------------

VMMAN_GUEST=${XDG_CACHE_HOME:-$HOME/.cache}/vmman/guest
export VMMAN_GUEST
build_guest "$VMMAN_GUEST"

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

# pytest knows the last -m only: what is typed is joined to what this machine can serve.
previous=
for word; do
    shift
    if [ "$previous" = -m ]; then
        left_out="${left_out:+$left_out and }($word)"
    elif [ "$word" != -m ]; then
        set -- "$@" "$word"
    fi
    previous=$word
done

say "running pytest (markers: ${left_out:-all})"
exec python -m pytest -n auto --dist loadgroup -m "$left_out" "$@"
