#include "cmd/shares.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define ROOTFS_TAG   "rootfs"
#define CACHE_SHORT  1	   /* seconds: the host may change the folder too */
#define CACHE_LONG   86400 /* nobody else does */

static void set_ro(struct fs_options *o)
{
	o->read_only = true;
}

static void set_rw(struct fs_options *o)
{
	o->read_only = false;
}

static void set_keep(struct fs_options *o)
{
	o->owners = FS_OWNERS_KEEP;
}

static void set_squash(struct fs_options *o)
{
	o->owners = FS_OWNERS_SQUASH;
}

static void set_exclusive(struct fs_options *o)
{
	o->cache_s = CACHE_LONG;
	o->writeback = true;
}

static void set_fresh(struct fs_options *o)
{
	o->cache_s = 0;
}

/* What may follow behind a colon. */
static const struct share_word {
	const char *word;
	void (*set)(struct fs_options *o);
} share_words[] = {
    {"ro", set_ro},	    {"rw", set_rw},
    {"keep", set_keep},	    {"squash", set_squash},
    {"fresh", set_fresh}, {"exclusive", set_exclusive},
};

static const struct share_word *find_word(const char *word)
{
	for (size_t k = 0; k < LM_ARRAY_SIZE(share_words); k++)
		if (!strcmp(word, share_words[k].word))
			return &share_words[k];
	return NULL;
}

static int check_folder(const char *path, struct lm_err *err)
{
	struct stat st;

	if (!*path)
		return lm_err_set(err, -EINVAL, "no folder is named");
	if (stat(path, &st))
		return lm_err_errno(err, -errno, "%s", path);
	if (!S_ISDIR(st.st_mode))
		return lm_err_set(err, -ENOTDIR, "%s is no folder", path);
	if (access(path, R_OK | X_OK))
		return lm_err_errno(err, -errno, "%s", path);
	return 0;
}

/* Takes the options off the end of text, last first. */
static void take_options(char *text, struct fs_options *o)
{
	for (char *colon; (colon = strrchr(text, ':')) != NULL; *colon = 0) {
		const struct share_word *w = find_word(colon + 1);

		if (!w)
			return;
		w->set(o);
	}
}

static int new_share(struct shares *s, struct machine_config *config, const char *value,
		     struct fs_options **out, struct lm_err *err)
{
	if (config->share_count == MACHINE_MAX_SHARES)
		return lm_err_set(err, -EINVAL, "a machine has at most %d shared folders",
				  MACHINE_MAX_SHARES);
	s->text[s->count] = strdup(value);
	if (!s->text[s->count])
		return lm_err_set(err, -ENOMEM, "out of memory");
	*out = &config->share[config->share_count++];
	**out = (struct fs_options){.path = s->text[s->count], .cache_s = CACHE_SHORT};
	s->count++;
	return 0;
}

/* It goes onto the kernel's command line, where words have no quotes that all readers know. */
static int check_guest_path(const char *guest, struct lm_err *err)
{
	if (!*guest)
		return lm_err_set(err, -EINVAL, "write " SHARE_SYNTAX);
	if (strlen(guest) >= FS_TAG_SIZE)
		return lm_err_set(err, -ENAMETOOLONG, "the place in the guest has at most %d bytes",
				  FS_TAG_SIZE - 1);
	for (const char *p = guest; *p; p++)
		if (*p <= ' ' || *p > '~' || strchr("\"'\\:", *p))
			return lm_err_set(err, -EINVAL,
					  "the place in the guest has letters, digits and signs, "
					  "but no blanks, quotes, colons and backslashes");
	return 0;
}

int shares_add(struct shares *s, struct machine_config *config, const char *value,
	       struct lm_err *err)
{
	struct fs_options *o;
	char *colon;
	int rc = new_share(s, config, value, &o, err);

	if (rc)
		return rc;
	take_options(s->text[s->count - 1], o);
	colon = strrchr(o->path, ':');
	if (!colon)
		return lm_err_set(err, -EINVAL, "where in the guest? write " SHARE_SYNTAX);
	*colon = 0;
	o->tag = s->guest[s->count - 1] = colon + 1;
	rc = check_guest_path(o->tag, err);
	for (unsigned k = 0; !rc && k + 1 < config->share_count; k++)
		if (!strcmp(config->share[k].tag, o->tag))
			return lm_err_set(err, -EEXIST, "there is a share at %s already", o->tag);
	return rc ? rc : check_folder(o->path, err);
}

int shares_add_rootfs(struct shares *s, struct machine_config *config, const char *value,
		      struct lm_err *err)
{
	struct fs_options *o;
	int rc;

	if (s->rootfs)
		return lm_err_set(err, -EINVAL, "there is one root only");
	rc = new_share(s, config, value, &o, err);
	if (rc)
		return rc;
	o->tag = s->rootfs = ROOTFS_TAG;
	o->read_only = true;
	o->cache_s = CACHE_LONG;
	take_options(s->text[s->count - 1], o);
	s->rootfs_writable = !o->read_only;
	if (s->rootfs_writable && !o->writeback)
		o->cache_s = LM_MIN(o->cache_s, CACHE_SHORT);
	return check_folder(o->path, err);
}

void shares_fini(struct shares *s)
{
	for (unsigned k = 0; k < s->count; k++)
		free(s->text[k]);
	*s = (struct shares){.count = 0};
}

static int too_long(struct lm_err *err)
{
	return lm_err_set(err, -E2BIG, "the places of the shared folders do not fit on the kernel's "
				       "command line");
}

int shares_words(const struct shares *s, const struct machine_config *config, char *words,
		 size_t size, struct lm_err *err)
{
	size_t n = 0;

	*words = 0;
	if (s->rootfs)
		n += (size_t)snprintf(words, size, " root=%s rootfstype=virtiofs%s", s->rootfs,
				      s->rootfs_writable ? "" : " lamina.overlay=1");
	for (unsigned k = 0; k < s->count; k++) {
		if (!s->guest[k])
			continue;
		if (*s->guest[k] != '/')
			return lm_err_set(err, -EINVAL,
					  "--share: in the default guest the place is a path, "
					  "such as /mnt, not \"%s\"",
					  s->guest[k]);
		n += (size_t)snprintf(words + n, size - n, " lamina.share=%s%s", s->guest[k],
				      config->share[k].read_only ? ":ro" : "");
		if (n >= size)
			return too_long(err);
	}
	return 0;
}
