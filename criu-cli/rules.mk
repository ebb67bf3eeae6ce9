# criu-cli: the command line alone. criu: command line and service under one name, as container engines call it.
cli-objs := $(patsubst %.c,$(OBJ)/%.o,$(filter-out criu-cli/main.c criu-cli/criu.c,$(wildcard criu-cli/*.c)))

$(cli-objs) $(OBJ)/criu-cli/main.o $(OBJ)/criu-cli/criu.o: | $(proto-headers)

# Static, for the start: see criu-srv/rules.mk
FRONT_LDFLAGS ?= $(if $(SAN),,-static)

front-link = @mkdir -p $(@D); $(if $(V),,printf "  LD   %s\n" $(@F);) $(CC) $(CFLAGS) $(LDFLAGS) $(FRONT_LDFLAGS) -o $@ $^ $(LDLIBS)

$(BUILD)/criu-cli: $(OBJ)/criu-cli/main.o $(cli-objs) $(OBJ)/criu-srv/policy.o $(BUILD)/libcriu-core.a $(BUILD)/libcriu-proto.a
	$(front-link)

$(BUILD)/criu: $(OBJ)/criu-cli/criu.o $(cli-objs) \
		$(patsubst %.c,$(OBJ)/%.o,$(filter-out criu-srv/main.c,$(wildcard criu-srv/*.c))) \
		$(BUILD)/libcriu-core.a $(BUILD)/libcriu-proto.a
	$(front-link)

front-binaries := $(BUILD)/criu $(BUILD)/criu-cli $(BUILD)/criu-srv
ALL += $(BUILD)/criu-cli $(BUILD)/criu

install: all
	install -d $(DESTDIR)$(PREFIX)/sbin $(DESTDIR)$(PREFIX)/lib $(DESTDIR)$(PREFIX)/share/man/man8 \
		$(DESTDIR)$(PREFIX)/include/criu-core/base $(DESTDIR)$(PREFIX)/include/criu-core/proto \
		$(DESTDIR)$(PREFIX)/include/criu-core/images
	install -m 755 $(front-binaries) $(DESTDIR)$(PREFIX)/sbin
	install -m 644 $(BUILD)/libcriu-core.a $(BUILD)/libcriu-proto.a $(DESTDIR)$(PREFIX)/lib
	install -m 644 $(wildcard docs/*.8) $(DESTDIR)$(PREFIX)/share/man/man8
	install -m 644 $(wildcard libcriu-core/include/*.h) $(DESTDIR)$(PREFIX)/include/criu-core
	install -m 644 $(wildcard libcriu-core/base/*.h) $(DESTDIR)$(PREFIX)/include/criu-core/base
	install -m 644 $(wildcard libcriu-proto/include/proto/*.h) $(DESTDIR)$(PREFIX)/include/criu-core/proto
	install -m 644 $(BUILD)/gen/*.pb.h $(DESTDIR)$(PREFIX)/include/criu-core
	install -m 644 $(BUILD)/gen/images/*.pb.h $(DESTDIR)$(PREFIX)/include/criu-core/images

.PHONY: install
