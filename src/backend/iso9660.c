#include "backend/iso9660.h"

#include <ctype.h>
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/bits.h"
#include "base/file_io.h"

#define SECTOR 2048

/* Where things lie, in sectors. The first 16 are the system's (ECMA-119 §6.2.1). */
enum layout {
	PRIMARY = 16,
	JOLIET,
	TERMINATOR,
	PRIMARY_PATHS, /* two tables, of either byte order */
	JOLIET_PATHS = PRIMARY_PATHS + 2,
	PRIMARY_ROOT = JOLIET_PATHS + 2,
	JOLIET_ROOT,
	FIRST_FILE,
};

#define PATH_TABLE_SIZE 10 /* of a root folder alone (§9.4) */
#define FLAG_FOLDER	2

static void put_both(uint8_t *p, uint64_t v, unsigned size)
{
	le_store(p, v, size);
	for (unsigned k = 0; k < size; k++)
		p[size + k] = p[size - 1 - k];
}

/* Text in the volume's characters, padded with blanks: bytes, or UCS-2 with the high byte first. */
static void put_text(uint8_t *p, size_t size, const char *text, bool joliet)
{
	size_t len = strlen(text);

	for (size_t k = 0; k < size; k++) {
		size_t at = joliet ? k / 2 : k;
		uint8_t c = at < len ? (uint8_t)text[at] : ' ';

		p[k] = joliet && k % 2 == 0 ? 0 : c;
	}
}

/* A directory record (§9.1) with a name of these bytes; returns its length. The date is 1980. */
static size_t put_record(uint8_t *p, uint32_t sector, uint32_t size, uint8_t flags,
			 const uint8_t *name, size_t name_len)
{
	size_t len = (33 + name_len + 1) & ~(size_t)1;

	p[0] = (uint8_t)len;
	put_both(p + 2, sector, 4);
	put_both(p + 10, size, 4);
	p[18] = 80;
	p[19] = p[20] = 1;
	p[25] = flags;
	put_both(p + 28, 1, 2);
	p[32] = (uint8_t)name_len;
	memcpy(p + 33, name, name_len);
	return len;
}

/* §8.4 and, for Joliet, §8.5: the same but for the escape sequence and the characters. */
static void make_volume(uint8_t *p, const char *label, uint32_t sectors, bool joliet)
{
	uint32_t paths = joliet ? JOLIET_PATHS : PRIMARY_PATHS;
	uint8_t root = 0;

	p[0] = joliet ? 2 : 1;
	memcpy(p + 1, "CD001\1", 6);
	put_text(p + 8, 32, "", joliet);
	put_text(p + 40, 32, label, joliet);
	put_both(p + 80, sectors, 4);
	if (joliet)
		memcpy(p + 88, "%/E", 3); /* UCS-2, level 3 */
	put_both(p + 120, 1, 2);
	put_both(p + 124, 1, 2);
	put_both(p + 128, SECTOR, 2);
	put_both(p + 132, PATH_TABLE_SIZE, 4);
	le_store(p + 140, paths, 4);
	le_store(p + 148, (uint64_t)__builtin_bswap32(paths + 1), 4);
	put_record(p + 156, joliet ? JOLIET_ROOT : PRIMARY_ROOT, SECTOR, FLAG_FOLDER, &root, 1);
	put_text(p + 190, 128 * 4, "", joliet); /* set, publisher, preparer, application */
	put_text(p + 702, 37 * 3, "", joliet);
	memset(p + 813, '0', 17 * 4); /* dates: none */
	p[829] = p[846] = p[863] = p[880] = 0;
	p[881] = 1;
}

static void make_paths(uint8_t *two, uint32_t root)
{
	for (unsigned k = 0; k < 2; k++) {
		uint8_t *p = two + k * SECTOR;

		p[0] = 1;
		le_store(p + 2, k ? __builtin_bswap32(root) : root, 4);
		p[6 + k] = 1; /* it is its own parent */
	}
}

/* "user-data" becomes "USERDATA.;1": letters, digits and underscores, eight of them. */
static size_t plain_name(uint8_t *out, const char *name)
{
	size_t n = 0;

	for (; *name && n < 8; name++)
		if (isalnum((unsigned char)*name) || *name == '_')
			out[n++] = (uint8_t)toupper((unsigned char)*name);
	memcpy(out + n, ".;1", 3);
	return n + 3;
}

static size_t joliet_name(uint8_t *out, const char *name)
{
	size_t len = strlen(name);

	put_text(out, 2 * len, name, true);
	return 2 * len;
}

static uint32_t sectors_of(size_t bytes)
{
	return (uint32_t)((bytes + SECTOR - 1) / SECTOR);
}

/* All fit into one sector: at most 8 records of 162 bytes, and two for the folder and its parent. */
static void make_folder(uint8_t *p, uint32_t self, const struct iso_file *files, unsigned count,
			bool joliet)
{
	uint32_t sector = FIRST_FILE;

	for (uint8_t k = 0; k < 2; k++) /* itself, and its parent, which is the same */
		p += put_record(p, self, SECTOR, FLAG_FOLDER, &k, 1);
	for (unsigned k = 0; k < count; k++) {
		uint8_t name[2 * ISO_NAME_MAX];
		size_t len = joliet ? joliet_name(name, files[k].name)
				    : plain_name(name, files[k].name);

		p += put_record(p, sector, (uint32_t)files[k].size, 0, name, len);
		sector += sectors_of(files[k].size);
	}
}

int iso_write(int fd, const char *label, const struct iso_file *files, unsigned count,
	      struct lm_err *err)
{
	uint8_t head[FIRST_FILE * SECTOR] = {0};
	uint32_t sectors = FIRST_FILE;
	int rc;

	if (count > ISO_FILES_MAX)
		return lm_err_set(err, -E2BIG, "at most %d files", ISO_FILES_MAX);
	for (unsigned k = 0; k < count; k++) {
		off_t at = (off_t)sectors * SECTOR;

		if (strlen(files[k].name) > ISO_NAME_MAX || files[k].size >= 4 * GIB)
			return lm_err_set(err, -EFBIG, "%s is too large", files[k].name);
		rc = write_exactly(fd, files[k].data, files[k].size, at);
		if (rc)
			return lm_err_errno(err, rc, "cannot write the CD image");
		sectors += sectors_of(files[k].size);
	}
	make_volume(head + PRIMARY * SECTOR, label, sectors, false);
	make_volume(head + JOLIET * SECTOR, label, sectors, true);
	memcpy(head + TERMINATOR * SECTOR, "\377CD001\1", 7);
	make_paths(head + PRIMARY_PATHS * SECTOR, PRIMARY_ROOT);
	make_paths(head + JOLIET_PATHS * SECTOR, JOLIET_ROOT);
	make_folder(head + PRIMARY_ROOT * SECTOR, PRIMARY_ROOT, files, count, false);
	make_folder(head + JOLIET_ROOT * SECTOR, JOLIET_ROOT, files, count, true);
	rc = write_exactly(fd, head, sizeof(head), 0);
	if (!rc && ftruncate(fd, (off_t)sectors * SECTOR))
		rc = -errno;
	return rc ? lm_err_errno(err, rc, "cannot write the CD image") : 0;
}
