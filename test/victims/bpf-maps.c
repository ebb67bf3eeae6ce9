/* Maps of bpf(2): all elements, in each type that has such, with what the map was made with and how it is open. */
#include "victim.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static int bpf(int cmd, union bpf_attr *attr)
{
	return (int)syscall(SYS_bpf, cmd, attr, sizeof(*attr));
}

static int make(uint32_t type, uint32_t key, uint32_t value, uint32_t entries, uint32_t flags, const char *name)
{
	union bpf_attr attr;
	int fd;

	memset(&attr, 0, sizeof(attr));
	attr.map_type = type;
	attr.key_size = key;
	attr.value_size = value;
	attr.max_entries = entries;
	attr.map_flags = flags;
	strncpy(attr.map_name, name, sizeof(attr.map_name) - 1);
	fd = bpf(BPF_MAP_CREATE, &attr);
	if (fd < 0)
		victim_skip("map of type %u: %s", type, strerror(errno));
	return fd;
}

static int element(int cmd, int fd, const void *key, void *value)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.map_fd = (uint32_t)fd;
	attr.key = (uintptr_t)key;
	attr.value = (uintptr_t)value;
	return bpf(cmd, &attr);
}

static struct bpf_map_info info_of(int fd)
{
	struct bpf_map_info info;
	union bpf_attr attr;

	memset(&info, 0, sizeof(info));
	memset(&attr, 0, sizeof(attr));
	attr.info.bpf_fd = (uint32_t)fd;
	attr.info.info = (uintptr_t)&info;
	attr.info.info_len = sizeof(info);
	expect(bpf(BPF_OBJ_GET_INFO_BY_FD, &attr) == 0, "look at a map");
	return info;
}

static int other_access(int fd, uint32_t flags)
{
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.map_id = info_of(fd).id;
	attr.open_flags = flags;
	fd = bpf(BPF_MAP_GET_FD_BY_ID, &attr);
	need(fd >= 0);
	return fd;
}

static size_t count(int fd, size_t key_size)
{
	char last[64], next[64];
	size_t nr = 0;

	need(key_size <= sizeof(next));
	while (element(BPF_MAP_GET_NEXT_KEY, fd, nr ? last : NULL, next) == 0) {
		memcpy(last, next, key_size);
		nr++;
	}
	return nr;
}

/* --- an array, open in three ways, and in another process */

#define NR 1000u

static int array, reader, writer;
static pid_t kid;

struct wide {
	uint64_t words[5];
};

static struct wide value_of(uint32_t i)
{
	struct wide v;

	pattern_fill(&v, sizeof(v), i);
	return v;
}

static void kid_main(long arg)
{
	struct wide v;
	uint32_t key = 7;

	(void)arg;
	victim_hold();
	/* what the parent writes is seen here */
	do {
		if (element(BPF_MAP_LOOKUP_ELEM, array, &key, &v) < 0)
			break;
		sleep_ms(5);
	} while (v.words[0] != 77);
	expect(v.words[0] == 77, "the map is another one");
}

static void set_up_array(void)
{
	array = make(BPF_MAP_TYPE_ARRAY, 4, sizeof(struct wide), NR, 0, "an_array.x");
	for (uint32_t i = 0; i < NR; i += 3) {
		struct wide v = value_of(i);

		need(element(BPF_MAP_UPDATE_ELEM, array, &i, &v) == 0);
	}
	reader = other_access(array, BPF_F_RDONLY);
	writer = other_access(array, BPF_F_WRONLY);
	kid = victim_fork(kid_main, 0);
}

static void check_array(void)
{
	struct bpf_map_info info = info_of(array);
	static const struct wide zero;
	uint32_t seven = 7;

	expect(info.type == BPF_MAP_TYPE_ARRAY && info.key_size == 4 && info.value_size == sizeof(struct wide) &&
		       info.max_entries == NR && strcmp(info.name, "an_array.x") == 0,
	       "type %u, %u elements, '%s'", info.type, info.max_entries, info.name);
	expect(info_of(reader).id == info.id && info_of(writer).id == info.id, "it is three maps");
	for (uint32_t i = 0; i < NR; i++) {
		struct wide v, want = i % 3 ? zero : value_of(i);

		expect(element(BPF_MAP_LOOKUP_ELEM, reader, &i, &v) == 0 && memcmp(&v, &want, sizeof(v)) == 0,
		       "element %u", i);
	}

	struct wide v = { .words = { 77 } };

	expect(element(BPF_MAP_UPDATE_ELEM, reader, &seven, &v) < 0 && errno == EPERM, "the reader can write");
	expect(element(BPF_MAP_LOOKUP_ELEM, writer, &seven, &v) < 0 && errno == EPERM, "the writer can read");
	expect(element(BPF_MAP_UPDATE_ELEM, writer, &seven, &v) == 0, "write");
	victim_reap(kid);
}

/* --- one that is only open for writing */

