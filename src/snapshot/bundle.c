/* Writing, reading and checking the folder; see bundle.h. */
#include "snapshot/bundle.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/file_io.h"
#include "snapshot/checksum.h"
#include "snapshot/file.h"

#define TEMPORARY_PREFIX ".lamina-snapshot-"
#define MAX_FILES	 64 /* of a bundle */

/* ---- Removing ---- */

/* A bundle has no folders inside; anything else than its files stays, and so does the folder. */
static void remove_folder(int parent, int dir, const char *name)
{
	int fd = dup(dir);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);

	for (struct dirent *e; d && (e = readdir(d));)
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0)
			unlinkat(dir, e->d_name, 0);
	if (d)
		closedir(d);
	else if (fd >= 0)
		close(fd);
	unlinkat(parent, name, AT_REMOVEDIR);
}

/* Nobody holds its lock: its writer was killed. */
static void remove_if_abandoned(int parent, const char *name)
{
	int dir = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

	if (dir < 0)
		return;
	if (flock(dir, LOCK_EX | LOCK_NB) == 0)
		remove_folder(parent, dir, name);
	close(dir);
}

static void remove_abandoned(int parent)
{
	int fd = openat(parent, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);

	for (struct dirent *e; d && (e = readdir(d));)
		if (!strncmp(e->d_name, TEMPORARY_PREFIX, strlen(TEMPORARY_PREFIX)))
			remove_if_abandoned(parent, e->d_name);
	if (d)
		closedir(d);
	else if (fd >= 0)
		close(fd);
}

/* ---- Writing ---- */

static void writer_close(struct bundle_writer *w)
{
	if (w->dir >= 0)
		close(w->dir);
	if (w->parent >= 0)
		close(w->parent);
	free(w->name);
	free(w->temporary);
	*w = (struct bundle_writer){ .parent = -1, .dir = -1 };
}

/* "a/b/" is b in a; a path without a name in it ("/", "..") is none. */
static int split_path(struct bundle_writer *w, const char *path, struct lm_err *err)
{
	char *copy = strdup(path), *slash;
	size_t len = copy ? strlen(copy) : 0;

	if (!copy)
		return lm_err_set(err, -ENOMEM, "no memory for a name");
	while (len > 1 && copy[len - 1] == '/')
		copy[--len] = 0;
	slash = strrchr(copy, '/');
	w->name = strdup(slash ? slash + 1 : copy);
	if (slash)
		slash[slash == copy] = 0;
	w->parent = open(slash ? copy : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	free(copy);
	if (!w->name || !*w->name || !strcmp(w->name, ".") || !strcmp(w->name, ".."))
		return lm_err_set(err, -EINVAL, "this is no name for a new folder");
	return w->parent < 0 ? lm_err_errno(err, -errno, "cannot open the folder it would be in") : 0;
}

/* The lock comes right after: who sees the folder before that sees it empty and may remove it. */
static int make_temporary(struct bundle_writer *w, struct lm_err *err)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	for (unsigned k = 0; k < 100; k++) {
		free(w->temporary);
		w->temporary = NULL;
		if (asprintf(&w->temporary, TEMPORARY_PREFIX "%d-%ld-%u", (int)getpid(),
			     now.tv_nsec, k) < 0)
			return lm_err_set(err, -ENOMEM, "no memory for a name");
		if (mkdirat(w->parent, w->temporary, 0700) < 0 && errno != EEXIST)
			return lm_err_errno(err, -errno, "cannot create a folder");
		w->dir = openat(w->parent, w->temporary,
				O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		if (w->dir >= 0 && flock(w->dir, LOCK_EX | LOCK_NB) == 0 &&
		    faccessat(w->parent, w->temporary, F_OK, 0) == 0)
			return 0;
		if (w->dir >= 0)
			close(w->dir);
		w->dir = -1;
	}
	return lm_err_set(err, -EBUSY, "cannot create a folder to write in");
}

int bundle_create(struct bundle_writer *w, const char *path, struct lm_err *err)
{
	struct stat st;
	int rc;

	*w = (struct bundle_writer){ .parent = -1, .dir = -1 };
	rc = split_path(w, path, err);
	if (!rc && fstatat(w->parent, w->name, &st, AT_SYMLINK_NOFOLLOW) == 0)
		rc = lm_err_set(err, -EEXIST, "it is there already, and snapshots are not "
				"overwritten");
	if (!rc) {
		remove_abandoned(w->parent);
		rc = make_temporary(w, err);
	}
	if (rc < 0)
		writer_close(w);
	return rc;
}

void bundle_abort(struct bundle_writer *w)
{
	if (w->dir >= 0)
		remove_folder(w->parent, w->dir, w->temporary);
	writer_close(w);
}

/* Size and checksum of a file; of a large one (guest memory) by chunks. */
static int describe_file(int dir, const char *name, json_t *files, struct lm_err *err)
{
	bool chunks = !strcmp(name, BUNDLE_MEMORY);
	int fd = file_open(dir, name, err), rc;
	json_t *sums = NULL;
	uint64_t sum = 0;
	off_t size;

	if (fd < 0)
		return fd;
	size = lseek(fd, 0, SEEK_END);
	rc = chunks ? checksum_chunks(fd, (uint64_t)size, &sums) : checksum_file(fd, &sum);
	if (!rc && fsync(fd) < 0)
		rc = -errno;
	close(fd);
	if (rc < 0) {
		json_decref(sums);
		return lm_err_errno(err, rc, "cannot write %s", name);
	}
	if (!chunks)
		sums = json_string(checksum_format(sum).hex);
	return json_object_set_new(files, name, json_pack("{s:I, s:o}", "size", (json_int_t)size,
							  chunks ? "chunks" : "checksum", sums))
		       ? lm_err_set(err, -ENOMEM, "no memory for the manifest")
		       : 0;
}

static int describe_files(int dir, json_t *files, struct lm_err *err)
{
	int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC), rc = 0;
	DIR *d = fd < 0 ? NULL : fdopendir(fd);

	if (!d)
		return lm_err_errno(err, -errno, "cannot list the new folder");
	for (struct dirent *e; !rc && (e = readdir(d));)
		if (e->d_name[0] != '.')
			rc = describe_file(dir, e->d_name, files, err);
	closedir(d);
	return rc;
}

