#include "cmd/default_guest.h"

#include <errno.h>
#include <jansson.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define MANIFEST_DIR "lamina/guest/current"

static int cache_dir(char *dir, size_t size, struct lm_err *err)
{
	const char *xdg = getenv("XDG_CACHE_HOME"), *home = getenv("HOME");
	int n;

	/* The XDG base directory specification: a path that is not absolute counts as unset. */
	if (xdg && *xdg == '/')
		n = snprintf(dir, size, "%s/" MANIFEST_DIR, xdg);
	else if (home && *home)
		n = snprintf(dir, size, "%s/.cache/" MANIFEST_DIR, home);
	else
		return lm_err_set(err, -ENOENT,
				  "no default guest: neither XDG_CACHE_HOME nor HOME "
				  "is set");
	if (n < 0 || (size_t)n >= size)
		return lm_err_set(err, -ENAMETOOLONG,
				  "no default guest: the path of the cache is "
				  "too long");
	return 0;
}

/* The path of a file that the manifest lists and that is there, as large as it says. */
static bool find_file(const json_t *manifest, const char *dir, const char *name, char *path)
{
	const json_t *file = json_object_get(json_object_get(manifest, "files"), name);
	struct stat st;

	return json_is_object(file) && snprintf(path, PATH_MAX, "%s/%s", dir, name) < PATH_MAX &&
	       !access(path, R_OK) && !stat(path, &st) && S_ISREG(st.st_mode) &&
	       st.st_size == json_integer_value(json_object_get(file, "size"));
}

static int read_manifest(struct default_guest *guest, const json_t *manifest, const char *dir,
			 struct lm_err *err)
{
	const char *cmdline = json_string_value(json_object_get(manifest, "cmdline"));
	const char *missing = NULL;

	if (!cmdline || strlen(cmdline) >= sizeof(guest->cmdline))
		return lm_err_set(err, -EINVAL, "it names no usable kernel command line");
	strcpy(guest->cmdline, cmdline);
	guest->shares = json_is_true(json_object_get(manifest, "shares"));
	/* The ELF file starts by PVH, without unpacking itself under an engine. */
	if (!find_file(manifest, dir, "vmlinux", guest->kernel) &&
	    !find_file(manifest, dir, "vmlinuz", guest->kernel))
		missing = "kernel";
	else if (!find_file(manifest, dir, "initrd", guest->initrd))
		missing = "initrd";
	else if (!find_file(manifest, dir, "disk.img", guest->disk))
		missing = "disk";
	if (missing)
		return lm_err_set(err, -ENOENT, "its %s is missing, unreadable or not of its size",
				  missing);
	return 0;
}

int default_guest_find(struct default_guest *guest, struct lm_err *err)
{
	char dir[PATH_MAX - 32], path[PATH_MAX];
	json_error_t why;
	json_t *manifest;
	struct stat st;
	int ret = cache_dir(dir, sizeof(dir), err);

	if (ret)
		return ret;
	snprintf(path, sizeof(path), "%s/manifest.json", dir);
	if (stat(path, &st) || !S_ISREG(st.st_mode))
		return lm_err_set(err, -ENOENT,
				  "no default guest in %s: build it with `make guest`, or give "
				  "--kernel",
				  dir);
	manifest = json_load_file(path, 0, &why);
	if (!manifest)
		ret = lm_err_set(err, -EINVAL, "line %d: %s", why.line, why.text);
	else
		ret = read_manifest(guest, manifest, dir, err);
	json_decref(manifest);
	if (ret)
		return lm_err_wrap(err, "default guest: %s (`make guest` builds it anew)", path);
	return 0;
}
