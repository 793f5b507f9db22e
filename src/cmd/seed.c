#include "cmd/seed.h"

#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "backend/iso9660.h"
#include "base/file_io.h"

#define FILE_MAX (16 * MIB)
#define KEYS_MAX (64 * KIB)

int seed_user_data(struct seed *s, const char *path, struct lm_err *err)
{
	free(s->user_data);
	s->user_data = NULL;
	return read_text(path, FILE_MAX, &s->user_data, &s->user_data_size, err);
}

/* The names of sshd(8), "AUTHORIZED_KEYS FILE FORMAT"; options in front are taken as they are. */
static bool is_key(const char *line)
{
	static const char *const kinds[] = {"ssh-ed25519 ", "ssh-rsa ", "ecdsa-sha2-", "sk-ssh-", "sk-ecdsa-"};

	for (size_t k = 0; k < LM_ARRAY_SIZE(kinds); k++)
		if (strstr(line, kinds[k]))
			return true;
	return false;
}

static int add_key(struct seed *s, const char *line, struct lm_err *err)
{
	if (!*line || *line == '#')
		return 0;
	if (!is_key(line))
		return lm_err_set(err, -EINVAL, "it holds a line that is no public key of OpenSSH's");
	if (s->key_count == SEED_KEYS_MAX)
		return lm_err_set(err, -E2BIG, "at most %d keys", SEED_KEYS_MAX);
	s->keys[s->key_count] = strdup(line);
	if (!s->keys[s->key_count])
		return lm_err_set(err, -ENOMEM, "out of memory");
	s->key_count++;
	return 0;
}

int seed_ssh_key(struct seed *s, const char *path, struct lm_err *err)
{
	char *text, *save;
	unsigned before = s->key_count;
	size_t size;
	int rc = read_text(path, KEYS_MAX, &text, &size, err);

	if (rc)
		return rc;
	if (strstr(text, "PRIVATE KEY-----"))
		rc = lm_err_set(err, -EINVAL, "that is a private key, which stays with you; give %s.pub", path);
	for (char *line = strtok_r(text, "\r\n", &save); !rc && line; line = strtok_r(NULL, "\r\n", &save))
		rc = add_key(s, line, err);
	if (!rc && s->key_count == before)
		rc = lm_err_set(err, -EINVAL, "it holds no key");
	free(text);
	return rc;
}

/* FNV-1a: another identity where anything that is said is another, else the same at every boot. */
static uint64_t hash(uint64_t h, const void *data, size_t size)
{
	const uint8_t *p = data;

	for (size_t k = 0; k < size; k++)
		h = (h ^ p[k]) * UINT64_C(0x100000001b3);
	return h;
}

/* JSON, which is YAML as well. */
static char *meta_data(const struct seed *s, const char *name)
{
	uint64_t id = hash(UINT64_C(0xcbf29ce484222325), name, strlen(name) + 1);
	json_t *keys = json_array(), *all;
	char text[32], *out;

	id = hash(id, s->user_data, s->user_data_size);
	for (unsigned k = 0; k < s->key_count; k++) {
		id = hash(id, s->keys[k], strlen(s->keys[k]) + 1);
		json_array_append_new(keys, json_string(s->keys[k]));
	}
	snprintf(text, sizeof(text), "lamina-%016" PRIx64, id);
	all = json_pack("{s:s, s:s, s:o}", "instance-id", text, "local-hostname", name, "public-keys",
			keys);
	out = all ? json_dumps(all, JSON_INDENT(2)) : NULL;
	json_decref(all);
	return out;
}

static int make_image(struct seed *s, const char *name, struct lm_err *err)
{
	static const char nothing[] = "#cloud-config\n{}\n";
	char *meta = meta_data(s, name);
	struct iso_file files[] = {
	    {"meta-data", meta, meta ? strlen(meta) : 0},
	    {"user-data", s->user_data ? s->user_data : nothing,
	     s->user_data ? s->user_data_size : sizeof(nothing) - 1},
	};
	int rc;

	if (!meta)
		return lm_err_set(err, -EILSEQ, "a key or the name is no UTF-8 text");
	s->fd = memfd_create("lamina-cidata", MFD_CLOEXEC);
	rc = s->fd < 0 ? lm_err_errno(err, -errno, "no memory for the cloud-init disk")
		       : iso_write(s->fd, "cidata", files, LM_ARRAY_SIZE(files), err);
	free(meta);
	return rc;
}

int seed_attach(struct seed *s, struct machine_config *config, const char *name, struct lm_err *err)
{
	int rc;

	if (!s->user_data && !s->key_count)
		return 0;
	if (config->disk_count == MACHINE_MAX_DISKS)
		return lm_err_set(err, -EINVAL, "no disk is left for cloud-init");
	rc = make_image(s, name, err);
	if (rc)
		return rc;
	snprintf(s->path, sizeof(s->path), "/proc/self/fd/%d", s->fd);
	config->disk[config->disk_count++] = (struct disk_config){
	    .path = s->path,
	    .serial = "cidata",
	    .format = IMAGE_RAW,
	    .read_only = true,
	};
	return 0;
}

void seed_fini(struct seed *s)
{
	free(s->user_data);
	for (unsigned k = 0; k < s->key_count; k++)
		free(s->keys[k]);
	if (s->fd > 0)
		close(s->fd);
	*s = (struct seed){.fd = 0};
}
