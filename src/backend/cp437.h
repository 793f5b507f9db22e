/* The characters of a PC's text screen, code page 437, as UTF-8. */
#ifndef LM_BACKEND_CP437_H
#define LM_BACKEND_CP437_H

#include <stdint.h>

#define CP437_UTF8_MAX 3

/* The number of bytes. */
unsigned cp437_utf8(uint8_t character, char out[CP437_UTF8_MAX]);

#endif
