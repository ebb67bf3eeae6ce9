# One build, out of tree in $(BUILD)/; per-folder fragments (rules.mk) are included, nothing recurses.
BUILD  ?= build
PREFIX ?= /usr/local
DESTDIR ?=
CC     ?= cc
SAN    ?=
O      ?= -O2

ARCH := x86_64

# V=1 shows whole commands
Q   := $(if $(V),,@)
say  = $(if $(V),,@printf '  %-4s %s\n' $(1) $(patsubst $(BUILD)/%,%,$(2)))

WARN     := -Wall -Wextra -Wshadow -Wstrict-prototypes -Wmissing-prototypes -Wno-missing-field-initializers
CPPFLAGS += -D_GNU_SOURCE -D_FILE_OFFSET_BITS=64 -I$(BUILD)/gen -Ilibcriu-proto/include -Ilibcriu-core \
            -Ilibcriu-core/include -Ilibcriu-core/arch/$(ARCH)
CFLAGS   += -std=gnu11 $(O) -g $(WARN) -fvisibility=hidden -fno-strict-aliasing -fstack-protector-strong
LDLIBS   := -lcap -lzstd -lpthread
ifneq ($(SAN),)
override BUILD := $(BUILD)/san
CFLAGS   += -fsanitize=$(SAN) -fno-omit-frame-pointer -fno-sanitize-recover=all
LDFLAGS  += -fsanitize=$(SAN)
endif
# objects mirror the source tree; binaries and libraries lie directly in $(BUILD)
OBJ := $(BUILD)/obj

all:

include libcriu-proto/rules.mk
include libcriu-core/rules.mk
include $(wildcard criu-cli/rules.mk criu-srv/rules.mk criu-srv/tls/rules.mk test/rules.mk fuzz/rules.mk docs/rules.mk)

all: $(ALL)

$(OBJ)/%.o: %.c
	@mkdir -p $(@D)
	$(call say,CC,$<)
	$(Q)$(CC) $(CPPFLAGS) $(CFLAGS) -MMD -MP -c $< -o $@

-include $(shell find $(OBJ) -name '*.d' 2>/dev/null)

clean:
	rm -rf $(BUILD)

.PHONY: all clean
.DELETE_ON_ERROR:
