/* The contents of the DSDT: the board's devices that cannot be found by probing. */
#ifndef LM_DEV_ACPI_DSDT_H
#define LM_DEV_ACPI_DSDT_H

#include "dev/acpi/aml.h"
#include "dev/acpi/tables.h"

void dsdt_write(struct aml *aml, const struct acpi_config *config);

#endif
