/* Bringing memory in behind a tree that runs; see lazy-pager.h. */
#include "mm/lazy-pager.h"

#include "base/io.h"
#include "base/own.h"
#include "kernel/uapi.h"
#include "mm/lazy-fetch.h"
#include "mm/lazy-io.h"
#include "mm/lazy-remote.h"
#include "mm/lazy-wire.h"
#include "mm/mm-internal.h"
#include "procfs/proc-dir.h"
#include "procfs/status.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#define AROUND   ((uint64_t)64 << 10) /* brought in with a page that was asked for */
#define MESSAGES 32
#define PAUSE_MS 10   /* when memory is short */
#define PAUSES   6000 /* that often in a row: then it will not get better */

static void pause_a_little(void)
{
	const struct timespec t = { 0, PAUSE_MS * 1000000L };

	nanosleep(&t, NULL);
}

static int fetch(struct lazy_pager *p, const struct lazy_run *run, struct cr_error *err)
{
	uint64_t len = run->end - run->start;
	const struct page_file *file = &p->files.items[run->file];
	ssize_t n = page_file_read(file, p->buffer, len, run->off);

	if (n < 0 || (uint64_t)n != len)
		return cr_fail(err, n < 0 ? (int)n : -EIO, "read pages at %" PRIx64 " of the images", run->start);
	return page_file_check(file, run->off, p->buffer, len, err);
}

/*
 * Nothing tells of guard pages that a task puts where something is missing, and they would give way (Linux 6.13;
 * mfill_atomic_install_pte() in mm/userfaultfd.c takes any marker for empty). So they are looked for just before.
 * Return: 0; 1 there are some, and what was to come there is forgotten; -ENOMEM
 */
static int spare_guards(struct lazy_space *s, const struct lazy_run *run)
{
	struct mm_range guard;
	int found = 0;

	for (uint64_t at = run->start; s->pagemap >= 0 && lazy_find_guard(s->pagemap, at, run->end, &guard);
	     at = guard.end) {
		if (guard.end <= at || lazy_runs_cut(&s->todo, guard.start, guard.end) < 0)
			return -ENOMEM;
		found = 1;
	}
	return found;
}

int lazy_place(struct lazy_pager *p, struct lazy_space *s, const struct lazy_run *run, const char *bytes,
	       struct cr_error *err)
{
	uint64_t at = run->start, done;
	int r = 0, guards = spare_guards(s, run);

	if (guards)
		return guards < 0 ? cr_fail(err, guards, "keep books") : LAZY_AGAIN;
	for (int tries = 0; r == 0 && at < run->end;) {
		r = lazy_put(s->uffd, at, bytes + (at - run->start), run->end - at, &done);
		at += done;
		p->nr_bytes += done;
		tries = done ? 0 : tries + 1;
		if (r == -ENOMEM && tries < PAUSES) {
			pause_a_little();
			r = 0;
		}
	}
	s->over |= r == LAZY_OVER;
	if (r < 0)
		return cr_within(err, cr_fail(err, r, "put pages at %" PRIx64, at), "pid %d", s->pid);
	return lazy_runs_cut(&s->todo, run->start, at) < 0 ? cr_fail(err, -ENOMEM, "keep books") : r;
}

int lazy_bring(struct lazy_pager *p, struct lazy_space *s, const struct lazy_run *run, struct cr_error *err)
{
	int r = fetch(p, run, err);

	return r < 0 ? cr_within(err, r, "pid %d", s->pid) : lazy_place(p, s, run, p->buffer, err);
}

/*
 * A child is born into the process group of its parent, and its number is not known before it misses something: so the group
 * is tied as well, if it is in a session that belongs to the tree, where nobody else can be.
 */
static int attach_group(struct lazy_pager *p, pid_t pid)
{
	pid_t pgid = getpgid(pid), sid = getsid(pid);
	struct lazy_group *g;

	if (pgid <= 0 || sid <= 0 || sid == p->outside)
		return 0;
	for (size_t i = 0; i < p->groups.nr; i++)
		if (p->groups.items[i].pgid == pgid)
			return 0;
	g = lazy_groups_add(&p->groups);
	if (!g)
		return -ENOMEM;
	g->pgid = pgid;
	return lazy_tie_group(&p->bond, pgid, &g->tie);
}

/* What is to be known of a process beside its userfaultfd. Return: 0, negative errno */
static int attach(struct lazy_pager *p, struct lazy_space *s, pid_t pid)
{
	char path[32];
	int r = lazy_tie(&p->bond, pid, &s->tie);

	if (r == 0)
		r = attach_group(p, pid);
	if (r < 0) {
		lazy_untie(&s->tie);
		return r;
	}
	s->pid = pid;
	snprintf(path, sizeof(path), "/proc/%d/pagemap", pid);
	s->pagemap = open(path, O_RDONLY | O_CLOEXEC);
	if (s->pagemap >= 0 && lazy_bond_raise(&p->bond, s->pagemap) < 0) {
		close(s->pagemap);
		s->pagemap = -1;
	}
	return 0;
}

