# husk's build. `make help` lists what can be made.
#
# One variant at a time in build/<variant>: `make VARIANT=asan unit-tests`.
# Folders, and what each may use, come from the table in ARCHITECTURE.md
# (tools/layers prints it); a folder without sources is no error.

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SECONDARY:
MAKEFLAGS += --no-builtin-rules
SHELL := /bin/bash

VARIANT ?= release
ifeq ($(origin CC),default)
CC := gcc
endif
ifeq ($(VARIANT),fuzz)
CC := clang
endif
AR ?= ar
IS_CLANG := $(findstring clang,$(shell $(CC) --version 2>/dev/null))

# gcc and clang trees of one variant live side by side; fuzz is always clang.
OUT := build/$(VARIANT)$(if $(and $(IS_CLANG),$(filter-out fuzz,$(VARIANT))),-clang)

# --- Flags -------------------------------------------------------------------

WARN := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wsign-conversion \
	-Wstrict-prototypes -Wmissing-prototypes -Wvla -Wundef -Wformat=2 \
	-Wcast-align -Wwrite-strings -Wimplicit-fallthrough -Wpointer-arith
WARN += $(if $(IS_CLANG),-Wthread-safety,-Wlogical-op -Wduplicated-cond)
WARN += $(if $(WERROR),-Werror)

CFLAGS_release := -O2 -g
CFLAGS_debug := -Og -g
CFLAGS_asan := -O1 -g -fno-omit-frame-pointer -fsanitize=address,undefined \
	-fno-sanitize-recover=undefined
CFLAGS_ubsan := -O1 -g -fsanitize=undefined -fno-sanitize-recover=undefined
# gcc warns of fences, which its TSan does not see; only the translator has any,
# and its tests do not run in this variant.
CFLAGS_tsan := -O1 -g -fno-omit-frame-pointer -fsanitize=thread \
	$(if $(IS_CLANG),,-Wno-tsan)
CFLAGS_fuzz := -O1 -g -fno-omit-frame-pointer \
	-fsanitize=fuzzer-no-link,address,undefined
CFLAGS_cov := -O0 -g --coverage
LDFLAGS_fuzz := -fsanitize=address,undefined

ifeq ($(origin CFLAGS_$(VARIANT)),undefined)
$(error VARIANT is one of release debug asan ubsan tsan fuzz cov, \
	not '$(VARIANT)')
endif

# Lock ranks are checked wherever speed is not the point (base/lock.h).
DEFINES := -D_GNU_SOURCE $(if $(filter release,$(VARIANT)),,-DHUSK_DEBUG=1)
COMMON := -std=c17 $(DEFINES) -Isrc $(WARN) -MMD -MP
CFLAGS_ALL = $(COMMON) $(CFLAGS_$(VARIANT)) $(CFLAGS)

# Objects that translated code calls: general registers only, nothing from
# libc or a compiler run time, so no variant's instrumentation either.
FREESTANDING := -O2 -g -mgeneral-regs-only -fno-stack-protector \
	-fno-sanitize=all -fno-builtin -fcf-protection=none \
	$(if $(IS_CLANG),,-fno-tree-loop-distribute-patterns)

LDFLAGS_ALL = $(if $(LDFLAGS_$(VARIANT)),$(LDFLAGS_$(VARIANT)),\
	$(CFLAGS_$(VARIANT))) $(LDFLAGS)
LDLIBS := -lZydis -ljansson -lext2fs -lcom_err -lz -lzstd -llzma -lbz2 -lnettle -ldl -lpthread

# --- Sources -----------------------------------------------------------------

# "folder:dep,dep" for each row of the table.
LAYERS := $(shell tools/layers)
FOLDERS := $(foreach l,$(LAYERS),$(firstword $(subst :, ,$(l))))
comma := ,
# needs(folder): the folders that its row names.
needs = $(subst $(comma), ,$(word 2,$(subst :, ,$(filter $(1):%,$(LAYERS)))))

