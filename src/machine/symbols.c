#include "machine/symbols.h"

#include <elf.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/bits.h"
#include "isa/x86/mmu.h"

struct symbol {
	uint64_t address;
	char *name;
};

struct symbols {
	struct symbol *table; /* sorted by address */
	size_t count, room;
};

static int add(struct symbols *s, uint64_t address, const char *name)
{
	struct symbol *grown;

	if (s->count == s->room) {
		s->room = s->room ? 2 * s->room : 4096;
		grown = realloc(s->table, s->room * sizeof(*grown));
		if (!grown)
			return -ENOMEM;
		s->table = grown;
	}
	s->table[s->count].address = address;
	s->table[s->count].name = strdup(name);
	return s->table[s->count++].name ? 0 : -ENOMEM;
}

static int by_address(const void *a, const void *b)
{
	const struct symbol *x = a, *y = b;

	return (x->address > y->address) - (x->address < y->address);
}

/* ---- System.map: "ffffffff81000000 T _text" ---- */

/* Addresses have all their digits; lines of other files seldom begin so. */
static bool is_map_line(const char *line)
{
	size_t digits = strspn(line, "0123456789abcdef");

	return (digits == 16 || digits == 8) && line[digits] == ' ';
}

static int load_map(struct symbols *s, FILE *f)
{
	char line[512], name[256], type;
	uint64_t address;
	int rc = 0;

	while (!rc && fgets(line, sizeof(line), f))
		if (is_map_line(line) &&
		    sscanf(line, "%" SCNx64 " %c %255s", &address, &type, name) == 3 &&
		    strchr("tTwW", type))
			rc = add(s, address, name);
	return rc;
}

/* ---- ELF64 symbol tables ---- */

static void *read_at(FILE *f, uint64_t offset, uint64_t len)
{
	void *p = len && len < GIB ? malloc(len) : NULL;

	if (p && (fseeko(f, (off_t)offset, SEEK_SET) || fread(p, 1, len, f) != len)) {
		free(p);
		p = NULL;
	}
	return p;
}

static int add_functions(struct symbols *s, const Elf64_Sym *sym, size_t count, const char *names,
			 uint64_t names_len)
{
	int rc = 0;

	for (size_t k = 0; !rc && k < count; k++)
		if (ELF64_ST_TYPE(sym[k].st_info) == STT_FUNC && sym[k].st_name < names_len)
			rc = add(s, sym[k].st_value, names + sym[k].st_name);
	return rc;
}

static int load_table(struct symbols *s, FILE *f, const Elf64_Shdr *table, const Elf64_Shdr *strings)
{
	Elf64_Sym *sym = read_at(f, table->sh_offset, table->sh_size);
	char *names = read_at(f, strings->sh_offset, strings->sh_size);
	int rc = -EINVAL;

	if (sym && names && !names[strings->sh_size - 1])
		rc = add_functions(s, sym, table->sh_size / sizeof(*sym), names, strings->sh_size);
	free(sym);
	free(names);
	return rc;
}

static int load_elf(struct symbols *s, FILE *f)
{
	Elf64_Ehdr h;
	Elf64_Shdr *sections;
	int rc = 0;

	rewind(f);
	if (fread(&h, sizeof(h), 1, f) != 1 || h.e_ident[EI_CLASS] != ELFCLASS64 ||
	    h.e_shentsize != sizeof(Elf64_Shdr))
		return -EINVAL;
	sections = read_at(f, h.e_shoff, (uint64_t)h.e_shnum * sizeof(*sections));
	if (!sections)
		return -EINVAL;
	for (unsigned k = 0; !rc && k < h.e_shnum; k++)
		if (sections[k].sh_type == SHT_SYMTAB && sections[k].sh_link < h.e_shnum)
			rc = load_table(s, f, &sections[k], &sections[sections[k].sh_link]);
	free(sections);
	return rc;
}

