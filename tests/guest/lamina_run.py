"""Running lamina in tests: files in, bytes out, waiting for text on the console."""
import fcntl
import json
import os
import pty
import select
import signal
import subprocess
import sys
import termios
import time

CACHE = os.path.join(os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache"), "lamina")
GUEST = os.path.join(CACHE, "guest/current")
LIMIT_S = int(os.environ.get("LAMINA_TEST_LIMIT", "400"))  # of one boot, on the slowest of hosts
PROMPT = b"root@lamina:~# "
SKIP = 77


class Failed(Exception):
    pass


def skip(why):
    print(f"skipped: {why}")
    sys.exit(SKIP)


def manifest():
    try:
        with open(GUEST + "/manifest.json", encoding="ascii") as f:
            return json.load(f)
    except FileNotFoundError:
        return skip("no default guest; guest/build makes it")


class Lamina:
    """A running lamina. `console` and `errors` grow as it writes; on a pseudo-terminal both are one."""

    def __init__(self, binary, *args, wrapper=(), tty=False, env=None, timeout=LIMIT_S, verb="run"):
        argv = [*wrapper, binary, verb, "--timeout", str(timeout), *args]
        self.console, self.errors = b"", b""
        environment = {**os.environ, "TERM": "vt100", **(env or {})}
        self.terminal = None
        if tty:
            self.terminal, slave = pty.openpty()
            ends = {"stdin": slave, "stdout": slave, "start_new_session": True,
                    "preexec_fn": lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0)}
        else:
            ends = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self.process = subprocess.Popen(argv, stderr=subprocess.PIPE, env=environment, **ends)
        if tty:
            self.slave = slave
            self.out = self.terminal
        else:
            self.out = self.process.stdout.fileno()
        self.open = {self.out, self.process.stderr.fileno()}
        self.end = time.monotonic() + timeout + 60

    def send(self, data):
        if self.terminal is not None:
            os.write(self.terminal, data)
        else:
            self.process.stdin.write(data)
            self.process.stdin.flush()

    def read(self, limit):
        ready, _, _ = select.select(list(self.open), [], [], limit)
        for fd in ready:
            try:
                data = os.read(fd, 65536)
            except OSError:  # EIO: the terminal's other side is closed
                data = b""
            if not data:
                self.open.discard(fd)
            elif fd == self.out:
                self.console += data
            else:
                self.errors += data
        return bool(ready)

    def expect(self, text, start=0):
        """Reads until the console shows `text` behind `start`; returns the place behind it."""
        while True:
            at = self.console.find(text, start)
            if at >= 0:
                return at + len(text)
            if time.monotonic() > self.end or self.out not in self.open or (
                    self.process.poll() is not None and not self.read(0.5)):
                raise Failed(f"the console never showed {text!r}")
            self.read(1)

    def finish(self):
        """Closes its input, reads to the end, returns the exit status (negative: a signal)."""
        if self.terminal is None and not self.process.stdin.closed:
            try:
                self.process.stdin.close()
            except BrokenPipeError:
                pass
        while self.open and time.monotonic() < self.end:
            if not self.read(0.2) and self.process.poll() is not None:
                break
        try:
            return self.process.wait(max(1, self.end - time.monotonic()))
        except subprocess.TimeoutExpired:
            self.kill()
            raise Failed("lamina did not end") from None

    def kill(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()


def want(what, got, wanted):
    if got != wanted:
        raise Failed(f"{what} is {got!r}, not {wanted!r}")


def main(cases, usage):
    """argv: LAMINA [CASE [ARGUMENT...]]; without CASE all of them."""
    if len(sys.argv) < 2:
        sys.exit(usage)
    binary = os.path.abspath(sys.argv[1])
    names = sys.argv[2:3] or list(cases)
    failed = 0
    for name in names:
        case = cases[name]
        try:
            case(binary, *sys.argv[3:])
        except Failed as failure:
            failed += 1
            print(f"{name}: {failure}")
            for run in RUNNING:
                print(f"--- {' '.join(map(str, run.process.args))}\n--- console, the last 2000 bytes:\n"
                      f"{run.console[-2000:].decode(errors='replace')}\n--- standard error:\n"
                      f"{run.errors[-1000:].decode(errors='replace')}")
        finally:
            for run in RUNNING:
                run.kill()
            RUNNING.clear()
    print(f"{len(names) - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


RUNNING = []


def start(binary, *args, **options):
    run = Lamina(binary, *args, **options)
    RUNNING.append(run)
    return run
