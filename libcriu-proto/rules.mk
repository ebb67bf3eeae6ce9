# libcriu-proto.a: the codec. Structs come from proto/, by way of nanopb's generator.
#
# $(proto-headers) are the generated headers; objects that include proto/*.h wait for them with
# an order-only dependency.
proto-dir     := libcriu-proto
proto-srcs    := $(wildcard $(proto-dir)/src/*.c)
proto-objs    := $(proto-srcs:%.c=$(OBJ)/%.o)
proto-protos  := $(patsubst $(proto-dir)/proto/%,%,$(wildcard $(proto-dir)/proto/*.proto $(proto-dir)/proto/images/*.proto))
proto-headers := $(BUILD)/gen/proto.stamp

# The system's python by name: one that stands first in PATH may lack the protobuf package.
NANOPB_PYTHON    ?= /usr/bin/python3
NANOPB_GENERATOR ?= /usr/bin/nanopb_generator.py

# One call for all files, since starting python is what costs; so one stamp stands for all headers.
$(proto-headers): $(addprefix $(proto-dir)/proto/,$(proto-protos) nanopb.options) $(proto-dir)/rules.mk
	@mkdir -p $(@D)
	$(call say,GEN,$(@D))
	$(Q)$(NANOPB_PYTHON) $(NANOPB_GENERATOR) -q -I $(proto-dir)/proto -D $(BUILD)/gen \
		-f $(proto-dir)/proto/nanopb.options $(proto-protos)
	@touch $@

# They are new when the stamp is: without this make would go by what they were when it began, and objects that disagree about a
# struct would be linked.
$(proto-protos:%.proto=$(BUILD)/gen/%.pb.h): $(proto-headers) ;

$(BUILD)/libcriu-proto.a: $(proto-objs)
	@rm -f $@
	$(call say,AR,$@)
	$(Q)$(AR) rcs $@ $^

$(proto-objs): | $(proto-headers)

ALL += $(BUILD)/libcriu-proto.a