static void set_up_write_only(void)
{
	int fd = make(BPF_MAP_TYPE_HASH, 8, 4, 10, 0, "");
	uint64_t key = 5;
	uint32_t value = 55;

	need(element(BPF_MAP_UPDATE_ELEM, fd, &key, &value) == 0);
	writer = other_access(fd, BPF_F_WRONLY);
	close(fd);
}

static void check_write_only(void)
{
	int fd = other_access(writer, 0);
	uint64_t key = 5;
	uint32_t value = 0;

	expect(element(BPF_MAP_LOOKUP_ELEM, fd, &key, &value) == 0 && value == 55, "value %u", value);
	expect(element(BPF_MAP_LOOKUP_ELEM, writer, &key, &value) < 0 && errno == EPERM, "the writer can read");
}

/* --- tables by key */

static const struct {
	uint32_t type, flags;
} tables[] = { { BPF_MAP_TYPE_HASH, 0 },
	       { BPF_MAP_TYPE_HASH, BPF_F_NO_PREALLOC },
	       { BPF_MAP_TYPE_LRU_HASH, 0 },
	       { BPF_MAP_TYPE_LPM_TRIE, BPF_F_NO_PREALLOC } };

#define NR_TABLES (sizeof(tables) / sizeof(tables[0]))

static int table[NR_TABLES], empty;

struct prefix {
	uint32_t len, address;
};

static void set_up_tables(void)
{
	for (size_t t = 0; t < NR_TABLES; t++) {
		/* with room to spare: a full LRU table drops some */
		table[t] = make(tables[t].type, sizeof(struct prefix), 13, 4 * NR, tables[t].flags, "table");
		for (uint32_t i = 0; i < NR; i++) {
			struct prefix key = { 32, i * 2654435761u };
			char value[13];

			pattern_fill(value, sizeof(value), i + 100 * t);
			need(element(BPF_MAP_UPDATE_ELEM, table[t], &key, value) == 0);
		}
	}
	empty = make(BPF_MAP_TYPE_HASH, 3, 3, 5, 0, "");
}

static void check_tables(void)
{
	char value[13];

	for (size_t t = 0; t < NR_TABLES; t++) {
		struct prefix none = { 32, 12345 };

		expect(info_of(table[t]).map_flags == tables[t].flags, "table %zu has flags %x", t,
		       info_of(table[t]).map_flags);
		expect(count(table[t], sizeof(struct prefix)) == NR, "table %zu has %zu elements", t,
		       count(table[t], sizeof(struct prefix)));
		for (uint32_t i = 0; i < NR; i++) {
			struct prefix key = { 32, i * 2654435761u };

			expect(element(BPF_MAP_LOOKUP_ELEM, table[t], &key, value) == 0 &&
				       pattern_same(value, sizeof(value), i + 100 * t),
			       "table %zu, element %u", t, i);
		}
		expect(element(BPF_MAP_LOOKUP_ELEM, table[t], &none, value) < 0 && errno == ENOENT, "one too many");
	}
	expect(count(empty, 3) == 0, "the empty one has %zu elements", count(empty, 3));
}

/* --- tables that forget, full to the last place */

#define FULL 300u

static int forgetful[2];
static uint32_t full_nr[2];

static void move_to(const cpu_set_t *all, int nth)
{
	cpu_set_t one;
	int cpu = 0;

	for (int left = nth; !CPU_ISSET(cpu, all) || left--; cpu++)
		;
	CPU_ZERO(&one);
	CPU_SET(cpu, &one);
	need(sched_setaffinity(0, sizeof(one), &one) == 0);
}

static void put(int map, uint32_t key)
{
	uint64_t value = key * 3ul;

	need(element(BPF_MAP_UPDATE_ELEM, map, &key, &value) == 0);
}

static void set_up_full(void)
{
	uint64_t value;
	uint32_t share;
	cpu_set_t all;

	need(sched_getaffinity(0, sizeof(all), &all) == 0);
	forgetful[0] = make(BPF_MAP_TYPE_LRU_HASH, 4, 8, FULL, 0, "common");
	forgetful[1] = make(BPF_MAP_TYPE_LRU_HASH, 4, 8, FULL, BPF_F_NO_COMMON_LRU, "shares");
	/* each time what was driven out of the first one comes again */
	move_to(&all, 0);
	for (int pass = 0; pass < 3; pass++)
		for (uint32_t key = 0; key < FULL; key++)
			if (element(BPF_MAP_LOOKUP_ELEM, forgetful[0], &key, &value) < 0)
				put(forgetful[0], key);
	/* and the places of the other belong to processors */
	share = info_of(forgetful[1]).max_entries / (uint32_t)sysconf(_SC_NPROCESSORS_CONF);
	for (int cpu = 0; cpu < CPU_COUNT(&all); cpu++) {
		move_to(&all, cpu);
		for (uint32_t i = 0; i < share; i++)
			put(forgetful[1], full_nr[1]++);
	}
	need(sched_setaffinity(0, sizeof(all), &all) == 0);
	full_nr[0] = FULL;
	need(count(forgetful[0], 4) == FULL && count(forgetful[1], 4) == full_nr[1]);
}

