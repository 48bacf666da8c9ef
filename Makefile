# One Makefile, not recursive; `make help` lists what it can do.
# A new .c file in a room and a new tests/SUITE/test_*.c need no line here.

ROOMS := base wal replication/core replication/net lease fuse node clients
SUITES := unit property sim session fuzz-replay mount cluster canary crash
# Suites that run code of ours directly want its fault points compiled in.
DEBUG_SUITES := unit property sim session fuzz-replay crash

MODE ?= $(if $(filter $(DEBUG_SUITES),$(MAKECMDGOALS)),debug,release)
BUILD ?= build
CANARY ?=
V ?= 0
ifneq ($(filter default undefined,$(origin CC)),)
CC := gcc
endif
ifeq ($(MODE),fuzz)
CC := clang-14
endif
Q := $(if $(filter 0,$(V)),@)
say = $(if $(filter 0,$(V)),@printf '  %-6s %s\n' $(1) $(2))

MAKEFLAGS += -rR --no-print-directory
ifeq ($(MAKELEVEL)$(filter -j%,$(MAKEFLAGS)),0)
MAKEFLAGS += -j$(shell nproc)
endif

# ---- flags -----------------------------------------------------------------

WARNINGS := -Wall -Wextra -Wconversion -Wshadow -Wstrict-prototypes -Wundef \
  -Wmissing-prototypes -Wcast-qual -Wvla -Wformat=2 -Wimplicit-fallthrough \
  -Wswitch-enum -Wnull-dereference -Werror
FLAGS_release := -O2 -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2 \
  -fstack-protector-strong
FLAGS_debug := -Og
# Inserted checks give gcc paths that do not exist: it warns where none is.
FLAGS_asan := -O1 -Wno-format-truncation -fno-omit-frame-pointer -fsanitize=address,undefined \
  -fno-sanitize-recover=all -Wno-null-dereference -Wno-maybe-uninitialized
FLAGS_tsan := -O1 -Wno-format-truncation -fno-omit-frame-pointer -fsanitize=thread \
  -Wno-null-dereference -Wno-maybe-uninitialized
FLAGS_cov := -O0 --coverage
FLAGS_fuzz := -O1 -fsanitize=fuzzer-no-link,address,undefined \
  -fno-sanitize-recover=all
$(if $(FLAGS_$(MODE)),,$(error MODE is release, debug, asan, tsan, cov or fuzz))

CPPFLAGS := -I. -D_GNU_SOURCE $(if $(filter release,$(MODE)),,-DTIDEMARK_FAULTS)
CFLAGS := -std=gnu17 -g -pthread $(FLAGS_$(MODE)) $(WARNINGS)
LDFLAGS := -pthread -Wl,--as-needed $(FLAGS_$(MODE))
LIBS = $(FUSE_LIBS) -lsqlite3 -luv -llz4 -lxxhash -luring -lyaml -ljansson -lm

# A compiler other than gcc keeps its own objects, so that both stay warm.
SOUND := $(BUILD)/$(MODE)$(if $(filter-out gcc,$(CC)),$(if \
  $(filter fuzz,$(MODE)),,-$(notdir $(CC))))
