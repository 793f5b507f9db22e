#!/usr/bin/env python3
"""tests/guest/hostile_test.py LAMINA [CASE]: what users and hosts do to a running machine.

Long commands, descriptors that are closed or full, disks that shrink or fill up. Exit statuses are
those of `lamina run --help`.
"""
import fcntl
import os
import resource
import signal
import subprocess
import tempfile
import time

from lamina_run import GUEST, PROMPT, main, manifest, skip, start, want

ERROR, QUIT = 240, 250


def command(binary, words, *args, **options):
    run = start(binary, *args, "--", *words, **options)
    return run.finish(), run.console, run.errors


def guest_with_disk(binary, disk, options=(), **how):
    """The default guest with a further disk, at its shell."""
    run = start(binary, "--kernel", GUEST + "/vmlinux", "--initrd", GUEST + "/initrd",
                "--append", manifest()["cmdline"].replace(" rw", " ro") + " console=ttyS0",
                "--disk", GUEST + "/disk.img,ro", "--disk", disk, *options, **how)
    run.expect(PROMPT)
    return run


def redirected(redirection):
    """A prefix that runs the rest of the command line with descriptors as the shell sets them."""
    return "sh", "-c", f'exec "$@" {redirection}', "sh"


def mounted(script):
    """A prefix that runs the rest of the command line with mounts of its own, or skips."""
    wrapper = ["unshare", "--mount", *([] if os.geteuid() == 0 else ["--map-root-user"])]
    if subprocess.run([*wrapper, "true"], stderr=subprocess.DEVNULL, check=False).returncode:
        skip("no mount namespaces")
    return (*wrapper, "sh", "-c", f'{script} && exec "$@"', "sh")


def image(path, size=1 << 20):
    with open(path, "wb") as f:
        f.truncate(size)
    return path


def case_long_command(binary):
    """The request is larger than any buffer on its way, up to the limit of its protocol."""
    words = ["sh", "-c", 'echo ${#1} ${#2} $#', "x", *["a" * 100000] * 10]
    want("result", command(binary, words), (0, b"100000 100000 10\n", b""))
    status, _, err = command(binary, [*words, "a" * 100000])
    want("status", status, ERROR)
    want("message", b"longer than 1 MiB" in err, True)


def case_lost_output(binary):
    """Output that cannot be written is no success, unless its reader went away."""
    for redirection, why in ((">/dev/full", b"No space left"), (">&-", b"Bad file descriptor")):
        status, _, err = command(binary, ["echo", "hi"], wrapper=redirected(redirection))
        want(f"status with {redirection}", status, ERROR)
        want("message", (err.count(b"\n"), why in err), (1, True))
    status, _, err = command(binary, ["sh", "-c", "echo hi; exit 3"],
                             wrapper=redirected(">/dev/full"))
    want("status", status, 3)
    status, out, err = command(binary, ["sh", "-c", "echo >&2; echo out"],
                               wrapper=redirected("2>&-"))
    want("without standard error", (status, out, err), (ERROR, b"out\n", b""))


def case_nobody_reads(binary):
    """A signal ends what waits for a reader, also when the command has ended already."""
    read, write = os.pipe()
    fcntl.fcntl(write, fcntl.F_SETPIPE_SZ, 4096)
    # More than the pipe takes and less than what lamina keeps.
    with subprocess.Popen([binary, "run", "--", "sh", "-c", "yes | head -c 40000"],
                          stdin=subprocess.DEVNULL, stdout=write) as process:
        os.close(write)
        want("beginning", os.read(read, 2), b"y\n")
        time.sleep(3)
        process.send_signal(signal.SIGTERM)
        try:
            want("status", process.wait(30), QUIT)
        finally:
            process.kill()
    os.close(read)


def case_disk_shrinks(binary):
    """What was cut off a disk image is an I/O error for the guest, not the machine's end."""
    with tempfile.TemporaryDirectory() as folder:
        disk = image(folder + "/disk")
        run = guest_with_disk(binary, disk)
        os.truncate(disk, 4096)
        run.send(b"cat /dev/vdb | wc -c; echo 'st'ill here\n")
        run.expect(b"still here")
        run.send(b"poweroff\n")
        want("status", run.finish(), 0)
        want("messages", run.errors.count(b"\n"), 1)
        want("message", b"the guest sees an I/O error" in run.errors, True)


