# test-memory.c lets the n-th allocation fail
$(BUILD)/test/unit/procfs/test-memory: LDFLAGS += -Wl,--wrap=malloc,--wrap=realloc
