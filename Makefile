# SPDX-License-Identifier: MIT
.DELETE_ON_ERROR:
.DEFAULT_GOAL := all

prefix ?= /usr/local
# as-sysmon wants it, too.
export DESTDIR ?=
AS_SYSMON ?=
SYSTEM_PYTHON ?= $(firstword $(wildcard /usr/bin/python3) python3)
# The package of this directory, and no other module that lies here.
FROM_HERE := PYTHONPATH='$(CURDIR)'
VENV := build/venv
PYTHON := $(VENV)/bin/python
WHEELS := build/wheels
CLANG ?= clang
BPFTOOL ?= $(firstword $(wildcard /usr/sbin/bpftool) bpftool)
STRIP ?= $(firstword $(shell command -v llvm-strip) $(wildcard /usr/bin/llvm-strip-*) llvm-strip)
ARCH := $(shell uname -m | sed 's/x86_64/x86/; s/aarch64/arm64/')
VMLINUX_BTF ?= $(firstword $(wildcard /sys/kernel/btf/vmlinux) $(wildcard /usr/lib/debug/boot/vmlinux-*) )

V ?= 0
Q := $(if $(filter 1,$(V)),,@)
say = $(if $(filter 1,$(V)),@:,@printf '  %-8s %s\n' '$(1)' '$(2)')

