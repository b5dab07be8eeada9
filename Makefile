# qblk: one GNU Makefile. `make help` lists what it does. Everything built goes to build/<variant>/.

VERSION := 0.1.0
SONAME := libqblk.so.0
VARIANT ?= release
ifeq ($(origin CC),default)
CC := gcc
endif
HOSTCC ?= $(CC)
CXX ?= g++
OBJCOPY ?= objcopy
NM ?= nm
INSTALL ?= install
PKG_CONFIG ?= pkg-config
PREFIX ?= /usr/local
BINDIR ?= $(PREFIX)/bin
LIBDIR ?= $(PREFIX)/lib
INCLUDEDIR ?= $(PREFIX)/include
MANDIR ?= $(PREFIX)/share/man
V ?= 0
Q := $(if $(filter 1,$(V)),,@)

.DEFAULT_GOAL := all
.DELETE_ON_ERROR:
.SUFFIXES:
MAKEFLAGS += --no-builtin-rules

B := build/$(VARIANT)
GEN := build/gen

WARN := -Wall -Wextra -Wpedantic -Wshadow -Wstrict-prototypes -Wmissing-prototypes \
	-Wold-style-definition -Wwrite-strings -Wpointer-arith -Wcast-qual -Wcast-align -Wformat=2 \
	-Wundef -Wvla -Wswitch-enum -Wconversion -Wdouble-promotion -Wnull-dereference \
	-Wimplicit-fallthrough -Wredundant-decls
ifeq ($(WERROR),1)
WARN += -Werror
endif

# Small before fast: most of this waits for QEMU. What reads each byte that QEMU sends is the exception.
# The sanitizers name lines; all else there is of debugging makes their programs twice as slow to link.
SMALL := $(shell echo 'int x;' | $(CC) -Oz -xc - -c -o /dev/null 2>/dev/null && echo -Oz || echo -Os)
CFLAGS ?= $(SMALL) $(if $(filter asan,$(VARIANT)),-g1,-g)
# The tests are left as they are written: tests/starve looks into their local objects.
HOT := $(addprefix src/,base/fetch.c codec/doc.c wire/frames.c qmp/scan.c)
LEFT := $(addprefix tests/,unit/test_% unit/%_aid.c unit/recorder.c starve/run.c lint/%)
faster = $(if $(filter $(HOT),$<),$(patsubst $(SMALL),-O2,$(CFLAGS)),$(if \
	$(filter $(LEFT),$<),$(patsubst $(SMALL),-O0,$(CFLAGS)),$(CFLAGS)))
BASE_CFLAGS := -std=gnu11 -D_GNU_SOURCE -Iinclude -Isrc -I$(GEN) $(WARN) \
	-fvisibility=hidden -fno-common -fstack-protector-strong -fno-asynchronous-unwind-tables \
	-MMD -MP
# Tables of pointers are a tenth of the library; a linker that can packs them.
PACK := $(shell echo 'int x, *p = &x;' | $(CC) -xc - -shared -fPIC -Wl,-z,pack-relative-relocs \
	-Wl,--fatal-warnings -o /dev/null 2>/dev/null && echo -Wl,-z,pack-relative-relocs)
# Between code and constants there would be pages that hold nothing.
BASE_LDFLAGS := -Wl,-z,relro -Wl,-z,now -Wl,-z,noseparate-code $(PACK)

# Variants: release (what is installed), test (counts allocations), asan, fuzz (wants clang), and
# any other name, built like test, for what a checker wants.
ifeq ($(VARIANT),release)
BASE_CFLAGS += -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2 -ffunction-sections -fdata-sections
BASE_LDFLAGS += -Wl,--gc-sections
else ifeq ($(VARIANT),asan)
BASE_CFLAGS += -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer \
	-DQBLK_TEST_MEM
BASE_LDFLAGS += -fsanitize=address,undefined
else ifeq ($(VARIANT),fuzz)
BASE_CFLAGS += -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all \
	-fno-omit-frame-pointer -DQBLK_TEST_MEM
BASE_LDFLAGS += -fsanitize=address,undefined
else
BASE_CFLAGS += -fno-omit-frame-pointer -DQBLK_TEST_MEM
endif