/* ------------------------------------------------ messages */

/*
 * The first page that a child misses tells its number: the thread waits, so it is there. Its number is that of its own pid
 * namespace, which need not be ours; a process that is no child of the one which forked is not taken for it.
 */
static void get_to_know(struct lazy_pager *p, struct lazy_space *s, pid_t tid)
{
	autofree_by(proc_dir_close) struct proc_dir dir = { .fd = -1 };
	struct proc_status st;

	if (proc_dir_open(AT_FDCWD, tid, &dir, NULL) < 0 || proc_status_read(&dir, &st, NULL) < 0 ||
	    st.ppid != s->parent)
		return;
	attach(p, s, st.tgid);
}

static int serve_fault(struct lazy_pager *p, size_t i, const struct uffd_msg *msg, struct cr_error *err)
{
	struct lazy_space *s = &p->spaces.items[i];
	uint64_t page = msg->arg.pagefault.address & ~(MM_PAGE - 1);
	struct lazy_run run;
	int r;

	if (s->over)
		return 0;
	if (!s->pid)
		get_to_know(p, s, (pid_t)msg->arg.pagefault.feat.ptid);
	if (lazy_runs_around(&s->todo, page, AROUND, &run)) {
		p->nr_asked++;
		r = lazy_at_source(&run) ? lazy_fetch_ask(p, s, &run, true, err) : lazy_bring(p, s, &run, err);
	} else {
		for (int tries = 0; (r = lazy_zero(s->uffd, page)) == -ENOMEM && tries < PAUSES; tries++)
			pause_a_little();
		if (r < 0)
			cr_fail(err, r, "pid %d: clear a page at %" PRIx64, s->pid, page);
	}
	/* it asks again, and the message that stood in the way is read before that */
	if (r == LAZY_AGAIN)
		lazy_wake(s->uffd, page, MM_PAGE);
	s->over |= r == LAZY_OVER;
	return r < 0 ? r : 0;
}

/* The child has what its parent has, and misses what that misses: nothing is put in between fork and this message. */
static int follow_fork(struct lazy_pager *p, size_t i, int uffd)
{
	struct lazy_space *child = lazy_spaces_add(&p->spaces), *parent = &p->spaces.items[i];

	if (!child)
		return -ENOMEM;
	*child = (struct lazy_space){ .uffd = uffd, .parent = parent->pid, .tie = LAZY_TIE_NONE, .pagemap = -1 };
	return lazy_runs_copy(&child->todo, &parent->todo) < 0 ? -ENOMEM : lazy_bond_raise(&p->bond, uffd);
}

static int follow(struct lazy_pager *p, size_t i, const struct uffd_msg *msg, struct cr_error *err)
{
	struct lazy_runs *todo = &p->spaces.items[i].todo, *fresh = &p->spaces.items[i].fresh;
	int r = 0;

	switch (msg->event) {
	case UFFD_EVENT_FORK:
		r = follow_fork(p, i, (int)msg->arg.fork.ufd);
		break;
	case UFFD_EVENT_REMAP:
		r = lazy_runs_move(todo, msg->arg.remap.from, msg->arg.remap.to, msg->arg.remap.len);
		if (r == 0)
			r = lazy_runs_move(fresh, msg->arg.remap.from, msg->arg.remap.to, msg->arg.remap.len);
		break;
	case UFFD_EVENT_REMOVE:
	case UFFD_EVENT_UNMAP:
		r = lazy_runs_cut(todo, msg->arg.remove.start, msg->arg.remove.end);
		if (r == 0)
			r = lazy_runs_cut(fresh, msg->arg.remove.start, msg->arg.remove.end);
		break;
	default:
		break;
	}
	return r < 0 ? cr_fail(err, r, "follow a change of pid %d's memory", p->spaces.items[i].pid) : 0;
}

/* Changes first: faults are answered by what is so now, and cannot be while a change is to be told. */
static int serve(struct lazy_pager *p, size_t i, struct cr_error *err)
{
	struct uffd_msg msg[MESSAGES];
	int n = lazy_read(p->spaces.items[i].uffd, msg, MESSAGES), r = 0;

	if (n < 0)
		return cr_fail(err, n, "read messages of pid %d's memory", p->spaces.items[i].pid);
	for (int k = 0; r == 0 && k < n; k++)
		if (msg[k].event != UFFD_EVENT_PAGEFAULT)
			r = follow(p, i, &msg[k], err);
	for (int k = 0; r == 0 && k < n; k++)
		if (msg[k].event == UFFD_EVENT_PAGEFAULT)
			r = serve_fault(p, i, &msg[k], err);
	return r;
}

