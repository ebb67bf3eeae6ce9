# the blob's own source, with the system calls of the test instead of the kernel's
$(BUILD)/test/unit/pie/test-blob.o: CPPFLAGS += -DBLOB_FAKE_SYS
