#!/usr/bin/env python3
"""tests/guest/migrate_test.py LAMINA CASE [LOAD]: machines on their way between processes."""
import json
import os
import random
import re
import signal
import subprocess
import tempfile
import time

from lamina_run import Failed, LIMIT_S, RUNNING, Lamina, main, manifest, skip, start, want

MIGRATED, ERROR = 254, 240
COUNT = "n=0; while :; do n=$((n+1)); echo $n; sleep 0.1; done"
SUM = ("i=0; s=0; while [ $i -lt 40 ]; do i=$((i+1)); s=$(echo $s $i | sha256sum); echo $i; sleep 0.2; done; "
       "echo sum $s")


class Receiver(Lamina):
    """A lamina receive; `address` once it waits."""

    def __init__(self, binary, *args, where=None, wrapper=()):
        self.where = where or f"unix:{tempfile.mktemp(dir=os.environ['XDG_RUNTIME_DIR'])}"
        super().__init__(binary, *args, self.where, verb="receive", wrapper=wrapper)
        RUNNING.append(self)
        while b"waiting for a machine at " not in self.errors:
            if not self.read(1) and self.process.poll() is not None:
                raise Failed("lamina receive ended")
        self.address = self.errors.split(b"waiting for a machine at ")[1].split()[0].decode()


def migrate(binary, name, address, *args, status=0):
    run = subprocess.run([binary, "migrate", "--json", *args, name, address], capture_output=True,
                         timeout=LIMIT_S, check=False)
    want(f"status of migrate ({run.stderr!r})", run.returncode, status)
    return json.loads(run.stdout) if status == 0 else run.stderr.decode()


def counting(binary, name, *args):
    run = start(binary, "--name", name, *args, "--", "sh", "-c", COUNT)
    run.expect(b"\n", run.expect(b"\n"))
    return run


def goes_on(run):
    """More lines come, each one more than the last one."""
    run.expect(b"\n", run.expect(b"\n", len(run.console)))


def numbers(*runs):
    return [int(line) for run in runs for line in run.console.split()]


def stop(binary, name, *runs):
    subprocess.run([binary, "stop", "--timeout", "0", name], check=True, capture_output=True)
    return [run.finish() for run in runs]


def case_pairs(binary):
    """A computation goes on under another engine, and has the right result."""
    wanted = subprocess.run(["sh", "-c", SUM], capture_output=True, check=True).stdout
    for number, (one, two) in enumerate([("jit", "interp"), ("interp", "jit"), ("jit", "jit"),
                                         ("interp", "interp")]):
        run = start(binary, "--name", f"p{number}", "--engine", one, "--cpus", "2", "--", "sh", "-c", SUM)
        run.expect(b"2\n")
        to = Receiver(binary, "--engine", two)
        migrate(binary, f"p{number}", to.address)
        want("status here and there", (run.finish(), to.finish()), (MIGRATED, 0))
        want("output", run.console + to.console, wanted)
        want("message here", run.errors, b"")


def case_refusals(binary):
    """What cannot be done is said in a line, and the machine runs on."""
    run = counting(binary, "r1")
    key, other = (os.path.join(os.environ["XDG_RUNTIME_DIR"], name) for name in ("key", "other"))
    for path, text in (key, "12" * 32), (other, "13" * 32):
        with open(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600), "w", encoding="ascii") as f:
            f.write(text + "\n")
    to = Receiver(binary, "--key", key, where="127.0.0.1:0")
    want("no key", "--key is needed" in migrate(binary, "r1", to.address, status=ERROR), True)
    want("other key", "another key" in migrate(binary, "r1", to.address, "--key", other, status=ERROR), True)
    goes_on(run)
    want("no listener", "cannot connect" in
         migrate(binary, "r1", "127.0.0.1:1", "--key", key, status=ERROR), True)
    goes_on(run)
    migrate(binary, "r1", to.address, "--key", key)
    want("status", run.finish(), MIGRATED)
    goes_on(to)
    want("the receiver's words", to.errors.count(b"refused a machine"), 1)
    name = f"vm-{to.process.pid}"
    plain = Receiver(binary, "--engine", "interp")
    migrate(binary, name, plain.address)
    goes_on(plain)
    want("status", to.finish(), MIGRATED)
    count = numbers(run, to, plain)
    want("lines", count, list(range(1, len(count) + 1)))
    stop(binary, f"vm-{plain.process.pid}", plain)


