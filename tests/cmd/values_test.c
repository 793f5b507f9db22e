/* Option values and near words. */
#include "cmd/options.h"
#include "cmd/values.h"

#include <errno.h>
#include <string.h>

#include "../unit/check.h"
#include "base/bits.h"

static void test_sizes(void)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} good[] = {
	    {"0", 0},
	    {"1", 1},
	    {"4096", 4096},
	    {"3k", 3 * KIB},
	    {"512M", 512 * MIB},
	    {"2g", 2 * GIB},
	    {"1T", 1024 * GIB},
	    {"1E", UINT64_C(1) << 60},
	    {"16E", UINT64_MAX},
	    {"18446744073709551615", UINT64_MAX},
	    {"18446744073709551616", UINT64_MAX},
	    {"99999999999999999999999G", UINT64_MAX},
	};
	static const char *const bad[] = {"", "M", "-1", "+1", " 1", "1 ", "1.5G", "1MB", "0x10", "1q"};
	uint64_t bytes;

	for (size_t k = 0; k < LM_ARRAY_SIZE(good); k++) {
		CHECK_EQ(value_size(good[k].text, &bytes, NULL), 0);
		CHECK_EQ(bytes, good[k].bytes);
	}
	for (size_t k = 0; k < LM_ARRAY_SIZE(bad); k++)
		CHECK_EQ(value_size(bad[k], &bytes, NULL), -EINVAL);
}

static void test_numbers(void)
{
	uint64_t n;

	CHECK_EQ(value_number("64", 1, 64, "vCPUs", &n, NULL), 0);
	CHECK_EQ(n, 64);
	CHECK_EQ(value_number("0", 1, 64, "vCPUs", &n, NULL), -EINVAL);
	CHECK_EQ(value_number("65", 1, 64, "vCPUs", &n, NULL), -EINVAL);
	CHECK_EQ(value_number("1x", 1, 64, "vCPUs", &n, NULL), -EINVAL);
	CHECK_EQ(value_number("18446744073709551617", 1, 64, "vCPUs", &n, NULL), -EINVAL);
}

static void test_size_texts(void)
{
	CHECK(!strcmp(size_format(0).text, "0"));
	CHECK(!strcmp(size_format(1023).text, "1023"));
	CHECK(!strcmp(size_format(512 * MIB).text, "512M"));
	CHECK(!strcmp(size_format(3 * GIB / 2).text, "1.5G"));
	CHECK(!strcmp(size_format(2 * GIB - 1).text, "1.9G"));
	CHECK(!strcmp(size_format(UINT64_MAX).text, "15.9E"));
}

static void test_near_words(void)
{
	static const char *const words[] = {"memory", "cpus", "no-reboot", "name", "net", NULL};
	char long_word[100];

	CHECK(!strcmp(nearest_word("memroy", words), "memory"));
	CHECK(!strcmp(nearest_word("cpu", words), "cpus"));
	CHECK(!strcmp(nearest_word("no-rebot", words), "no-reboot"));
	CHECK(!strcmp(nearest_word("nme", words), "name"));
	CHECK(!nearest_word("xyzzy", words));
	memset(long_word, 'm', sizeof(long_word) - 1);
	long_word[sizeof(long_word) - 1] = 0;
	CHECK(!nearest_word(long_word, words));
}

int main(void)
{
	test_sizes();
	test_numbers();
	test_size_texts();
	test_near_words();
	return check_done();
}
