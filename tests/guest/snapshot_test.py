#!/usr/bin/env python3
"""tests/guest/snapshot_test.py LAMINA CASE [STEADY]: snapshots of running machines, continued."""
import hashlib
import os
import random
import shutil
import subprocess
import tempfile
import time

from lamina_run import LIMIT_S, main, skip, start, want

QUIT = 250
ROUNDS = 90
STREAM = 90  # pieces of 400 numbers
SCRIPT = f"""cat >/tmp/p && chmod +x /tmp/p
i=0; while [ $i -lt {STREAM} ]; do i=$((i+1)); seq $i $((i+399)); sleep 0.02; done | sha256sum >/tmp/sum &
echo 'written before' >/root/file; sync
/tmp/p {ROUNDS} && wait && cat /root/file /tmp/sum; exit 9"""


def restore(binary, bundle, *args):
    return start(binary, *args, bundle, verb="restore")


def lamina(binary, *words, status=0):
    run = subprocess.run([binary, *words], capture_output=True, timeout=LIMIT_S, check=False)
    want(f"status of {' '.join(words)} ({run.stderr!r})", run.returncode, status)
    return run.stdout.decode(), run.stderr.decode()


def expected_sum():
    text = "".join(f"{n}\n" for i in range(1, STREAM + 1) for n in range(i, i + 400))
    return hashlib.sha256(text.encode()).hexdigest()


def work_folder():
    return tempfile.TemporaryDirectory(prefix="lamina-snapshot-", dir="/var/tmp")


def compute_and_stop(binary, steady, bundle, *args):
    """A computing guest is stopped in the middle; what it had printed until then."""
    run = start(binary, *args, "--name", f"test-{os.getpid()}", "--", "sh", "-c", SCRIPT)
    with open(steady, "rb") as f:
        run.send(f.read())
    run.process.stdin.close()
    run.expect(f"round {ROUNDS // 3}\n".encode())
    lamina(binary, "snapshot", "--stop", f"test-{os.getpid()}", bundle)
    want("status of the stopped machine", run.finish(), QUIT)
    want("errors", run.errors, b"")
    return run.console


def check_result(before, run):
    """No line is lost or doubled, and the results are those of an undisturbed run."""
    status = run.finish()
    lines = (before + run.console).decode().splitlines()
    want(f"errors of {run.process.args}", run.errors, b"")
    want("rounds", lines[:ROUNDS], [f"round {k}" for k in range(ROUNDS)])
    want("results", lines[ROUNDS:], ["STEADY-OK", "written before", expected_sum() + "  -"])
    want("status", status, 9)


def case_matrix(binary, steady):
    """Every engine continues what every engine has begun."""
    with work_folder() as folder:
        for source in "jit", "interp":
            bundle = f"{folder}/{source}"
            before = compute_and_stop(binary, steady, bundle, "--engine", source, "--memory", "256M")
            for target in "interp", "jit":
                check_result(before, restore(binary, bundle, "--engine", target))


def case_again(binary, steady):
    """A snapshot of a machine that goes on; of a restored machine; with two vCPUs."""
    name = f"test-{os.getpid()}"
    with work_folder() as folder:
        run = start(binary, "--name", name, "--cpus", "2", "--", "sh", "-c", SCRIPT)
        with open(steady, "rb") as f:
            run.send(f.read())
        run.process.stdin.close()
        run.expect(b"round 20\n")
        lamina(binary, "snapshot", name, folder + "/one")
        check_result(b"", run)
        first = restore(binary, folder + "/one", "--name", name)
        at = first.expect(b"\nround 60\n") - len(b"round 60\n")
        lamina(binary, "snapshot", "--stop", name, folder + "/two")
        want("status", first.finish(), QUIT)
        begun = first.console[:at].split(b"round ")[1].split(b"\n")[0]
        shutil.rmtree(folder + "/one")
        lamina(binary, "snapshot", "--verify", "inspect", folder + "/two")
        whole = b"".join(f"round {k}\n".encode() for k in range(int(begun)))
        check_result(whole + first.console, restore(binary, folder + "/two"))


def case_paused(binary, steady):
    """A paused machine can be saved, and stays paused; a restored one can be."""
    name = f"test-{os.getpid()}"
    with work_folder() as folder:
        run = start(binary, "--name", name, "--", "sh", "-c", SCRIPT)
        with open(steady, "rb") as f:
            run.send(f.read())
        run.process.stdin.close()
        run.expect(b"round 20\n")
        lamina(binary, "pause", name)
        lamina(binary, "snapshot", name, folder + "/b")
        while run.read(0.5):
            pass
        before = run.console
        lamina(binary, "snapshot", name, folder + "/b", status=240)
        again = restore(binary, folder + "/b", "--paused", "--name", name + "-b")
        time.sleep(1)
        while run.read(0.5) or again.read(0.1):
            pass
        want("output of paused machines", (run.console, again.console), (before, b""))
        lamina(binary, "resume", name + "-b")
        check_result(before, again)
        lamina(binary, "resume", name)
        check_result(b"", run)


def damage(path, at, bit):
    with open(path, "r+b") as f:
        f.seek(at)
        byte = f.read(1)[0]
        f.seek(at)
        f.write(bytes([byte ^ 1 << bit]))


