/* The run loop: KVM_RUN, and what it comes back for (api.rst §4.10 and §5). */
#include <errno.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "engine/interp/interp.h"
#include "engine/kvm/kvm.h"
#include "isa/x86/event.h"

void kvm_fail(struct kvm_vcpu *v, const char *fmt, ...)
{
	va_list ap;

	if (v->failure[0]) /* the first one says most */
		return;
	va_start(ap, fmt);
	vsnprintf(v->failure, sizeof(v->failure), fmt, ap);
	va_end(ap);
}

/* ---- Getting a thread out of KVM_RUN ---- */

/* Does nothing but end system calls. */
static void on_signal(int signal)
{
}

static int kick_signal(void)
{
	return SIGRTMIN;
}

/* Before KVM_RUN looks, immediate_exit stops it; afterwards the signal does. */
void kvm_interrupt_run(struct kvm_vcpu *v)
{
	int tid;

	__atomic_store_n(&v->run->immediate_exit, 1, __ATOMIC_SEQ_CST);
	tid = __atomic_load_n(&v->tid, __ATOMIC_SEQ_CST);
	if (tid)
		syscall(SYS_tgkill, getpid(), tid, kick_signal());
}

static void prepare_thread(void)
{
	static _Thread_local bool prepared;
	struct sigaction action = { .sa_handler = on_signal };
	sigset_t set;

	if (prepared)
		return;
	prepared = true;
	sigaction(kick_signal(), &action, NULL);
	sigemptyset(&set);
	sigaddset(&set, kick_signal());
	pthread_sigmask(SIG_UNBLOCK, &set, NULL);
}

/* ---- Exits ---- */

/* Accesses that cross pages come in pieces of any length; the machine's have powers of two. */
static unsigned piece(unsigned left)
{
	return left >= 8 ? 8 : left >= 4 ? 4 : left >= 2 ? 2 : 1;
}

static void serve_mmio(struct kvm_vcpu *v)
{
	const struct mem_io *io = v->c->sys->io;
	struct kvm_run *run = v->run;
	unsigned len = LM_MIN(run->mmio.len, 8u);

	v->c->count.mmio_exits++;
	for (unsigned done = 0, n; done < len; done += n) {
		gpa_t gpa = GPA(run->mmio.phys_addr + done);

		n = piece(len - done);
		if (run->mmio.is_write)
			io->mmio_write(io->opaque, gpa, le_load(run->mmio.data + done, n), n);
		else
			le_store(run->mmio.data + done, io->mmio_read(io->opaque, gpa, n), n);
	}
	v->unfinished = true;
}

static void serve_port(struct kvm_vcpu *v)
{
	const struct mem_io *io = v->c->sys->io;
	struct kvm_run *run = v->run;
	unsigned size = run->io.size;
	uint8_t *data = (uint8_t *)run + run->io.data_offset;

	v->c->count.io_exits++;
	for (unsigned k = 0; k < run->io.count; k++, data += size) {
		if (run->io.direction == KVM_EXIT_IO_OUT)
			io->port_write(io->opaque, run->io.port, (uint32_t)le_load(data, size), size);
		else
			le_store(data, io->port_read(io->opaque, run->io.port, size), size);
	}
	v->unfinished = true;
}

static void serve_rdmsr(struct kvm_vcpu *v)
{
	uint64_t value = 0;

	v->count.msr_reads++;
	v->run->msr.error = !kvm_msr_serve_read(v, v->run->msr.index, &value);
	v->run->msr.data = value;
	v->unfinished = true;
}

static void serve_wrmsr(struct kvm_vcpu *v)
{
	v->count.msr_writes++;
	v->run->msr.error = !kvm_msr_serve_write(v, v->run->msr.index, v->run->msr.data);
	v->unfinished = true;
}

static void serve_eoi(struct kvm_vcpu *v)
{
	struct x86_system *sys = v->c->sys;

	v->count.eois++;
	if (sys->eoi)
		sys->eoi(sys->opaque, v->run->eoi.vector);
}

static void serve_window(struct kvm_vcpu *v)
{
	v->count.windows++;
}

static void serve_shutdown(struct kvm_vcpu *v)
{
	v->c->s.activity = CPU_SHUTDOWN;
	x86_event_set(v->c, EV_SHUTDOWN);
}

static void serve_fail_entry(struct kvm_vcpu *v)
{
	kvm_fail(v, "the processor refused to enter the guest on vCPU %u: reason 0x%llx", v->c->index,
		 (unsigned long long)v->run->fail_entry.hardware_entry_failure_reason);
}

/*
 * The kernel cannot emulate this instruction, which works on a device or is in a mode that the
 * processor does not run: the interpreter can. The kernel's local APIC is not the interpreter's.
 */
static void interpret_one(struct kvm_vcpu *v)
{
	struct x86_cpu *c = v->c;
	uint64_t apic_base;
	int rc = kvm_registers_save(v);

	v->count.interpreted++;
	apic_base = c->s.apic_base;
	c->s.apic_base &= ~APIC_BASE_ENABLE;
	c->s.activity = CPU_ACTIVE;
	x86_cpu_load(c);
	interp_steps(c, 1);
	if (c->pending_db) {
		c->fault = (struct x86_fault){ .vector = VEC_DB, .address = c->pending_db };
		event_deliver_fault(c);
	}
	x86_cpu_save(c);
	x86_event_clear(c, EV_TRAP | EV_INTERRUPT);
	c->s.apic_base = apic_base;
	if (!rc)
		rc = kvm_registers_load(v);
	if (rc < 0)
		kvm_fail(v, "KVM did not take registers of vCPU %u: %s", c->index, strerror(-rc));
}

