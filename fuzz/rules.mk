# Fuzz targets: fuzz/fuzz-*.c, one program each, built by clang with libFuzzer and sanitizers. All library
# sources are compiled once more for them, into $(BUILD)/fuzz.
#
#   fuzz/seeds/fuzz-NAME/     inputs to start from
#   fuzz/fuzz-NAME.dict       words that inputs are made of; may be missing
FUZZ_CC      ?= clang
FUZZ_SECONDS ?= 10
fuzz-dir     := $(BUILD)/fuzz
fuzz-targets := $(patsubst fuzz/%.c,%,$(wildcard fuzz/fuzz-*.c))
fuzz-bins    := $(addprefix $(fuzz-dir)/,$(fuzz-targets))
fuzz-san     := -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer

fuzz-proto-objs := $(proto-srcs:%.c=$(fuzz-dir)/%.o)
fuzz-core-objs  := $(core-srcs:%.c=$(fuzz-dir)/%.o)
fuzz-srv-objs   := $(patsubst %.c,$(fuzz-dir)/%.o,$(filter-out criu-srv/main.c,$(wildcard criu-srv/*.c)))
fuzz-fake-objs  := $(fuzz-dir)/test/unit/srv/fake-engine.o
fuzz-main-objs  := $(fuzz-targets:%=$(fuzz-dir)/fuzz/%.o)

# The codec needs nothing of the core; its targets show that by linking without it.
fuzz-codec      := fuzz-image fuzz-rpc-req fuzz-rpc-resp

$(fuzz-dir)/%.o: %.c
	@mkdir -p $(@D)
	$(FUZZ_CC) $(CPPFLAGS) $(CFLAGS) -O1 $(fuzz-san) -MMD -MP -c $< -o $@

$(fuzz-proto-objs) $(fuzz-core-objs) $(fuzz-srv-objs) $(fuzz-fake-objs) $(fuzz-main-objs): | $(proto-headers)

$(fuzz-dir)/libcriu-proto.a: $(fuzz-proto-objs)
	@rm -f $@
	$(AR) rcs $@ $^

# The piece that runs inside other processes is taken as it is: it would not link with a sanitizer.
$(fuzz-dir)/libcriu-core.a: $(fuzz-core-objs) $(blob-dir)/blob-image.o
	@rm -f $@
	$(AR) rcs $@ $^

$(filter-out $(fuzz-codec:%=$(fuzz-dir)/%),$(fuzz-bins)): $(fuzz-dir)/libcriu-core.a
$(fuzz-bins): $(fuzz-dir)/%: $(fuzz-dir)/fuzz/%.o $(fuzz-dir)/libcriu-proto.a
	$(FUZZ_CC) -fsanitize=fuzzer,address,undefined -o $@ $(filter %.o,$^) $(fuzz-wraps:%=-Wl,--wrap=%) \
		-Wl,--start-group $(filter %.a,$^) -Wl,--end-group $(LDLIBS)

# The service, with functions replaced that leave the process: its engine, its children, programs that it runs.
$(fuzz-dir)/fuzz-connection: $(fuzz-srv-objs) $(fuzz-fake-objs)
$(fuzz-dir)/fuzz-connection: fuzz-wraps := $(srv-test-wraps) aside_run cr_context_new cr_limit_as engine_open_dir \
	process_become scripts_run shield_raise
$(fuzz-dir)/fuzz-config: $(fuzz-dir)/criu-srv/policy.o
$(fuzz-dir)/fuzz-config: fuzz-wraps := option_set_close
$(fuzz-dir)/fuzz/fuzz-connection.o $(fuzz-dir)/fuzz/fuzz-config.o $(fuzz-fake-objs): CPPFLAGS += -I.

-include $(shell find $(fuzz-dir) -name '*.d' 2>/dev/null)

fuzz: $(fuzz-bins)

# A short run of each target on a copy of its seeds; what it finds is kept in $(BUILD)/fuzz/found.
fuzz-smoke: $(fuzz-targets:%=fuzz-smoke-%)

$(fuzz-targets:%=fuzz-smoke-%): fuzz-smoke-%: $(fuzz-dir)/%
	@mkdir -p $(fuzz-dir)/found
	@corpus=$$(mktemp -d) && trap 'rm -rf "$$corpus"' EXIT && \
	if [ -d fuzz/seeds/$* ]; then cp fuzz/seeds/$*/* "$$corpus"; fi && \
	dict=; if [ -f fuzz/$*.dict ]; then dict=-dict=fuzz/$*.dict; fi && \
	if timeout $$(($(FUZZ_SECONDS) + 60)) $< -max_total_time=$(FUZZ_SECONDS) -timeout=10 -rss_limit_mb=1024 \
		-artifact_prefix=$(fuzz-dir)/found/$*- $$dict "$$corpus" >$(fuzz-dir)/$*.log 2>&1; \
	then echo "PASS $* $$(grep -o 'Done [0-9]* runs' $(fuzz-dir)/$*.log)"; \
	else tail -n 40 $(fuzz-dir)/$*.log; echo "FAIL $*: see $(fuzz-dir)/$*.log"; exit 1; fi

.PHONY: fuzz fuzz-smoke $(fuzz-targets:%=fuzz-smoke-%)