int symbols_load(struct symbols **out, const char *path, struct lm_err *err)
{
	struct symbols *s = calloc(1, sizeof(*s));
	FILE *f = fopen(path, "re");
	char magic[SELFMAG] = "";
	int rc;

	*out = NULL;
	if (!f || !s) {
		free(s);
		return lm_err_errno(err, f ? -ENOMEM : -errno, "cannot open %s", path);
	}
	rc = fread(magic, 1, SELFMAG, f) == SELFMAG && !memcmp(magic, ELFMAG, SELFMAG)
		     ? load_elf(s, f)
		     : (rewind(f), load_map(s, f));
	fclose(f);
	if (rc < 0 || !s->count) {
		symbols_free(s);
		return lm_err_set(err, -EINVAL,
				  "%s has no kernel symbols: give a System.map or a vmlinux that is "
				  "not stripped",
				  path);
	}
	qsort(s->table, s->count, sizeof(s->table[0]), by_address);
	*out = s;
	return 0;
}

void symbols_free(struct symbols *s)
{
	if (!s)
		return;
	for (size_t k = 0; k < s->count; k++)
		free(s->table[k].name);
	free(s->table);
	free(s);
}

/* The last symbol at or below the address, or NULL. */
static const struct symbol *find(const struct symbols *s, uint64_t address)
{
	size_t lo = 0, hi = s ? s->count : 0;

	while (lo < hi) {
		size_t mid = (lo + hi) / 2;

		if (s->table[mid].address <= address)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo ? &s->table[lo - 1] : NULL;
}

/* Text ends somewhere after its last symbol; farther away is data. */
#define MAX_FUNCTION UINT64_C(0x10000)

const char *symbols_name(const struct symbols *s, uint64_t address, char *buf, size_t len)
{
	const struct symbol *sym = find(s, address);

	if (sym && address - sym->address < MAX_FUNCTION)
		snprintf(buf, len, "%s+0x%" PRIx64, sym->name, address - sym->address);
	else
		snprintf(buf, len, "0x%" PRIx64, address);
	return buf;
}

/* ---- Backtraces ---- */

static bool read_word(struct x86_cpu *c, uint64_t gva, uint64_t *value)
{
	gpa_t gpa;

	return !(gva & 7) && mmu_probe(c, GVA(gva), &gpa) && ram_read(c->sys->ram, gpa, value, 8);
}

#define MAX_FRAMES 32
#define SCAN_WORDS 512

/* Frame pointers: [rbp] is the caller's, [rbp + 8] the return address. False: they lead nowhere. */
static bool walk_frames(const struct symbols *s, struct x86_cpu *c, FILE *out)
{
	uint64_t frame = c->s.gpr[RBP], next, ra;
	char name[160];
	unsigned n = 0;

	while (n < MAX_FRAMES && read_word(c, frame, &next) && read_word(c, frame + 8, &ra) && ra) {
		fprintf(out, "  %s\n", symbols_name(s, ra, name, sizeof(name)));
		n++;
		if (next <= frame)
			break;
		frame = next;
	}
	return n > 1;
}

static void scan_stack(const struct symbols *s, struct x86_cpu *c, FILE *out)
{
	uint64_t sp = align_up(c->s.gpr[RSP], 8), word;
	char name[160];

	for (unsigned k = 0, n = 0; k < SCAN_WORDS && n < MAX_FRAMES; k++) {
		const struct symbol *sym;

		if (!read_word(c, sp + 8 * k, &word))
			return;
		sym = find(s, word);
		if (!sym || word - sym->address >= MAX_FUNCTION)
			continue;
		fprintf(out, "  ? %s\n", symbols_name(s, word, name, sizeof(name)));
		n++;
	}
}

void symbols_backtrace(const struct symbols *s, struct x86_cpu *c, FILE *out)
{
	static const char names[16][4] = { "rax", "rcx", "rdx", "rbx", "rsp", "rbp", "rsi", "rdi",
					   "r8",  "r9",  "r10", "r11", "r12", "r13", "r14", "r15" };
	char name[160];

	fprintf(out, "vCPU %u at %s (cpl %u, cr0 %" PRIx64 ", cr3 %" PRIx64 ", cr2 %" PRIx64 ")\n",
		c->index, symbols_name(s, c->s.rip, name, sizeof(name)), c->cpl, c->s.cr0,
		c->s.cr3, c->s.cr2);
	for (unsigned k = 0; k < 16; k++)
		fprintf(out, "  %-3s %016" PRIx64 "%s", names[k], c->s.gpr[k],
			k % 4 == 3 ? "\n" : "");
	if (!walk_frames(s, c, out))
		scan_stack(s, c, out);
}
