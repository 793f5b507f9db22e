/* SSE2, AVX2 and FMA. The numbers are small integers, so sums are exact in any order. */
#include <immintrin.h>

#include "micro.h"

#define SIDE		64u /* of the matrices */
#define FLOATS		4096u
#define BYTES		4096u

static _Alignas(64) float a[SIDE][SIDE], b[SIDE][SIDE], c[SIDE][SIDE];

static const char *matmul_setup(void)
{
	for (unsigned i = 0; i < SIDE; i++)
		for (unsigned k = 0; k < SIDE; k++) {
			a[i][k] = (float)((i + k) % 7);
			b[i][k] = (float)((i * 3 + k) % 5);
		}
	return NULL;
}

static __attribute__((noinline)) void multiply(void)
{
	for (unsigned i = 0; i < SIDE; i++)
		for (unsigned k = 0; k < SIDE; k += 4) {
			__m128 sum = _mm_setzero_ps();
			for (unsigned j = 0; j < SIDE; j++)
				sum = _mm_add_ps(sum, _mm_mul_ps(_mm_set1_ps(a[i][j]), _mm_load_ps(&b[j][k])));
			_mm_store_ps(&c[i][k], sum);
		}
}

static void matmul_run(uint64_t n)
{
	for (uint64_t r = 0; r < n; r++) {
		unsigned i = r % SIDE, k = r * 5 % SIDE, expected = 0;
		multiply();
		for (unsigned j = 0; j < SIDE; j++)
			expected += (i + j) % 7 * ((j * 3 + k) % 5);
		if (c[i][k] != (float)expected)
			wrong("product of matrices");
	}
}

static _Alignas(64) float x[FLOATS], y[FLOATS];
static float dot_expected;

static const char *fma_setup(void)
{
	unsigned sum = 0;

	if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma"))
		return "no AVX2 and FMA";
	for (unsigned i = 0; i < FLOATS; i++) {
		x[i] = (float)(i % 11);
		y[i] = (float)(i % 13);
		sum += i % 11 * (i % 13);
	}
	dot_expected = (float)sum;
	return NULL;
}

static __attribute__((noinline, target("avx2,fma"))) float dot(void)
{
	__m256 s0 = _mm256_setzero_ps(), s1 = s0, s2 = s0, s3 = s0;
	float lane[8], sum = 0;

	for (unsigned i = 0; i < FLOATS; i += 32) {
		s0 = _mm256_fmadd_ps(_mm256_load_ps(x + i), _mm256_load_ps(y + i), s0);
		s1 = _mm256_fmadd_ps(_mm256_load_ps(x + i + 8), _mm256_load_ps(y + i + 8), s1);
		s2 = _mm256_fmadd_ps(_mm256_load_ps(x + i + 16), _mm256_load_ps(y + i + 16), s2);
		s3 = _mm256_fmadd_ps(_mm256_load_ps(x + i + 24), _mm256_load_ps(y + i + 24), s3);
	}
	_mm256_storeu_ps(lane, _mm256_add_ps(_mm256_add_ps(s0, s1), _mm256_add_ps(s2, s3)));
	for (int i = 0; i < 8; i++)
		sum += lane[i];
	return sum;
}

static void fma_run(uint64_t n)
{
	while (n--)
		if (dot() != dot_expected)
			wrong("dot product");
}

static _Alignas(64) uint8_t text[BYTES];
static unsigned text_count;

static const char *compare_setup(void)
{
	for (unsigned i = 0; i < BYTES; i++) {
		text[i] = (uint8_t)(i * i >> 3);
		text_count += text[i] == '/';
	}
	return NULL;
}

/* How often a byte occurs, the way memchr and its kin look for it. */
static __attribute__((noinline)) unsigned count_byte(uint8_t byte)
{
	__m128i wanted = _mm_set1_epi8((char)byte);
	unsigned count = 0;

	for (unsigned i = 0; i < BYTES; i += 16) {
		__m128i found = _mm_cmpeq_epi8(_mm_load_si128((const __m128i *)(text + i)), wanted);
		for (unsigned mask = (unsigned)_mm_movemask_epi8(found); mask; mask &= mask - 1)
			count++;
	}
	return count;
}

static void compare_run(uint64_t n)
{
	while (n--)
		if (count_byte('/') != text_count)
			wrong("number of bytes");
}

const struct bench vector_benches[] = {
	{"matmul", matmul_setup, matmul_run, 0, "SSE2 product of 64 x 64 floats"},
	{"fma", fma_setup, fma_run, 0, "AVX2 and FMA dot product of 4096 floats"},
	{"compare", compare_setup, compare_run, 0, "SSE2 search for a byte in 4 KiB"},
	{0},
};