srcs = $(sort $(wildcard src/$(1)/*.c) $(wildcard src/$(1)/*.S))
objs = $(patsubst %,$(OUT)/obj/%.o,$(basename $(call srcs,$(1))))
lib = $(OUT)/lib/$(subst /,-,$(1)).a

SRCS := $(foreach f,$(FOLDERS),$(call srcs,$(f)))
OBJS := $(foreach f,$(FOLDERS),$(call objs,$(f)))
MAIN_OBJ := $(OUT)/obj/src/cli/main.o
FREE_SRCS := $(filter-out src/x86/cpuid.c src/x86/cpuid_%.c src/x86/insn%.c,\
	$(wildcard src/x86/*.c)) $(wildcard src/cpu/jit/h_*.c)
FREE_OBJS := $(FREE_SRCS:%.c=$(OUT)/obj/%.o)

UNIT_SRCS := $(foreach f,$(FOLDERS),$(wildcard tests/unit/$(f)/test_*.c))
UNIT_TESTS := $(UNIT_SRCS:%.c=$(OUT)/%)
FAKE_SRCS := $(filter-out $(UNIT_SRCS),\
	$(wildcard tests/unit/*.c tests/unit/*/*.c tests/unit/*/*/*.c))
FAKE_OBJS := $(FAKE_SRCS:%.c=$(OUT)/obj/%.o)
FUZZ_SRCS := $(wildcard tests/fuzz/fuzz_*.c)
FUZZERS := $(FUZZ_SRCS:%.c=$(OUT)/%)

# --- Rules -------------------------------------------------------------------

.PHONY: all run check check-unit check-variant bench fuzz fuzz-cpu tidy format
.PHONY: clean install-deps help unit-tests fuzzers freestanding-objects
.PHONY: print-freestanding FORCE

LIBS := $(foreach f,$(FOLDERS),$(call lib,$(f)))

all: $(if $(wildcard src/cli/main.c),$(OUT)/husk,$(LIBS))

# Objects are made again when the command line changes.
$(OUT)/flags: FORCE
	@mkdir -p $(@D)
	@echo '$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL)' | cmp -s - $@ || \
		echo '$(CC) $(CFLAGS_ALL) $(LDFLAGS_ALL)' >$@

$(FREE_OBJS): $(OUT)/obj/%.o: %.c $(OUT)/flags
	@mkdir -p $(@D)
	$(CC) $(COMMON) $(CFLAGS) $(FREESTANDING) -c -o $@ $<

$(OUT)/obj/%.o: %.c $(OUT)/flags
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) $(if $(filter tests/%,$<),-I.) -c -o $@ $<

$(OUT)/obj/%.o: %.S $(OUT)/flags
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) -c -o $@ $<

# One archive per folder, without main(), so that a test links only what its
# folder may use.
define folder_rules
$(call lib,$(1)): $(filter-out $(MAIN_OBJ),$(call objs,$(1)))
	@mkdir -p $$(@D)
	@rm -f $$@
	@$(AR) rcs $$@ $$^
endef
$(foreach f,$(FOLDERS),$(eval $(call folder_rules,$(f))))

# The engine table of src/cpu names the engine below it.
links = $(1) $(call needs,$(1)) $(if $(filter cpu,$(1) $(call needs,$(1))),cpu/jit)
libs = $(foreach f,$(sort $(call links,$(1))),$(call lib,$(f)))

$(OUT)/lib/tests.a: $(FAKE_OBJS)
	@mkdir -p $(@D)
	@rm -f $@
	@$(AR) rcs $@ $^

# Tests let allocations fail: tests/unit/fail_alloc.h. (-u: libraries that come
# last, as that of coverage, call the wrappers, too.)
WRAP := -Wl,-u,__wrap_malloc $(foreach f,malloc calloc realloc reallocarray \
	aligned_alloc,-Wl,--wrap=$(f))

# test_rules(source, folder)
define test_rules
$(1:%.c=$(OUT)/%): $(1:%.c=$(OUT)/obj/%.o) $(OUT)/lib/tests.a $(call libs,$(2))
	@mkdir -p $$(@D)
	$(CC) $$(LDFLAGS_ALL) -o $$@ $(WRAP) $$< -Wl,--start-group \
		$$(filter %.a,$$^) -Wl,--end-group -lcmocka $(LDLIBS)
endef
$(foreach t,$(UNIT_SRCS),$(eval $(call test_rules,$(t),$(patsubst \
	tests/unit/%/,%,$(dir $(t))))))