def case_killed(binary, rounds="6"):
    """Whoever is killed at any moment: never two machines, and one as long as the source lives."""
    chance = random.Random(5)
    for number in range(int(rounds)):
        run = counting(binary, f"k{number}")
        to = Receiver(binary)
        client = subprocess.Popen([binary, "migrate", f"k{number}", to.address], stderr=subprocess.PIPE,
                                  stdout=subprocess.PIPE)
        victim = (to.process, run.process, client)[number % 3]
        time.sleep(chance.random() * 0.25)
        victim.send_signal(signal.SIGKILL)
        client.communicate(timeout=LIMIT_S)
        time.sleep(0.5)
        listed = subprocess.run([binary, "ps", "--json"], capture_output=True, check=True).stdout
        mine = f"k{number}", f"vm-{to.process.pid}"
        alive = [m for m in json.loads(listed) if m["name"] in mine and m["state"] == "running"]
        want(f"machines that run after kill {number} at most one", len(alive) <= 1, True)
        if victim is client or (victim is to.process and run.process.poll() is None):
            in_doubt = b"at the moment of handing over" in run.errors + (client.stderr.read() if not
                                                                         client.stderr.closed else b"")
            want("one machine runs", len(alive) == 1 or in_doubt, True)
        for r in (run, to):
            r.kill()


def loaded(binary, load, rate, file, *args):
    """A guest that runs migrate_load.c."""
    with open(load, "rb") as f:
        program = f.read()
    run = start(binary, *args, "--", "sh", "-c", f"head -c {len(program)} >/tmp/load; chmod +x /tmp/load; "
                f"exec /tmp/load {rate} {file}")
    run.send(program)
    run.expect(b"tick 1 ")
    return run


def ticks_on(run):
    run.expect(b"tick ", run.expect(b"tick ", len(run.console)))


def check_load(runs):
    """Ends the last one, and looks whether anything was lost on all the way. Returns what it printed."""
    runs[-1].send(b"stop\n")
    want("status", runs[-1].finish(), 0)
    text = b"".join(r.console for r in runs).decode()
    want("nothing was wrong", re.search(r"^ok \d+ \d+$", text, re.M) is not None, True)
    ticks = [int(n) for n in re.findall(r"^tick (\d+)", text, re.M)]
    want("ticks", ticks, list(range(len(ticks))))
    return text


def case_shared(binary, load):
    """A disk that both sides reach changes hands; another one under the same path is refused."""
    disk, other = (os.path.join(os.environ["XDG_RUNTIME_DIR"], name) for name in ("disk", "other"))
    for path in disk, other:
        with open(path, "wb") as f:
            f.truncate(16 << 20)
    run = loaded(binary, load, 1, "/dev/vdb", "--name", "s0", "--disk", disk)
    to = Receiver(binary)
    refusal = migrate(binary, "s0", to.address, status=ERROR)
    want(f"refusal ({refusal})", "--write-disks allows that" in refusal, True)
    ticks_on(run)
    to.kill()
    bind = ["unshare", "-m", "sh", "-c", f'mount --bind {other} {disk} && exec "$@"', "sh"]
    if subprocess.run([*bind, "true"], capture_output=True, check=False).returncode == 0:
        to = Receiver(binary, "--write-disks", wrapper=bind)
        want("another disk", "its contents differ" in migrate(binary, "s0", to.address, status=ERROR), True)
        want("status there", to.finish(), ERROR)
        ticks_on(run)
    else:
        print("not tested: another disk under the same path (needs mount namespaces)")
    to = Receiver(binary, "--write-disks", "--engine", "interp")
    migrate(binary, "s0", to.address)
    want("status", run.finish(), MIGRATED)
    ticks_on(to)
    back = Receiver(binary, "--write-disks")
    migrate(binary, f"vm-{to.process.pid}", back.address)
    want("status", to.finish(), MIGRATED)
    ticks_on(back)
    check_load([run, to, back])
    want("size", os.stat(disk).st_size, 16 << 20)


