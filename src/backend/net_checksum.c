#include "backend/net_checksum.h"

#include <arpa/inet.h>
#include <string.h>

/* The Internet checksum (RFC 1071): words may be added in any order and byte order. */
static uint16_t sum_words(const uint8_t *p, size_t len)
{
	uint64_t sum = 0;
	uint32_t word;
	uint16_t half;

	for (; len >= sizeof(word); len -= sizeof(word), p += sizeof(word)) {
		memcpy(&word, p, sizeof(word));
		sum += word;
	}
	if (len >= sizeof(half)) {
		memcpy(&half, p, sizeof(half));
		sum += half;
		p += sizeof(half);
		len -= sizeof(half);
	}
	if (len)
		sum += htons((uint16_t)(*p << 8));
	while (sum >> 16)
		sum = (sum & 0xffff) + (sum >> 16);
	return (uint16_t)sum;
}

void net_checksum_fill(const struct virtio_net_hdr *header, uint8_t *frame, uint32_t len)
{
	uint32_t start = header->csum_start;
	uint16_t sum = (uint16_t)~sum_words(frame + start, len - start);

	/* RFC 768: zero means that there is none; TCP may say it either way. */
	if (!sum)
		sum = 0xffff;
	memcpy(frame + start + header->csum_offset, &sum, sizeof(sum));
}