def case_bad(binary, steady):
    """What is no good bundle gets one clear line."""
    name = f"test-{os.getpid()}"
    with work_folder() as folder:
        good = folder + "/good"
        compute_and_stop(binary, steady, good, "--memory", "128M")

        def refused(words, change):
            bad = folder + "/bad"
            subprocess.run(["cp", "-a", "--sparse=always", good, bad], check=True)
            change(bad)
            out, err = lamina(binary, "restore", bad, status=240)
            want("output", out, "")
            want(f"one line ({err})", (err.count("\n"), words in err, err.startswith(f"lamina: {bad}")),
                 (1, True, True))
            shutil.rmtree(bad)

        refused("manifest.json is damaged", lambda b: damage(b + "/manifest.json", 100, 3))
        refused("manifest.json is damaged", lambda b: damage(b + "/checksum", 3, 0))
        refused("state.json is damaged", lambda b: damage(b + "/state.json", 5000, 0))
        refused("134217728 expected", lambda b: os.truncate(b + "/memory", 4096))
        refused("cannot open memory", lambda b: os.remove(b + "/memory"))
        refused("cannot open state.json", lambda b: os.remove(b + "/state.json"))
        refused("cannot open manifest.json", lambda b: os.remove(b + "/manifest.json"))
        refused("disk0.qcow2", lambda b: os.truncate(b + "/disk0.qcow2", 512))
        refused("disk0.qcow2", lambda b: os.remove(b + "/disk0.qcow2"))
        damage(good + "/memory", 64 << 20, 0)
        _, err = lamina(binary, "snapshot", "--verify", "inspect", good, status=240)
        want("damage found", "memory is damaged behind byte" in err, True)
        _, err = lamina(binary, "restore", "--verify", good, status=240)
        want("damage found", "memory is damaged behind byte" in err, True)


def temporaries(folder):
    return [name for name in os.listdir(folder) if name.startswith(".lamina-snapshot-")]


def ticking(binary, name):
    run = start(binary, "--name", name, "--memory", "128M", "--", "sh", "-c",
                "while :; do echo tick; sleep 0.1; done")
    run.expect(b"tick\n")
    return run


def goes_on(run):
    run.expect(b"tick\n", len(run.console))


def case_kill(binary, steady):
    """Killed at random points, a snapshot is there as a whole or not at all, and the guest goes on."""
    del steady
    name = f"test-{os.getpid()}"
    chance = random.Random(1)
    with work_folder() as folder:
        old = folder + "/old"
        run = ticking(binary, name)
        lamina(binary, "snapshot", name, old)
        whole = 0
        for k in range(30):
            new = f"{folder}/new{k}"
            with subprocess.Popen([binary, "snapshot", name, new], stderr=subprocess.DEVNULL) as taker:
                time.sleep(chance.random())
                taker.kill()
            if os.path.exists(new):
                lamina(binary, "snapshot", "--verify", "inspect", new)
                shutil.rmtree(new)
                whole += 1
            goes_on(run)
        lamina(binary, "snapshot", "--verify", "inspect", old)
        lamina(binary, "snapshot", name, folder + "/last")
        want("folders of killed writers", temporaries(folder), [])
        with subprocess.Popen([binary, "snapshot", name, folder + "/never"], stderr=subprocess.PIPE) as taker:
            time.sleep(0.02)
            run.kill()
            err = taker.stderr.read().decode()
            status = taker.wait()
        if status:
            want(f"one line ({err})", (status, err.count("\n")), (240, 1))
        want("what is there", os.path.exists(folder + "/never"), status == 0)
        print(f"{whole} of 30 were complete when their writer was killed")
        check = restore(binary, folder + "/last")
        check.expect(b"tick\n")


def case_full(binary, steady):
    """No room: one line, nothing left behind, and the guest goes on."""
    del steady
    name = f"test-{os.getpid()}"
    with work_folder() as folder:
        mount = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16m", "none", folder], check=False,
                               capture_output=True)
        if mount.returncode:
            skip("needs the right to mount a small file system")
        try:
            run = ticking(binary, name)
            _, err = lamina(binary, "snapshot", name, folder + "/none", status=240)
            want(f"one line ({err})", (err.count("\n"), "No space left on device" in err), (1, True))
            want("left behind", os.listdir(folder), [])
            goes_on(run)
            run.kill()
        finally:
            subprocess.run(["umount", folder], check=True)


def case_clones(binary, steady):
    """Clones run side by side, each with writes and a process of its own."""
    del steady
    name = f"test-{os.getpid()}"
    script = "while :; do cat /proc/sys/kernel/random/uuid; echo $RANDOM >>/root/file; sleep 0.2; done"
    with work_folder() as folder:
        run = start(binary, "--name", name, "--memory", "128M", "--", "sh", "-c", script)
        run.expect(b"\n", run.expect(b"\n"))
        lamina(binary, "snapshot", "--stop", name, folder + "/b")
        out, _ = lamina(binary, "clone", "--count", "4", "--name", name, "--output", folder, folder + "/b")
        pids = [int(line.split()[1]) for line in out.splitlines()]
        want("clones", len(set(pids)), 4)
        end = time.monotonic() + LIMIT_S
        outputs = [f"{folder}/{name}-{k}.out" for k in range(1, 5)]
        while min(os.path.getsize(o) for o in outputs) < 5 * 37 and time.monotonic() < end:
            time.sleep(0.2)
        for k in range(1, 5):
            lamina(binary, "stop", "--timeout", "0", f"{name}-{k}")
        for name in outputs:
            with open(name, encoding="ascii") as f:
                want("identifiers of a clone", all(len(line) == 36 for line in f.read().split()), True)


main({name[5:]: case for name, case in list(globals().items()) if name.startswith("case_")}, __doc__)