/* ------------------------------------------------ the loop */

static int fill_some(struct lazy_pager *p, struct cr_error *err)
{
	struct lazy_space *s = &p->spaces.items[p->turn++ % p->spaces.nr];
	struct lazy_run run;
	int r;

	if (p->remote)
		return lazy_fetch_some(p, s, err);
	r = !s->over && lazy_runs_last(&s->todo, LAZY_PIECE, &run) ? lazy_bring(p, s, &run, err) : 0;
	return r < 0 ? r : 0;
}

static void space_done(struct lazy_space *s)
{
	/* whoever waits is woken, and finds what he has waited for; what he does from here on is told to nobody */
	close(s->uffd);
	if (s->pagemap >= 0)
		close(s->pagemap);
	lazy_untie(&s->tie);
	lazy_runs_done(&s->todo);
	lazy_runs_done(&s->fresh);
}

static void drop_complete(struct lazy_pager *p)
{
	for (size_t i = p->spaces.nr; i-- > 0;) {
		if (p->spaces.items[i].todo.nr && !p->spaces.items[i].over)
			continue;
		space_done(&p->spaces.items[i]);
		p->spaces.items[i] = p->spaces.items[--p->spaces.nr];
	}
}

static void renew_guard(struct lazy_pager *p)
{
	int r;

	lazy_guard_end(&p->guard);
	r = lazy_guard_start(&p->bond, &p->guard);
	if (r < 0)
		log_warn(&p->log, "the guard of the pager was killed and there is no other (%s), continuing without",
			 strerror(-r));
}

/* Behind the one for memory of each space there are these. */
enum { POLL_GUARD, POLL_GO, POLL_SOURCE, POLLS_OTHER };

/* Return: how many of @polls are in use. */
static size_t list_polls(const struct lazy_pager *p, struct pollfd *polls)
{
	polls[POLL_GUARD] = (struct pollfd){ .fd = p->guard.pidfd, .events = POLLIN };
	polls[POLL_GO] = (struct pollfd){ .fd = p->go, .events = p->hears_start ? POLLIN : 0 };
	polls[POLL_SOURCE] = (struct pollfd){ .fd = p->remote ? lazy_remote_fd(p->remote) : -1, .events = POLLIN };
	for (size_t i = 0; i < p->spaces.nr; i++)
		polls[POLLS_OTHER + i] = (struct pollfd){ .fd = p->spaces.items[i].uffd, .events = POLLIN };
	return POLLS_OTHER + p->spaces.nr;
}

/*
 * A restore that hangs up before its tasks run has failed, and ends them. That must not look like a tree that has ended by
 * itself, to those who still have its memory.
 */
static int hear_go(struct lazy_pager *p, struct cr_error *err)
{
	int r = p->hears_start ? lazy_wire_hear_word(p->go, err) : LAZY_RUNS;

	if (r < 0)
		return r;
	if (r == LAZY_STARTS && !p->started) {
		r = p->remote ? lazy_fetch_start(p, err) : 0;
		lazy_wire_answer(p->go, r, err);
		p->started = r == 0;
		return r;
	}
	if (r != LAZY_RUNS || (p->hears_start && !p->started))
		return cr_refuse(err, -ECANCELED, "the restore has failed");
	close(p->go);
	p->go = -1;
	return 0;
}

static int await(struct lazy_pager *p, struct pollfd *polls, size_t nr, struct cr_error *err)
{
	bool fills = p->go < 0 && !(p->remote && lazy_fetch_waits(p));
	int left = p->remote ? lazy_fetch_left_ms(p) : -1, r;

	r = poll(polls, nr, fills ? 0 : left);
	if (r < 0 && errno != EINTR)
		return cr_fail(err, -errno, "wait for messages");
	if (r == 0 && left == 0)
		return cr_refuse(err, -ETIMEDOUT, "the source of memory says nothing any more");
	return 0;
}

static int turn(struct lazy_pager *p, struct pollfd *polls, struct cr_error *err)
{
	size_t nr = list_polls(p, polls);
	int r = await(p, polls, nr, err);

	if (r < 0)
		return r;
	if (polls[POLL_GUARD].revents)
		renew_guard(p);
	for (size_t i = 0; r == 0 && POLLS_OTHER + i < nr; i++)
		if (polls[POLLS_OTHER + i].revents)
			r = serve(p, i, err);
	if (r == 0 && polls[POLL_SOURCE].revents)
		r = lazy_fetch_hear(p, err);
	if (r == 0 && polls[POLL_GO].revents)
		r = hear_go(p, err);
	return r == 0 && p->go < 0 && p->spaces.nr ? fill_some(p, err) : r;
}