static int save_text(int dir, const char *name, const char *text, struct lm_err *err)
{
	int fd = file_create(dir, name, err), rc;

	if (fd < 0)
		return fd;
	rc = write_exactly(fd, text, strlen(text), 0);
	if (!rc && fsync(fd) < 0)
		rc = -errno;
	close(fd);
	return rc < 0 ? lm_err_errno(err, rc, "cannot write %s", name) : 0;
}

static int save_manifest(int dir, json_t *manifest, struct lm_err *err)
{
	char *text = json_dumps(manifest, JSON_INDENT(1) | JSON_ENSURE_ASCII);
	struct checksum_text sum;
	int rc;

	if (!text)
		return lm_err_set(err, -ENOMEM, "no memory for the manifest");
	sum = checksum_format(checksum_bytes(text, strlen(text)));
	rc = save_text(dir, BUNDLE_MANIFEST, text, err);
	free(text);
	return rc ? rc : save_text(dir, BUNDLE_CHECKSUM, sum.hex, err);
}

static json_t *time_now(void)
{
	char text[32];
	time_t now = time(NULL);
	struct tm tm;

	gmtime_r(&now, &tm);
	strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm);
	return json_string(text);
}

static int complete(struct bundle_writer *w, json_t *manifest, struct lm_err *err)
{
	json_t *files = json_object();
	int rc = describe_files(w->dir, files, err);

	if (rc < 0) {
		json_decref(files);
		return rc;
	}
	json_object_set_new(manifest, "format", json_string(BUNDLE_FORMAT));
	json_object_set_new(manifest, "version", json_integer(BUNDLE_VERSION));
	json_object_set_new(manifest, "lamina", json_string(LAMINA_VERSION));
	json_object_set_new(manifest, "created", time_now());
	json_object_set_new(manifest, "files", files);
	rc = save_manifest(w->dir, manifest, err);
	if (!rc && fsync(w->dir) < 0)
		rc = lm_err_errno(err, -errno, "cannot make the new folder durable");
	return rc;
}

int bundle_commit(struct bundle_writer *w, json_t *manifest, struct lm_err *err)
{
	int rc = complete(w, manifest, err);

	if (!rc && renameat2(w->parent, w->temporary, w->parent, w->name, RENAME_NOREPLACE) < 0)
		rc = lm_err_errno(err, -errno, "cannot give the new folder its name");
	if (rc < 0) {
		bundle_abort(w);
		return rc;
	}
	if (fsync(w->parent) < 0)
		rc = lm_err_errno(err, -errno, "cannot make the new folder's name durable");
	writer_close(w);
	return rc;
}

/* ---- Reading ---- */

