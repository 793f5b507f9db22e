#!/usr/bin/env python3
"""tests/guest/boot_test.py LAMINA [CASE [PROGRAM]]: the default guest from power-on to its end.

Each case boots at least once. Exit statuses are those of `lamina run --help`.
"""
import hashlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import termios
import time

from lamina_run import GUEST, PROMPT, main, manifest, skip, start, want

LOST_COMMAND, TRIPLE_FAULT, PANIC, TIMEOUT, QUIT, RESET = 242, 244, 246, 248, 250, 252


def command(binary, words, *args, stdin=b"", **options):
    """Runs a command in the guest; returns status, standard output and standard error."""
    run = start(binary, *args, "--", *words, **options)
    if stdin:
        run.send(stdin)
    status = run.finish()
    return status, run.console, run.errors


def shell(binary, *args, **options):
    run = start(binary, *args, **options)
    run.expect(PROMPT)
    return run


def case_status(binary):
    """Nothing but the command's own output, and its status."""
    release = manifest()["kernel_release"].encode()
    want("result", command(binary, ["sh", "-c", "uname -r; exit 7"]), (7, release + b"\n", b""))


def case_cpus(binary):
    want("result", command(binary, ["sh", "-c", "nproc; echo message >&2; exit 3"], "--cpus", "2"),
         (3, b"2\n", b"message\n"))


def case_signal(binary):
    want("result", command(binary, ["sh", "-c", "kill -9 $$"]), (128 + 9, b"", b""))


def case_not_found(binary):
    want("result", command(binary, ["/no/such/program"]),
         (127, b"", b"lamina: /no/such/program: No such file or directory\n"))


def case_pipes(binary):
    """Bytes of every value through both directions, to the end of the input."""
    data = b"".join(hashlib.sha512(b"%d" % n).digest() for n in range(4096))
    status, out, err = command(binary, ["cat"], stdin=data)
    want("status and errors", (status, err), (0, b""))
    want("length and bytes", (len(out), out == data), (len(data), True))


