# Tests, benchmark, demo and lint. Suites print one line per case, "PASS name", "FAIL name: why" or "SKIP name: why";
# test/check/all.py adds them up.
PYTHON ?= /usr/bin/python3
JOBS   ?= 2
OBJ    ?= $(BUILD)

# --- unit tests: test/unit/**/test-*.c, one program each; other .c files of a folder are linked into all its tests.
# test/unit/FOLDER/rules.mk may set variables of a single test (flags, -Wl,--wrap and the like).
unit-srcs    := $(wildcard test/unit/*/test-*.c test/unit/*/*/test-*.c)
unit-bins    := $(unit-srcs:%.c=$(BUILD)/%)
unit-objs    := $(patsubst %.c,$(OBJ)/%.o,$(wildcard test/unit/*/*.c test/unit/*/*/*.c))
unit-helpers  = $(patsubst %.c,$(OBJ)/%.o,$(filter-out $(dir $(1))test-%.c,$(wildcard $(dir $(1))*.c)))

$(unit-objs): | $(proto-headers)
$(unit-objs): CPPFLAGS += -Itest/unit

.SECONDEXPANSION:
$(unit-bins): $(BUILD)/%: $(OBJ)/%.o $$(call unit-helpers,%.c) $(BUILD)/libcriu-core.a $(BUILD)/libcriu-proto.a
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $(filter %.o,$^) -Wl,--start-group $(filter %.a,$^) -Wl,--end-group $(LDLIBS) -lcmocka

# --- victims: the subjects of the tests, so never under a sanitizer; a few of them once more without a dynamic linker
victim-srcs   := $(filter-out test/victims/victim.c,$(wildcard test/victims/*.c))
victim-bins   := $(patsubst test/victims/%.c,$(BUILD)/test/victims/%,$(victim-srcs))
victim-static := $(addprefix $(BUILD)/test/victims/,$(addsuffix -static,memory regs stops tree))
VICTIM_CFLAGS := -std=gnu11 -O2 -g -D_GNU_SOURCE -Wall -Wextra -Wno-missing-field-initializers -Wno-unused-parameter \
                 -fno-strict-aliasing

$(victim-bins): $(BUILD)/test/victims/%: test/victims/%.c test/victims/victim.c $(wildcard test/victims/*.h)
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) $(VICTIM_CFLAGS) -o $@ $(filter %.c,$^) -lpthread

$(victim-static): $(BUILD)/test/victims/%-static: test/victims/%.c test/victims/victim.c test/victims/victim.h
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) $(VICTIM_CFLAGS) -static -o $@ $(filter %.c,$^) -lpthread

# subjects of test/faults alone, and a tool of it
fault-tools := $(BUILD)/test/faults/cut-off
fault-bins  := $(filter-out $(fault-tools),$(patsubst %.c,$(BUILD)/%,$(wildcard test/faults/*.c)))
$(fault-bins): $(BUILD)/%: %.c test/victims/victim.c test/victims/victim.h test/faults/every.h
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) $(VICTIM_CFLAGS) -Itest/victims -o $@ $(filter %.c,$^) -lpthread

# subjects of the tests of incremental dumps and of lazy restores
memory-bins := $(patsubst %.c,$(BUILD)/%,$(wildcard test/memory/*.c))
$(memory-bins) $(fault-tools): $(BUILD)/%: %.c
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) $(VICTIM_CFLAGS) -o $@ $< -lpthread

bench-bins := $(patsubst %.c,$(BUILD)/%,$(wildcard test/bench/*.c test/soak/*.c))
$(bench-bins): $(BUILD)/%: %.c test/bench/service-client.h
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) $(VICTIM_CFLAGS) -Itest/bench -o $@ $< -lpthread

-include $(wildcard test/unit/*/rules.mk)

victims: $(victim-bins) $(victim-static) $(fault-bins) $(fault-tools) $(memory-bins)

# --- packages: asked for only by the goals that promise to do all set-up, and before anything is compiled
ifneq ($(filter check demo bench soak unit e2e faults memory pages apps deps,$(MAKECMDGOALS)),)
$(proto-headers) $(blob-objs) $(victim-bins) $(victim-static) $(fault-bins) $(fault-tools) $(bench-bins): | deps
endif

deps:
	@sh test/check/deps.sh build test

# --- goals
ALL-RUN := $(PYTHON) test/check/all.py --build $(BUILD) --jobs $(JOBS) --cc "$(CC)" --cppflags "$(CPPFLAGS)" \
           --san "$(SAN)"

check: all victims $(unit-bins) $(bench-bins)
	@$(ALL-RUN)

unit: $(unit-bins)
	@$(ALL-RUN) unit

repo: $(proto-headers)
	@$(ALL-RUN) repo

e2e: all victims
	@$(ALL-RUN) e2e

faults: all victims
	@$(ALL-RUN) faults

memory: all victims
	@$(ALL-RUN) memory

pages: all victims
	@$(ALL-RUN) pages

clients: all
	@$(ALL-RUN) clients

apps: all
	@$(ALL-RUN) apps

bench: all $(bench-bins)
	@$(PYTHON) test/bench/bench.py --criu $(BUILD)/criu --tools $(BUILD)/test/bench $(BENCH)

# an hour of requests by many clients; `make check` has a short one
soak: all $(bench-bins)
	@$(PYTHON) test/soak/soak.py --criu $(BUILD)/criu --tools $(BUILD)/test/soak $(SOAK)

# on other kernels, in an emulated machine: minutes, so by hand
kernels: all victims
	@$(PYTHON) test/kernels/run.py --criu $(BUILD)/criu --victims $(BUILD)/test/victims --cache $(BUILD)/kernels $(KERNELS)

demo: all
	@$(PYTHON) test/demo/demo.py --criu $(BUILD)/criu

# --- lint and format
lint-srcs = $(shell git ls-files '*.c' | grep -v -e '^fuzz/' -e '^test/')
all-srcs  = $(shell git ls-files '*.c' '*.h')

lint: $(proto-headers)
	$(MAKE) BUILD=$(BUILD)/lint-gcc CC=gcc O="-O2 -Werror" all
	$(MAKE) BUILD=$(BUILD)/lint-clang CC=clang O="-O2 -Werror" all
	cppcheck -q --error-exitcode=1 --inline-suppr --std=c11 --enable=warning,performance,portability \
		--suppressions-list=test/check/cppcheck.txt -D_GNU_SOURCE -D__x86_64__ -j $(JOBS) $(lint-srcs)
	printf '%s\n' $(lint-srcs) | xargs -P $(JOBS) -n 8 sh -c 'clang-tidy --quiet "$$@" -- -std=gnu11 $(CPPFLAGS)' tidy

format:
	clang-format -i $(all-srcs)

.PHONY: check unit repo e2e faults memory pages clients apps bench soak kernels demo lint format deps victims
