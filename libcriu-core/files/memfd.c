/*
 * Memory files: memfd_create(2), and shared anonymous memory, which images treat as a memfd of the name /dev/zero. The
 * inode is in memfd.img, each open file description of it in files.img, the content is moved by mm/.
 */
#include "files/dump-internal.h"
#include "files/restore-internal.h"

#include "base/own.h"
#include "files/xattr.h"
#include "image/image-set.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <linux/memfd.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U /* 6.3 */
#endif
#ifndef MFD_NOEXEC_SEAL
#define MFD_NOEXEC_SEAL 0x0008U /* 6.3 */
#endif
#ifndef F_SEAL_EXEC
#define F_SEAL_EXEC 0x0020
#endif
#define MEMFD_PREFIX "/memfd:"
#define DELETED      " (deleted)"
#define SHARED_NAME  "/dev/zero"
#define SEALS_ALL    0x3fu /* F_SEAL_SEAL ... F_SEAL_EXEC */

struct memfd_inode {
	img_memfd_inode_entry entry;
	int fd; /* O_RDONLY */
};

/* -------------------------------------------------------------------- dump */

bool file_is_memfd(const struct file_facts *facts)
{
	return S_ISREG(facts->st.st_mode) && facts->st.st_nlink == 0 &&
	       (facts->fs_type == TMPFS_MAGIC || facts->fs_type == HUGETLBFS_MAGIC) &&
	       strncmp(facts->link, MEMFD_PREFIX, strlen(MEMFD_PREFIX)) == 0;
}

static bool memfd_claims(const struct file_facts *facts)
{
	return file_is_memfd(facts);
}

static char *memfd_name(struct file_table *t, const char *link)
{
	size_t len = strlen(link), tail = strlen(DELETED);

	if (len > tail && strcmp(link + len - tail, DELETED) == 0)
		len -= tail;
	if (strncmp(link, MEMFD_PREFIX, strlen(MEMFD_PREFIX)) == 0) {
		link += strlen(MEMFD_PREFIX);
		len -= strlen(MEMFD_PREFIX);
	}
	return pool_text(&t->pool, link, len);
}

/* Ids of System V segments, which name images of the same kind, are positive: these numbers are never one of those. */
#define NOT_SYSV UINT32_C(0x80000000)

/* Inode numbers of different file systems (of huge pages, for each size) may be equal. */
static uint32_t free_shmid(const struct file_table *t, uint64_t ino)
{
	uint32_t id = (uint32_t)ino | NOT_SYSV;

	for (size_t i = 0; i < t->memfds.nr; i++)
		if (t->memfds.items[i]->entry.shmid == id) {
			id = (id + 1) | NOT_SYSV;
			i = (size_t)-1;
		}
	return id;
}

