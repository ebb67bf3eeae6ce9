# the blob's own source, with the system calls of the test instead of the kernel's
$(OBJ)/test/unit/pie/test-blob.o $(OBJ)/test/unit/pie/test-blob-pages.o: CPPFLAGS += -DBLOB_FAKE_SYS
