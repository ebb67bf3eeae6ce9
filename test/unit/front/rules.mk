# what is tested of the programs themselves
$(BUILD)/test/unit/front/test-policy: $(OBJ)/criu-srv/policy.o
$(BUILD)/test/unit/front/test-json: $(OBJ)/criu-cli/json.o
$(OBJ)/test/unit/front/test-policy.o $(OBJ)/test/unit/front/test-json.o: CPPFLAGS += -I.
