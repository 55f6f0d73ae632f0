# make                                  gather the packages and their dependencies in build/stage
# make install PREFIX=/usr/local        put them on this machine; DESTDIR=... for a packager
# make uninstall PREFIX=/usr/local      take exactly that away again
# make check | make bench               every test | every figure
#
# It runs under GNU make and under FreeBSD's.

PREFIX ?= /usr/local
DESTDIR ?=
PYTHON ?= /usr/bin/python3

ROOT = $(DESTDIR)$(PREFIX)
LIB = $(PREFIX)/lib/vmman
STAGE = build/stage
SOURCES != find vm_spec vm_run vm_init vm_pull vm_list -name '*.py'
# One line for each command: its name and its module.
COMMANDS = sed -n 's/^\(vm-[a-z]*\) = "\(.*\):entry"$$/\1 \2/p' pyproject.toml

# The programs in bench/; its other modules are theirs.
BENCHES = start

all: $(STAGE)/complete

# --target asks nothing of the system's Python, and takes the wheels that pip prefers.
$(STAGE)/complete: pyproject.toml Makefile $(SOURCES)
	rm -rf build
	'$(PYTHON)' -m venv build/venv
	build/venv/bin/python -m pip install --quiet --disable-pip-version-check --no-compile --target $(STAGE) .
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

uninstall: paths
	rm -rf '$(DESTDIR)$(LIB)'
	$(COMMANDS) | while read -r command module; do rm -f '$(ROOT)'/bin/"$$command"; done
	for page in man/*.[1-8]; do rm -f '$(ROOT)'/share/man/man"$${page##*.}/$${page##*/}"; done

# Both are written into the launchers, so they must mean the same everywhere.
paths:
	@case '$(PREFIX)' in [!/]*|''|*[\'\\]*) echo 'PREFIX must be an absolute path' >&2; exit 64;; esac
	@case '$(PYTHON)' in [!/]*|''|*[[:space:]]*) echo 'PYTHON must be an absolute path' >&2; exit 64;; esac

check:
	./test.sh

bench:
	for program in $(BENCHES); do .venv/bin/python -m bench."$$program" || exit; done

.PHONY: all install uninstall paths check bench
