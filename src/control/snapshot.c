#include "control/snapshot.h"

#include <errno.h>

#include "snapshot/save.h"

int control_snapshot(struct control_request *r, json_t *args, json_t *result, struct lm_err *err)
{
	int rc = control_unpack(args, err, "{}");
	json_t *manifest;

	if (!rc && r->fds != 1)
		rc = lm_err_set(err, -EINVAL, "the folder's descriptor must come along");
	if (!rc)
		rc = snapshot_save(r->machine, r->fd[0], &manifest, err);
	if (rc < 0)
		return rc;
	return json_object_set_new(result, "manifest", manifest) < 0
		       ? lm_err_set(err, -ENOMEM, "no memory for an answer")
		       : 0;
}
