#include "dev/acpi/loader.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"

#define IMAGE_MAX    (128 * KIB)
#define ENTRIES_MAX  (2 + ACPI_MAX_POINTERS + ACPI_MAX_CHECKSUMS)
#define RSDP_ALIGN   16
#define TABLES_ALIGN 64 /* FACS, ACPI 6.4 §5.2.10 */

/* Offsets in an entry. */
#define FILE_1	       4
#define FILE_2	       (FILE_1 + FW_CFG_NAME)
#define ALLOCATE_ALIGN (FILE_1 + FW_CFG_NAME)
#define ALLOCATE_ZONE  (ALLOCATE_ALIGN + 4)
#define POINTER_OFFSET (FILE_2 + FW_CFG_NAME)
#define POINTER_SIZE   (POINTER_OFFSET + 4)
#define CHECKSUM_AT    (FILE_1 + FW_CFG_NAME)
#define CHECKSUM_START (CHECKSUM_AT + 4)
#define CHECKSUM_LEN   (CHECKSUM_START + 4)

struct script {
	uint8_t entry[ENTRIES_MAX][ACPI_LOADER_ENTRY];
	unsigned count;
};

/* Two files: the RSDP by itself, and all that follows it. */
static const char *file_at(uint32_t *offset)
{
	if (*offset < ACPI_FIRST_TABLE)
		return ACPI_FILE_RSDP;
	*offset -= ACPI_FIRST_TABLE;
	return ACPI_FILE_TABLES;
}

static uint8_t *command(struct script *s, enum acpi_loader_command command, const char *file)
{
	uint8_t *e = s->entry[s->count++];

	le_store(e, command, 4);
	strcpy((char *)e + FILE_1, file);
	return e;
}

static void allocate(struct script *s, const char *file, uint32_t align, enum acpi_loader_zone zone)
{
	uint8_t *e = command(s, ACPI_LOADER_ALLOCATE, file);

	le_store(e + ALLOCATE_ALIGN, align, 4);
	e[ALLOCATE_ZONE] = (uint8_t)zone;
}

static void add_pointer(struct script *s, uint32_t at, uint8_t size)
{
	uint8_t *e = command(s, ACPI_LOADER_ADD_POINTER, file_at(&at));

	strcpy((char *)e + FILE_2, ACPI_FILE_TABLES);
	le_store(e + POINTER_OFFSET, at, 4);
	e[POINTER_SIZE] = size;
}

static void add_checksum(struct script *s, uint32_t at, uint32_t start, uint32_t length)
{
	uint8_t *e = command(s, ACPI_LOADER_ADD_CHECKSUM, file_at(&at));

	file_at(&start);
	le_store(e + CHECKSUM_AT, at, 4);
	le_store(e + CHECKSUM_START, start, 4);
	le_store(e + CHECKSUM_LEN, length, 4);
}

/* Everything is placed before an address is used, and every address is there before it is summed. */
static void write_script(struct script *s, const struct acpi_fixups *f)
{
	allocate(s, ACPI_FILE_TABLES, TABLES_ALIGN, ACPI_LOADER_HIGH);
	allocate(s, ACPI_FILE_RSDP, RSDP_ALIGN, ACPI_LOADER_FSEG);
	for (unsigned k = 0; k < f->pointers; k++)
		add_pointer(s, f->pointer[k].at, f->pointer[k].size);
	for (unsigned k = 0; k < f->checksums; k++)
		add_checksum(s, f->checksum[k].at, f->checksum[k].start, f->checksum[k].length);
}

/* Pointers become offsets in the file of tables; firmware wants checksums to be zero before. */
static void prepare_image(uint8_t *image, const struct acpi_fixups *f)
{
	for (unsigned k = 0; k < f->pointers; k++) {
		uint8_t *field = image + f->pointer[k].at;

		le_store(field, le_load(field, f->pointer[k].size) - ACPI_FIRST_TABLE,
			 f->pointer[k].size);
	}
	for (unsigned k = 0; k < f->checksums; k++)
		image[f->checksum[k].at] = 0;
}

static int add_files(struct fw_cfg *fw, const uint8_t *image, uint32_t size,
		     const struct script *s, struct lm_err *err)
{
	int rc = fw_cfg_add_file(fw, ACPI_FILE_RSDP, image, ACPI_RSDP_SIZE, true, err);

	if (!rc)
		rc = fw_cfg_add_file(fw, ACPI_FILE_TABLES, image + ACPI_FIRST_TABLE,
				     size - ACPI_FIRST_TABLE, true, err);
	if (!rc)
		rc = fw_cfg_add_file(fw, ACPI_FILE_LOADER, s->entry, s->count * ACPI_LOADER_ENTRY,
				     true, err);
	return rc;
}

int acpi_loader_add(struct fw_cfg *fw, const struct acpi_config *config, struct lm_err *err)
{
	struct acpi_fixups fixups;
	struct script script = {0};
	uint8_t *image = malloc(IMAGE_MAX);
	int rc;

	if (!image)
		return lm_err_errno(err, -ENOMEM, "ACPI tables for fw_cfg");
	rc = acpi_build_movable(config, image, IMAGE_MAX, &fixups, err);
	if (rc > 0) {
		prepare_image(image, &fixups);
		write_script(&script, &fixups);
		rc = add_files(fw, image, (uint32_t)rc, &script, err);
	}
	free(image);
	return rc;
}
