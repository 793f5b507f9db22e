/* Integer and scalar floating point work that stays in the first cache, and calls. */
#include <math.h>
#include <string.h>

#include "micro.h"

#define CRC_BYTES	4096u
#define SIEVE_MAX	65536u
#define SIEVE_PRIMES	6542u /* primes below 65536 */
#define HEAP_COUNT	4096u
#define FIB_ARGUMENT	20
#define FIB_RESULT	6765u
#define FIB_CALLS	21891u /* 2 * fib(21) - 1 */
#define CALLS		4096u
#define PROGRAM_LENGTH	4096u
#define TERMS		1000u
#define SHA_BLOCKS	64u

static uint64_t seed;

/* ---- CRC-32 (IEEE 802.3), a table of 256 ---- */

static uint32_t crc_table[256], crc_expected;
static uint8_t crc_data[CRC_BYTES];

static uint32_t crc_by_bits(uint32_t crc, const uint8_t *p, size_t len)
{
	while (len--) {
		crc ^= *p++;
		for (int k = 0; k < 8; k++)
			crc = crc >> 1 ^ (crc & 1 ? 0xedb88320u : 0);
	}
	return crc;
}

static const char *crc_setup(void)
{
	for (unsigned i = 0; i < 256; i++) {
		uint8_t zero = 0;
		crc_table[i] = crc_by_bits(i, &zero, 1);
	}
	for (size_t i = 0; i < CRC_BYTES; i++)
		crc_data[i] = (uint8_t)(i * 7 + i / 256);
	crc_expected = crc_by_bits(~0u, crc_data, CRC_BYTES);
	if (~crc_by_bits(~0u, (const uint8_t *)"123456789", 9) != 0xcbf43926u)
		wrong("CRC of 123456789");
	return NULL;
}

static void crc_run(uint64_t n)
{
	while (n--) {
		uint32_t crc = ~0u;
		for (size_t i = 0; i < CRC_BYTES; i++)
			crc = crc >> 8 ^ crc_table[(crc ^ crc_data[i]) & 255];
		if (crc != crc_expected)
			wrong("CRC");
	}
}

/* ---- Eratosthenes ---- */

static void sieve_run(uint64_t n)
{
	static uint8_t composite[SIEVE_MAX];

	while (n--) {
		unsigned primes = 0;
		memset(composite, 0, sizeof composite);
		for (unsigned i = 2; i < SIEVE_MAX; i++) {
			if (composite[i])
				continue;
			primes++;
			for (unsigned k = 2 * i; k < SIEVE_MAX; k += i)
				composite[k] = 1;
		}
		if (primes != SIEVE_PRIMES)
			wrong("number of primes");
	}
}

/* ---- heapsort ---- */

static void sift_down(uint32_t *heap, size_t at, size_t count)
{
	uint32_t value = heap[at];

	for (size_t kid; (kid = 2 * at + 1) < count; at = kid) {
		if (kid + 1 < count && heap[kid + 1] > heap[kid])
			kid++;
		if (heap[kid] <= value)
			break;
		heap[at] = heap[kid];
	}
	heap[at] = value;
}

static void heapsort(uint32_t *data, size_t count)
{
	for (size_t i = count / 2; i--;)
		sift_down(data, i, count);
	for (size_t last = count - 1; last; last--) {
		uint32_t top = data[0];
		data[0] = data[last];
		data[last] = top;
		sift_down(data, 0, last);
	}
}

static void heap_run(uint64_t n)
{
	static uint32_t data[HEAP_COUNT];

	while (n--) {
		uint64_t sum = 0;
		seed = 88172645463325252u;
		for (size_t i = 0; i < HEAP_COUNT; i++)
			sum += data[i] = (uint32_t)next_random(&seed);
		heapsort(data, HEAP_COUNT);
		for (size_t i = 0; i < HEAP_COUNT; i++) {
			sum -= data[i];
			if (i && data[i] < data[i - 1])
				wrong("order");
		}
		if (sum)
			wrong("sum of sorted numbers");
	}
}

/* ---- division of 64-bit numbers, each needing the last one's result ---- */

static void divide_run(uint64_t n)
{
	uint64_t x = 0xfedcba9876543210u, divisor = 0x12345u;

	while (n--) {
		uint64_t quotient = x / divisor, rest = x % divisor;
		/* The compiler knows what is checked here to hold. */
		__asm__ volatile("" : "+r"(quotient), "+r"(rest));
		if (quotient * divisor + rest != x || rest >= divisor)
			wrong("quotient");
		divisor = (quotient & 0xffffff) + 0x10001;
		x = ~quotient * 0x9e3779b97f4a7c15u;
	}
}

/* ---- calls ---- */

static __attribute__((noinline, noclone, optimize("no-optimize-sibling-calls"))) unsigned fib(unsigned n)
{
	__asm__ volatile("" : "+r"(n));
	return n < 2 ? n : fib(n - 1) + fib(n - 2);
}

static void fib_run(uint64_t n)
{
	while (n--)
		if (fib(FIB_ARGUMENT) != FIB_RESULT)
			wrong("Fibonacci number");
}

/* Eight of them, taken in a random order. */
#define FUNCTION(k) \
	static __attribute__((noinline)) uint64_t function_##k(uint64_t x) { return x * 5 + k; }
FUNCTION(0) FUNCTION(1) FUNCTION(2) FUNCTION(3) FUNCTION(4) FUNCTION(5) FUNCTION(6) FUNCTION(7)

static uint64_t (*const functions[8])(uint64_t x) = {
	function_0, function_1, function_2, function_3, function_4, function_5, function_6, function_7,
};
static uint8_t order[CALLS];
static uint64_t order_result;

static const char *indirect_setup(void)
{
	seed = 42;
	order_result = 0;
	for (size_t i = 0; i < CALLS; i++) {
		order[i] = next_random(&seed) >> 20 & 7;
		order_result = order_result * 5 + order[i];
	}
	return NULL;
}

static void indirect_run(uint64_t n)
{
	while (n--) {
		uint64_t x = 0;
		for (size_t i = 0; i < CALLS; i++)
			x = functions[order[i]](x);
		if (x != order_result)
			wrong("result of calls");
	}
}

/* ---- an interpreter with a switch; the program is random, with a loop around it ---- */

static uint8_t program[PROGRAM_LENGTH + 1];
static uint64_t program_result;

enum { ADD, SUB, XOR, ROTATE, MULTIPLY, SWAP, NOT, SHIFT, END };

/* The same by other means, for the expected result. */
static uint64_t program_meaning(void)
{
	uint64_t a = 1, b = 2, t;

	for (const uint8_t *p = program; *p != END; p++) {
		a = *p == ADD ? a + b : *p == SUB ? a - b : *p == XOR ? a ^ b : a;
		a = *p == ROTATE ? a << 7 | a >> 57 : *p == MULTIPLY ? a * 31 : *p == NOT ? ~a : a;
		t = a;
		b = *p == SHIFT ? b + (a >> 3) : b;
		a = *p == SWAP ? b : a;
		b = *p == SWAP ? t : b;
	}
	return a ^ b;
}

static __attribute__((noinline)) uint64_t interpret(const uint8_t *p)
{
	uint64_t a = 1, b = 2, t;

	for (;; p++) {
		switch (*p) {
		case ADD: a += b; break;
		case SUB: a -= b; break;
		case XOR: a ^= b; break;
		case ROTATE: a = a << 7 | a >> 57; break;
		case MULTIPLY: a *= 31; break;
		case SWAP: t = a; a = b; b = t; break;
		case NOT: a = ~a; break;
		case SHIFT: b += a >> 3; break;
		case END: return a ^ b;
		}
	}
}

static const char *switch_setup(void)
{
	seed = 4711;
	for (size_t i = 0; i < PROGRAM_LENGTH; i++)
		program[i] = (uint8_t)((next_random(&seed) >> 20) % END);
	program[PROGRAM_LENGTH] = END;
	program_result = program_meaning();
	return NULL;
}

static void switch_run(uint64_t n)
{
	while (n--)
		if (interpret(program) != program_result)
			wrong("result of the program");
}

/* ---- scalar floating point: the sum of 1/k^2, and its square root ---- */

static void double_run(uint64_t n)
{
	volatile double first = 1;

	while (n--) {
		double sum = 0, x = first;
		for (unsigned k = 0; k < TERMS; k++, x += 1)
			sum += 1 / (x * x);
		/* pi^2/6 less the rest of the series. */
		if (fabs(__builtin_sqrt(sum * 6) - 3.140638056205993) > 1e-12)
			wrong("sum of doubles");
	}
}

