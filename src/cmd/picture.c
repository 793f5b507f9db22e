#include "cmd/picture.h"

#include <errno.h>
#include <png.h>
#include <stdlib.h>

/* The simplified interface of libpng 1.6; it tells why in `message`. */
int picture_save(FILE *out, const uint32_t *pixels, unsigned width, unsigned height,
	     struct lm_err *err)
{
	png_image image = {
		.version = PNG_IMAGE_VERSION,
		.width = width,
		.height = height,
		.format = PNG_FORMAT_RGB,
	};
	uint8_t *rgb = malloc(3 * (size_t)width * height);
	int ok;

	if (!rgb)
		return lm_err_set(err, -ENOMEM, "no memory for the picture");
	for (size_t k = 0; k < (size_t)width * height; k++)
		for (unsigned c = 0; c < 3; c++)
			rgb[3 * k + c] = (uint8_t)(pixels[k] >> (16 - 8 * c));
	ok = png_image_write_to_stdio(&image, out, 0, rgb, 0, NULL);
	free(rgb);
	if (!ok)
		return lm_err_set(err, -EIO, "cannot write the picture: %s", image.message);
	return 0;
}
