# libcriu-core.a: every .c of the library's folders, and the program interpreter that runs inside other processes.
core-dirs := base kernel procfs infect image tasks mm files net ns cgroup dump restore options arch/$(ARCH)
core-srcs := $(wildcard $(foreach d,$(core-dirs),libcriu-core/$(d)/*.c))
core-objs := $(core-srcs:%.c=$(OBJ)/%.o)

# The interpreter: freestanding, general registers only, linked to one flat piece without relocations.
blob-dir  := $(OBJ)/libcriu-core/pie
blob-objs := $(blob-dir)/blob.pie.o $(blob-dir)/blob-pages.pie.o $(blob-dir)/blob-entry.pie.o
# loops must not become calls of memcpy and memset, which nobody would provide
blob-idioms := $(if $(findstring clang,$(CC)),-fno-builtin,-fno-tree-loop-distribute-patterns)
BLOB_CFLAGS := -std=gnu11 -O2 -ffreestanding -fpie -mgeneral-regs-only -fno-stack-protector -fcf-protection=none \
               -fno-asynchronous-unwind-tables $(blob-idioms) -fno-jump-tables -fvisibility=hidden \
               -fno-strict-aliasing -fomit-frame-pointer $(WARN)

$(blob-dir)/%.pie.o: libcriu-core/pie/%.c
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) -Ilibcriu-core -Ilibcriu-core/arch/$(ARCH) $(BLOB_CFLAGS) -MMD -MP -c $< -o $@

$(blob-dir)/blob-entry.pie.o: libcriu-core/arch/$(ARCH)/blob-entry.S
	@mkdir -p $(@D)
	$(call say,CC,$@)
	$(Q)$(CC) -Ilibcriu-core/arch/$(ARCH) -MMD -MP -c $< -o $@

$(blob-dir)/blob.elf: $(blob-objs) libcriu-core/pie/blob.lds
	$(call say,LD,$@)
	$(Q)$(LD) -pie --no-dynamic-linker --no-undefined -z noexecstack -z norelro --build-id=none \
		-T libcriu-core/pie/blob.lds -o $@ $(blob-objs)

$(blob-dir)/blob.bin: $(blob-dir)/blob.elf
	$(call say,COPY,$@)
	$(Q)$(OBJCOPY) -O binary -j .blob $< $@

$(blob-dir)/blob-image.o: libcriu-core/pie/blob-image.S $(blob-dir)/blob.bin
	$(call say,CC,$@)
	$(Q)$(CC) -DBLOB_BIN='"$(blob-dir)/blob.bin"' -c $< -o $@

OBJCOPY ?= objcopy
core-objs += $(blob-dir)/blob-image.o

$(BUILD)/libcriu-core.a: $(core-objs)
	@rm -f $@
	$(call say,AR,$@)
	$(Q)$(AR) rcs $@ $^

$(core-objs): | $(proto-headers)

ALL += $(BUILD)/libcriu-core.a
