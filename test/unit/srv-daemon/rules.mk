# what is tested of the service itself
srv-daemon-tests := $(patsubst %.c,$(BUILD)/%,$(wildcard test/unit/srv-daemon/test-*.c))

$(srv-daemon-tests): $(addprefix $(OBJ)/criu-srv/,access-log.o activation.o crowd.o journal.o listener.o peer.o policy.o \
	record.o spawner.o)
$(patsubst %.c,$(OBJ)/%.o,$(wildcard test/unit/srv-daemon/*.c)): CPPFLAGS += -I.