static void serve_internal_error(struct kvm_vcpu *v)
{
	if (v->run->internal.suberror == KVM_INTERNAL_ERROR_EMULATION)
		interpret_one(v);
	else
		kvm_fail(v, "KVM gave up on vCPU %u: internal error %u", v->c->index,
			 v->run->internal.suberror);
}

static void (*const exits[])(struct kvm_vcpu *v) = {
	[KVM_EXIT_IO] = serve_port,
	[KVM_EXIT_MMIO] = serve_mmio,
	[KVM_EXIT_X86_RDMSR] = serve_rdmsr,
	[KVM_EXIT_X86_WRMSR] = serve_wrmsr,
	[KVM_EXIT_IOAPIC_EOI] = serve_eoi,
	[KVM_EXIT_IRQ_WINDOW_OPEN] = serve_window,
	[KVM_EXIT_SHUTDOWN] = serve_shutdown,
	[KVM_EXIT_FAIL_ENTRY] = serve_fail_entry,
	[KVM_EXIT_INTERNAL_ERROR] = serve_internal_error,
};

static void serve(struct kvm_vcpu *v)
{
	uint32_t why = v->run->exit_reason;

	if (why < LM_ARRAY_SIZE(exits) && exits[why])
		exits[why](v);
	else
		kvm_fail(v, "KVM left the guest on vCPU %u for a reason that is not known here: %u",
			 v->c->index, why);
}

/* ---- Entering ---- */

/* False: interrupted. The access of the exit before, if any, is complete afterwards either way. */
static bool enter(struct kvm_vcpu *v)
{
	v->count.runs++;
	v->unfinished = false;
	if (!ioctl(v->fd, KVM_RUN, 0))
		return true;
	if (errno == EINTR || errno == EAGAIN)
		v->count.interrupted++;
	else
		kvm_fail(v, "KVM_RUN of vCPU %u: %s", v->c->index, strerror(errno));
	return false;
}

/*
 * The vCPU stands at an instruction boundary only when the kernel has seen the answer to its last
 * exit, and an interrupt that it was handed is no secret of its own any more. A long string
 * instruction or a vector access to a device has several exits.
 */
static void finish(struct kvm_vcpu *v)
{
	while ((v->unfinished || v->must_enter) && !v->failure[0]) {
		__atomic_store_n(&v->run->immediate_exit, !v->must_enter, __ATOMIC_SEQ_CST);
		if (enter(v)) {
			v->must_enter = false;
			serve(v);
		} else if (!__atomic_load_n(&v->run->immediate_exit, __ATOMIC_SEQ_CST)) {
			v->must_enter = false;
		}
	}
}

/* The PIC's interrupt: the kernel takes it when the guest can, and tells when that is. */
static void offer_extint(struct kvm_vcpu *v)
{
	struct x86_system *sys = v->c->sys;
	struct kvm_interrupt interrupt;
	int vector;

	v->run->request_interrupt_window = x86_extint(v->c);
	if (!v->run->request_interrupt_window || !v->run->ready_for_interrupt_injection)
		return;
	vector = sys->pic_ack(sys->opaque);
	if (vector < 0)
		return;
	interrupt.irq = (uint32_t)vector;
	if (ioctl(v->fd, KVM_INTERRUPT, &interrupt))
		kvm_fail(v, "KVM_INTERRUPT: %s", strerror(errno));
	v->c->count.interrupts++;
	v->must_enter = true;
}

/* What other threads asked of this vCPU by events; true: leave. */
static bool must_leave(struct kvm_vcpu *v, enum exit_reason *why)
{
	struct x86_cpu *c = v->c;
	uint32_t events = x86_events(c);

	if (v->failure[0]) {
		*why = EXIT_FAILED;
		return true;
	}
	if (events & EV_SHUTDOWN || c->s.activity == CPU_SHUTDOWN) {
		*why = EXIT_SHUTDOWN;
		return true;
	}
	if (!(events & EV_KICK))
		return false;
	finish(v);
	kvm_tsc_left(v);
	x86_event_clear(c, EV_KICK);
	*why = v->failure[0] ? EXIT_FAILED : EXIT_KICKED;
	return true;
}

static enum exit_reason run_until_exit(struct kvm_vcpu *v)
{
	enum exit_reason why;

	for (;;) {
		/* Before events are looked at: who raises one from now on sets it again. */
		__atomic_store_n(&v->run->immediate_exit, 0, __ATOMIC_SEQ_CST);
		if (must_leave(v, &why))
			return why;
		offer_extint(v);
		kvm_memory_follow(v->vm);
		if (enter(v)) {
			v->must_enter = false;
			serve(v);
		} else if (!__atomic_load_n(&v->run->immediate_exit, __ATOMIC_SEQ_CST)) {
			v->must_enter = false;
		}
	}
}

enum exit_reason kvm_run(struct x86_cpu *c, uint64_t max_insns)
{
	struct kvm_vcpu *v = kvm_of(c);
	enum exit_reason why;

	prepare_thread();
	if (kvm_tsc_entered(v) < 0)
		kvm_fail(v, "KVM did not take the TSC of vCPU %u", c->index);
	__atomic_store_n(&v->tid, (int)syscall(SYS_gettid), __ATOMIC_SEQ_CST);
	why = run_until_exit(v);
	__atomic_store_n(&v->tid, 0, __ATOMIC_SEQ_CST);
	return why;
}