static void x87_run(uint64_t n)
{
	volatile long double first = 1;

	while (n--) {
		long double sum = 0, x = first, difference;
		for (unsigned k = 0; k < TERMS; k++, x += 1)
			sum += 1 / (x * x);
		difference = __builtin_sqrtl(sum * 6) - 3.140638056205993123L;
		if (difference > 1e-16L || difference < -1e-16L)
			wrong("sum of long doubles");
	}
}

/* ---- SHA-256 (FIPS 180-4) ---- */

static const uint32_t sha_k[64] = {
	0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
	0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
	0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
	0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
	0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
	0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
	0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
	0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};
static const uint32_t sha_start[8] = {
	0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19,
};
/* SHA-256 of "abc", FIPS 180-2 appendix B.1. */
static const uint32_t sha_abc[8] = {
	0xba7816bf, 0x8f01cfea, 0x414140de, 0x5dae2223, 0xb00361a3, 0x96177a9c, 0xb410ff61, 0xf20015ad,
};
static uint32_t sha_expected[8];

static uint32_t rotr(uint32_t x, unsigned n)
{
	return x >> n | x << (32 - n);
}

static __attribute__((noinline)) void sha_block(uint32_t h[8], const uint32_t block[16])
{
	uint32_t w[64], a = h[0], b = h[1], c = h[2], d = h[3], e = h[4], f = h[5], g = h[6], last = h[7];

	memcpy(w, block, 64);
	for (int i = 16; i < 64; i++)
		w[i] = w[i - 16] + w[i - 7] + (rotr(w[i - 15], 7) ^ rotr(w[i - 15], 18) ^ w[i - 15] >> 3) +
		       (rotr(w[i - 2], 17) ^ rotr(w[i - 2], 19) ^ w[i - 2] >> 10);
	for (int i = 0; i < 64; i++) {
		uint32_t t1 = last + (rotr(e, 6) ^ rotr(e, 11) ^ rotr(e, 25)) + ((e & f) ^ (~e & g)) +
			      sha_k[i] + w[i];
		uint32_t t2 = (rotr(a, 2) ^ rotr(a, 13) ^ rotr(a, 22)) + ((a & b) ^ (a & c) ^ (b & c));
		last = g, g = f, f = e, e = d + t1;
		d = c, c = b, b = a, a = t1 + t2;
	}
	h[0] += a, h[1] += b, h[2] += c, h[3] += d;
	h[4] += e, h[5] += f, h[6] += g, h[7] += last;
}

static void sha_chain(uint32_t h[8])
{
	uint32_t block[16] = {0};

	memcpy(h, sha_start, sizeof sha_start);
	for (uint32_t i = 0; i < SHA_BLOCKS; i++) {
		block[0] = i;
		sha_block(h, block);
	}
}

static const char *sha_setup(void)
{
	uint32_t abc[16] = {0x61626380, [15] = 24}, h[8];

	memcpy(h, sha_start, sizeof h);
	sha_block(h, abc);
	if (memcmp(h, sha_abc, sizeof h) != 0)
		wrong("SHA-256 of abc");
	sha_chain(sha_expected);
	return NULL;
}

static void sha_run(uint64_t n)
{
	uint32_t h[8];

	while (n--) {
		sha_chain(h);
		if (memcmp(h, sha_expected, sizeof h) != 0)
			wrong("SHA-256");
	}
}

const struct bench compute_benches[] = {
	{"crc32", crc_setup, crc_run, 0, "CRC-32 of 4 KiB by a table"},
	{"sieve", NULL, sieve_run, 0, "primes below 65536"},
	{"heap", NULL, heap_run, 0, "heapsort of 4096 numbers"},
	{"divide", NULL, divide_run, 0, "64-bit division"},
	{"fib", NULL, fib_run, FIB_CALLS, "call and return in fib(20)"},
	{"indirect", indirect_setup, indirect_run, CALLS, "call of one of 8 functions in random order"},
	{"switch", switch_setup, switch_run, PROGRAM_LENGTH, "instruction of an interpreter with a switch"},
	{"double", NULL, double_run, TERMS, "double multiply, divide and two adds"},
	{"x87", NULL, x87_run, TERMS, "long double multiply, divide and two adds"},
	{"sha256", sha_setup, sha_run, SHA_BLOCKS, "SHA-256 in C of a block of 64 bytes"},
	{0},
};
