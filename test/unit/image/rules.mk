# test-image-set.c has close(2) fail
$(BUILD)/test/unit/image/test-image-set: LDFLAGS += -Wl,--wrap=close
