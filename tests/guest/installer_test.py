#!/usr/bin/env python3
"""tests/guest/installer_test.py LAMINA [SCREENS]: Debian's installer, as guest/kernels fetches it, to its
first dialogues on the serial console. SCREENS: file to write what they look like to."""
import os
import sys
import time

from lamina_run import CACHE, Failed, main, skip, start
from terminal import Terminal

FOLDER = os.path.join(CACHE, "kernels/installer")
HELP = "<Enter> activates buttons"  # on the bottom line, drawn last
DIALOGUES = (("Select a language", b"\r"), ("Select your location", b""))


def wait_for(run, terminal, fed, text):
    """Reads until the screen shows a dialogue with this text; returns how much was fed."""
    while text not in terminal.text() or HELP not in terminal.text():
        if time.monotonic() > run.end or run.process.poll() is not None:
            raise Failed(f"the screen never showed {text!r}, but\n{terminal.text()}")
        run.read(1)
        terminal.feed(run.console[fed:])
        fed = len(run.console)
    return fed


def case_dialogues(binary, screens=None):
    if not os.path.exists(FOLDER + "/expect"):
        skip("guest/kernels installer has not been run")
    with open(FOLDER + "/cmdline", encoding="ascii") as f:
        cmdline = f.read().strip() + " TERM=vt102"  # of which the installer has the description
    run = start(binary, "--memory", "1G", "--kernel", FOLDER + "/vmlinuz", "--initrd",
                FOLDER + "/initrd", "--append", cmdline, tty=True, timeout=1800)
    terminal, fed, shown = Terminal(), 0, []
    for title, keys in DIALOGUES:
        fed = wait_for(run, terminal, fed, title)
        shown.append(terminal.text())
        run.send(keys)
    run.kill()
    if screens:
        with open(screens, "w", encoding="utf-8") as f:
            f.write(f"\n{'=' * 80}\n".join(shown) + "\n")


if len(sys.argv) > 1:
    sys.argv.insert(2, "dialogues")
main({"dialogues": case_dialogues}, __doc__)
