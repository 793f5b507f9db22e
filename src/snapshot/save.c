#include "snapshot/save.h"

#include <errno.h>
#include <unistd.h>

#include "machine/save.h"
#include "snapshot/bundle.h"
#include "snapshot/disks.h"
#include "snapshot/file.h"
#include "snapshot/manifest.h"
#include "snapshot/memory.h"

static int save_state(struct machine *m, int dir, struct lm_err *err)
{
	json_t *state;
	int rc = machine_save(m, &state, err);

	if (rc < 0)
		return rc;
	rc = file_save_json(dir, BUNDLE_STATE, state, err);
	json_decref(state);
	return rc;
}

static int save_memory(struct machine *m, int dir, json_t *manifest, struct lm_err *err)
{
	int fd = file_create(dir, BUNDLE_MEMORY, err), rc;
	uint64_t written;

	if (fd < 0)
		return fd;
	rc = memory_write(machine_ram(m), fd, &written, err);
	close(fd);
	if (!rc && json_object_set_new(manifest, "memory_data",
				       json_integer((json_int_t)written)) < 0)
		rc = lm_err_set(err, -ENOMEM, "no memory for the manifest");
	return rc;
}

int snapshot_save(struct machine *m, int dir, json_t **manifest, struct lm_err *err)
{
	int rc;

	*manifest = NULL;
	rc = manifest_describe(m, manifest, err);
	if (!rc)
		rc = save_state(m, dir, err);
	if (!rc)
		rc = save_memory(m, dir, *manifest, err);
	if (!rc)
		rc = disks_save(m, dir, *manifest, err);
	if (rc < 0) {
		json_decref(*manifest);
		*manifest = NULL;
	}
	return rc;
}
