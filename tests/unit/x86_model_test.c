/* CPU models: levels, files, what CPUID says of them, and what instructions do that are not in one. */
#include <errno.h>
#include <unistd.h>

#include "x86_box.h"
#include "check.h"
#include "isa/x86/msr.h"

static struct x86_box box;
static struct x86_cpu *c;

static bool has(const struct model_features *m, enum x86_feature f)
{
	return m->features >> f & 1;
}

static void test_levels(void)
{
	struct model_features all, one, two, three, host;

	CHECK_EQ(model_choose(&all, "default", NULL), 0);
	CHECK_EQ(model_choose(&one, "baseline", NULL), 0);
	CHECK_EQ(model_choose(&two, "v2", NULL), 0);
	CHECK_EQ(model_choose(&three, "v3", NULL), 0);
	CHECK_EQ(model_choose(&host, "host", NULL), 0);
	CHECK_EQ(all.features, LM_BIT(F_COUNT) - 1);
	for (int f = 0; f < F_COUNT; f++)
		CHECK(model_feature_name((enum x86_feature)f) != NULL);
	CHECK(!(one.features & ~two.features) && one.features != two.features);
	CHECK(!(two.features & ~three.features) && two.features != three.features);
	CHECK(has(&one, F_SSE2) && !has(&one, F_SSE3) && !has(&one, F_CX16));
	CHECK(has(&two, F_SSE4_2) && !has(&two, F_AVX) && !has(&two, F_AES));
	CHECK(has(&three, F_AVX2) && has(&three, F_LZCNT) && !has(&three, F_SHA));
	CHECK(has(&host, F_LM) && has(&host, F_KVM));
	CHECK_EQ(has(&host, F_AVX2), __builtin_cpu_supports("avx2") != 0);
	CHECK_EQ(has(&host, F_SSE4_2), __builtin_cpu_supports("sse4.2") != 0);
}

static int choose_text(struct model_features *m, const char *text, struct lm_err *err)
{
	char path[] = "/tmp/lamina-model-XXXXXX";
	int fd = mkstemp(path), rc;

	CHECK_EQ(write(fd, text, strlen(text)), strlen(text));
	close(fd);
	rc = model_choose(m, path, err);
	unlink(path);
	return rc;
}

static void refuses(const char *text, const char *why)
{
	struct model_features m;
	struct lm_err err = { 0 };

	CHECK_EQ(choose_text(&m, text, &err), -EINVAL);
	CHECK(strstr(err.text, why) != NULL);
	if (!strstr(err.text, why))
		fprintf(stderr, "%s: %s\n", text, err.text);
}

static void test_files(void)
{
	struct model_features m;

	CHECK_EQ(choose_text(&m, "{\"base\": \"v2\", \"features\": {\"aes\": true, \"cx16\": false}}", NULL), 0);
	CHECK(has(&m, F_AES) && !has(&m, F_CX16) && has(&m, F_SSE4_2) && !strcmp(m.name, "custom"));
	CHECK_EQ(choose_text(&m, "{\"name\": \"mine\"}", NULL), 0);
	CHECK(!strcmp(m.name, "mine") && m.features == LM_BIT(F_COUNT) - 1);
	refuses("{", "line 1");
	refuses("[]", "object");
	refuses("{\"bas\": \"v2\"}", "1 object item(s) left unpacked: bas");
	refuses("{\"base\": \"v4\"}", "base \"v4\"");
	refuses("{\"name\": \"a b\"}", "name");
	refuses("{\"name\": \"\"}", "name");
	refuses("{\"features\": []}", "no object");
	refuses("{\"features\": {\"avx3\": true}}", "no feature \"avx3\"");
	refuses("{\"features\": {\"avx\": 1}}", "avx: true or false");
	refuses("{\"features\": {\"sse2\": false}}", "sse2 is part of every model");
	refuses("{\"features\": {\"xsave\": false}}", "avx needs xsave");
	refuses("{\"base\": \"v2\", \"features\": {\"avx2\": true}}", "avx2 needs avx");
	CHECK_EQ(model_choose(&m, "/no/such/file", NULL), -ENOENT);
}

static void test_json(void)
{
	struct model_features m, back, small;
	struct lm_err err;
	json_t *json;

	model_choose(&m, "v3", NULL);
	json = model_to_json(&m);
	CHECK_EQ(model_from_json(&back, json, NULL), 0);
	CHECK(back.features == m.features && !strcmp(back.name, "v3"));
	json_array_append_new(json_object_get(json, "features"), json_string("bogus"));
	CHECK_EQ(model_from_json(&back, json, &err), -EINVAL);
	CHECK(!strcmp(err.text, "CPU model: no feature \"bogus\"; docs/cpu-models.md lists them"));
	json_decref(json);
	CHECK_EQ(model_check(&m, &m, NULL), 0);
	model_choose(&small, "v2", NULL);
	CHECK_EQ(model_check(&small, &m, NULL), 0);
	small.features |= LM_BIT(F_SHA) | LM_BIT(F_ADX);
	CHECK_EQ(model_check(&small, &m, &err), -EINVAL);
	CHECK(!strcmp(err.text, "its CPU model \"v2\" has features that are missing here (\"v3\"): adx sha_ni"));
}

