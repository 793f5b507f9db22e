#!/usr/bin/env python3
"""tests/guest/memory_test.py LAMINA [CASE]: the balloon and the watchdog with Linux's drivers."""
import json
import subprocess
import time

from lamina_run import LIMIT_S, Failed, main, start, want

LOST_COMMAND, RESET_WORDS = 242, b"did not feed its watchdog"
MIB = 1 << 20


def lamina(binary, *words, status=0):
    run = subprocess.run([binary, *words], capture_output=True, timeout=LIMIT_S, check=False)
    want(f"status of {' '.join(words)} ({run.stderr!r})", run.returncode, status)
    return run.stdout.decode()


def memory(binary, name):
    for machine in json.loads(lamina(binary, "ps", "--json")):
        if machine["name"] == name:
            return machine
    raise Failed(f"no machine {name}")


def until(binary, name, what, true):
    """Looks until `true` of what ps says of the machine; the last of it."""
    end = time.monotonic() + LIMIT_S
    while time.monotonic() < end:
        machine = memory(binary, name)
        if true(machine):
            return machine
        time.sleep(0.5)
    raise Failed(f"never came: {what}; at last: {machine}")


def case_balloon(binary):
    """Taken and given; the guest tells what it has."""
    run = start(binary, "--name", "b1", "--", "sh", "-c", "echo up; sleep 1000")
    run.expect(b"up")
    told = until(binary, "b1", "what the guest tells", lambda m: m["balloon"].get("available"))
    want("total", 400 * MIB < told["balloon"]["total"] < 512 * MIB, True)
    lamina(binary, "balloon", "b1", "200M")
    until(binary, "b1", "inflated", lambda m: m["balloon"]["ballooned"] == 312 * MIB)
    until(binary, "b1", "less available", lambda m: m["balloon"]["available"] < 150 * MIB)
    lamina(binary, "balloon", "b1", "512M")
    until(binary, "b1", "deflated", lambda m: m["balloon"]["ballooned"] == 0)
    lamina(binary, "balloon", "b1", "1M", status=240)
    lamina(binary, "stop", "--timeout", "0", "b1")
    run.finish()


def case_reporting(binary):
    """What the guest has freed is the host's again, without a word from anybody."""
    run = start(binary, "--name", "b2", "--", "sh", "-c",
                "head -c 200000000 /dev/urandom >/tmp/x; echo full; read go; rm /tmp/x; echo free; sleep 1000")
    run.expect(b"full")
    full = memory(binary, "b2")["resident"]
    want("memory in use", full > 200000000, True)
    run.send(b"\n")
    run.expect(b"free")
    until(binary, "b2", "given back", lambda m: m["resident"] < full - 150000000)
    lamina(binary, "stop", "--timeout", "0", "b2")
    run.finish()


def case_off(binary):
    run = start(binary, "--balloon", "off", "--name", "b3", "--", "sh", "-c", "echo up; sleep 1000")
    run.expect(b"up")
    want("balloon", "balloon" in memory(binary, "b3"), False)
    lamina(binary, "balloon", "b3", "100M", status=240)
    lamina(binary, "stop", "--timeout", "0", "b3")
    run.finish()


ARM = "modprobe wdat_wdt; exec 3>/dev/watchdog; echo armed; sleep 1000"


def case_watchdog(binary):
    """Fed it is silent; a guest that goes without feeding it loses its power."""
    run = start(binary, "--watchdog", "poweroff", "--", "sh", "-c",
                "modprobe wdat_wdt timeout=5; exec 3>/dev/watchdog; for i in 1 2 3 4 5 6 7 8; do echo x >&3; sleep 1; "
                "done; echo fed; sleep 1000")
    run.expect(b"fed")
    want("status", run.finish(), LOST_COMMAND)
    want("message", RESET_WORDS in run.errors, True)


def case_watchdog_pause(binary):
    run = start(binary, "--watchdog", "pause", "--name", "w1", "--", "sh", "-c",
                ARM.replace("wdat_wdt", "wdat_wdt timeout=2"))
    run.expect(b"armed")
    until(binary, "w1", "paused", lambda m: m["state"] == "paused")
    lamina(binary, "stop", "--timeout", "0", "w1")
    run.finish()


def case_watchdog_reset(binary):
    """A shell's machine boots again."""
    run = start(binary, "--watchdog", "reset")
    run.expect(b"root@lamina:~# ")
    run.send(b"modprobe wdat_wdt timeout=2; exec 3>/dev/watchdog; echo arm''ed\n")
    place = run.expect(b"armed")
    run.expect(b"root@lamina:~# ", run.expect(b"root@lamina:~# ", place))
    run.send(b"modprobe wdat_wdt; cat /sys/class/watchdog/watchdog0/bootstatus; poweroff\n")
    want("status", run.finish(), 0)
    want("message", RESET_WORDS in run.errors, True)


main({name[5:]: case for name, case in list(globals().items()) if name.startswith("case_")}, __doc__)