def case_closed_output(binary):
    """Whoever reads goes away: the command gets SIGPIPE, and lamina ends."""
    with subprocess.Popen([binary, "run", "--timeout", "400", "--", "yes"], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        want("first line", process.stdout.readline(), b"y\n")
        process.stdout.close()
        want("status", process.wait(400), 128 + signal.SIGPIPE)


def case_lost_command(binary):
    status, _, err = command(binary, ["sh", "-c", "poweroff; sleep 1000"])
    want("status", status, LOST_COMMAND)
    want("message", b"status" in err, True)


def case_panic(binary):
    status, _, err = command(binary, ["sh", "-c", "echo c >/proc/sysrq-trigger"])
    want("status", status, PANIC)
    want("message", b"panic" in err, True)


def case_timeout(binary):
    status, _, err = command(binary, ["sleep", "1000"], timeout=3)
    want("status", status, TIMEOUT)
    want("message", b"--timeout" in err, True)


def end_shell(binary, words, *args, wanted=0):
    run = shell(binary, *args)
    run.send(words + b"\n")
    want("status", run.finish(), wanted)
    return run


def case_shell(binary):
    run = shell(binary, "--cpus", "2")
    run.send(b"echo cpus=$(nproc) $(uname -r)\n")
    run.expect(b"cpus=2 " + manifest()["kernel_release"].encode())
    run.send(b"poweroff\n")
    want("status", run.finish(), 0)


def case_shell_exit(binary):
    end_shell(binary, b"exit")


def case_shell_panic(binary):
    end_shell(binary, b"echo c >/proc/sysrq-trigger", wanted=PANIC)


def case_reboot(binary):
    """A reset boots again, with RAM and disk as at first; then the same with --no-reboot."""
    run = shell(binary, "--no-reboot")
    run.send(b"touch /left-behind; sync; reboot\n")
    want("status with --no-reboot", run.finish(), RESET)
    run = shell(binary)
    at = len(run.console)
    run.send(b"reboot\n")
    at = run.expect(PROMPT, at)
    run.send(b"poweroff\n")
    want("status", run.finish(), 0)


def case_triple_fault(binary):
    """Linux' last resort: an interrupt with an empty IDT."""
    end_shell(binary, b"reboot", "--append", "reboot=triple,force", wanted=TRIPLE_FAULT)


def case_again(binary):
    """Races show up in one boot of many."""
    for boot in range(20):
        want(f"result of boot {boot}", command(binary, ["nproc"], "--cpus", "2"), (0, b"2\n", b""))


def case_signals(binary):
    for number in (signal.SIGTERM, signal.SIGINT):
        run = start(binary)
        run.expect(PROMPT)
        run.process.send_signal(number)
        want(f"status after signal {number}", run.finish(), QUIT)


def case_escape(binary):
    """On a terminal Ctrl-A x or a signal ends the machine, and the terminal is as it was."""
    for end in (lambda run: run.send(b"\x01x"), lambda run: run.process.terminate()):
        run = start(binary, tty=True)
        before = termios.tcgetattr(run.slave)
        run.expect(PROMPT[:-1])
        want("raw terminal", termios.tcgetattr(run.slave)[3] & termios.ICANON, 0)
        end(run)
        want("status", run.process.wait(60), QUIT)
        want("terminal", termios.tcgetattr(run.slave), before)


def case_tty(binary):
    run = start(binary, "--tty", "--", "sh", "-c", "tty; stty size; exit 5", tty=True)
    run.expect(b"/dev/")
    want("status", run.finish(), 5)


def case_disks(binary):
    """The default guest's own disk never changes; another disk keeps what was written."""
    cmdline = manifest()["cmdline"] + " console=ttyS0"
    image = os.path.join(GUEST, "disk.img")
    before = os.stat(image)
    with tempfile.TemporaryDirectory() as folder:
        mine, other = folder + "/mine", folder + "/other"
        for path in (mine, other):
            with open(path, "wb") as f:
                f.truncate(1 << 20)
        run = shell(binary, "--kernel", GUEST + "/vmlinux", "--initrd", GUEST + "/initrd",
                    "--append", cmdline.replace(" rw", " ro"), "--disk", image + ",ro",
                    "--disk", mine, "--disk", other + ",ro")
        run.send(b"cat /sys/block/vd?/ro | tr -d '\\n'; echo ' flags'\n")
        run.expect(b"101 flags")
        run.send(b"echo kept >/dev/vdb; sync; poweroff\n")
        want("status", run.finish(), 0)
        with open(mine, "rb") as f:
            want("disk", f.read(8), b"kept\n\0\0\0")
        run = shell(binary)
        run.send(b"echo lost >/file; sync; poweroff\n")
        want("status", run.finish(), 0)
    after = os.stat(image)
    want("image", (after.st_mtime_ns, after.st_blocks), (before.st_mtime_ns, before.st_blocks))


def case_stats(binary):
    status, out, err = command(binary, ["true"], "--stats")
    want("status and output", (status, out), (0, b""))
    want("counters", bool(re.search(rb"\d", err)), True)


def copy_guest(folder):
    """For a user who may not read ours: links where the file system allows it, else copies."""
    target = folder + "/lamina/guest/current"
    os.makedirs(target)
    for name in os.listdir(GUEST):
        try:
            os.link(os.path.realpath(os.path.join(GUEST, name)), f"{target}/{name}")
        except OSError:
            subprocess.run(["cp", "--sparse=always", f"{GUEST}/{name}", target], check=True)


def case_user(binary):
    """As an ordinary user without any right."""
    if os.geteuid() != 0:
        skip("not root: all other cases run as an ordinary user")
    manifest()
    with tempfile.TemporaryDirectory() as folder:
        os.chmod(folder, 0o755)
        copy_guest(folder)
        program = shutil.copy(binary, folder + "/lamina-binary")
        status = command(program, ["id", "-u"], env={"XDG_CACHE_HOME": folder, "HOME": "/nonexistent"},
                         wrapper=["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups",
                                  "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"])
        want("result", status, (0, b"0\n", b""))


def case_denied(binary, deny):
    """Where io_uring, userfaultfd, namespaces and KVM are forbidden; the doctor says so."""
    with tempfile.TemporaryDirectory() as folder:
        with open(folder + "/disk", "wb") as f:
            f.truncate(1 << 20)
        status, out, err = command(binary, ["sh", "-c", "echo kept >/dev/vdb; sync; echo here; exit 4"],
                                   "--stats", "--disk", folder + "/disk", wrapper=[deny])
        want("result", (status, out, b"disk1.uring_requests 0\n" in err), (4, b"here\n", True))
        with open(folder + "/disk", "rb") as f:
            want("disk", f.read(5), b"kept\n")
    out = subprocess.run([deny, binary, "doctor"], stdout=subprocess.PIPE, check=True).stdout
    for name in (b"io_uring", b"userfaultfd"):
        want(name, bool(re.search(rb"^%s +no " % name, out, re.MULTILINE)), True)
    want("KVM", bool(re.search(rb"^KVM +no ", out, re.MULTILINE)), True)


def compute(binary, engine):
    """One vCPU and two: what is computed, and new processes."""
    words = ["sh", "-c", "for i in 1 2 3 4 5 6 7 8; do seq 1 2000 | sort -rn | sort -n | sha256sum; done | "
             "uniq; nproc"]
    numbers = b"".join(b"%d\n" % n for n in range(1, 2001))
    for cpus in (b"1", b"2"):
        want("result", command(binary, words, "--engine", engine, "--cpus", cpus.decode()),
             (0, hashlib.sha256(numbers).hexdigest().encode() + b"  -\n" + cpus + b"\n", b""))


def case_jit(binary):
    compute(binary, "jit")


def case_interp(binary):
    want("result", command(binary, ["sh", "-c", "uname -r; exit 7"], "--engine", "interp")[::2], (7, b""))
    compute(binary, "interp")


def case_smc(binary, smc):
    """Self- and cross-modifying code under the translator."""
    with open(smc, "rb") as f:
        program = f.read()
    want("result", command(binary, ["sh", "-c", "cat >/tmp/smc; chmod +x /tmp/smc; /tmp/smc"],
                           "--engine", "jit", "--cpus", "2", stdin=program), (0, b"SMC-OK\n", b""))


def case_compat(binary, compat):
    """A 32-bit program on the 64-bit kernel."""
    with open(compat, "rb") as f:
        program = f.read()
    for engine in ("jit", "interp"):
        want("result under " + engine,
             command(binary, ["sh", "-c", "cat >/tmp/compat; chmod +x /tmp/compat; /tmp/compat"],
                     "--engine", engine, stdin=program), (0, b"COMPAT-OK\n", b""))


def case_hostile_code(binary, program):
    """A hostile program, with each table entry of the translator checked where it is used."""
    with open(program, "rb") as f:
        content = f.read()
    words = ["sh", "-c", "cat >/tmp/hostile; chmod +x /tmp/hostile; /tmp/hostile"]
    status, told, _ = command(binary, words, "--engine", "interp", "--cpus", "2", stdin=content)
    want("result under interp", (status, told[-11:]), (0, b"HOSTILE-OK\n"))
    want("result under jit", command(binary, words, "--engine", "jit", "--cpus", "2", stdin=content,
                                     env={"LAMINA_JIT_CHECKS": "1"}), (0, told, b""))
    run = start(binary, "--engine", "jit", "--stats", "--", "sh", "-c", "seq 1 2000 | sort -rn | sha256sum",
                env={"LAMINA_JIT_CHECKS": "1"})
    want("status with checks", run.finish(), 0)
    want("entries were checked", bool(re.search(rb"jit.checked [1-9]", run.errors)), True)
    want("stale entries of one vCPU", bool(re.search(rb"jit.stale 0\n", run.errors)), True)


def case_old_host(binary):
    """Whatever the translator can do without, one by one and together; less address space is enough for auto."""
    words = ["sh", "-c", "seq 1 3000 | sort -rn | sha256sum; uname -m"]
    numbers = b"".join(b"%d\n" % n for n in range(3000, 0, -1))
    result = (0, hashlib.sha256(numbers).hexdigest().encode() + b"  -\nx86_64\n", b"")
    for without in ("avx", "bmi2", "fsgsbase", "space", "avx,bmi2,fsgsbase,space"):
        want("result without " + without,
             command(binary, words, "--engine", "jit", env={"LAMINA_JIT_WITHOUT": without}), result)
    limited = ("prlimit", "--as=%d" % (1 << 30))
    out = subprocess.run([*limited, binary, "doctor"], stdout=subprocess.PIPE, check=True).stdout
    want("doctor tells", b"without large tables" in out, True)
    run = start(binary, "--stats", "--memory", "256M", "--", *words, wrapper=limited)
    want("status with little address space", run.finish(), 0)
    want("result with little address space", run.console, result[1])
    want("auto takes the translator", b"jit.entries" in run.errors, True)


def case_cpu_models(binary, features):
    """Whoever has not got an instruction cannot execute it, under either engine."""
    with open(features, "rb") as f:
        program = f.read()
    v2 = {"sse2", "popcnt", "sse4_2", "lahf_lm", "cx16"}
    v3 = v2 | {"aes", "avx", "avx2", "bmi1", "movbe", "rdrand", "xsave", "tzcnt", "lzcnt"}
    models = {"baseline": {"sse2"}, "v2": v2, "v3": v3, "default": v3 | {"sha_ni"}}
    for number, (model, wanted) in enumerate(models.items()):
        engine = ("interp", "jit")[number % 2]
        for engine in ("jit", "interp") if model == "v2" else (engine,):
            status, out, _ = command(binary, ["sh", "-c", "cat >/tmp/p; chmod +x /tmp/p; /tmp/p"],
                                     "--engine", engine, "--cpu-model", model, stdin=program)
            got = {line.split()[0] for line in out.decode().splitlines() if line.endswith(" 1")}
            want(f"status under {engine}, model {model}", (status, out.count(b"\n")), (0, 15))
            want(f"features under {engine}, model {model}", sorted(got), sorted(wanted))


def case_clock(binary):
    """No time decides, but a clock that stands still or races does: the guest's against the host's."""
    start_s = time.monotonic()
    status, out, _ = command(binary, ["sh", "-c", "read a _ </proc/uptime; sleep 2; read b _ </proc/uptime; "
                                      "echo $a $b"])
    want("status", status, 0)
    first, second = map(float, out.split())
    want("guest slept", 2 <= second - first <= time.monotonic() - start_s, True)


main({name[5:]: case for name, case in list(globals().items()) if name.startswith("case_")}, __doc__)
