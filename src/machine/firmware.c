#include "machine/firmware.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/file_io.h"
#include "dev/chipset/layout.h"

#define CODE_MAX  (UINT64_C(16) * MIB)
#define CODE_END  (UINT64_C(4) * GIB)
#define LOW_COPY  (128 * KIB) /* ICH9 datasheet §6.3: the E and F segments */
#define VGA_MAX   (256 * KIB)

/* ---- Files ---- */

static int open_sized(const char *path, int flags, const char *what, uint64_t granularity,
		      uint64_t max, size_t *size, struct lm_err *err)
{
	int fd = open(path, flags | O_CLOEXEC | O_NONBLOCK);
	struct stat st;

	if (fd < 0)
		return lm_err_errno(err, -errno, "cannot open %s %s", what, path);
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size <= 0 ||
	    (uint64_t)st.st_size > max || (uint64_t)st.st_size % granularity) {
		close(fd);
		return lm_err_set(err, -EINVAL,
				  "%s is no %s: a file of a multiple of %llu bytes, at most %llu KiB",
				  path, what, (unsigned long long)granularity,
				  (unsigned long long)(max / KIB));
	}
	*size = (size_t)st.st_size;
	return fd;
}

/* ---- Code ---- */

static int load_code(struct firmware *f, const char *path, struct ram *ram, struct lm_err *err)
{
	size_t size;
	int fd = open_sized(path, O_RDONLY, "firmware image", PAGE_SIZE, CODE_MAX, &size, err);
	int rc;

	if (fd < 0)
		return fd;
	f->code = ram_add_window(ram, size, true, err);
	rc = f->code ? read_exactly(fd, f->code->hva, size, 0) : -ENOMEM;
	close(fd);
	if (rc < 0)
		return f->code ? lm_err_errno(err, rc, "cannot read %s", path) : rc;
	ram_window_move(f->code, CODE_END - size);
	return 0;
}

void firmware_power_on(struct firmware *f, struct ram *ram)
{
	uint64_t size = LM_MIN(f->code->size, LOW_COPY);

	ram_write(ram, GPA(PC_ACPI_END - size), f->code->hva + f->code->size - size, size);
}

/* ---- Variables ---- */

static int read_template(const char *path, uint8_t **bytes, size_t *size, struct lm_err *err)
{
	int fd = open_sized(path, O_RDONLY, "template of firmware variables", PFLASH_BLOCK,
			    PFLASH_MAX, size, err);
	int rc;

	if (fd < 0)
		return fd;
	rc = read_whole(fd, path, *size, bytes, err);
	close(fd);
	return rc;
}

/* Whole or not at all: written under another name, then linked to its own. */
static int create_vars(const char *path, const char *template, struct lm_err *err)
{
	char part[4096];
	uint8_t *bytes = NULL;
	size_t size;
	int fd, rc = read_template(template, &bytes, &size, err);

	if (rc < 0 || (size_t)snprintf(part, sizeof(part), "%s.%d.part", path, (int)getpid()) >=
			      sizeof(part)) {
		free(bytes);
		return rc < 0 ? rc : lm_err_set(err, -ENAMETOOLONG, "too long a name: %.60s", path);
	}
	fd = open(part, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	rc = fd < 0 ? -errno : write_exactly(fd, bytes, size, 0);
	if (fd >= 0 && close(fd) < 0 && !rc)
		rc = -errno;
	if (!rc && link(part, path) < 0 && errno != EEXIST)
		rc = -errno;
	if (fd >= 0)
		unlink(part);
	free(bytes);
	return rc < 0 ? lm_err_errno(err, rc, "cannot create %s", path) : 0;
}

/* The file of variables, which is this machine's alone while it runs. */
static int open_vars(struct firmware *f, const struct firmware_files *files, struct lm_err *err)
{
	int rc = 0;

	if (access(files->vars, F_OK) < 0)
		rc = create_vars(files->vars, files->vars_template, err);
	if (rc < 0)
		return rc;
	f->vars_fd = open_sized(files->vars, O_RDWR, "file of firmware variables", PFLASH_BLOCK,
				PFLASH_MAX, &f->vars_size, err);
	if (f->vars_fd < 0)
		return f->vars_fd;
	if (flock(f->vars_fd, LOCK_EX | LOCK_NB) < 0)
		return lm_err_set(err, -EBUSY, "%s is in use by another machine", files->vars);
	f->vars = mmap(NULL, f->vars_size, PROT_READ | PROT_WRITE, MAP_SHARED, f->vars_fd, 0);
	if (f->vars != MAP_FAILED)
		return 0;
	f->vars = NULL;
	return lm_err_errno(err, -errno, "cannot map %s", files->vars);
}

/* Without a file: variables that end with the machine. */
static int copy_vars(struct firmware *f, const char *template, struct lm_err *err)
{
	uint8_t *bytes = NULL;
	int rc = read_template(template, &bytes, &f->vars_size, err);

	if (!rc) {
		f->vars = mmap(NULL, f->vars_size, PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		if (f->vars == MAP_FAILED) {
			f->vars = NULL;
			rc = lm_err_errno(err, -errno, "no memory for firmware variables");
		} else {
			memcpy(f->vars, bytes, f->vars_size);
		}
	}
	free(bytes);
	return rc;
}

static int add_flash(struct firmware *f, const struct firmware_files *files, struct bus *mmio,
		     struct lm_err *err)
{
	int rc = files->vars ? open_vars(f, files, err) : copy_vars(f, files->vars_template, err);

	if (rc < 0)
		return rc;
	return pflash_init(&f->flash, mmio, f->code->start - f->vars_size, f->vars,
			   (uint32_t)f->vars_size, err);
}

/* ---- VGA BIOS ---- */

static int load_vga(struct firmware *f, const char *path, struct lm_err *err)
{
	int fd = open_sized(path, O_RDONLY, "VGA BIOS", 512, VGA_MAX, &f->vga_size, err), rc;

	if (fd < 0)
		return fd;
	rc = read_whole(fd, path, f->vga_size, &f->vga, err);
	close(fd);
	return rc;
}

int firmware_load(struct firmware *f, const struct firmware_files *files, struct ram *ram,
		  struct bus *mmio, struct lm_err *err)
{
	int rc;

	*f = (struct firmware){ .vars_fd = -1 };
	rc = load_code(f, files->code, ram, err);
	if (!rc && files->vars_template)
		rc = add_flash(f, files, mmio, err);
	if (!rc && files->vga)
		rc = load_vga(f, files->vga, err);
	return rc;
}

void firmware_unload(struct firmware *f)
{
	if (f->vars)
		munmap(f->vars, f->vars_size);
	if (f->vars_fd > 0)
		close(f->vars_fd);
	free(f->vga);
	f->vars = f->vga = NULL;
	f->vars_fd = -1;
}
