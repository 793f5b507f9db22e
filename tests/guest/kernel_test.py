#!/usr/bin/env python3
"""tests/guest/kernel_test.py LAMINA NAME: boots a kernel that guest/kernels fetched, as bzImage and,
where there is one, as ELF file by PVH, and waits for the text that its userspace prints."""
import hashlib
import os
import sys
import tempfile

from lamina_run import CACHE, main, skip, start, want

IMAGES = ("vmlinuz", "vmlinux")
LIMIT_S = 1500  # crypto self-tests: thousands of millions of instructions


def read(path):
    with open(path, encoding="ascii") as f:
        return f.read().strip()


def boot(binary, folder, image, disk):
    run = start(binary, "--memory", "512M", "--kernel", f"{folder}/{image}", "--initrd",
                folder + "/initrd", "--append", read(folder + "/cmdline"), "--disk", disk + ",ro",
                "--no-reboot", timeout=LIMIT_S)
    run.expect(read(folder + "/expect").encode())
    with open(disk, "rb") as f:
        run.expect(b"LAMINA-DISK-OK " + hashlib.sha256(f.read(1 << 20)).hexdigest().encode())
    want(f"status of {image}", run.finish(), 0)


def case(binary):
    folder = os.path.join(CACHE, "kernels", sys.argv[3])
    if not os.path.exists(folder + "/expect"):
        skip(f"guest/kernels {sys.argv[3]} has not been run")
    with tempfile.NamedTemporaryFile() as disk:
        disk.write(b"".join(hashlib.sha512(b"%d" % n).digest() for n in range(32768)))
        disk.flush()
        for image in IMAGES:
            if os.path.exists(f"{folder}/{image}"):
                boot(binary, folder, image, disk.name)


main({"kernel": lambda binary, name: case(binary)}, __doc__)
