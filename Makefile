# SPDX-License-Identifier: MIT
.DELETE_ON_ERROR:
.DEFAULT_GOAL := all

prefix ?= /usr/local
DESTDIR ?=
SYSTEM_PYTHON ?= $(firstword $(wildcard /usr/bin/python3) python3)
VENV := build/venv
PYTHON := $(VENV)/bin/python
CLANG ?= clang
BPFTOOL ?= $(firstword $(wildcard /usr/sbin/bpftool) bpftool)
STRIP ?= $(firstword $(shell command -v llvm-strip) $(wildcard /usr/bin/llvm-strip-*) llvm-strip)
ARCH := $(shell uname -m | sed 's/x86_64/x86/; s/aarch64/arm64/')
VMLINUX_BTF ?= $(firstword $(wildcard /sys/kernel/btf/vmlinux) $(wildcard /usr/lib/debug/boot/vmlinux-*) )

V ?= 0
Q := $(if $(filter 1,$(V)),,@)
say = $(if $(filter 1,$(V)),@:,@printf '  %-8s %s\n' $(1) $(2))

BPF_SOURCES := $(wildcard ebpf/*.bpf.c)
BPF_TEST_SOURCES := $(wildcard ebpf/*_test.bpf.c)
BPF_PROGRAM_SOURCES := $(filter-out $(BPF_TEST_SOURCES),$(BPF_SOURCES))
BPF_HEADERS := $(wildcard ebpf/*.h) ebpf/vmlinux.h
BPF_TEST_OBJECTS := $(BPF_TEST_SOURCES:ebpf/%.c=build/%.o)
BPF_FLAGS := -g -O2 -Wall -Wextra -Wno-unused-parameter -Wno-sign-compare -Werror -target bpf \
	-D__TARGET_ARCH_$(ARCH)

.PHONY: all
all: bpf

.PHONY: bpf
bpf: sysmonlx/sysmonlx.bpf.o ## build the eBPF object

ebpf/vmlinux.h:
	$(call say,BTF,$@)
	$(Q)test -n "$(VMLINUX_BTF)" || { echo >&2 "make: this kernel has no BTF: \
	give one, VMLINUX_BTF=FILE (from /sys/kernel/btf/vmlinux of the target)"; exit 1; }
	$(Q)$(BPFTOOL) btf dump file $(VMLINUX_BTF) format c >$@.new && mv $@.new $@

build/%.bpf.o: ebpf/%.bpf.c $(BPF_HEADERS)
	$(call say,BPF,$*.bpf.o)
	$(Q)mkdir -p build && $(CLANG) $(BPF_FLAGS) -c $< -o $@

# One translation unit: libbpf 1.1 cannot link objects that call the same kernel function.
build/sysmonlx.bpf.o: $(BPF_PROGRAM_SOURCES) $(BPF_HEADERS)
	$(call say,BPF,sysmonlx.bpf.o)
	$(Q)mkdir -p build && printf '#include "%s"\n' $(notdir $(BPF_PROGRAM_SOURCES)) | \
	$(CLANG) $(BPF_FLAGS) -Iebpf -x c -c - -o $@

sysmonlx/sysmonlx.bpf.o: build/sysmonlx.bpf.o
	$(call say,STRIP,$@)
	$(Q)$(STRIP) -g $< -o $@.new && mv $@.new $@

.PHONY: bpf-test
bpf-test: $(BPF_TEST_OBJECTS)
