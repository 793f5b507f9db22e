/* The engine's descriptor and a vCPU's life; see kvm.h. */
#include "engine/kvm/kvm.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "engine/interp/interp.h"
#include "engine/kvm/probe.h"

static int kvm_probe(struct lm_err *err)
{
	const struct kvm_probe *p = kvm_probe_host();

	if (!p->present)
		return lm_err_set(err, -ENOENT, "this host has no /dev/kvm");
	if (p->open_errno == EACCES || p->open_errno == EPERM)
		return lm_err_errno(err, -p->open_errno,
				    "cannot open /dev/kvm (is this user in group kvm?)");
	if (p->open_errno)
		return lm_err_errno(err, -p->open_errno, "cannot open /dev/kvm");
	if (!p->usable)
		return lm_err_set(err, -EIO, "/dev/kvm opens, but is not usable: %s", p->problem);
	if (!p->fast && !kvm_slow_is_fine())
		return lm_err_set(err, -ENOTSUP,
				  "/dev/kvm is an emulation here, with %.1f million instructions/s: "
				  "slower than the other engines",
				  (double)p->insns_per_s / 1e6);
	return 0;
}

static int kvm_vcpu_create(struct x86_cpu *c, struct lm_err *err)
{
	struct kvm_vcpu *v = calloc(1, sizeof(*v));
	int rc;

	c->engine = v;
	if (!v)
		return lm_err_set(err, -ENOMEM, "no memory for KVM's vCPU %u", c->index);
	v->c = c;
	v->vm = c->sys->engine;
	v->fd = -1;
	rc = interp_engine.vcpu_create(c, err);
	return rc ? rc : kvm_vcpu_open(v, err);
}

static void on_event(struct x86_cpu *c)
{
	kvm_interrupt_run(kvm_of(c));
}

static int create_connected(struct x86_cpu *c, struct lm_err *err)
{
	int rc = kvm_vcpu_create(c, err);

	if (!rc)
		c->on_event = on_event;
	return rc;
}

static void kvm_vcpu_destroy(struct x86_cpu *c)
{
	struct kvm_vcpu *v = kvm_of(c);

	c->on_event = NULL;
	interp_engine.vcpu_destroy(c);
	if (!v)
		return;
	if (v->run)
		munmap(v->run, (size_t)v->vm->run_bytes);
	if (v->fd >= 0)
		close(v->fd);
	free(v);
	c->engine = NULL;
}

static void kvm_kick(struct x86_cpu *c)
{
	x86_event_raise(c, EV_KICK);
}

static const char *kvm_failure(const struct x86_cpu *c)
{
	return kvm_of(c)->failure;
}

static void kvm_print_stats(const struct x86_cpu *c, FILE *out)
{
	const struct kvm_counters *n = &kvm_of(c)->count;
	const struct {
		const char *name;
		uint64_t value;
	} rows[] = {
		{ "runs", n->runs },
		{ "interrupted", n->interrupted },
		{ "msr_reads", n->msr_reads },
		{ "msr_writes", n->msr_writes },
		{ "level_eois", n->eois },
		{ "interrupt_windows", n->windows },
		{ "interpreted", n->interpreted },
	};

	for (unsigned k = 0; k < LM_ARRAY_SIZE(rows); k++)
		fprintf(out, "vcpu%u.kvm.%s %llu\n", c->index, rows[k].name,
			(unsigned long long)rows[k].value);
}

const struct engine_ops kvm_engine = {
	.name = "kvm",
	.summary = "the host's processor, by way of /dev/kvm",
	.cpus_max = X86_MAX_CPUS,
	.probe = kvm_probe,
	.system_create = kvm_vm_create,
	.system_destroy = kvm_vm_destroy,
	.vcpu_create = create_connected,
	.vcpu_destroy = kvm_vcpu_destroy,
	.run = kvm_run,
	.kick = kvm_kick,
	.state_save = kvm_state_save,
	.state_load = kvm_state_load,
	.failure = kvm_failure,
	.dirty_log = kvm_dirty_log,
	.print_stats = kvm_print_stats,
};