OUT := $(if $(CANARY),$(BUILD)/canary-$(CANARY),$(SOUND))
PROGRAM := $(if $(filter $(BUILD)/release,$(OUT)),$(BUILD),$(OUT))/tidemark
LIBRARY := $(OUT)/libtidemark.a
EXTENSION := $(if $(wildcard clients/*.c),$(dir $(PROGRAM))tidemark.so)

# ---- files -----------------------------------------------------------------

SOURCES := $(sort $(wildcard $(ROOMS:%=%/*.c)))
# A canary is the sound program but for the files that name its fault.
plant := $(if $(CANARY),CANARY_$(shell echo '$(CANARY)' | tr 'a-z-' 'A-Z_'))
PLANTED := $(if $(plant),$(shell grep -lw '$(plant)' $(SOURCES)))
$(if $(plant),$(if $(PLANTED),,$(error no source names $(plant))))
OBJECTS := $(patsubst %.c,$(OUT)/%.o,$(PLANTED)) $(patsubst %.c,$(SOUND)/%.o,\
  $(filter-out $(PLANTED) node/main.c,$(SOURCES)))
SUPPORT := $(patsubst %.c,$(OUT)/%.o,$(wildcard tests/support/*.c))
# The disk that fails: a program of its own, for tests/crash.
FAULTFS := $(OUT)/tests/faultfs/faultfs
FAULTFS_OBJECTS := $(patsubst %.c,$(OUT)/%.o,$(wildcard tests/faultfs/*.c) \
  tests/support/trace.c tests/support/faultdisk.c)
TEST_SOURCES := $(wildcard tests/*/test_*.c)
FUZZERS := $(patsubst %.c,$(OUT)/%,$(wildcard tests/fuzz/fuzz_*.c))
FORMATTED := $(SOURCES) $(wildcard $(ROOMS:%=%/*.h) tests/*.h tests/*/*.[ch] \
  bench/*.[ch])
tests_of = $(patsubst %.c,$(OUT)/%,$(filter tests/$(1)/%,$(TEST_SOURCES)))

.PHONY: all objects flags test prove $(SUITES) asan tsan fuzz coverage lint format demo bench \
  install clean distclean help FORCE
.PRECIOUS: $(OUT)/%.o
.DELETE_ON_ERROR:

all: $(PROGRAM) $(EXTENSION) ## the default: build/tidemark, the SQLite extension

objects: $(OBJECTS) ## every file of the rooms compiled, nothing linked

flags: # for tools that call the compiler themselves
	@echo '$(CPPFLAGS) $(FUSE_CFLAGS) $(CFLAGS)'

# Made once, and whenever it is not there: installs what is missing.
DEPS := build/deps/deps.mk
ifneq ($(if $(MAKECMDGOALS),$(filter-out clean distclean help,$(MAKECMDGOALS)),all),)
include $(DEPS)
endif
$(DEPS): tools/deps
	@tools/deps && touch $@

# ---- rules -----------------------------------------------------------------

# ThreadSanitizer is slow, most of all where a test has no threads.
TSAN := TSAN_OPTIONS=second_deadlock_stack=1 TEST_SECONDS=180 ROUNDS=10

# Tests go on without a file that does not compile, and count it as a failure:
# one unfinished file must not hide what the others do.
$(SUITES): KEEP = || rm -f $@

# Files that change only with what they hold: other flags rebuild everything,
# another set of files makes the archive anew.
remember = @mkdir -p $(@D); echo '$(1)' >$@.$$PPID; \
  cmp -s $@.$$PPID $@ && rm $@.$$PPID || mv $@.$$PPID $@
$(sort $(SOUND)/flags $(OUT)/flags): FORCE
	$(call remember,$(CC) $(CPPFLAGS) $(CFLAGS) $(FUSE_CFLAGS))
$(OUT)/files: FORCE
	$(call remember,$(OBJECTS))

$(OUT)/clients/%.o: PIC := -fPIC
define compiled
$(1)/%.o: %.c $(1)/flags
	$$(call say,CC,$$<)
	$$Q mkdir -p $$(@D); $$(CC) $$(CPPFLAGS) $(2) $$(FUSE_CFLAGS) $$(CFLAGS) \
	  $$(PIC) -MMD -MP -MF $$(@:.o=.d) -MT $$@ -c -o $$@.$$$$PPID $$< && \
	  mv $$@.$$$$PPID $$@ $$(KEEP)
endef
$(eval $(call compiled,$(SOUND)))
$(if $(plant),$(eval $(call compiled,$(OUT),-D$(plant))))

$(LIBRARY): $(OBJECTS) $(OUT)/files
	$(call say,AR,$@)
	$Q ls $(OBJECTS) 2>/dev/null | xargs -r ar rcs $@.$$PPID && mv $@.$$PPID $@

$(PROGRAM): $(SOUND)/node/main.o $(LIBRARY)
	$(call say,LINK,$@)
	$Q $(CC) $(LDFLAGS) -o $@ $^ $(LIBS) $(KEEP)

$(EXTENSION): $(patsubst %.c,$(OUT)/%.o,$(wildcard clients/*.c))
	$(call say,LINK,$@)
	$Q $(CC) $(LDFLAGS) -shared -o $@ $^ $(KEEP)

$(OUT)/tests/fuzz/fuzz_%: $(OUT)/tests/fuzz/fuzz_%.o $(LIBRARY) \
  $(if $(filter fuzz,$(MODE)),,$(OUT)/tests/fuzz/replay.o)
	$(call say,LINK,$@)
	$Q $(CC) $(LDFLAGS) $(if $(filter fuzz,$(MODE)),-fsanitize=fuzzer) -o $@ \
	  $(filter %.o,$^) $(LIBRARY) $(LIBS) $(KEEP)

$(FAULTFS): $(FAULTFS_OBJECTS)
	$(call say,LINK,$@)
	$Q $(CC) $(LDFLAGS) -o $@ $^ $(FUSE_LIBS) $(KEEP)

$(OUT)/tests/%: $(OUT)/tests/%.o $(SUPPORT) $(LIBRARY)
	$(call say,LINK,$@)
	$Q $(CC) $(LDFLAGS) -o $@ $< $(SUPPORT) $(LIBRARY) -lcmocka $(LIBS) $(KEEP)

# ---- tests -----------------------------------------------------------------

# A suite is the programs tests/SUITE/test_*.c and the script tests/SUITE/run.
run_of = $(wildcard tests/$(1)/run)
define suite
$(1): $(call tests_of,$(1)) $(if $(call run_of,$(1)),all) \
  $(if $(filter crash,$(1)),$(FAULTFS))
	+$$Q TIDEMARK=$(abspath $(PROGRAM)) TIDEMARK_SO=$(abspath $(EXTENSION)) \
	  FAULTFS=$(abspath $(FAULTFS)) MODE=$(MODE) BUILD=$(BUILD) OBJECTS='$(OBJECTS)' V=$(V) \
	  $(if $(filter tsan,$(MODE)),$(TSAN)) \
	  exec tools/suite $(1) $(call tests_of,$(1)) $(call run_of,$(1))
endef
$(foreach s,$(filter-out fuzz-replay,$(SUITES)),$(eval $(call suite,$(s))))
fuzz-replay: $(FUZZERS)
	$Q OBJECTS='$(OBJECTS)' V=$(V) exec tools/suite $@ $(FUZZERS)

unit: ## tests/unit: each pure module alone (MODE=debug if not said)
property: ## tests/property: laws from seeds; SEED=n repeats a run
sim: ## tests/sim: the pure cores in a seeded world
session: ## tests/session: what is promised to sessions, in any trouble
fuzz-replay: ## tests/fuzz: every decoder on its corpus and its old crashes
mount: ## tests/mount: real mount, real SQLite, stock programs
cluster: ## tests/cluster: daemons on loopback
canary: ## tests/canary: planted faults, which these tests must notice
crash: ## tests/crash: kill and power loss at every named point

asan: $(DEPS) ## the mount suite with ASan, UBSan and a leak check at the end
	+$Q MODES=$(or $(MODES),one) $(MAKE) MODE=asan mount

TSAN_WORDS := workers_are_slow shows_a_prefix starts_over
tsan: $(DEPS) ## in-process suites and some loads of the cluster with TSan
	+$Q TEST_MODE=tsan MODES=$(or $(MODES),one) WORDS='$(TSAN_WORDS)' \
	  MAKE='$(MAKE)' exec tools/test unit property cluster

test: $(DEPS) ## set up, then every suite; the last line is the verdict
	+$Q $(if $(filter file,$(origin MODE)),,TEST_MODE=$(MODE)) MAKE='$(MAKE)' \
	  exec tools/test $(SUITES) $(if $(filter file,$(origin MODE)),asan tsan)

prove: $(DEPS) ## hours: crash, cluster and session whole, with a report
	+$Q MAKE='$(MAKE)' BUILD=$(BUILD) tools/prove

fuzz: ## make MODE=fuzz fuzz SECONDS=60: libFuzzer on every decoder
	+$Q MAKE='$(MAKE)' BUILD=$(BUILD) tools/fuzz $(or $(SECONDS),60)

coverage: ## what the suites of our own code reach, file by file
	+$Q MAKE='$(MAKE)' BUILD=$(BUILD) exec tools/coverage

lint: $(DEPS) ## arrows, sizes, style, clang-tidy, shellcheck; canaries first
	+$Q tools/deps lint && MAKE='$(MAKE)' CC=gcc BUILD=$(BUILD) tools/lint

format: ## clang-format 14 on FILES, or on everything
	$Q tools/deps lint && clang-format-14 -i $(or $(FILES),$(FORMATTED))

demo: all ## a primary and two replicas on loopback, live
	$Q TIDEMARK=$(abspath $(PROGRAM)) tools/demo

bench: all ## measurements against the native filesystem
	$Q TIDEMARK=$(abspath $(PROGRAM)) bench/run

# ---- the rest --------------------------------------------------------------

PREFIX ?= /usr/local
install: all ## program, extension and man pages below DESTDIR and PREFIX
	install -D -m 755 $(PROGRAM) $(DESTDIR)$(PREFIX)/bin/tidemark
	$(if $(EXTENSION),install -D -m 644 $(EXTENSION) \
	  $(DESTDIR)$(PREFIX)/lib/tidemark/tidemark.so)
	$(foreach page,$(wildcard docs/man/*.[1-8]),install -D -m 644 $(page) \
	  $(DESTDIR)$(PREFIX)/share/man/man$(patsubst .%,%,$(suffix \
	  $(page)))/$(notdir $(page));)

clean: ## remove what was built, keep the libfuse of build/deps
	$Q find $(BUILD) -mindepth 1 -maxdepth 1 ! -name deps -exec rm -rf {} + || :

distclean: ## remove all of build/
	$Q rm -rf $(BUILD) build

help: ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 14
	@echo 'variables: MODE=release|debug|asan|tsan|cov|fuzz CC=gcc|clang-14'
	@echo '  CANARY=name (builds a planted fault) V=1 (show commands) BUILD=dir'

-include $(shell find $(sort $(SOUND) $(OUT)) -name '*.d' 2>/dev/null)
