#include "snapshot/restore.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>

#include "machine/save.h"
#include "mem/ram_image.h"
#include "snapshot/file.h"
#include "snapshot/manifest.h"

int restore_open(struct restore *r, const char *path, bool write_disks, struct lm_err *err)
{
	int rc = bundle_open(&r->bundle, path, err);

	r->command = NULL;
	r->command_env = NULL;
	if (rc < 0)
		return rc;
	rc = manifest_config(r->bundle.manifest, &r->config, err);
	r->command = r->config.command;
	r->command_env = r->config.command_env;
	if (rc < 0)
		lm_err_wrap(err, BUNDLE_MANIFEST);
	else
		rc = manifest_check_disks(r->bundle.manifest, write_disks, err);
	if (!rc)
		rc = disks_config(r->bundle.manifest, r->bundle.dir, &r->config, &r->changes, err);
	if (rc < 0)
		restore_close(r);
	return rc;
}

static int map_memory(struct restore *r, struct machine *m, struct lm_err *err)
{
	int fd = file_open(r->bundle.dir, BUNDLE_MEMORY, err), rc;

	if (fd < 0)
		return fd;
	rc = ram_map_image(machine_ram(m), fd, err);
	close(fd);
	return rc;
}

static int load(struct restore *r, struct machine *m, struct lm_err *err)
{
	int rc = manifest_check_cpu(r->bundle.manifest, machine_model(m), err);

	if (!rc)
		rc = map_memory(r, m, err);
	if (rc < 0)
		return rc;
	rc = machine_load(m, r->bundle.state, err);
	if (rc < 0) {
		lm_err_wrap(err, BUNDLE_STATE);
		return rc;
	}
	machine_new_generation(m);
	return 0;
}

int restore_create(struct restore *r, struct machine **out, struct lm_err *err)
{
	int rc = machine_create(out, &r->config, err);

	if (rc < 0)
		return rc;
	rc = load(r, *out, err);
	if (rc < 0) {
		machine_destroy(*out);
		*out = NULL;
	}
	return rc;
}

void restore_close(struct restore *r)
{
	bundle_close(&r->bundle);
	free((void *)(uintptr_t)r->command);
	free((void *)(uintptr_t)r->command_env);
	r->command = NULL;
	r->command_env = NULL;
}
