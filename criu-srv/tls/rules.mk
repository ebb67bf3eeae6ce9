# criu-tls: TLS for page servers, a program of its own because gnutls cannot be linked statically, and takes longer to load
# than a small dump lasts.
tls-objs := $(patsubst %.c,$(OBJ)/%.o,$(wildcard criu-srv/tls/*.c))

$(tls-objs): | $(proto-headers)

$(BUILD)/criu-tls: $(tls-objs) $(BUILD)/libcriu-core.a
	@mkdir -p $(@D)
	$(call say,LD,$@)
	$(Q)$(CC) $(CFLAGS) $(LDFLAGS) -o $@ $^ -lgnutls

front-binaries += $(BUILD)/criu-tls
ALL += $(BUILD)/criu-tls