$(OUT)/tests/fuzz/%: $(OUT)/obj/tests/fuzz/%.o $(LIBS)
	@mkdir -p $(@D)
	$(CC) -fsanitize=fuzzer $(LDFLAGS_ALL) -o $@ $< -Wl,--start-group \
		$(filter %.a,$^) -Wl,--end-group $(LDLIBS)

# The block layer by itself, beside `qemu-img bench`.
$(OUT)/blockbench: $(OUT)/obj/tests/perf/blockbench.o $(call libs,block)
	$(CC) $(LDFLAGS_ALL) -o $@ $< -Wl,--start-group $(filter %.a,$^) \
		-Wl,--end-group $(LDLIBS)

$(OUT)/husk: $(OBJS)
	$(CC) $(LDFLAGS_ALL) -o $@ $^ $(LDLIBS)

# FOLDERS_ONLY: tests of these folders, for variants that not all can run in.
unit-tests: $(if $(FOLDERS_ONLY),$(filter $(foreach f,$(FOLDERS_ONLY),\
	$(OUT)/tests/unit/$(f)/test_%),$(UNIT_TESTS)),$(UNIT_TESTS))
fuzzers: $(FUZZERS)
freestanding-objects: $(FREE_OBJS)
print-freestanding:
	@echo $(FREE_OBJS)

# --- What a person asks for --------------------------------------------------

GUEST := build/guest
# As many jobs as there are CPUs, unless -j was given.
JOBS = $(if $(findstring j,$(filter-out --%,$(MAKEFLAGS))),,-j$(shell nproc))

run:
	@tools/install-deps run
	@$(MAKE) --no-print-directory -s $(JOBS) all
	@tools/make-guest
	@$(OUT)/husk run --kernel $(GUEST)/vmlinuz --initrd $(GUEST)/initrd.gz \
		--append "console=ttyS0 quiet"

check:
	@tools/install-deps check
	+@tools/check $(OUT)

# The same without installing, and only the unit tests of this variant.
check-unit: unit-tests
	@tools/check-unit $(OUT)

bench:
	@tools/install-deps bench
	@$(MAKE) --no-print-directory -s $(JOBS) all
	@if [ -x bench/run ]; then bench/run $(OUT)/husk; else \
		echo "make bench: bench/run is not there yet" >&2; exit 1; fi

FUZZ_SECONDS ?= 60
fuzz:
	@$(MAKE) --no-print-directory VARIANT=fuzz fuzzers
	@tools/check-fuzz build/fuzz $(FUZZ_SECONDS)

fuzz-cpu: $(OUT)/cpudiff
	$(OUT)/cpudiff --forever

tidy:
	@tools/install-deps tidy
	@tools/check-tidy

format:
	clang-format -i $$(git ls-files 'src/*.[ch]' 'tests/*.[ch]')

clean:
	rm -rf build

install-deps:
	@tools/install-deps run check bench

help:
	@echo 'make                 build/release/husk'
	@echo 'make run             install what is missing, build, boot a Linux guest'
	@echo 'make check           everything that can tell whether husk is right'
	@echo 'make check-unit      unit tests of one variant only'
	@echo 'make bench           the benchmark guest: native, QEMU TCG, husk'
	@echo 'make fuzz            fuzz every parser for FUZZ_SECONDS (60) each'
	@echo 'make fuzz-cpu        random instructions against the real CPU, for ever'
	@echo 'make tidy | format   clang-tidy | clang-format'
	@echo 'make install-deps    Debian packages for all of these'
	@echo 'make clean           remove build/'
	@echo 'VARIANT=release|debug|asan|ubsan|tsan|fuzz|cov, CC=gcc|clang, WERROR=1'

# Some tests bring their own rules.
-include tests/diff/Makefile.inc tests/guest/Makefile.inc
-include tests/powercut/Makefile.inc tests/qcow2diff/Makefile.inc
-include tests/hostile/Makefile.inc

-include $(OBJS:.o=.d) $(FAKE_OBJS:.o=.d)
-include $(UNIT_SRCS:%.c=$(OUT)/obj/%.d) $(FUZZ_SRCS:%.c=$(OUT)/obj/%.d)
