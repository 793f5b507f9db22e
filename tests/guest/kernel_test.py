#!/usr/bin/env python3
"""tests/guest/kernel_test.py LAMINA NAME: boots a kernel that guest/kernels fetched, as bzImage and,
where there is one, as ELF file by PVH, and waits for the text that its userspace prints. The first
image boots with both engines, with one vCPU and with two."""
import hashlib
import os
import sys
import tempfile

from lamina_run import CACHE, main, skip, start, want

IMAGES = ("vmlinuz", "vmlinux")
ENGINES = (("jit", "1"), ("jit", "2"), ("interp", "1"), ("interp", "2"))  # and numbers of vCPUs: of the first image
LIMIT_S = 1500  # crypto self-tests: thousands of millions of instructions


def read(path):
    with open(path, encoding="ascii") as f:
        return f.read().strip()


def boot(binary, folder, image, disk, engine, cpus):
    run = start(binary, "--engine", engine, "--cpus", cpus, "--memory", "512M", "--kernel", f"{folder}/{image}", "--initrd",
                folder + "/initrd", "--append", read(folder + "/cmdline"), "--disk", disk + ",ro",
                "--no-reboot", timeout=LIMIT_S)
    run.expect(read(folder + "/expect").encode())
    with open(disk, "rb") as f:
        run.expect(b"LAMINA-DISK-OK " + hashlib.sha256(f.read(1 << 20)).hexdigest().encode())
    want(f"status of {image} under {engine} with {cpus} vCPUs", run.finish(), 0)


def case(binary):
    folder = os.path.join(CACHE, "kernels", sys.argv[3])
    if not os.path.exists(folder + "/expect"):
        skip(f"guest/kernels {sys.argv[3]} has not been run")
    with tempfile.NamedTemporaryFile() as disk:
        disk.write(b"".join(hashlib.sha512(b"%d" % n).digest() for n in range(32768)))
        disk.flush()
        images = [image for image in IMAGES if os.path.exists(f"{folder}/{image}")]
        for image in images:
            for engine, cpus in ENGINES if image == images[0] else ENGINES[:1]:
                boot(binary, folder, image, disk.name, engine, cpus)


main({"kernel": lambda binary, name: case(binary)}, __doc__)