BPF_PARTS := $(wildcard ebpf/*/*.[ch])
BPF_SOURCES := $(BPF_PARTS) ebpf/record.h ebpf/sysmonlx.bpf.c
BPF_OBJECTS := build/sysmonlx.bpf.o build/sysmonlx_uncast.bpf.o build/sysmonlx_older.bpf.o
BPF_TEST_OBJECTS := $(patsubst ebpf/test/%.c,build/%.o,$(wildcard ebpf/test/*.bpf.c))
BPF_FLAGS := -g -O2 -Wall -Wextra -Wno-unused-parameter -Wno-sign-compare -Werror -target bpf \
	-D__TARGET_ARCH_$(ARCH) -Iebpf -ffile-prefix-map='$(CURDIR)'=.

# Debian packages; below, what shows that they are there.
BUILD_PACKAGES := clang llvm libbpf-dev bpftool python3-venv make
TEST_PACKAGES := rsyslog mandoc iproute2 procps strace clang-format systemd util-linux

.PHONY: all
all: bpf ## build; what make does without a target

.PHONY: help
help: ## show this list
	@awk -F ':.*## ' '/^[a-z].*## /{printf "  %-16s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@printf '\n%s\n' 'Variables, with their defaults:'
	@printf '  %-22s %s\n' 'V=0' '1: show the commands' \
	'prefix=$(prefix)' 'where to install' \
	'DESTDIR=' 'directory before prefix, for packagers' \
	'AS_SYSMON=' '1: install gives it the names of Microsoft'"'"'s Sysmon, too' \
	'WORDS=' 'words behind -t for run: my.xml image:sh level:high' \
	'PYTEST_ARGS=' 'more arguments for pytest: a file, -k WORD, -x' \
	'VMLINUX_BTF=' 'types of another kernel to build with; found, unless given' \
	'SYSTEM_PYTHON=' 'Python of build/venv and of what is installed; found likewise' \
	'VM_KERNELS=' 'of test-vm: $(VM_KERNELS)' \
	'RELEASES=$(RELEASES)' 'of test-deb and test-newcomer' \
	'EXAMPLES=$(EXAMPLES)' 'of fuzz: examples for each property' \
	'SOAK_S=$(SOAK_S)' 'of soak: seconds' \
	'QUIET_S=$(QUIET_S)' 'of quiet: seconds'

# $(call need,test,packages): install Debian packages unless the shell test holds
define need
{ $(1); } >/dev/null 2>&1 || { echo '  APT      $(2)'; \
	test "$$(id -u)" = 0 && command -v apt-get >/dev/null || { \
	echo >&2 'make: not all of these are installed: $(2)'; exit 1; }; \
	mkdir -p build; { apt-get -qq update && DEBIAN_FRONTEND=noninteractive apt-get -qq -y \
	--no-install-recommends install $(2); } >build/apt.log 2>&1 || \
	{ tail -5 build/apt.log >&2; exit 1; }; }
endef
HAS_BUILD := command -v clang && command -v llvm-strip && test -x /usr/sbin/bpftool -a \
	-f /usr/include/bpf/bpf_helpers.h && $(SYSTEM_PYTHON) -c 'import ensurepip'
HAS_TEST := test -x /usr/sbin/rsyslogd && test -x /bin/kill && command -v mandoc && test -x /usr/sbin/ip -o \
	-x /bin/ip && command -v strace && command -v clang-format && \
	command -v systemd-analyze && command -v unshare

.PHONY: deps
deps: build/deps.stamp $(VENV)/run.stamp $(WHEELS)/run.stamp ## install what building and running need

.PHONY: deps-test
deps-test: deps build/deps-test.stamp $(VENV)/test.stamp ## install what the tests need

build/deps.stamp: Makefile
	$(Q)$(call need,$(HAS_BUILD),$(BUILD_PACKAGES))
	$(Q)mkdir -p build && touch $@

build/deps-test.stamp: Makefile build/deps.stamp
	$(Q)$(call need,$(HAS_TEST),$(TEST_PACKAGES))
	$(Q)touch $@

# Exact versions and hashes: the same checkout installs the same bytes everywhere.
LOCKED := -m pip install -q --disable-pip-version-check --require-hashes

$(VENV)/run.stamp: requirements.lock requirements-build.lock build/deps.stamp
	$(call say,VENV,$(VENV))
	$(Q)test -x $(PYTHON) || $(SYSTEM_PYTHON) -m venv $(VENV)
	$(Q)$(PYTHON) $(LOCKED) -r requirements.lock -r requirements-build.lock
	$(Q)touch $@

# What "make install" puts beside the package, kept: it needs no network then.
$(WHEELS)/run.stamp: requirements.lock | $(VENV)/run.stamp
	$(call say,WHEELS,$(WHEELS))
	$(Q)rm -rf $(WHEELS) && mkdir -p $(WHEELS)
	$(Q)$(PYTHON) -m pip download -q --disable-pip-version-check --require-hashes \
		-d $(WHEELS) -r requirements.lock
	$(Q)touch $@

$(VENV)/test.stamp: requirements-test.lock $(VENV)/run.stamp
	$(call say,VENV,$(VENV) for tests)
	$(Q)$(PYTHON) $(LOCKED) -r requirements-test.lock
	$(Q)touch $@

.PHONY: lock
lock: build/deps.stamp ## choose the newest packages that setup.py allows; writes *.lock
	$(Q)mkdir -p build && $(SYSTEM_PYTHON) -m venv build/lock
	$(Q)build/lock/bin/python -P tests/tools/lock.py

.PHONY: run
run: deps bpf ## watch this machine live, with a built-in configuration
	@# Job control: Ctrl-C goes to the program alone, so make has nothing to complain of.
	$(Q)test ! -t 0 || set -m; $(FROM_HERE) $(PYTHON) -P -m sysmonlx -t $(WORDS)

.PHONY: picture
picture: deps-test bpf ## draw docs/live.svg anew: a real session of the live view
	$(Q)PYTHONPATH=.:tests $(PYTHON) -P tests/tools/picture.py

# Tests that need no root run in two processes; what they compile is kept below build,
# whatever the environment says.
UNIT_TESTS = PYTHONDONTWRITEBYTECODE= PYTHONPYCACHEPREFIX='$(CURDIR)/build/pycache' \
	$(PYTHON) -m pytest -q -n 2 --dist worksteal $(PYTEST_ARGS) tests/unit tests/object tests/golden

.PHONY: test
test: deps-test bpf bpf-test ## run all tests but those of other kernels
	$(Q)failed=; $(UNIT_TESTS) -ra || failed=1; SYSMONLX_REQUIRE=kernel \
	$(PYTHON) -m pytest -q -ra $(PYTEST_ARGS) tests/fuzz tests/kernel || failed=1; test -z "$$failed"

.PHONY: test-unit
test-unit: deps-test bpf ## run the tests that need no root
	$(Q)$(UNIT_TESTS)

.PHONY: test-kernel
test-kernel: deps-test bpf bpf-test ## run the tests on the running kernel
	$(Q)SYSMONLX_REQUIRE=kernel $(PYTHON) -m pytest -q -ra $(PYTEST_ARGS) tests/kernel

VM_KERNELS ?= 5.10 6.1 6.12
VM_PACKAGES := qemu-system-x86 busybox-static kmod zstd debian-archive-keyring
HAS_VM := command -v qemu-system-x86_64 && test -x /bin/busybox -a -x /usr/sbin/depmod \
	-a -f /usr/share/keyrings/debian-archive-keyring.gpg

.PHONY: test-vm
test-vm: deps-test bpf bpf-test build/deps-vm.stamp ## boot other kernels, run some tests there (long)
	$(Q)failed=; for kernel in $(VM_KERNELS); do PYTHONPATH=tests SYSMONLX_REQUIRE=kernel \
	SYSMONLX_TEST_DEADLINE=400 $(PYTHON) -m vm.runner --kernel $$kernel --timeout 3600 -- \
	$(PYTHON) -m pytest -q -ra -p vm.subset -p no:cacheprovider $(PYTEST_ARGS) \
	tests/vm tests/kernel || failed="$$failed $$kernel"; done; \
	test -z "$$failed" || { echo >&2 "make: failed on:$$failed"; exit 1; }

build/deps-vm.stamp: Makefile build/deps.stamp
	$(Q)$(call need,$(HAS_VM),$(VM_PACKAGES))
	$(Q)touch $@

.PHONY: test-upgrade
test-upgrade: deps-test bpf ## install over a running version 0.1.0 (needs git history)
	$(Q)SYSMONLX_REQUIRE=kernel $(PYTHON) -m pytest -q -ra $(PYTEST_ARGS) tests/upgrade

.PHONY: test-names
test-names: deps-test bpf ## 3,000 names of each call while others change them: none may be wrong
	@# By thirds: more at once would fill the ring on a busy machine.
	$(Q)for third in 1 2 3; do ROUNDS=1000 SYSMONLX_REQUIRE=kernel $(PYTHON) -m pytest -q -ra \
	$(PYTEST_ARGS) tests/kernel/hostile/test_true_names.py || exit 1; done

.PHONY: test-rules
test-rules: deps-test bpf ## do what each rule that comes along is for, in front of the service (4 minutes)
	$(Q)RULES=all SYSMONLX_REQUIRE=kernel $(PYTHON) -m pytest -q -ra $(PYTEST_ARGS) \
		tests/kernel/service/test_shipped_rules.py tests/kernel/service/test_attack_actions.py

QUIET_S ?= 3600

.PHONY: quiet
quiet: deps-test bpf ## apt, pip, make, git, cron and logins for QUIET_S seconds: no rule may hit high (long)
	$(Q)PYTHONPATH=.:tests QUIET_S=$(QUIET_S) $(PYTHON) -P -m quiet

.PHONY: test-selftest
test-selftest: deps-test bpf ## take each program off its hook: -selftest names it
	$(Q)SYSMONLX_REQUIRE=kernel $(PYTHON) -m pytest -q -ra $(PYTEST_ARGS) tests/selftest

.PHONY: test-pages
test-pages: deps-test bpf build/deps-pages.stamp ## open the pages of sysmonlx-logview in a browser; pictures in build/pages
	$(Q)SYSMONLX_REQUIRE=pages $(PYTHON) -m pytest -q -s -ra $(PYTEST_ARGS) tests/pages

build/deps-pages.stamp: Makefile build/deps.stamp
	$(Q)$(call need,command -v chromium,chromium fonts-dejavu-core)
	$(Q)touch $@

RELEASES ?= bookworm trixie
BARE_PACKAGES := python3,python3-lxml,python3-xmlschema,python3-daemon,libbpf1,systemd,rsyslog,logrotate,sudo,wget
DEB_PACKAGES := mmdebstrap lintian
HAS_DEB := command -v mmdebstrap && command -v lintian

.PHONY: test-deb
test-deb: deps-test deb build/deps-deb.stamp $(RELEASES:%=build/bare/%.stamp) ## install, upgrade, purge the package in bare roots
	$(Q)RELEASES='$(RELEASES)' $(PYTHON) -m pytest -q -ra $(PYTEST_ARGS) tests/deb

# Debian's smallest, as somebody new has it: no Python, no libraries, no log daemon.
.PHONY: test-newcomer
test-newcomer: deps-test deb build/deps-deb.stamp $(RELEASES:%=build/bare/new-%.stamp) ## type the README on bare machines with Debian's mirror, timed
	$(Q)RELEASES='$(RELEASES)' SYSMONLX_REQUIRE=kernel $(PYTHON) -m pytest -q -s -ra $(PYTEST_ARGS) tests/newcomer

build/bare/new-%.stamp:
	$(call say,ROOT,$* bare)
	$(Q)rm -rf build/bare/new-$* && mkdir -p build/bare
	$(Q)mmdebstrap --mode=root --variant=minbase --include=systemd,systemd-sysv $* build/bare/new-$* \
		>build/bare/new-$*.log 2>&1 && touch $@ || echo '  no root of $*: its tests are skipped'

build/deps-deb.stamp: Makefile build/deps.stamp
	$(Q)$(call need,$(HAS_DEB),$(DEB_PACKAGES))
	$(Q)touch $@

# What the package depends on is there before: the package itself is installed offline.
# sudo and wget are what the scenarios of tests/deb use.
build/bare/%.stamp:
	$(call say,ROOT,$*)
	$(Q)rm -rf build/bare/$* && mkdir -p build/bare
	$(Q)mmdebstrap --mode=root --variant=minbase --include=$(BARE_PACKAGES) $* build/bare/$* \
		>build/bare/$*.log 2>&1 && touch $@ || echo '  no root of $*: its tests are skipped'

# Log daemons exclude each other: syslog-ng is not installed here, but in a root of its own.
.PHONY: test-collectors
test-collectors: deps-test deb build/deps-deb.stamp build/collectors.stamp build/bare/image.stamp ## run what is shipped for rsyslog, syslog-ng, logrotate, containers
	$(Q)$(PYTHON) -m pytest -q -ra $(PYTEST_ARGS) tests/collectors

build/collectors.stamp:
	$(call say,ROOT,syslog-ng logrotate)
	$(Q)rm -rf build/collectors && mmdebstrap --mode=root --variant=apt \
		--include=syslog-ng-core,logrotate bookworm build/collectors >build/collectors.log 2>&1 && touch $@

# What the Dockerfile begins with; its steps are taken above it.
build/bare/image.stamp:
	$(call say,ROOT,image)
	$(Q)rm -rf build/bare/image && mkdir -p build/bare && mmdebstrap --mode=root --variant=minbase \
		trixie build/bare/image >build/bare/image.log 2>&1 && touch $@ || \
		echo '  no root for the image: its tests are skipped'

CLIENT_PACKAGES := dnsmasq-base bind9-dnsutils bind9-host knot-dnsutils ldnsutils musl-tools gcc nodejs \
	openjdk-17-jdk-headless
HAS_CLIENTS := test -x /usr/sbin/dnsmasq && command -v dig && command -v host && command -v kdig && \
	command -v drill && command -v musl-gcc && command -v node && command -v javac
# Their files alone are used: installed, they would take over the names of the machine.
RESOLVED_PACKAGES := systemd-resolved libnss-resolve

.PHONY: test-clients
test-clients: deps-test bpf build/deps-clients.stamp build/clients/resolved.stamp ## DNS as dig, host, kdig, drill, C libraries, Python, Node, Java do it
	$(Q)SYSMONLX_REQUIRE=kernel,clients $(PYTHON) -m pytest -q -ra $(PYTEST_ARGS) tests/clients

build/deps-clients.stamp: Makefile build/deps.stamp
	$(Q)$(call need,$(HAS_CLIENTS),$(CLIENT_PACKAGES))
	$(Q)touch $@

build/clients/resolved.stamp: build/deps-clients.stamp
	$(call say,ROOT,$(RESOLVED_PACKAGES))
	$(Q)rm -rf build/clients/*.deb build/clients/resolved && mkdir -p build/clients/resolved
	$(Q)cd build/clients && apt-get -qq download $(RESOLVED_PACKAGES) >apt.log 2>&1 && \
		for deb in *.deb; do dpkg -x $$deb resolved; done && touch $(@F)

EXAMPLES ?= 50

.PHONY: test-examples
test-examples: deps-test bpf ## run the commands of README, docs and manuals that need no service
	$(Q)$(PYTHON) -m pytest -q -ra $(PYTEST_ARGS) tests/examples

.PHONY: fuzz
fuzz: deps-test bpf bpf-test ## 100,000 hostile configurations, and new examples for the tests (long)
	$(Q)PYTHONPATH=. $(PYTHON) tests/fuzz/fuzz_config.py
	$(Q)SYSMONLX_TEST_EXAMPLES=$(EXAMPLES) SYSMONLX_REQUIRE=kernel $(PYTHON) -m pytest -q \
	$(PYTEST_ARGS) $(shell grep -rl '^ *@given' tests)

SOAK_S ?= 1200

.PHONY: soak
soak: deps-test bpf ## storms and faults for SOAK_S seconds; the last line is a summary (long)
	$(Q)PYTHONPATH=.:tests SOAK_S=$(SOAK_S) $(PYTHON) -P -m soak

.PHONY: bench
bench: deps-test bpf build/producer_test.bpf.o ## measure all costs in 9 minutes; see docs/benchmarks.md
	$(Q)PYTHONPATH=.:tests $(PYTHON) -P -m bench

.PHONY: check
check: lint types generate-check test ## the gate before every commit

.PHONY: lint
lint: deps-test ebpf/vmlinux.h ## style of Python, C and manuals; licences
	$(Q)$(VENV)/bin/ruff check -q . && $(VENV)/bin/ruff format -q --check .
	$(Q)clang-format --dry-run -Werror $(BPF_SOURCES)
	$(Q)mandoc -T lint -W warning man/*.[1578]
	@# Each file alone: none leans on what another, joined before it, has declared.
	$(Q)for file in $(BPF_PARTS); do $(CLANG) -fsyntax-only $(BPF_FLAGS) -Wno-unused -x c $$file || exit 1; done
	@# On Python 3.12 and newer there is no wheel of it: see setup.py.
	$(Q)test ! -x $(VENV)/bin/reuse || $(VENV)/bin/reuse lint -q || $(VENV)/bin/reuse lint

.PHONY: format
format: deps-test ## rewrite the sources in the project's style
	$(Q)$(VENV)/bin/ruff check -q --fix . ; $(VENV)/bin/ruff format -q .
	$(Q)clang-format -i $(BPF_SOURCES)

.PHONY: types
types: deps-test ## mypy --strict
	$(Q)$(VENV)/bin/mypy

.PHONY: generate
generate: deps-test ## rewrite the XSD, tables of the manual, frame of docs/events.md, completion, pack of rules
	$(Q)$(FROM_HERE) $(PYTHON) -P -m sysmonlx.schema generate
	$(Q)cd config_schema && PYTHONPATH=.. ../$(PYTHON) -P -m sysmonlx.sigma_tool pack rules -o shipped.sigma.json

.PHONY: generate-check
generate-check: generate ## fail where generated files are not as they are committed
	$(Q)git diff --exit-code --stat -- config_schema man docs/events.md sysmonlx/data

# Where things go; quoted, since DESTDIR may hold blanks.
TO = '$(DESTDIR)$(prefix)'
# Filled beside what is installed, which is whole until the very end, and replaced then:
# nothing of another version, or of another Python, is left among it.
NEW = $(TO)/lib/sysmonlx.new
OLD = $(TO)/lib/sysmonlx.old
OWN_PYTHON = $(NEW)/bin/python
AS_SYSMON_SCRIPT = $(TO)/share/sysmonlx/as-sysmon

.PHONY: install
install: deps bpf ## install below $(DESTDIR)$(prefix), with its own Python packages
	$(call say,INSTALL,$(DESTDIR)$(prefix)/lib/sysmonlx)
	$(Q)rm -rf build/wheel && $(PYTHON) -m pip wheel -q --disable-pip-version-check \
		--no-build-isolation --no-deps --no-index -w build/wheel .
	@# What is installed is for everybody to read: the reader of configurations is nobody.
	$(Q)rm -rf $(NEW) $(OLD) && umask 022 && $(SYSTEM_PYTHON) -m venv $(NEW)
	@# From the index only what no wheel is for, such as lxml where it has to be compiled.
	$(Q)umask 022 && { $(OWN_PYTHON) $(LOCKED) --no-index --find-links $(WHEELS) \
		-r requirements.lock 2>build/wheels.log || \
		$(OWN_PYTHON) $(LOCKED) -r requirements.lock; }
	$(Q)umask 022 && $(OWN_PYTHON) -m pip install -q \
		--disable-pip-version-check --no-deps --no-index build/wheel/*.whl
	$(Q)test ! -e $(TO)/lib/sysmonlx || mv $(TO)/lib/sysmonlx $(OLD)
	$(Q)mv $(NEW) $(TO)/lib/sysmonlx && rm -rf $(OLD)
	$(Q)rm -rf $(TO)/share/sysmonlx/rules $(TO)/share/sysmonlx/examples
	$(Q)install -d $(TO)/sbin $(TO)/share/sysmonlx/rules $(TO)/share/sysmonlx/examples
	$(Q)printf '#!/bin/sh\nexec "%s" -I -m sysmonlx "$$@"\n' \
		'$(prefix)/lib/sysmonlx/bin/python' >$(TO)/sbin/sysmonlx
	$(Q)chmod 755 $(TO)/sbin/sysmonlx
	$(Q)install -d $(TO)/bin
	@# A link of the name sysmonLogView to it is that program.
	$(Q)printf '#!/bin/sh\ncase $$0 in *%s) set -- --%s "$$@" ;; esac\nexec "%s" -I -m sysmonlx.viewer "$$@"\n' \
		sysmonLogView sysmonLogView \
		'$(prefix)/lib/sysmonlx/bin/python' >$(TO)/bin/sysmonlx-logview
	$(Q)chmod 755 $(TO)/bin/sysmonlx-logview
	$(Q)install -Dm644 man/sysmonlx-logview.1 $(TO)/share/man/man1/sysmonlx-logview.1
	$(Q)printf '#!/bin/sh\nexec "%s" -I -m sysmonlx.sigma_tool "$$@"\n' \
		'$(prefix)/lib/sysmonlx/bin/python' >$(TO)/bin/sysmonlx-sigma
	$(Q)chmod 755 $(TO)/bin/sysmonlx-sigma
	$(Q)install -Dm644 man/sysmonlx-sigma.1 $(TO)/share/man/man1/sysmonlx-sigma.1
	$(Q)install -Dm644 man/sysmonlx.8 $(TO)/share/man/man8/sysmonlx.8
	$(Q)install -Dm644 man/sysmonlx.5 $(TO)/share/man/man5/sysmonlx.5
	$(Q)install -Dm644 man/sysmonlx-events.7 $(TO)/share/man/man7/sysmonlx-events.7
	$(Q)install -m644 sysmonlx/data/rsyslog-*.conf sysmonlx/data/syslog-ng-sysmonlx.conf \
		sysmonlx/data/logrotate-sysmonlx.conf config_schema/*.xml \
		config_schema/*.xsd config_schema/shipped.sigma.json $(TO)/share/sysmonlx/
	$(Q)install -m644 config_schema/rules/*.yml $(TO)/share/sysmonlx/rules/
	$(Q)install -m644 config_schema/examples/*.xml $(TO)/share/sysmonlx/examples/
	$(Q)install -Dm644 sysmonlx/data/completion.bash \
		$(TO)/share/bash-completion/completions/sysmonlx
	$(Q)install -Dm644 sysmonlx/data/completion.zsh \
		$(TO)/share/zsh/site-functions/_sysmonlx
	$(Q)install -Dm644 sysmonlx/data/completion-sigma.bash \
		$(TO)/share/bash-completion/completions/sysmonlx-sigma
	$(Q)install -Dm644 sysmonlx/data/completion-sigma.zsh \
		$(TO)/share/zsh/site-functions/_sysmonlx-sigma
	$(Q)install -Dm644 sysmonlx/data/completion-logview.bash \
		$(TO)/share/bash-completion/completions/sysmonlx-logview
	$(Q)install -Dm644 sysmonlx/data/completion-logview.zsh \
		$(TO)/share/zsh/site-functions/_sysmonlx-logview
	$(Q)sed 's|@PROGRAM@|$(prefix)/sbin/sysmonlx|; s|@LOGVIEW@|$(prefix)/bin/sysmonlx-logview|' \
		sysmonlx/data/as-sysmon.sh >$(AS_SYSMON_SCRIPT) && chmod 755 $(AS_SYSMON_SCRIPT)
	$(Q)test -z '$(AS_SYSMON)' || $(AS_SYSMON_SCRIPT) install

.PHONY: uninstall
uninstall: ## remove what install wrote; "sysmonlx -u" first
	$(Q)test ! -x $(AS_SYSMON_SCRIPT) || $(AS_SYSMON_SCRIPT) remove
	$(Q)rm -rf $(TO)/lib/sysmonlx $(NEW) $(OLD) $(TO)/share/sysmonlx
	$(Q)rm -f $(TO)/sbin/sysmonlx $(TO)/share/man/man8/sysmonlx.8 \
		$(TO)/share/man/man5/sysmonlx.5 $(TO)/share/man/man7/sysmonlx-events.7 \
		$(TO)/bin/sysmonlx-logview \
		$(TO)/share/man/man1/sysmonlx-logview.1 \
		$(TO)/bin/sysmonlx-sigma $(TO)/share/man/man1/sysmonlx-sigma.1 \
		$(TO)/share/bash-completion/completions/sysmonlx \
		$(TO)/share/zsh/site-functions/_sysmonlx \
		$(TO)/share/bash-completion/completions/sysmonlx-sigma \
		$(TO)/share/zsh/site-functions/_sysmonlx-sigma \
		$(TO)/share/bash-completion/completions/sysmonlx-logview \
		$(TO)/share/zsh/site-functions/_sysmonlx-logview

# tests/tools has the programs that make releases; none needs a package from an index.
TOOL := PYTHONPATH='$(CURDIR)/tests' $(SYSTEM_PYTHON) -P -m

.PHONY: deb
deb: bpf ## build a Debian package that needs no compiler and no network to install
	$(Q)$(TOOL) tools.deb

.PHONY: tarball
tarball: bpf ## pack the source with its objects: builds without compiler and BTF
	$(Q)$(TOOL) tools.tarball

.PHONY: sbom
sbom: ## list what a release consists of, as CycloneDX
	$(Q)mkdir -p build && $(TOOL) tools.sbom

.PHONY: clean
clean: ## remove what was built
	$(Q)rm -rf build ebpf/vmlinux.h sysmonlx/*.bpf.o *.egg-info

.PHONY: bpf
bpf: $(BPF_OBJECTS:build/%=sysmonlx/%) ## build the eBPF objects

ebpf/vmlinux.h: | build/deps.stamp
	$(call say,BTF,$@)
	$(Q)test -n "$(VMLINUX_BTF)" || { echo >&2 "make: this kernel has no BTF: \
	give one, VMLINUX_BTF=FILE (from /sys/kernel/btf/vmlinux of the target)"; exit 1; }
	$(Q)$(BPFTOOL) btf dump file $(VMLINUX_BTF) format c >$@.new && mv $@.new $@

build/%.bpf.o: ebpf/test/%.bpf.c $(BPF_SOURCES) ebpf/vmlinux.h
	$(call say,BPF,$*.bpf.o)
	$(Q)mkdir -p build && $(CLANG) $(BPF_FLAGS) -c $< -o $@

# One for kernels from v6.2 on, one for v5.17 to v6.1, and the older one for those before;
# ebpf/kernel/compat.bpf.h says what differs.
build/sysmonlx.bpf.o: BPF_FLAGS += -DWITH_RDONLY_CAST
build/sysmonlx_older.bpf.o: BPF_FLAGS += -DWITHOUT_BPF_LOOP
$(BPF_OBJECTS): ebpf/sysmonlx.bpf.c $(BPF_SOURCES) ebpf/vmlinux.h
	$(call say,BPF,$(@F))
	$(Q)mkdir -p build && $(CLANG) $(BPF_FLAGS) -c $< -o $@

sysmonlx/%.bpf.o: build/%.bpf.o
	$(call say,STRIP,$@)
	$(Q)$(STRIP) -g $< -o $@.new && mv $@.new $@

.PHONY: bpf-test
bpf-test: $(BPF_TEST_OBJECTS) ## build the eBPF objects of the tests
