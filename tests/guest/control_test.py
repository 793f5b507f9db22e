#!/usr/bin/env python3
"""tests/guest/control_test.py LAMINA [CASE]: a running machine through its control socket."""
import json
import os
import signal
import subprocess
import tempfile
import time

from lamina_run import LIMIT_S, PROMPT, main, start, want

QUIT = 250
COUNT = "while :; do read up rest </proc/uptime; echo $up; sleep 0.2; done"


def lamina(binary, *words, status=0):
    run = subprocess.run([binary, *words], capture_output=True, timeout=LIMIT_S, check=False)
    want(f"status of {' '.join(words)} ({run.stderr!r})", run.returncode, status)
    return run.stdout.decode(), run.stderr.decode()


def machines(binary):
    return {m["name"]: m for m in json.loads(lamina(binary, "ps", "--json")[0])}


def ticking(binary, *args):
    run = start(binary, *args, "--", "sh", "-c", COUNT)
    run.expect(b"\n", run.expect(b"\n"))
    return run


def later_lines(run, seconds):
    """Lines that come within that time."""
    end = time.monotonic() + seconds
    before = run.console.count(b"\n")
    while time.monotonic() < end:
        run.read(0.1)
    return run.console.count(b"\n") - before


def case_pause(binary):
    """Nothing runs in a paused machine, and its clock stands still."""
    for engine in "jit", "interp":
        run = ticking(binary, "--name", "p1", "--cpus", "2", "--engine", engine)
        start_s, first = time.monotonic(), run.console.count(b"\n")
        one = machines(binary)["p1"]
        want("ps", (one["engine"], one["cpus"], one["memory"], one["state"], one["pid"]),
             (engine, 2, 512 << 20, "running", run.process.pid))
        lamina(binary, "pause", "p1")
        lamina(binary, "pause", "p1")
        want("state", machines(binary)["p1"]["state"], "paused")
        later_lines(run, 0.5)
        want("lines while paused", later_lines(run, 3), 0)
        lamina(binary, "resume", "p1")
        want("state", machines(binary)["p1"]["state"], "running")
        run.expect(b"\n", run.expect(b"\n", len(run.console)))
        times = [float(line) for line in run.console.split(b"\n")[:-1]]
        want("its clock counted the pause", times[-1] - times[first] > time.monotonic() - start_s - 3, False)
        lamina(binary, "stop", "--timeout", "0", "p1")
        want("status", run.finish(), QUIT)
        want("errors", run.errors, b"")


def ours(binary):
    """Names of machines in the test's own runtime directory: others run on this host as well."""
    folder = os.environ["XDG_RUNTIME_DIR"] + "/lamina"
    return {name for name in machines(binary) if os.path.exists(f"{folder}/{name}.sock")}


def case_names(binary):
    """Two machines never share a name; what a killed one leaves is in nobody's way."""
    run = ticking(binary, "--name", "n1")
    _, err = lamina(binary, "run", "--name", "n1", "--", "true", status=240)
    want("message", "a machine named n1 already" in err, True)
    run.process.send_signal(signal.SIGKILL)
    run.finish()
    want("list", ours(binary), set())
    again = ticking(binary, "--name", "n1")
    other = ticking(binary)
    want("names", ours(binary), {"n1", f"vm-{other.process.pid}"})
    again.process.send_signal(signal.SIGSTOP)
    want("state", machines(binary)["n1"]["state"], "silent")
    again.process.send_signal(signal.SIGCONT)
    lamina(binary, "pause", "n1")
    again.process.send_signal(signal.SIGTERM)
    want("status of a paused machine", again.finish(), QUIT)
    lamina(binary, "stop", "--timeout", "0", f"vm-{other.process.pid}")
    want("status", other.finish(), QUIT)
    want("files left", os.listdir(os.environ["XDG_RUNTIME_DIR"] + "/lamina"), [])


def case_stop(binary):
    """A guest that shuts down by itself, and one that does not care."""
    run = ticking(binary, "--name", "s1")
    _, err = lamina(binary, "stop", "--timeout", "1", "s1")
    want("message", "machine s1 did not shut down within 1 s" in err, True)
    want("status", run.finish(), QUIT)


CASES = {name[5:]: case for name, case in list(globals().items()) if name.startswith("case_")}
if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as runtime:
        os.environ["XDG_RUNTIME_DIR"] = runtime
        main(CASES, __doc__)
