/* Compressed clusters are read, never written (a write puts a plain cluster in their place). */
#include <errno.h>
#include <stdlib.h>
#include <zlib.h>
#include <zstd.h>

#include "backend/qcow2.h"

#define RAW_DEFLATE_WINDOW (-12) /* qcow2.txt: raw deflate with a 4 KiB window */

static int inflate_zlib(const uint8_t *in, size_t in_len, uint8_t *out, size_t out_len)
{
	z_stream s = {
	    .next_in = (uint8_t *)(uintptr_t)in,
	    .avail_in = (unsigned)in_len,
	    .next_out = out,
	    .avail_out = (unsigned)out_len,
	};
	int rc;

	if (inflateInit2(&s, RAW_DEFLATE_WINDOW) != Z_OK)
		return -ENOMEM;
	rc = inflate(&s, Z_FINISH);
	inflateEnd(&s);
	/* Padding may follow the stream, and its end may lie behind the cluster's. */
	return s.avail_out == 0 && (rc == Z_STREAM_END || rc == Z_BUF_ERROR) ? 0 : -EIO;
}

static int inflate_zstd(const uint8_t *in, size_t in_len, uint8_t *out, size_t out_len)
{
	ZSTD_inBuffer src = {in, in_len, 0};
	ZSTD_outBuffer dst = {out, out_len, 0};
	ZSTD_DCtx *ctx = ZSTD_createDCtx();
	size_t left = 1;

	if (!ctx)
		return -ENOMEM;
	while (dst.pos < dst.size && left) {
		size_t in_pos = src.pos, out_pos = dst.pos;

		left = ZSTD_decompressStream(ctx, &dst, &src);
		if (ZSTD_isError(left) || (src.pos == in_pos && dst.pos == out_pos))
			break;
	}
	ZSTD_freeDCtx(ctx);
	return dst.pos == dst.size ? 0 : -EIO;
}

int qcow2_inflate(struct qcow2 *q, uint64_t entry, uint8_t *out)
{
	uint64_t len, offset = qcow2_compressed_range(q, entry, &len);
	struct iovec iov = {malloc(len), (size_t)len};
	int rc = iov.iov_base ? 0 : -ENOMEM;

	if (!rc && (offset >= q->file_size || len > 2 * q->cluster_size))
		rc = -EIO;
	if (!rc) /* the last sectors may be missing at the end of the file */
		rc = host_file_read(&q->img.file, offset, &iov, 1, 0, len, true);
	if (!rc && q->h.compression == QCOW2_ZSTD)
		rc = inflate_zstd(iov.iov_base, len, out, q->cluster_size);
	else if (!rc)
		rc = inflate_zlib(iov.iov_base, len, out, q->cluster_size);
	free(iov.iov_base);
	return rc;
}
