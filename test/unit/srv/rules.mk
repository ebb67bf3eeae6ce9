# what is tested of the service's requests: everything of it but its main(), with an engine that only takes notes
srv-test-bins := $(patsubst %.c,$(BUILD)/%,$(wildcard test/unit/srv/test-*.c))
srv-test-wraps := cr_dump cr_restore cr_check cr_pre_dump cr_page_server

$(srv-test-bins): $(patsubst %.c,$(OBJ)/%.o,$(filter-out criu-srv/main.c,$(wildcard criu-srv/*.c)))
$(srv-test-bins): LDFLAGS += $(srv-test-wraps:%=-Wl,--wrap=%)
$(patsubst %.c,$(OBJ)/%.o,$(wildcard test/unit/srv/*.c)): CPPFLAGS += -I.
