# criu-srv: the service alone. All of its objects but main.o are part of criu as well (criu-cli/rules.mk).
srv-objs := $(patsubst %.c,$(OBJ)/%.o,$(filter-out criu-srv/main.c,$(wildcard criu-srv/*.c)))

$(srv-objs) $(OBJ)/criu-srv/main.o: | $(proto-headers)

# Started for each request, so linked statically: no dynamic loading, no relocation, no library to look for.
FRONT_LDFLAGS ?= $(if $(SAN),,-static)

$(BUILD)/criu-srv: $(OBJ)/criu-srv/main.o $(srv-objs) $(BUILD)/libcriu-core.a $(BUILD)/libcriu-proto.a
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) $(FRONT_LDFLAGS) -o $@ $^ $(LDLIBS)

ALL += $(BUILD)/criu-srv

# Units for systemd. UNITDIR= (empty) leaves them out.
UNITDIR ?= $(PREFIX)/lib/systemd/system

$(BUILD)/criu.service: criu-srv/systemd/criu.service.in
	@mkdir -p $(@D)
	$(Q)sed 's|@SBINDIR@|$(PREFIX)/sbin|' $< > $@

install-units: $(BUILD)/criu.service
	$(if $(UNITDIR),install -d $(DESTDIR)$(UNITDIR))
	$(if $(UNITDIR),install -m 644 $< criu-srv/systemd/criu.socket criu-srv/systemd/criu-legacy.socket $(DESTDIR)$(UNITDIR))

install: install-units

.PHONY: install-units