static uint64_t in_ns(struct timespec ts)
{
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/* Shared anonymous memory has neither that anybody could see. */
static int inode_ext(struct file_table *t, const struct open_file *f, struct memfd_inode *m, struct cr_error *err)
{
	img_memfd_inode_ext *ext;

	if (!file_is_memfd(&f->facts))
		return 0;
	ext = m->entry.ext = pool_new(&t->pool, img_memfd_inode_ext);
	if (!ext)
		return pool_failed(err);
	ext->has_atim = ext->has_mtim = true;
	ext->atim = in_ns(f->facts.st.st_atim);
	ext->mtim = in_ns(f->facts.st.st_mtim);
	return xattrs_read(&t->pool, m->fd, &ext->xattrs, err);
}

static int inode_fill(struct file_table *t, const struct open_file *f, struct memfd_inode *m, struct cr_error *err)
{
	img_memfd_inode_entry *e = &m->entry;
	const struct stat *st = &f->facts.st;
	char path[40];
	int seals;

	snprintf(path, sizeof(path), "/proc/self/fd/%d", f->fd);
	/* reading is not to be seen */
	m->fd = open(path, O_RDONLY | O_CLOEXEC | O_NOATIME);
	if (m->fd < 0 && errno == EPERM)
		m->fd = open(path, O_RDONLY | O_CLOEXEC);
	if (m->fd < 0)
		return cr_fail(err, -errno, "open memory file");
	seals = fcntl(m->fd, F_GET_SEALS);
	/* shared anonymous memory may be of a kind that knows no seals */
	if (seals < 0 && errno != EINVAL)
		return cr_fail(err, -errno, "seals");
	e->seals = seals < 0 ? F_SEAL_SEAL : (uint32_t)seals;
	e->uid = st->st_uid;
	e->gid = st->st_gid;
	e->size = (uint64_t)st->st_size;
	e->has_mode = true;
	e->mode = st->st_mode;
	if (f->facts.fs_type == HUGETLBFS_MAGIC) {
		e->has_hugetlb_flag = true;
		e->hugetlb_flag = MFD_HUGETLB | (uint32_t)__builtin_ctzl((unsigned long)st->st_blksize)
							<< MFD_HUGE_SHIFT;
	}
	e->name = memfd_name(t, f->facts.link);
	return e->name ? inode_ext(t, f, m, err) : pool_failed(err);
}

static int inode_note(struct file_table *t, const struct open_file *f, struct memfd_inode **ret, struct cr_error *err)
{
	uint64_t key = map_mix(map_mix(0, f->facts.st.st_dev), f->facts.st.st_ino);
	struct memfd_inode *m = map_find(&t->memfd_by_ino, key), **at;
	uint32_t shmid;
	int r;

	*ret = m;
	if (m)
		return 0;
	shmid = free_shmid(t, f->facts.st.st_ino);
	m = pool_new(&t->pool, struct memfd_inode);
	if (!m)
		return pool_failed(err);
	m->fd = -1;
	at = memfd_inode_vec_add(&t->memfds);
	if (!at)
		return pool_failed(err);
	*at = m;
	m->entry.inode_id = t->memfds.nr;
	m->entry.shmid = shmid;
	r = inode_fill(t, f, m, err);
	if (r < 0)
		return r;
	*ret = m;
	return map_put(&t->memfd_by_ino, key, m) < 0 ? pool_failed(err) : 0;
}

static int memfd_describe(struct file_table *t, struct open_file *f, struct memfd_inode **ret, struct cr_error *err)
{
	img_memfd_file_entry *e = pool_new(&t->pool, img_memfd_file_entry);
	int r;

	if (!e)
		return pool_failed(err);
	r = owned_begin(t, f, img_fd_types_MEMFD, OWNED_ENTRY(e), err);
	if (r != 0)
		return r;
	e->pos = (uint64_t)f->facts.pos;
	r = inode_note(t, f, ret, err);
	if (r < 0)
		return r;
	e->inode_id = (uint32_t)(*ret)->entry.inode_id;
	f->entry->memfd = e;
	return 0;
}

static int memfd_dump(struct file_table *t, struct open_file *f, struct cr_error *err)
{
	struct memfd_inode *m;

	return memfd_describe(t, f, &m, err);
}

int memfd_sink_add(void *arg, struct task *task, int fd, uint32_t flags, uint32_t *ret_id, uint32_t *ret_shmid,
		   struct cr_error *err)
{
	struct file_table *t = arg;
	struct file_facts facts;
	struct memfd_inode *m;
	struct open_file *f;
	uint32_t mnt_id;
	uint64_t key;
	int r = facts_read(t, fd, &facts, &mnt_id, err);

	if (r == 0)
		r = facts_read_link(t, fd, err);
	if (r < 0)
		return cr_within(err, r, "mapped memory file");
	/* "memfd" in the key: the same object may come through the other door as a plain file */
	key = map_mix(map_mix(map_mix(map_mix_text(0, "memfd"), facts.st.st_dev), facts.st.st_ino), flags);
	f = map_find(&t->by_path, key);
	if (!f) {
		f = file_new(t, task, -1, err);
		if (!f)
			return -ENOMEM;
		f->facts = facts;
		f->facts.flags = flags;
		f->facts.pos = 0;
		f->facts.fown = (img_fown_entry){ 0 };
		f->facts.link = pool_text(&t->pool, t->text, strlen(t->text));
		if (!f->facts.link || map_put(&t->by_path, key, f) < 0)
			return pool_failed(err);
		f->where = "mapping";
		f->fd = fd;
		r = memfd_describe(t, f, &m, err);
		f->fd = -1;
		if (r != 0)
			return r;
	}
	r = inode_note(t, f, &m, err);
	if (r < 0)
		return r;
	*ret_id = f->id;
	*ret_shmid = m->entry.shmid;
	return 0;
}

size_t files_nr_memfds(const struct file_table *t)
{
	return t->memfds.nr;
}

struct files_memfd files_memfd(const struct file_table *t, size_t i)
{
	const struct memfd_inode *m = t->memfds.items[i];

	return (struct files_memfd){
		.shmid = m->entry.shmid, .size = m->entry.size, .fd = m->fd, .hugetlb = m->entry.has_hugetlb_flag
	};
}

int memfds_write(struct file_table *t, struct image_set *set, struct cr_error *err)
{
	autofree_by(image_writer_drop) struct image_writer *w = NULL;
	int r = image_writer_open(set, IMG_MEMFD, 0, &w, err);

	for (size_t i = 0; i < t->memfds.nr && r == 0; i++)
		r = image_write(w, &t->memfds.items[i]->entry, err);
	return r < 0 ? r : image_writer_close(take_ptr(&w), false, err);
}

void memfds_done(struct file_table *t)
{
	for (size_t i = 0; i < t->memfds.nr; i++)
		if (t->memfds.items[i]->fd >= 0)
			close(t->memfds.items[i]->fd);
}

/* ----------------------------------------------------------------- restore */

struct restored_memfd {
	img_memfd_inode_entry *entry;
	int fd; /* O_RDWR, -1 not made */
};

static int inode_check(const img_memfd_inode_entry *e, struct cr_error *err)
{
	if (e->size > INT64_MAX)
		return cr_refuse(err, -EBADMSG, "memory file of %llu bytes", (unsigned long long)e->size);
	if (e->seals & ~SEALS_ALL)
		return cr_refuse(err, -ENOTSUP, "seals 0x%x of a memory file", e->seals);
	if (strlen(e->name) > 249) /* NAME_MAX without "memfd:" */
		return cr_refuse(err, -EBADMSG, "memory file with a name of %zu bytes", strlen(e->name));
	if (e->has_hugetlb_flag && e->hugetlb_flag & ~(MFD_HUGETLB | (uint32_t)MFD_HUGE_MASK << MFD_HUGE_SHIFT))
		return cr_refuse(err, -EBADMSG, "huge page flags 0x%x of a memory file", e->hugetlb_flag);
	if (e->has_mode && (e->mode & S_IFMT) != S_IFREG)
		return cr_refuse(err, -EBADMSG, "memory file of mode 0%o", e->mode);
	return e->ext ? xattrs_check(&e->ext->xattrs, err) : 0;
}

/* Takes @e over. */
static int inode_add(struct files *fs, img_memfd_inode_entry *e, struct cr_error *err)
{
	struct restored_memfd *m = pool_new(&fs->pool, struct restored_memfd);
	struct restored_memfd **at = m ? restored_memfd_vec_add(&fs->memfds) : NULL;
	int r;

	if (!at) {
		img_entry_free(e);
		return files_no_memory(err);
	}
	*at = m;
	m->entry = e;
	m->fd = -1;
	r = inode_check(e, err);
	if (r < 0)
		return r;
	if (map_find(&fs->memfd_by_id, e->inode_id + 1))
		return cr_refuse(err, -EBADMSG, "memory file %llu is there twice", (unsigned long long)e->inode_id);
	return map_put(&fs->memfd_by_id, e->inode_id + 1, m) < 0 ? files_no_memory(err) : 0;
}

int memfds_read(struct files *fs, struct cr_error *err)
{
	autofree_by(image_reader_close) struct image_reader *rd = NULL;
	void *entry;
	int r = image_reader_open(fs->set, IMG_MEMFD, 0, &rd, err);

	while (rd && r >= 0 && (r = image_read(rd, &entry, err)) == 1)
		r = inode_add(fs, entry, err);
	for (size_t i = 0; i < fs->files.nr && r >= 0; i++) {
		const img_file_entry *e = fs->files.items[i]->entry;

		if (e->type == img_fd_types_MEMFD && !map_find(&fs->memfd_by_id, (uint64_t)e->memfd->inode_id + 1))
			r = cr_refuse(err, -EBADMSG, "memory file %u of file %u is not there", e->memfd->inode_id,
				      e->id);
	}
	return r < 0 ? cr_within(err, r, "memfd.img") : 0;
}

void files_set_shared_memory(struct files *fs, struct files_shared_memory how)
{
	fs->shared_memory = how;
}

/* Shared anonymous memory; a memory file can have that name, too, but has times (inode_ext()). */
static bool is_shared_memory(const img_memfd_inode_entry *e)
{
	return strcmp(e->name, SHARED_NAME) == 0 && !(e->ext && e->ext->has_mtim);
}

/*
 * With vm.memfd_noexec=2 (of the pid namespace) there are only files that never can be executed, MFD_NOEXEC_SEAL: F_SEAL_EXEC is
 * set, and more seals can be added. That is what such a file was; of shared memory no descriptor has been seen.
 */
static int memfd_create_like(const img_memfd_inode_entry *e, struct cr_error *err)
{
	bool plain = e->seals & F_SEAL_EXEC && e->has_mode && !(e->mode & 0111);
	unsigned int flags = MFD_CLOEXEC | (e->seals == F_SEAL_SEAL ? 0 : MFD_ALLOW_SEALING);
	int fd;

	if (e->has_hugetlb_flag)
		flags |= e->hugetlb_flag;
	fd = memfd_create(e->name, flags | MFD_EXEC);
	if (fd < 0 && errno == EINVAL)
		fd = memfd_create(e->name, flags);
	if (fd < 0 && errno == EACCES && (plain || is_shared_memory(e)))
		fd = memfd_create(e->name, flags | MFD_NOEXEC_SEAL);
	if (fd >= 0)
		return fd;
	fd = cr_fail(err, -errno, "create memory file %s", e->name);
	if (fd == -EACCES)
		cr_advise(err, "it is from before vm.memfd_noexec was 2 here, which allows no such file");
	return fd;
}

static int inode_make(struct files *fs, struct restored_memfd *m, struct cr_error *err)
{
	const img_memfd_inode_entry *e = m->entry;

	if (is_shared_memory(e) && fs->shared_memory.make) {
		m->fd = fs->shared_memory.make(fs->shared_memory.arg, e->size, err);
		if (m->fd >= 0)
			return 0;
		if (m->fd != -EOPNOTSUPP)
			return m->fd;
		cr_error_clear(err);
	}
	m->fd = memfd_create_like(e, err);
	if (m->fd < 0)
		return m->fd;
	if (ftruncate(m->fd, (off_t)e->size) < 0)
		return cr_fail(err, -errno, "make memory file %s %llu bytes long", e->name,
			       (unsigned long long)e->size);
	if (fchown(m->fd, e->uid, e->gid) < 0)
		return cr_fail(err, -errno, "owner of memory file %s", e->name);
	/* nobody can see that of shared memory, which need not be executable for PROT_EXEC */
	if (e->has_mode && fchmod(m->fd, e->mode & 07777) < 0 && !(errno == EPERM && is_shared_memory(e)))
		return cr_fail(err, -errno, "mode of memory file %s", e->name);
	return 0;
}

int memfd_open_id(struct files *fs, uint32_t inode_id, uint32_t flags, struct cr_error *err)
{
	struct restored_memfd *m = map_find(&fs->memfd_by_id, (uint64_t)inode_id + 1);
	int r;

	if (!m)
		return cr_refuse(err, -EBADMSG, "memory file %u is not there", inode_id);
	if (m->fd < 0) {
		r = inode_make(fs, m, err);
		if (r < 0)
			return r;
	}
	return cr_within(err, fd_reopen(m->fd, flags, err), "memory file %s", m->entry->name);
}

static int memfd_check(const img_file_entry *e, struct cr_error *err)
{
	if (e->memfd->pos > INT64_MAX)
		return cr_refuse(err, -EBADMSG, "file %u has position %llu", e->id, (unsigned long long)e->memfd->pos);
	return fown_check(e->memfd->fown, err);
}

static int memfd_open(struct files *fs, struct restored_file *f, struct cr_error *err)
{
	const img_memfd_file_entry *e = f->entry->memfd;
	const struct restored_memfd *m = map_find(&fs->memfd_by_id, (uint64_t)e->inode_id + 1);
	char key[300];
	autofd int fd = -1;

	snprintf(key, sizeof(key), MEMFD_PREFIX "%s", m->entry->name);
	fd = inherit_find(fs, key, S_IFREG, e->flags, err);
	if (fd != -ENOENT)
		return take_fd(&fd);
	fd = memfd_open_id(fs, e->inode_id, open_flags(e->flags), err);
	if (fd < 0)
		return take_fd(&fd);
	if (e->pos && lseek(fd, (off_t)e->pos, SEEK_SET) < 0)
		return cr_fail(err, -errno, "position of memory file %s", m->entry->name);
	return fown_finish(take_fd(&fd), e->fown, err);
}

size_t files_nr_memfds_restored(const struct files *fs)
{
	return fs->memfds.nr;
}

struct files_memfd files_memfd_restored(const struct files *fs, size_t i)
{
	const struct restored_memfd *m = fs->memfds.items[i];

	return (struct files_memfd){
		.shmid = m->entry->shmid, .size = m->entry->size, .fd = m->fd, .hugetlb = m->entry->has_hugetlb_flag
	};
}

static struct timespec time_of(bool known, uint64_t ns)
{
	return (struct timespec){ (time_t)(ns / 1000000000), known ? (long)(ns % 1000000000) : UTIME_OMIT };
}

/* Writing the content has changed the one, and may cost others (capabilities). */
static int finish_inode(struct files *fs, const struct restored_memfd *m, struct cr_error *err)
{
	const img_memfd_inode_ext *ext = m->entry->ext;
	struct timespec ts[2];

	if (!ext)
		return 0;
	xattrs_set(fs->ctx, m->fd, &ext->xattrs, m->entry->name);
	ts[0] = time_of(ext->has_atim, ext->atim);
	ts[1] = time_of(ext->has_mtim, ext->mtim);
	return futimens(m->fd, ts) < 0 ? cr_fail(err, -errno, "times of memory file %s", m->entry->name) : 0;
}

int files_seal(struct files *fs, struct cr_error *err)
{
	for (size_t i = 0; i < fs->memfds.nr; i++) {
		const struct restored_memfd *m = fs->memfds.items[i];
		int r = m->fd < 0 ? 0 : finish_inode(fs, m, err);

		if (r < 0)
			return r;
		if (m->fd < 0 || m->entry->seals == 0 || m->entry->seals == F_SEAL_SEAL ||
		    is_shared_memory(m->entry))
			continue;
		if (fcntl(m->fd, F_ADD_SEALS, m->entry->seals) < 0)
			return cr_fail(err, -errno, "seal memory file %s with 0x%x", m->entry->name, m->entry->seals);
	}
	return 0;
}

/* files_open() makes all of them, so that content can be filled in before anything is mapped. */
int memfds_make(struct files *fs, struct cr_error *err)
{
	int r = 0;

	for (size_t i = 0; i < fs->memfds.nr && r == 0; i++)
		if (fs->memfds.items[i]->fd < 0)
			r = inode_make(fs, fs->memfds.items[i], err);
	return r;
}

void restored_memfds_done(struct files *fs)
{
	for (size_t i = 0; i < fs->memfds.nr; i++) {
		if (fs->memfds.items[i]->fd >= 0)
			close(fs->memfds.items[i]->fd);
		img_entry_free(fs->memfds.items[i]->entry);
	}
}

const struct file_ops memfd_ops = {
	.name = "memory file",
	.type = img_fd_types_MEMFD,
	.claims = memfd_claims,
	.dump = memfd_dump,
	.check = memfd_check,
	.open = memfd_open,
};
