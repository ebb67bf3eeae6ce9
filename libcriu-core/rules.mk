# libcriu-core.a: every .c of the library's folders, and the program interpreter that runs inside other processes.
core-dirs := base kernel procfs infect image tasks mm files net ns cgroup dump restore arch/$(ARCH)
core-srcs := $(wildcard $(foreach d,$(core-dirs),libcriu-core/$(d)/*.c))
core-objs := $(core-srcs:%.c=$(BUILD)/%.o)

$(BUILD)/libcriu-core.a: $(core-objs)
	@rm -f $@
	$(AR) rcs $@ $^

$(core-objs): | $(proto-headers)

ALL += $(BUILD)/libcriu-core.a