static void check_full(void)
{
	for (int m = 0; m < 2; m++) {
		uint32_t lost = 0;

		for (uint32_t key = 0; key < full_nr[m]; key++) {
			uint64_t value = 0;

			lost += element(BPF_MAP_LOOKUP_ELEM, forgetful[m], &key, &value) < 0 || value != key * 3ul;
		}
		expect(!lost, "table %d has lost %u of %u elements", m, lost, full_nr[m]);
	}
}

/* --- a value for each processor */

static int per_cpu[2];
static size_t room;

static void set_up_per_cpu(void)
{
	char *values;

	room = 16 * (size_t)sysconf(_SC_NPROCESSORS_CONF);
	need((values = malloc(room)) != NULL);
	per_cpu[0] = make(BPF_MAP_TYPE_PERCPU_ARRAY, 4, 12, 20, 0, "each");
	per_cpu[1] = make(BPF_MAP_TYPE_PERCPU_HASH, 4, 12, 20, 0, "each");
	for (int m = 0; m < 2; m++)
		for (uint32_t i = 0; i < 20; i++) {
			pattern_fill(values, room, i);
			need(element(BPF_MAP_UPDATE_ELEM, per_cpu[m], &i, values) == 0);
		}
	free(values);
}

static void check_per_cpu(void)
{
	char *values = malloc(room), *want = malloc(room);

	for (int m = 0; m < 2; m++)
		for (uint32_t i = 0; i < 20; i++) {
			memset(values, 0, room);
			pattern_fill(want, room, i);
			expect(element(BPF_MAP_LOOKUP_ELEM, per_cpu[m], &i, values) == 0, "element %u", i);
			/* 12 of 16 bytes are the value */
			for (size_t at = 0; at < room; at += 16)
				expect(memcmp(values + at, want + at, 12) == 0, "map %d, element %u, byte %zu", m, i,
				       at);
		}
	free(values);
	free(want);
}

/* --- frozen */

static int frozen;

static void set_up_frozen(void)
{
	union bpf_attr attr;
	uint32_t key = 1;
	uint64_t value = 99;

	frozen = make(BPF_MAP_TYPE_ARRAY, 4, 8, 4, BPF_F_RDONLY_PROG, "constants");
	need(element(BPF_MAP_UPDATE_ELEM, frozen, &key, &value) == 0);
	memset(&attr, 0, sizeof(attr));
	attr.map_fd = (uint32_t)frozen;
	need(bpf(BPF_MAP_FREEZE, &attr) == 0);
}

static void check_frozen(void)
{
	uint32_t key = 1;
	uint64_t value = 0;

	expect(element(BPF_MAP_LOOKUP_ELEM, frozen, &key, &value) == 0 && value == 99, "value %llu",
	       (unsigned long long)value);
	expect(element(BPF_MAP_UPDATE_ELEM, frozen, &key, &value) < 0 && errno == EPERM, "it can be written to");
	expect(info_of(frozen).map_flags == BPF_F_RDONLY_PROG, "flags %x", info_of(frozen).map_flags);
}

/* --- what cannot be kept */

static void set_up_ring(void)
{
	make(BPF_MAP_TYPE_RINGBUF, 0, 0, 4096, 0, "ring");
}

static void set_up_used(void)
{
	int fd = make(BPF_MAP_TYPE_ARRAY, 4, 8, 4, 0, "counts");
	/* r1 = the map; r0 = 0; end */
	const struct bpf_insn code[] = {
		{ .code = BPF_LD | BPF_DW | BPF_IMM, .dst_reg = 1, .src_reg = BPF_PSEUDO_MAP_FD, .imm = fd },
		{ 0 },
		{ .code = BPF_ALU64 | BPF_MOV | BPF_K, .dst_reg = 0 },
		{ .code = BPF_JMP | BPF_EXIT },
	};
	union bpf_attr attr;

	memset(&attr, 0, sizeof(attr));
	attr.prog_type = BPF_PROG_TYPE_SOCKET_FILTER;
	attr.insns = (uintptr_t)code;
	attr.insn_cnt = sizeof(code) / sizeof(code[0]);
	attr.license = (uintptr_t) "GPL";
	if (bpf(BPF_PROG_LOAD, &attr) < 0)
		victim_skip("BPF_PROG_LOAD: %s", strerror(errno));
}

const struct victim_case victim_cases[] = {
	{ "array", set_up_array, check_array, .flags = CASE_MORE | CASE_ALTERS },
	{ "write-only", set_up_write_only, check_write_only, .flags = CASE_ALTERS },
	{ "tables", set_up_tables, check_tables, .flags = CASE_MORE | CASE_ALTERS },
	{ "full", set_up_full, check_full, .flags = CASE_ALTERS },
	{ "per-cpu", set_up_per_cpu, check_per_cpu, .flags = CASE_ALTERS },
	{ "frozen", set_up_frozen, check_frozen, .flags = CASE_ALTERS },
	{ "ring", set_up_ring, NULL, .refuse = "BPF map|ring|type 27" },
	{ "used", set_up_used, NULL, .refuse = "BPF map|counts|that program|BPF program" },
	{ NULL },
};