/* Is there anything to bring, or a restore that has yet to say whether it comes to that? */
static bool goes_on(const struct lazy_pager *p)
{
	return p->spaces.nr || (p->hears_start && p->go >= 0);
}

static void pager_done(struct lazy_pager *p)
{
	for (size_t i = 0; i < p->groups.nr; i++)
		lazy_untie(&p->groups.items[i].tie);
	lazy_groups_done(&p->groups);
	lazy_guard_end(&p->guard);
	lazy_bond_done(&p->bond);
	if (p->remote)
		lazy_fetch_end(p);
	lazy_spaces_done(&p->spaces);
	page_files_close(&p->files);
	munmap(p->buffer, LAZY_PIECE);
	if (p->go >= 0)
		close(p->go);
	p->go = -1;
}

int lazy_pager_run(struct lazy_pager *p, struct cr_error *err)
{
	struct pollfd *polls = NULL;
	size_t room = 0;
	int r = 0;

	for (drop_complete(p); r == 0 && goes_on(p); drop_complete(p)) {
		if (room < p->spaces.nr + POLLS_OTHER) {
			struct pollfd *more = realloc(polls, 2 * (p->spaces.nr + POLLS_OTHER) * sizeof(*polls));

			if (!more) {
				r = cr_fail(err, -ENOMEM, "wait for messages");
				break;
			}
			polls = more;
			room = 2 * (p->spaces.nr + POLLS_OTHER);
		}
		r = turn(p, polls, err);
		if (r < 0)
			break;
	}
	free(polls);
	if (r < 0)
		return r;
	pager_done(p);
	log_info(&p->log, "lazy restore is complete: %" PRIu64 " KiB, %" PRIu64 " times on demand", p->nr_bytes >> 10,
		 p->nr_asked);
	return 0;
}

static int bring_first(struct lazy_pager *p, struct lazy_space *s, const struct lazy_run *want, struct cr_error *err)
{
	struct lazy_run run;
	int r = 0;

	for (uint64_t at = want->start; r >= 0 && at < want->end; at = run.end) {
		if (!lazy_runs_around(&s->todo, at, LAZY_PIECE, &run))
			break;
		lazy_run_clip(&run, at, want->end);
		r = lazy_at_source(&run) ? lazy_fetch_ask(p, s, &run, false, err) : lazy_bring(p, s, &run, err);
	}
	return r;
}

/*
 * A mapping that has a page has what the kernel keeps of one (its anon_vma), and shares that with what is cut off it. Pieces
 * that come to their first page apart from each other would have one each, and never join again; mremap() of both as one would fail.
 */
static int bring_firsts(struct lazy_pager *p, struct cr_error *err)
{
	int r = 0;

	for (size_t i = 0; i < p->spaces.nr; i++) {
		struct lazy_space *s = &p->spaces.items[i];

		for (size_t k = 0; r >= 0 && !s->over && k < s->firsts.nr; k++)
			r = bring_first(p, s, &s->firsts.items[k], err);
		lazy_runs_done(&s->firsts);
	}
	if (r >= 0 && p->remote)
		r = lazy_fetch_all(p, err);
	return r < 0 ? r : 0;
}

void lazy_pager_stay(void)
{
	static const int ends[] = { SIGHUP, SIGINT, SIGTERM, SIGPIPE };
	struct sigaction ignore = { .sa_handler = SIG_IGN };

	for (size_t i = 0; i < ARRAY_LEN(ends); i++)
		sigaction(ends[i], &ignore, NULL);
}

int lazy_pager_init(struct lazy_pager *p, struct cr_error *err)
{
	int r;

	p->guard = (struct lazy_guard)LAZY_GUARD_NONE;
	p->buffer = mmap(NULL, LAZY_PIECE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p->buffer == MAP_FAILED)
		return cr_fail(err, -errno, "memory for pages");
	r = lazy_bond_init(&p->bond);
	return r < 0 ? cr_fail(err, r, "prepare to tie tasks to the pager") : 0;
}

int lazy_pager_tie(struct lazy_pager *p, struct cr_error *err)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < p->spaces.nr; i++) {
		r = lazy_bond_raise(&p->bond, p->spaces.items[i].uffd);
		if (r == 0)
			r = attach(p, &p->spaces.items[i], p->spaces.items[i].pid);
	}
	if (r == 0)
		r = lazy_guard_start(&p->bond, &p->guard);
	return r < 0 ? cr_fail(err, r, "tie tasks to the pager") : bring_firsts(p, err);
}
