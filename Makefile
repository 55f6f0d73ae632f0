# make                                  gather the packages and their dependencies in build/stage
# make install PREFIX=/usr/local        put them on this machine; DESTDIR=... for a packager
# make install GROUP=vmusers            as root: also the root helper, and who may start it by sudo
# make EXTRAS=                          without the libraries that make vm-pull twice as fast
# make uninstall PREFIX=/usr/local      take exactly that away again; the policy stays
# make check | make bench               every test | every figure
#
# It runs under GNU make and under FreeBSD's.

PREFIX ?= /usr/local
DESTDIR ?=
PYTHON ?= /usr/bin/python3
GROUP ?= vmusers
EXTRAS != case $$(uname -s) in Linux) echo '[fast]';; esac

ROOT = $(DESTDIR)$(PREFIX)
LIB = $(PREFIX)/lib/vmman
STAGE = build/stage
HELPER = $(PREFIX)/libexec/vmman/vm-init
ETC != case $$(uname -s) in FreeBSD) echo /usr/local/etc;; *) echo /etc;; esac
SUDOERS = $(DESTDIR)$(ETC)/sudoers.d/vmman
# The root helper is the machine's: by root or for a packager, and never below a home.
FOR_ALL = case '$(PREFIX)' in /usr|/usr/local|/opt/*) [ -n '$(DESTDIR)' ] || [ "$$(id -u)" -eq 0 ];; \
    *) false;; esac
SOURCES != find vm_spec vm_state vm_run vm_stop vm_console vm_import vm_list vm_pull vm_init -name '*.py'
# The text of a service, with the places of this installation.
FITTED = sed 's|/usr/local|$(PREFIX)|g'
# One line for each command: its name and its module.
COMMANDS = sed -n 's/^\(vm-[a-z]*\) = "\(.*\):entry"$$/\1 \2/p' pyproject.toml

# Where shells look for completions, and what the service managers are given.
BASH = share/bash-completion/completions
ZSH = share/zsh/site-functions
FISH = share/fish/vendor_completions.d
USER_UNITS = vm-run@.service vm-autostart.service
SERVICE = case $$(uname -s) in \
    FreeBSD) source=etc/rc.d/vmman mode=555 service='$(ROOT)/etc/rc.d/vmman';; \
    *) source=etc/systemd/system/vm-init@.service mode=644 \
       service='$(ROOT)/lib/systemd/system/vm-init@.service';; esac

# The programs in bench/; its other modules are theirs.
BENCHES = start init pull list

all: $(STAGE)/complete

# --target asks nothing of the system's Python, and takes the wheels that pip prefers.
$(STAGE)/complete: pyproject.toml Makefile $(SOURCES)
	rm -rf build
	'$(PYTHON)' -m venv build/venv
	build/venv/bin/python -m pip install --quiet --disable-pip-version-check --no-compile --target $(STAGE) \
	    '.$(EXTRAS)'
	rm -rf $(STAGE)/bin
	touch $@

# No site (-S), nothing from the environment (-I): it starts faster and trusts less.
# The bytecode is compiled here, once, because -B and an ordinary user never write it.
install: paths all
	rm -rf '$(DESTDIR)$(LIB)'
	mkdir -p '$(DESTDIR)$(LIB)' '$(ROOT)/bin'
	cp -R $(STAGE)/. '$(DESTDIR)$(LIB)'
	rm -f '$(DESTDIR)$(LIB)/complete'
	'$(PYTHON)' -I -m compileall -q -d '$(LIB)' --invalidation-mode unchecked-hash '$(DESTDIR)$(LIB)'
	chmod -R u=rwX,go=rX '$(DESTDIR)$(LIB)'
	$(COMMANDS) | while read -r command module; do \
	    rm -f '$(ROOT)'/bin/"$$command" && \
	    printf '%s\n' '#!$(PYTHON) -ISB' 'import sys' "sys.path.append('$(LIB)')" \
	        "from $$module import entry" 'entry()' >'$(ROOT)'/bin/"$$command" && \
	    chmod 755 '$(ROOT)'/bin/"$$command" || exit; done
	for page in man/*.[1-8]; do [ -e "$$page" ] || continue; \
	    folder='$(ROOT)'/share/man/man"$${page##*.}"; \
	    mkdir -p "$$folder" && install -m 644 "$$page" "$$folder" || exit; done
	mkdir -p '$(ROOT)/$(BASH)' '$(ROOT)/$(ZSH)' '$(ROOT)/$(FISH)'
	install -m 644 completions/vmman.bash '$(ROOT)/$(BASH)/vmman'
	install -m 644 completions/_vmman '$(ROOT)/$(ZSH)/_vmman'
	install -m 644 completions/vmman.fish '$(ROOT)/$(FISH)/vmman.fish'
	$(COMMANDS) | while read -r command module; do ln -sf vmman '$(ROOT)/$(BASH)'/"$$command" && \
	    ln -sf vmman.fish '$(ROOT)/$(FISH)'/"$$command".fish || exit; done
	[ "$$(uname -s)" = FreeBSD ] || for unit in $(USER_UNITS); do mkdir -p '$(ROOT)/lib/systemd/user' && \
	    $(FITTED) etc/systemd/user/"$$unit" >'$(ROOT)'/lib/systemd/user/"$$unit" && \
	    chmod 644 '$(ROOT)'/lib/systemd/user/"$$unit" || exit; done
	@if $(FOR_ALL); then $(MAKE) helper; else \
	    echo 'the commands are installed; the root helper is not: it needs root and PREFIX=/usr/local'; fi

# The link is for `sudo vm-init`, and sudo's rule names it too.
# Nothing may start the helper before every part of it is known to be root's alone.
helper: paths
	install -d -m 755 '$(ROOT)/bin' '$(ROOT)/libexec/vmman' '$(DESTDIR)$(ETC)/vmman'
	rm -f '$(DESTDIR)$(HELPER)'
	{ printf '%s\n' '#!$(PYTHON) -ISB' "LIB = '$(LIB)'"; cat etc/vm-init.body; } >'$(DESTDIR)$(HELPER)'
	chmod 755 '$(DESTDIR)$(HELPER)'
	ln -sf ../libexec/vmman/vm-init '$(ROOT)/bin/vm-init'
	[ -e '$(DESTDIR)$(ETC)/vmman/policy.toml' ] || \
	    install -m 644 etc/policy.toml '$(DESTDIR)$(ETC)/vmman/policy.toml'
	[ "$$(uname -s)" = FreeBSD ] || { install -d -m 755 '$(DESTDIR)$(ETC)/tmpfiles.d' && \
	    install -m 644 etc/tmpfiles.d/vmman.conf '$(DESTDIR)$(ETC)/tmpfiles.d/vmman.conf'; }
	$(SERVICE); install -d -m 755 "$${service%/*}" && \
	    $(FITTED) "$$source" >"$$service" && chmod "$$mode" "$$service"
	@[ -n '$(DESTDIR)' ] || '$(PYTHON)' -ISB -c 'import sys; sys.path.append("$(LIB)"); \
	    from vm_init.selfcheck import faults; sys.exit("\n".join(faults()) or 0)' || \
	    { echo 'unsafe: nobody gets vm-init by sudo' >&2; rm -f '$(SUDOERS)'; exit 78; }
	@PATH="$$PATH:/usr/sbin:/usr/local/sbin"; command -v visudo >/dev/null || \
	    { echo 'no visudo here: see etc/doas.conf'; exit 0; } && \
	    { [ -d '$(DESTDIR)$(ETC)/sudoers.d' ] || install -d -m 750 '$(DESTDIR)$(ETC)/sudoers.d'; } && \
	    rm -f '$(SUDOERS).new' && \
	    '$(PYTHON)' -ISB -c 'import sys; sys.path.append("."); from vm_init.admission import sudoers; \
	        sys.stdout.write(sudoers(*sys.argv[1:]))' '$(GROUP)' '$(HELPER)' '$(PREFIX)/bin/vm-init' >'$(SUDOERS).new' && \
	    visudo -cqf '$(SUDOERS).new' && chmod 440 '$(SUDOERS).new' && \
	    mv -f '$(SUDOERS).new' '$(SUDOERS)' || { rm -f '$(SUDOERS).new'; exit 78; }

uninstall: paths
	rm -rf '$(DESTDIR)$(LIB)'
	$(COMMANDS) | while read -r command module; do rm -f '$(ROOT)'/bin/"$$command" \
	    '$(ROOT)/$(BASH)'/"$$command" '$(ROOT)/$(FISH)'/"$$command".fish; done
	rm -f '$(ROOT)/$(BASH)/vmman' '$(ROOT)/$(ZSH)/_vmman' '$(ROOT)/$(FISH)/vmman.fish'
	for unit in $(USER_UNITS); do rm -f '$(ROOT)'/lib/systemd/user/"$$unit"; done
	for page in man/*.[1-8]; do rm -f '$(ROOT)'/share/man/man"$${page##*.}/$${page##*/}"; done
	if $(FOR_ALL); then $(SERVICE); rm -f "$$service" && rm -f '$(SUDOERS)' '$(DESTDIR)$(ETC)/tmpfiles.d/vmman.conf' '$(DESTDIR)$(HELPER)' && \
	    { rmdir '$(ROOT)/libexec/vmman' 2>/dev/null || :; }; fi

# Both are written into the launchers and services, so they must mean the same everywhere.
paths:
	@case '$(PREFIX)' in [!/]*|''|*[\'\\\"\&\|\%\$$\`]*) echo 'PREFIX must be an absolute path' >&2; exit 64;; esac
	@case '$(PYTHON)' in [!/]*|''|*[[:space:]]*) echo 'PYTHON must be an absolute path' >&2; exit 64;; esac
	@shebang='#!$(PYTHON) -ISB'; [ $${#shebang} -lt 127 ] || \
	    { echo 'PYTHON is too long for a first line' >&2; exit 64; }

check:
	./test.sh

bench:
	for program in $(BENCHES); do .venv/bin/python -m bench."$$program" || exit; done

.PHONY: all install helper uninstall paths check bench