static int check_format(const json_t *m, struct lm_err *err)
{
	const char *format = json_string_value(json_object_get(m, "format"));
	const json_t *version = json_object_get(m, "version");

	if (!format || strcmp(format, BUNDLE_FORMAT) != 0)
		return lm_err_set(err, -EINVAL, BUNDLE_MANIFEST ": this is no snapshot of lamina");
	if (!json_is_integer(version) || json_integer_value(version) < 1)
		return lm_err_set(err, -EINVAL, BUNDLE_MANIFEST ": has no version");
	if (json_integer_value(version) > BUNDLE_VERSION)
		return lm_err_set(err, -ENOTSUP,
				  "the snapshot is of version %lld, this lamina knows up to "
				  "version %d", (long long)json_integer_value(version),
				  BUNDLE_VERSION);
	return 0;
}

static int load_manifest(struct bundle *b, struct lm_err *err)
{
	char *text = NULL, *sum = NULL;
	size_t len, sum_len;
	int rc = file_load(b->dir, BUNDLE_MANIFEST, &text, &len, err);

	if (!rc)
		rc = file_load(b->dir, BUNDLE_CHECKSUM, &sum, &sum_len, err);
	if (!rc && strcmp(sum, checksum_format(checksum_bytes(text, len)).hex) != 0)
		rc = lm_err_set(err, -EBADMSG, BUNDLE_MANIFEST " is damaged: its checksum is not "
				"that in " BUNDLE_CHECKSUM);
	if (!rc)
		rc = file_parse_json(BUNDLE_MANIFEST, text, len, &b->manifest, err);
	free(text);
	free(sum);
	return rc ? rc : check_format(b->manifest, err);
}

static const char *wanted_checksum(const struct bundle *b, const char *name)
{
	const json_t *file = json_object_get(json_object_get(b->manifest, "files"), name);

	return json_string_value(json_object_get(file, "checksum"));
}

static int damaged(const char *name, struct lm_err *err)
{
	return lm_err_set(err, -EBADMSG, "%s is damaged: its checksum is not that in "
			  BUNDLE_MANIFEST, name);
}

static int load_state(struct bundle *b, struct lm_err *err)
{
	const char *wanted = wanted_checksum(b, BUNDLE_STATE);
	char *text = NULL;
	size_t len;
	int rc = file_load(b->dir, BUNDLE_STATE, &text, &len, err);

	if (!rc && (!wanted || strcmp(wanted, checksum_format(checksum_bytes(text, len)).hex) != 0))
		rc = damaged(BUNDLE_STATE, err);
	if (!rc)
		rc = file_parse_json(BUNDLE_STATE, text, len, &b->state, err);
	free(text);
	return rc;
}

int bundle_open(struct bundle *b, const char *path, struct lm_err *err)
{
	int rc;

	*b = (struct bundle){ .dir = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC) };
	if (b->dir < 0)
		return lm_err_errno(err, -errno, "cannot open the folder");
	rc = load_manifest(b, err);
	if (!rc)
		rc = load_state(b, err);
	if (rc < 0)
		bundle_close(b);
	return rc;
}

void bundle_close(struct bundle *b)
{
	if (b->dir >= 0)
		close(b->dir);
	json_decref(b->manifest);
	json_decref(b->state);
	*b = (struct bundle){ .dir = -1 };
}

static int verify_file(const struct bundle *b, const char *name, const json_t *file,
		       struct lm_err *err)
{
	json_int_t size = json_integer_value(json_object_get(file, "size"));
	const json_t *chunks = json_object_get(file, "chunks");
	int fd = strchr(name, '/') ? -1 : file_open(b->dir, name, err), rc;
	uint64_t sum = 0, bad = 0;

	if (fd < 0)
		return strchr(name, '/') ? lm_err_set(err, -EINVAL, "a file's name has a slash") : fd;
	if (lseek(fd, 0, SEEK_END) != size)
		rc = -EBADMSG;
	else if (chunks)
		rc = checksum_verify_chunks(fd, (uint64_t)size, chunks, &bad, NULL);
	else
		rc = checksum_file(fd, &sum);
	close(fd);
	if (!rc && !chunks && strcmp(checksum_format(sum).hex, wanted_checksum(b, name) ?: "") != 0)
		rc = -EBADMSG;
	if (rc == -EBADMSG && chunks && bad)
		return lm_err_set(err, rc, "%s is damaged behind byte %" PRIu64, name, bad);
	if (rc == -EBADMSG)
		return damaged(name, err);
	return rc < 0 ? lm_err_errno(err, rc, "cannot read %s", name) : 0;
}

int bundle_verify(const struct bundle *b, struct lm_err *err)
{
	const char *name;
	json_t *file;

	json_object_foreach(json_object_get(b->manifest, "files"), name, file) {
		int rc = verify_file(b, name, file, err);

		if (rc < 0)
			return rc;
	}
	return 0;
}