/* ---- What a guest sees ---- */

static void use(const char *name)
{
	struct model_features m;

	model_choose(&m, name, NULL);
	box.sys.model.features = m.features;
}

static enum decode_status decode(struct insn *i, const char *bytes, unsigned len, enum x86_code_size size)
{
	uint8_t padded[INSN_MAX_LENGTH] = { 0 };

	memcpy(padded, bytes, len);
	return insn_decode(i, padded, INSN_MAX_LENGTH, size, false, &box.sys.model);
}

#define UD(bytes) (decode(&i, bytes, sizeof(bytes) - 1, CODE_64) == DECODE_UNDEFINED)

static void test_instructions(void)
{
	struct insn i;

	use("default");
	CHECK(!UD("\xc5\xfd\xfe\xc1") && !UD("\x66\x0f\x38\xdc\xc1") && !UD("\xf3\x0f\xb8\xc1"));
	use("v2");
	CHECK(UD("\xc5\xfd\xfe\xc1"));		      /* VPADDD ymm: AVX2 */
	CHECK(UD("\xc5\xf8\x58\xc1"));		      /* VADDPS xmm: AVX */
	CHECK(UD("\x66\x0f\x38\xdc\xc1"));	      /* AESENC */
	CHECK(UD("\xc4\xe2\x78\xf2\xc1"));	      /* ANDN: BMI1 */
	CHECK(UD("\x0f\x38\xf0\x03"));		      /* MOVBE */
	CHECK(UD("\x0f\xc7\xf0"));		      /* RDRAND */
	CHECK(UD("\x0f\x01\xd0"));		      /* XGETBV: XSAVE */
	CHECK(UD("\x0f\x01\xcb"));		      /* STAC */
	CHECK(UD("\xf3\x48\x0f\xae\xc0"));	      /* RDFSBASE */
	CHECK(!UD("\xf3\x0f\xb8\xc1"));		      /* POPCNT */
	CHECK(!UD("\xf2\x0f\x38\xf1\xc1"));	      /* CRC32 */
	CHECK(!UD("\x48\x0f\xc7\x0b"));		      /* CMPXCHG16B */
	CHECK(!UD("\x9f"));			      /* LAHF */
	use("baseline");
	CHECK(UD("\xf3\x0f\xb8\xc1"));
	CHECK(UD("\xf2\x0f\x38\xf1\xc1"));
	CHECK(UD("\x48\x0f\xc7\x0b"));
	CHECK(UD("\x9f"));
	CHECK(!UD("\x0f\xc7\x0b")); /* CMPXCHG8B */
	CHECK_EQ(decode(&i, "\x9f", 1, CODE_32), DECODE_OK);
}

/* TZCNT of 0 sets CF and gives the width; BSF of 0 sets ZF and leaves the register. */
static void test_ignored_prefix(void)
{
	struct insn i;

	use("v3");
	CHECK_EQ(decode(&i, "\xf3\x0f\xbc\xc1", 4, CODE_64), DECODE_OK);
	c->s.gpr[RCX] = 0;
	c->s.gpr[RAX] = 77;
	i.exec(c, &i);
	CHECK_EQ(c->s.gpr[RAX], 32);
	use("v2");
	CHECK_EQ(decode(&i, "\xf3\x0f\xbc\xc1", 4, CODE_64), DECODE_OK);
	c->s.gpr[RAX] = 77;
	i.exec(c, &i);
	CHECK_EQ(c->s.gpr[RAX], 77);
	CHECK_EQ(decode(&i, "\xf3\x0f\xbd\xc1", 4, CODE_64), DECODE_OK); /* LZCNT; BSR: 31 - it */
	c->s.gpr[RCX] = 0x80;
	i.exec(c, &i);
	CHECK_EQ(c->s.gpr[RAX], 7);
}

static void test_registers(void)
{
	uint64_t v;

	use("v3");
	CHECK(msr_read(c, 0xc0000103, &v) && !msr_read(c, 0xda0, &v));
	use("baseline");
	CHECK(!msr_read(c, 0xc0000103, &v) && !msr_write(c, 0xc0000103, 1));
	CHECK_EQ(x86_cpuid(c, 7, 0).ebx & 1u << 5, 0);
	CHECK_EQ(x86_cpuid(c, 1, 0).ecx & (1u << 28 | 1u << 26 | 1u << 20 | 1u), 0);
	CHECK_EQ(x86_cpuid(c, 0xd, 0).eax, 0);
	CHECK_EQ(x86_cpuid(c, 0x80000001, 0).ecx & 1u, 0);
	use("v2");
	CHECK_EQ(x86_cpuid(c, 1, 0).ecx & (1u << 28 | 1u << 20), 1u << 20);
}

int main(void)
{
	box_init(&box, 1);
	c = box.sys.cpu[0];
	box_long(&box, c);
	test_levels();
	test_files();
	test_json();
	test_instructions();
	test_ignored_prefix();
	test_registers();
	box_fini(&box);
	return check_done();
}
