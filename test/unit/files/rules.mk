# test-names.c kills its process whenever a name is removed
$(BUILD)/test/unit/files/test-names: LDFLAGS += -Wl,--wrap=unlinkat