def case_disk_full(binary):
    """No space for what the guest writes: an I/O error for the guest, said once."""
    with tempfile.TemporaryDirectory() as folder:
        script = f"mount -t tmpfs -o size=2M none {folder} && truncate -s 16M {folder}/disk"
        run = guest_with_disk(binary, folder + "/disk", wrapper=mounted(script))
        run.send(b"dd if=/dev/urandom of=/dev/vdb bs=1M count=8 oflag=direct; echo 'st'ill here\n")
        run.expect(b"still here")
        run.send(b"poweroff\n")
        want("status", run.finish(), 0)
        want("guest's error", b"rror" in run.console, True)
        want("messages", run.errors.count(b"\n"), 1)
        want("message", b"No space left on device" in run.errors, True)


def case_pause_on_error(binary):
    """With --on-io-error stop a failed write pauses the machine; when it can be written, nothing is lost."""
    with tempfile.TemporaryDirectory() as folder:
        disk, name = image(folder + "/disk", 16 << 20), f"pause-{os.getpid()}"
        run = guest_with_disk(binary, disk, options=("--on-io-error", "stop", "--name", name))
        limits = resource.prlimit(run.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(run.process.pid, resource.RLIMIT_FSIZE, (2 << 20, limits[1]))
        run.send(b"yes lamina | head -c 8M >/dev/vdb; sync && echo 'wri'tten\n")
        while b"paused" not in run.errors:
            run.read(1)
        time.sleep(1)
        want("written in the meantime", b"written" in run.console, False)
        state = subprocess.run([binary, "ps"], stdout=subprocess.PIPE, check=True).stdout
        want("state", [b"paused" in line for line in state.splitlines() if name.encode() in line], [True])
        resource.prlimit(run.process.pid, resource.RLIMIT_FSIZE, limits)
        subprocess.run([binary, "resume", name], check=True)
        run.expect(b"written")
        run.send(b"poweroff\n")
        want("status", run.finish(), 0)
        want("messages", run.errors.count(b"\n"), 1)
        with open(disk, "rb") as f:
            want("content", f.read(8 << 20) == (b"lamina\n" * (2 << 20))[:8 << 20], True)


def case_quit_while_paused(binary):
    """A machine that waits for a disk can be stopped."""
    with tempfile.TemporaryDirectory() as folder:
        run = guest_with_disk(binary, image(folder + "/disk", 16 << 20), options=("--on-io-error", "stop"))
        _, hard = resource.prlimit(run.process.pid, resource.RLIMIT_FSIZE)
        resource.prlimit(run.process.pid, resource.RLIMIT_FSIZE, (2 << 20, hard))
        run.send(b"yes lamina | head -c 8M >/dev/vdb; sync; echo 'wri'tten\n")
        while b"paused" not in run.errors:
            run.read(1)
        run.process.send_signal(signal.SIGTERM)
        want("status", run.finish(), QUIT)


def case_read_only_host(binary):
    """A disk on a file system that nobody can write to: said, with what to do."""
    with tempfile.TemporaryDirectory() as folder:
        script = (f"mount -t tmpfs none {folder} && truncate -s 1M {folder}/disk && "
                  f"mount -o remount,ro {folder}")
        run = start(binary, "--kernel", GUEST + "/vmlinux", "--disk", folder + "/disk",
                    wrapper=mounted(script))
        want("status", run.finish(), ERROR)
        want("message", f'Read-only file system; write "{folder}/disk,ro"'.encode() in run.errors,
             True)


def case_one_writer(binary):
    """An image has one writer, and no reader besides it."""
    with tempfile.TemporaryDirectory() as folder:
        disk = image(folder + "/disk")
        first = guest_with_disk(binary, disk)
        for option, why in (disk, b"in use"), (disk + ",ro", b"being written"):
            second = start(binary, "--kernel", GUEST + "/vmlinux", "--disk", option)
            want("status", second.finish(), ERROR)
            want("message", (second.errors.count(b"\n"), why in second.errors), (1, True))
        first.send(b"poweroff\n")
        want("status", first.finish(), 0)


def case_lost_terminal(binary):
    """The terminal goes away: the machine ends, unless it was told not to mind (nohup)."""
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # what lamina inherits
    run = start(binary, tty=True)
    run.expect(PROMPT)
    os.close(run.slave)
    os.close(run.terminal)
    run.open.discard(run.out)
    status = run.finish()
    want("status", status in (QUIT, -1), True)


main({name[5:]: case for name, case in list(globals().items()) if name.startswith("case_")}, __doc__)
