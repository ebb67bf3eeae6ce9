#include "files/bpf-lru.h"

#include "files/bpf-map.h"

bool bpf_is_lru(const img_bpfmap_file_entry *e)
{
	return e->map_type == BPF_MAP_TYPE_LRU_HASH || e->map_type == BPF_MAP_TYPE_LRU_PERCPU_HASH;
}

/*
 * BPF_F_NO_COMMON_LRU: all places are shared out to begin with, whether a processor is there or not. Else processors fetch some
 * at a time from a common list; kernel/bpf/bpf_lru_list.c.
 */
struct lru_place lru_place_begin(const img_bpfmap_file_entry *e)
{
	struct lru_place p = { .index = -1 };
	size_t cpus = bpf_possible_cpus();

	p.moves = bpf_is_lru(e) && sched_getaffinity(0, sizeof(p.was), &p.was) == 0;
	if (e->map_flags & BPF_F_NO_COMMON_LRU && cpus)
		p.share = (uint32_t)(e->max_entries / cpus);
	return p;
}

void lru_place_for(struct lru_place *p, uint32_t i)
{
	int want = p->share ? (int)(i / p->share) : 0, at = -1;
	cpu_set_t one;

	if (!p->moves || want == p->index)
		return;
	p->index = want;
	for (int cpu = 0; cpu < CPU_SETSIZE && at < want; cpu++)
		if (CPU_ISSET(cpu, &p->was) && ++at == want) {
			CPU_ZERO(&one);
			CPU_SET(cpu, &one);
			sched_setaffinity(0, sizeof(one), &one);
		}
}

void lru_place_end(struct lru_place *p)
{
	if (p->moves && p->index >= 0)
		sched_setaffinity(0, sizeof(p->was), &p->was);
}