def case_namespaces(binary, load):
    """From one network namespace to another, by TCP under TLS."""
    names, key = ("lamina-a", "lamina-b"), os.path.join(os.environ["XDG_RUNTIME_DIR"], "key")
    with open(os.open(key, os.O_CREAT | os.O_WRONLY, 0o600), "w", encoding="ascii") as f:
        f.write("5a" * 32)
    ip = lambda *words: subprocess.run(["ip", *words], capture_output=True, check=True)
    try:
        ip("netns", "add", names[0])
        ip("netns", "add", names[1])
        ip("link", "add", "veth-a", "netns", names[0], "type", "veth", "peer", "name", "veth-b", "netns",
           names[1])
        for k, name in enumerate(names):
            ip("-n", name, "addr", "add", f"10.123.0.{k + 1}/24", "dev", f"veth-{name[-1]}")
            ip("-n", name, "link", "set", f"veth-{name[-1]}", "up")
    except (subprocess.CalledProcessError, FileNotFoundError) as problem:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)
        skip(f"no network namespaces here: {problem}")
    try:
        run = loaded(binary, load, 64, "/root/file", "--name", "n0")
        to = Receiver(binary, "--key", key, where="10.123.0.2:0", wrapper=["ip", "netns", "exec", names[1]])
        sent = subprocess.run(["ip", "netns", "exec", names[0], binary, "migrate", "--json", "--key", key,
                               "n0", to.address], capture_output=True, check=True, timeout=LIMIT_S)
        print(f"downtime {json.loads(sent.stdout)['downtime_ms']:.1f} ms")
        want("status", run.finish(), MIGRATED)
        ticks_on(to)
        check_load([run, to])
    finally:
        for name in names:
            subprocess.run(["ip", "netns", "del", name], capture_output=True, check=False)


def case_load(binary, load, count="4"):
    """Back and forth between engines under load: nothing is lost, and the guest hardly stands still."""
    run = loaded(binary, load, 64, "/root/file", "--name", "l0", "--cpus", "2")
    down, runs = [], [run]
    for number in range(1, int(count) + 1):
        to = Receiver(binary, "--name", f"l{number}", "--engine", ("jit", "interp")[number % 2])
        report = migrate(binary, f"l{number - 1}", to.address)
        want("status", runs[-1].finish(), MIGRATED)
        down.append(report["downtime_ms"])
        print(f"{number}: downtime {report['downtime_ms']:.1f} ms, {report['round']} rounds, "
              f"{report['pages'] * 4096 / 1e6:.0f} MB, guest wrote {report['dirty_rate'] / 1e6:.0f} MB/s")
        ticks_on(to)
        runs.append(to)
    text = check_load(runs)
    gaps = [float(g) for g in re.findall(r"^tick \d+ ([\d.]+)", text, re.M)]
    down.sort()
    print(f"{count} migrations: downtime {down[0]:.1f} to {down[-1]:.1f} ms, median "
          f"{down[len(down) // 2]:.1f}; longest gap in the guest {max(gaps):.0f} ms; {text.split(chr(10))[-2]}")


CASES = {name[5:]: case for name, case in list(globals().items()) if name.startswith("case_")}
if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as runtime:
        os.environ["XDG_RUNTIME_DIR"] = runtime
        main(CASES, __doc__)
