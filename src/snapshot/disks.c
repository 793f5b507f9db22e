#include "snapshot/disks.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "backend/block.h"
#include "snapshot/file.h"

/* By the open folder, so that nobody can put another one under its name meanwhile. */
static void path_in(int dir, const char *name, char *path, size_t size)
{
	snprintf(path, size, "/proc/self/fd/%d/%s", dir, name);
}

static int save_changes(struct blockdev *dev, int dir, const char *name, struct lm_err *err)
{
	char path[64];

	path_in(dir, name, path, sizeof(path));
	return block_save_overlay(dev, path, err);
}

int disks_save(struct machine *m, int dir, json_t *manifest, struct lm_err *err)
{
	json_t *disk;
	size_t k;

	json_array_foreach(json_object_get(manifest, "disks"), k, disk) {
		struct blockdev *dev = machine_disk(m, (unsigned)k);
		char name[32];
		int rc = block_quiesce(dev, err);

		snprintf(name, sizeof(name), "disk%u.qcow2", (unsigned)k);
		if (!rc && json_is_true(json_object_get(disk, "ephemeral"))) {
			rc = save_changes(dev, dir, name, err);
			json_object_set_new(disk, "changes", json_string(name));
		}
		if (rc < 0)
			return rc;
	}
	return 0;
}

int disks_config(const json_t *manifest, int dir, struct machine_config *config,
		 struct disks_paths *paths, struct lm_err *err)
{
	json_t *disk;
	size_t k;

	json_array_foreach(json_object_get(manifest, "disks"), k, disk) {
		const char *name = json_string_value(json_object_get(disk, "changes"));
		int fd;

		if (!name)
			continue;
		if (strchr(name, '/') || strlen(name) > 30 || !config->disk[k].ephemeral)
			return lm_err_set(err, -EINVAL, "disks: the changes to disk %u are not as they "
					  "should be", (unsigned)k);
		fd = file_open(dir, name, err); /* a regular file and no link */
		if (fd < 0)
			return fd;
		close(fd);
		path_in(dir, name, paths->path[k], sizeof(paths->path[k]));
		config->disk[k].changes = paths->path[k];
	}
	return 0;
}