# Asked once, when first needed, and quietly: `make check` starts on machines without pkg-config and
# installs it before anything here is looked at.
ask = $(eval $(1) := $(2))$($(1))
PKG_CFLAGS = $(call ask,PKG_CFLAGS,$(shell $(PKG_CONFIG) --cflags jansson check 2>/dev/null))
LIBS = $(call ask,LIBS,$(or $(shell $(PKG_CONFIG) --libs jansson 2>/dev/null),-ljansson) -lev)
CHECK_LIBS = $(call ask,CHECK_LIBS,$(or $(shell $(PKG_CONFIG) --libs check 2>/dev/null),-lcheck))

# Recursive makes use every processor unless -j says otherwise.
NPROC = $(call ask,NPROC,$(or $(shell nproc 2>/dev/null),1))
SUBMAKE = $(MAKE) --no-print-directory $(if $(findstring jobserver,$(MAKEFLAGS)),,-j$(NPROC))

# ---- sources ------------------------------------------------------------------------------------

GEN_C := $(GEN)/qapi_types.c
GEN_H := $(GEN)/qapi_types.h
SCHEMAS := $(sort $(wildcard qapi-schema/*.json))
LIB_C := $(sort $(wildcard src/*/*.c))
CLI_C := $(sort $(wildcard tools/qblk/*.c))
GENTOOL_C := $(sort $(wildcard tools/qapi-gen/*.c))
UNIT_C := $(sort $(wildcard tests/unit/test_*.c))
EXAMPLE_C := $(sort $(wildcard tests/examples/*.c))
FUZZ_C := $(sort $(wildcard tests/fuzz/fuzz_*.c))
LIVE := $(sort $(wildcard tests/live/test_*.sh))
LINT := $(sort $(wildcard tests/lint/test_*.sh))
# Whatever several tests share: everything in these folders that is not a program of its own.
AID_C := $(sort $(filter-out tests/unit/test_% tests/unit/claims.c,$(wildcard tests/unit/*.c)) \
	$(filter-out %_main.c,$(wildcard tests/fake/*.c)) tests/fuzz/tree.c)
FAKE_C := $(sort $(wildcard tests/fake/*_main.c))
LIVE_C := $(sort $(wildcard tests/live/*.c tests/kill/*.c))
FSM2DOC_C := $(sort $(wildcard tools/fsm2doc/*.c))
PUBLIC_H := $(sort $(wildcard include/qblk/*.h))

LIB_O := $(LIB_C:%.c=$(B)/%.o) $(GEN_C:build/%.c=$(B)/%.o)
CLI_O := $(CLI_C:%.c=$(B)/%.o)
GENTOOL_O := $(patsubst %.c,$(B)/%.o,$(filter-out %/main.c,$(GENTOOL_C)))
AID_O := $(AID_C:%.c=$(B)/%.o)
# What unit tests have in the place of other functions.
WRAP_O := $(patsubst %.c,$(B)/%.o,$(sort $(wildcard tests/starve/*.c)) tests/unit/claims.c)
UNIT_BIN := $(UNIT_C:%.c=$(B)/%)
STARVED_BIN := $(B)/tests/lint/starved
EXAMPLE_BIN := $(EXAMPLE_C:%.c=$(B)/%)
FUZZ_BIN := $(FUZZ_C:%.c=$(B)/%)
REPLAY_BIN := $(FUZZ_C:tests/fuzz/fuzz_%.c=$(B)/tests/fuzz/replay_%)
FAKE_BIN := $(FAKE_C:%_main.c=$(B)/%)
LIVE_BIN := $(LIVE_C:%.c=$(B)/%)
LIVE_SO := $(patsubst %.c,$(B)/%.so,$(wildcard tests/matrix/*.c))

# ---- building -----------------------------------------------------------------------------------

.PHONY: all lib cli gen unit-bins examples help
all: lib cli ## the library and the command (the default)
lib: $(B)/libqblk.a $(B)/$(SONAME) ## libqblk, static and shared
cli: $(B)/qblk ## the command
gen: $(GEN_H) ## C from qapi-schema/

help: ## this list
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## / { printf "%-16s %s\n", $$1, $$2 }' Makefile
	@echo
	@echo "Variables: VARIANT=release|test|asan|... CC= CFLAGS= WERROR=1 V=1 PREFIX= DESTDIR="
	@echo "           QEMU= QEMU_IMG= QEMU_IO= QSD= (programs of a QEMU to test with)"

# What the objects were made with; another compiler or other flags make them anew.
.PHONY: force
$(B)/flags: force
	@mkdir -p $(@D)
	@echo '$(CC) $(BASE_CFLAGS) $(CFLAGS) $(CPPFLAGS) $(BASE_LDFLAGS) $(LDFLAGS)' >$@.new
	@cmp -s $@.new $@ && rm -f $@.new || mv $@.new $@

build/host/qapi-gen: $(GENTOOL_C) $(wildcard tools/qapi-gen/*.h)
	@mkdir -p $(@D)
	@echo "  HOSTCC  $@"
	$(Q)$(HOSTCC) -std=gnu11 -D_GNU_SOURCE -O1 -g $(WARN) $(PKG_CFLAGS) -o $@ $(GENTOOL_C) \
		$(or $(shell $(PKG_CONFIG) --libs jansson 2>/dev/null),-ljansson)

$(GEN)/stamp: build/host/qapi-gen $(SCHEMAS)
	@mkdir -p $(GEN)
	@echo "  GEN     $(GEN)"
	$(Q)build/host/qapi-gen -o $(GEN) $(SCHEMAS)
	@touch $@
$(GEN_C) $(GEN_H): $(GEN)/stamp ;

$(B)/%.o: %.c $(B)/flags | $(GEN_H)
	@mkdir -p $(@D)
	@echo "  CC      $<"
	$(Q)$(CC) $(BASE_CFLAGS) $(PKG_CFLAGS) $(faster) $(CPPFLAGS) $(if $(filter tools/%,$<),-fPIE,-fPIC) -c -o $@ $<

$(B)/gen/%.o: build/gen/%.c $(GEN)/stamp $(B)/flags
	@mkdir -p $(@D)
	@echo "  CC      $<"
	$(Q)$(CC) $(BASE_CFLAGS) $(PKG_CFLAGS) $(CFLAGS) $(CPPFLAGS) -fPIC -c -o $@ $<

$(B)/$(SONAME): $(LIB_O) src/libqblk.map
	@echo "  LD      $@"
	$(Q)$(CC) -shared $(CFLAGS) $(BASE_LDFLAGS) $(LDFLAGS) -Wl,-soname,$(SONAME) \
		-Wl,-Bsymbolic-functions -Wl,--version-script=src/libqblk.map -Wl,-z,defs -o $@ $(LIB_O) $(LIBS)
	@ln -sf $(SONAME) $(B)/libqblk.so

# One object with only the public names global: inner names cannot clash with a user's.
$(B)/libqblk.a: $(LIB_O)
	@echo "  AR      $@"
	$(Q)$(LD) -r -o $(B)/libqblk.o $(LIB_O)
	$(Q)$(OBJCOPY) --localize-hidden $(B)/libqblk.o
	@rm -f $@
	$(Q)$(AR) rcs $@ $(B)/libqblk.o

# The command has nothing but the library's exported names. It finds the library beside itself in the
# build, and in ../lib once installed.
$(B)/qblk: $(CLI_O) $(B)/$(SONAME)
	@echo "  LD      $@"
	$(Q)$(CC) $(CFLAGS) $(BASE_LDFLAGS) $(LDFLAGS) -Wl,-rpath,'$$ORIGIN:$$ORIGIN/../lib' -o $@ \
		$(CLI_O) $(B)/$(SONAME) $(LIBS)

# Prints the manual page of the states from the tables themselves.
$(B)/fsm2doc: $(FSM2DOC_C:%.c=$(B)/%.o) $(LIB_O)
	@echo "  LD      $@"
	$(Q)$(CC) $(CFLAGS) $(BASE_LDFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS)

# Unit tests link the objects, not the library: they look inside. What tests/starve and tests/unit/claims.c put
# themselves in the place of is said here.
comma := ,
TEST_WRAP := $(foreach f,malloc calloc realloc free strdup strndup asprintf vasprintf realpath fork mallinfo2 mkdtemp \
	json_real json_dumpb mem_fail_after srunner_run_all srunner_ntests_failed _tcase_add_test \
	tcase_add_checked_fixture _ck_assert_failed _mark_point peer_start peer_start_listening peer_done poll clock_gettime \
	unixsock_claim unixsock_is_claimed,-Wl$(comma)--wrap=$(f))
$(UNIT_BIN) $(STARVED_BIN): $(B)/%: $(B)/%.o $(WRAP_O) $(AID_O) $(LIB_O)
	@echo "  LD      $@"
	$(Q)$(CC) $(CFLAGS) $(BASE_LDFLAGS) $(LDFLAGS) $(TEST_WRAP) -o $@ $< $(WRAP_O) $(AID_O) \
		$(LIB_O) $(LIBS) $(CHECK_LIBS)

# Examples see what a user sees: the public headers and the shared library.
$(EXAMPLE_BIN): $(B)/tests/examples/%: tests/examples/%.c $(B)/$(SONAME) $(PUBLIC_H) $(B)/flags
	@mkdir -p $(@D)
	@echo "  LD      $@"
	$(Q)$(CC) -std=c11 -D_POSIX_C_SOURCE=200809L -Iinclude $(WARN) $(CFLAGS) $(BASE_LDFLAGS) \
		$(LDFLAGS) -o $@ $< $(B)/libqblk.so -Wl,-rpath,'$$ORIGIN/../..' $(LIBS)

$(FAKE_BIN): $(B)/tests/fake/%: $(B)/tests/fake/%_main.o $(AID_O) $(LIB_O)
	@echo "  LD      $@"
	$(Q)$(CC) $(CFLAGS) $(BASE_LDFLAGS) $(LDFLAGS) -o $@ $< $(AID_O) $(LIB_O) $(LIBS) $(CHECK_LIBS)

# The live tests' own client shares nothing with the library.
$(LIVE_BIN): $(B)/tests/%: $(B)/tests/%.o
	@echo "  LD      $@"
	$(Q)$(CC) $(CFLAGS) $(BASE_LDFLAGS) $(LDFLAGS) -o $@ $< $(LIBS)

# Loaded into a QEMU, which knows nothing of sanitizers.
$(LIVE_SO): $(B)/tests/%.so: tests/%.c $(B)/flags
	@mkdir -p $(@D)
	@echo "  LD      $@"
	$(Q)$(CC) -std=gnu11 -D_GNU_SOURCE $(WARN) -O2 -g -fPIC -shared -o $@ $< -ldl

$(B)/tests/fuzz/replay_codec $(B)/tests/fuzz/fuzz_codec: $(B)/tests/fuzz/tree.o
# The generator's own code is no part of the library.
$(B)/tests/fuzz/replay_schema $(B)/tests/fuzz/fuzz_schema: $(GENTOOL_O)

$(REPLAY_BIN): $(B)/tests/fuzz/replay_%: $(B)/tests/fuzz/fuzz_%.o $(B)/tests/fuzz/replay_main.o $(LIB_O)
	@echo "  LD      $@"
	$(Q)$(CC) $(CFLAGS) $(BASE_LDFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS)

$(FUZZ_BIN): $(B)/tests/fuzz/fuzz_%: $(B)/tests/fuzz/fuzz_%.o $(LIB_O)
	@echo "  LD      $@"
	$(Q)$(CC) -fsanitize=fuzzer $(CFLAGS) $(BASE_LDFLAGS) $(LDFLAGS) -o $@ $^ $(LIBS)

unit-bins: $(UNIT_BIN) $(STARVED_BIN) ; @:
examples: $(EXAMPLE_BIN) ## the example programs

.PHONY: unit-objects replay-bins fuzz-bins live-bins
unit-objects: $(LIB_O) $(CLI_O) $(GENTOOL_O)
replay-bins: $(REPLAY_BIN) ; @:
fuzz-bins: $(FUZZ_BIN) ; @:
live-bins: all $(EXAMPLE_BIN) $(FAKE_BIN) $(LIVE_BIN) $(LIVE_SO)

.PHONY: bless
bless: build/host/qapi-gen $(if $(FSM2DOC_C),$(B)/fsm2doc) ## rewrite golden files, map and the page of the states; look at the diff
	tests/gen/run.sh --bless build/host/qapi-gen
	$(if $(FSM2DOC_C),$(B)/fsm2doc >src/man/libqblk-states.7)
	-tools/check-symbols -u $(B)/$(SONAME)

# ---- checking -----------------------------------------------------------------------------------
# tests/run takes LABEL=COMMAND, runs them side by side, prints a line for each, the log of those
# that fail, and ends with "N passed, N failed".

UNIT_NAMES := $(UNIT_C:tests/unit/%.c=%)
RUN := tests/run -o build/check
# Some tests wait more than they work.
RUN_MORE = $(RUN) -j $$(($(NPROC) + 1))
UNIT_ITEMS = $(foreach t,$(UNIT_NAMES),'unit/$(t)=$(B)/tests/unit/$(t)')
TEST_ITEMS := $(foreach t,$(UNIT_NAMES),'unit/$(t)=build/test/tests/unit/$(t)')
ASAN_ITEMS := $(foreach t,$(UNIT_NAMES),'asan/$(t)=build/asan/tests/unit/$(t)')
# What is left to check-long, so that check stays short: thousands of whole operations, deaths of the
# client in each of them (live/forged has some), every plan compared with its run, and a guest that
# boots. All but the guest run there under the sanitizers, but for tests that are tagged as large, which
# do what others do, thousands of times: these run there plain.
LONG_NAMES := test_ops_faults test_ops_resume test_ops_starved test_return
GUEST := tests/live/test_guest.sh
IN_MATRIX := tests/live/test_ops_matrix.sh
LONG_LIVE := $(addprefix tests/live/test_,bitmaps.sh dry_run.sh killed.sh lost.sh ops_matrix.sh \
	recover.sh reconnect.sh) $(GUEST)
LONG_ASAN := $(foreach t,$(LONG_NAMES),'asan/$(t)=build/asan/tests/unit/$(t)')
LONG_ITEMS := $(foreach t,$(LONG_NAMES),'asan/$(t)=CK_EXCLUDE_TAGS=large build/asan/tests/unit/$(t)')
LONG_TEST := $(foreach t,$(LONG_NAMES),'unit/$(t)=build/test/tests/unit/$(t)')
LARGE_ITEMS := $(foreach t,test_ops_resume test_return,\
	'unit/$(t)=CK_INCLUDE_TAGS=large build/test/tests/unit/$(t)')
# What takes the sanitizers long: check runs these plain.
LATER := $(foreach t,$(addprefix test_,agent client frames hazard job_set job_traces msg ops outq schema),\
	'asan/$(t)=build/asan/tests/unit/$(t)')
# The same programs once more with the n-th allocation failing (tests/starve), on every way on which
# memory is asked for: check has those that are quickly done, with every n of the shortest tests,
# check-long the others, and the former under the sanitizers. Those that are slow, or mostly wait until there
# is memory again, have some of their ways there, and those that make thousands of operations, one after the
# other, every n of some of these. Neither has test_ops_starved, which makes allocations fail by itself.
# check-starve has all ways of all tests, and every n of every test, or of each of its operations by itself. It
# takes an hour and a half; STARVE_CASES=N and STARVE_FIRST=K take every N-th of the operations, from the K-th
# on.
# Those that wait the longest are begun first: at the end all else would wait for them.
STARVE_WHOLE ?= 10000
STARVE_TIMEOUT ?= 14400
STARVE_CASES ?= 1
STARVE_FIRST ?= 0
STARVE_QUICK := $(addprefix test_,codec codec_messages codec_parse codec_send engine journal \
	monitor_connect monitor_end monitor_events msg outq watch)
STARVE_SLOW := $(addprefix test_,reconnect ops_guest client hazard hostile jobs_monitor ops ops_small schema)
STARVE_REST := $(filter-out $(LONG_NAMES) $(STARVE_QUICK) $(STARVE_SLOW),$(UNIT_NAMES))
STARVE_ITEMS := $(foreach t,$(STARVE_QUICK),'starve/$(t)=STARVE=50 build/test/tests/unit/$(t)')
STARVE_LONG := $(foreach t,$(STARVE_SLOW),'starve/$(t)=STARVE_SHARE=8 STARVE=0 build/test/tests/unit/$(t)') \
	$(foreach t,$(STARVE_REST),'starve/$(t)=STARVE=0 build/test/tests/unit/$(t)') \
	$(foreach t,$(addprefix test_,ops_faults ops_resume return),\
	'starve/$(t)=STARVE_SHARE=101 STARVE_CASES=1009 STARVE=0 build/test/tests/unit/$(t)') \
	$(foreach t,$(STARVE_QUICK),'starve-asan/$(t)=STARVE=0 build/asan/tests/unit/$(t)')
STARVE_ALL := $(foreach t,$(STARVE_SLOW) $(LONG_NAMES) $(STARVE_REST) $(STARVE_QUICK),\
	'starve/$(t)=STARVE_ALONE=1 STARVE_CASES=$(STARVE_CASES) STARVE_FIRST=$(STARVE_FIRST) STARVE=$(STARVE_WHOLE) \
	build/test/tests/unit/$(t)')
VALGRIND := valgrind -q --error-exitcode=9 --leak-check=full --show-leak-kinds=definite \
	--errors-for-leak-kinds=definite --track-fds=no
# Some run thousands of whole operations, or take each of thousands of texts at each of its bytes, which
# takes valgrind ten minutes: the sanitizers see them all, and other tests take the same paths once. So
# too the tests tagged as large.
VALGRIND_NAMES = $(filter-out $(LONG_NAMES) $(addprefix test_,frames job_traces msg outq schema),\
	$(UNIT_NAMES))
VALGRIND_ITEMS = $(foreach t,$(VALGRIND_NAMES),\
	'valgrind/$(t)=CK_FORK=no CK_EXCLUDE_TAGS=large CK_TIMEOUT_MULTIPLIER=20 $(VALGRIND) build/test/tests/unit/$(t)')
CORPUS_schema := qapi-schema tests/gen
REPLAY_ITEMS := $(foreach t,$(FUZZ_C:tests/fuzz/fuzz_%.c=%),\
	'fuzz/$(t)=build/asan/tests/fuzz/replay_$(t) tests/fuzz/corpus/$(t) $(CORPUS_$(t))')
GEN_ITEMS := 'gen=tests/gen/run.sh build/host/qapi-gen'
DOC_ITEMS := $(if $(FSM2DOC_C),\
	'doc/states=build/release/fsm2doc | diff -u src/man/libqblk-states.7 -')
LINT_ITEMS := 'lint/layers=tools/check-layers' \
	'lint/symbols=tools/check-symbols build/release/$(SONAME)' \
	'lint/headers=tools/check-headers' 'lint/scripts=tools/check-scripts' \
	'lint/manual=tools/check-manual' 'lint/install=tools/check-install' \
	$(foreach t,$(LINT),'checker/$(t:tests/lint/test_%.sh=%)=$(t)')
SLOW_LINT := 'lint/scripts=tools/check-scripts'
# Label, build directory, and which to leave out.
LIVE_ITEMS = $(foreach t,$(filter-out $(3),$(LIVE)),'$(1)/$(t:tests/live/test_%.sh=%)=BUILD=$(2) $(t)')

.PHONY: unit check check-all check-long check-unit check-asan check-valgrind check-live check-matrix \
	check-kill check-starve lint
unit: $(UNIT_BIN) ## unit tests of this VARIANT only
	$(Q)$(RUN) $(UNIT_ITEMS)

check: ## the tests; installs what is missing
	@tools/install-deps check
	+@$(SUBMAKE) check-all

check-all:
	+@$(SUBMAKE) VARIANT=release live-bins $(if $(FSM2DOC_C),build/release/fsm2doc)
	+@$(SUBMAKE) VARIANT=test unit-bins
	+@$(SUBMAKE) VARIANT=asan unit-bins replay-bins
	+@$(SUBMAKE) man
	$(Q)$(RUN_MORE) $(call LIVE_ITEMS,live,build/release,$(LONG_LIVE)) $(GEN_ITEMS) \
		$(filter-out $(SLOW_LINT),$(LINT_ITEMS)) \
		$(DOC_ITEMS) $(filter-out $(LONG_TEST),$(TEST_ITEMS)) $(STARVE_ITEMS) \
		$(filter-out $(LATER) $(LONG_ASAN),$(ASAN_ITEMS)) $(REPLAY_ITEMS)

check-long: ## what check leaves out because it takes long
	+@$(SUBMAKE) VARIANT=release live-bins
	+@$(SUBMAKE) VARIANT=test unit-bins
	+@$(SUBMAKE) VARIANT=asan unit-bins live-bins
	$(Q)$(RUN_MORE) $(STARVE_LONG) $(call LIVE_ITEMS,live,build/release,$(filter-out $(GUEST),$(LIVE))) \
		$(LONG_ITEMS) $(LARGE_ITEMS) $(LATER) $(SLOW_LINT) \
		$(call LIVE_ITEMS,live-asan,build/asan,$(IN_MATRIX) $(GUEST) $(filter-out $(LONG_LIVE),$(LIVE)))
	+@$(SUBMAKE) check-matrix

check-unit: ## unit tests
	+@$(SUBMAKE) VARIANT=test unit-bins
	$(Q)$(RUN) $(TEST_ITEMS)

check-asan: ## unit tests, corpora and live tests under the address and undefined sanitizers
	+@$(SUBMAKE) VARIANT=asan unit-bins replay-bins live-bins
	$(Q)$(RUN) $(call LIVE_ITEMS,live-asan,build/asan,$(GUEST)) $(ASAN_ITEMS) $(REPLAY_ITEMS)

check-valgrind: ## unit tests under valgrind
	+@$(SUBMAKE) VARIANT=test unit-bins
	$(Q)$(RUN) $(VALGRIND_ITEMS)

LIVE_BUT ?= $(GUEST)
check-live: ## tests against real QEMUs only, but those in LIVE_BUT
	+@$(SUBMAKE) live-bins
	$(Q)$(RUN_MORE) $(call LIVE_ITEMS,live,$(B),$(LIVE_BUT))

check-matrix: ## every operation on both kinds of graph, with every way in which it can end
	+@$(SUBMAKE) live-bins
	$(Q)BUILD=$(B) tests/matrix/matrix.sh -j $(NPROC)

check-starve: ## every unit test with its n-th allocation failing, for every n
	+@$(SUBMAKE) VARIANT=test unit-bins
	$(Q)TEST_TIMEOUT=$(STARVE_TIMEOUT) $(RUN) -j $$(($(NPROC) + 2)) $(STARVE_ALL)

check-kill: ## the client killed at every message of every operation, and recover after it
	+@$(SUBMAKE) live-bins
	$(Q)BUILD=$(B) tests/kill/matrix.sh

lint: ## layers, exported symbols, headers, scripts, manual pages
	+@$(SUBMAKE) VARIANT=release lib
	+@$(SUBMAKE) VARIANT=test unit-bins
	+@$(SUBMAKE) man
	$(Q)$(RUN) $(LINT_ITEMS)

.PHONY: analyze fuzz fuzz-smoke bench demo
# gcc 12 takes what a callback has freed for used, not seeing that the caller is told (ret_is_gone);
# the sanitizers run those paths.
analyze: gen ## gcc -fanalyzer, cppcheck, clang-tidy; fails on findings
	+$(Q)$(RUN) 'analyze/gcc=$(SUBMAKE) -k VARIANT=analyze CC=gcc WERROR=1 \
			CFLAGS="-O1 -g -fanalyzer -Wno-analyzer-use-after-free" unit-objects' \
		'analyze/cppcheck=tools/analyze cppcheck' 'analyze/clang-tidy=tools/analyze clang-tidy'

FUZZ_SECONDS ?= 60
FUZZ ?= $(FUZZ_C:tests/fuzz/fuzz_%.c=%)
fuzz: ## fuzz FUZZ=target (all in turn) for FUZZ_SECONDS each; finds go to build/fuzz
	+@$(SUBMAKE) VARIANT=fuzz CC=clang fuzz-bins
	$(Q)for t in $(FUZZ); do tools/fuzz-run $$t $(FUZZ_SECONDS) || exit 1; done

fuzz-smoke: ## the same, side by side, a minute of work in all
	+@$(SUBMAKE) VARIANT=fuzz CC=clang fuzz-bins
	$(Q)$(RUN) $(foreach t,$(FUZZ),'fuzz-smoke/$(t)=tools/fuzz-run $(t) $$((60 / $(words $(FUZZ)) + 1))')

bench: all ## benchmarks; the report goes to build/bench
	$(Q)tests/bench/run $(B)

demo: ## the main job on a scratch QEMU; SOCKET=/path only looks at a QEMU of yours
	@tools/install-deps $(if $(SOCKET),build,demo)
	+@$(SUBMAKE) VARIANT=release all >/dev/null
	@SOCKET='$(SOCKET)' tools/demo

# ---- manual, installing, packing ----------------------------------------------------------------

MAN_SRC := $(sort $(wildcard src/man/*.[1-9]) $(wildcard tools/qblk/*.1))
MAN3 := build/man/stamp

.PHONY: man install uninstall dist clean
man: $(MAN3) ## manual pages, in build/man
$(MAN3): $(PUBLIC_H) $(MAN_SRC) tools/hdr2man build/host/qapi-gen $(SCHEMAS)
	@rm -rf build/man && mkdir -p build/man
	@echo "  MAN     build/man"
	$(Q)tools/hdr2man -v $(VERSION) -o build/man $(PUBLIC_H)
	$(Q)build/host/qapi-gen -d $(SCHEMAS) >build/man/libqblk-qmp.7
	$(Q)set -e; for page in $(MAN_SRC); do cp $$page build/man/; done
	@touch $@

install: all man ## to DESTDIR/PREFIX
	$(INSTALL) -d $(DESTDIR)$(BINDIR) $(DESTDIR)$(LIBDIR)/pkgconfig $(DESTDIR)$(INCLUDEDIR)/qblk
	$(INSTALL) -m 755 $(B)/qblk $(DESTDIR)$(BINDIR)/qblk
	$(INSTALL) -m 755 $(B)/$(SONAME) $(DESTDIR)$(LIBDIR)/libqblk.so.$(VERSION)
	ln -sf libqblk.so.$(VERSION) $(DESTDIR)$(LIBDIR)/$(SONAME)
	ln -sf $(SONAME) $(DESTDIR)$(LIBDIR)/libqblk.so
	$(INSTALL) -m 644 $(B)/libqblk.a $(DESTDIR)$(LIBDIR)/libqblk.a
	$(INSTALL) -m 644 $(PUBLIC_H) $(DESTDIR)$(INCLUDEDIR)/qblk/
	sed -e 's,@PREFIX@,$(PREFIX),; s,@LIBDIR@,$(LIBDIR),; s,@INCLUDEDIR@,$(INCLUDEDIR),' \
		-e 's,@VERSION@,$(VERSION),' src/libqblk.pc.in \
		>$(DESTDIR)$(LIBDIR)/pkgconfig/libqblk.pc
	set -e; for page in build/man/*.[1-9]; do \
		dir=$(DESTDIR)$(MANDIR)/man$${page##*.}; \
		$(INSTALL) -d $$dir; $(INSTALL) -m 644 $$page $$dir/; done

uninstall: man ## what install put there
	rm -f $(DESTDIR)$(BINDIR)/qblk $(DESTDIR)$(LIBDIR)/libqblk.a \
		$(DESTDIR)$(LIBDIR)/libqblk.so $(DESTDIR)$(LIBDIR)/$(SONAME) \
		$(DESTDIR)$(LIBDIR)/libqblk.so.$(VERSION) $(DESTDIR)$(LIBDIR)/pkgconfig/libqblk.pc
	rm -f $(PUBLIC_H:include/%=$(DESTDIR)$(INCLUDEDIR)/%)
	-rmdir $(DESTDIR)$(INCLUDEDIR)/qblk
	set -e; for page in build/man/*.[1-9]; do \
		rm -f $(DESTDIR)$(MANDIR)/man$${page##*.}/$${page##*/}; done

dist: ## build/qblk-VERSION.tar.gz from the last commit
	@mkdir -p build
	git archive --format=tar.gz --prefix=qblk-$(VERSION)/ -o build/qblk-$(VERSION).tar.gz HEAD
	@echo build/qblk-$(VERSION).tar.gz

clean: ## remove build/
	rm -rf build

-include $(shell find build -name '*.d' 2>/dev/null)
