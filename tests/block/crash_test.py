#!/usr/bin/env python3
"""tests/block/crash_test.py LAMINA WRITER [ROUNDS [SEED]]: kill -9 during writes that are flushed.

A guest writes records to a qcow2 and a raw disk, virtio and NVMe, and tells what it has flushed; lamina
is killed; every record that was told must be there, and the qcow2 image must have lost clusters at
worst. The images go from round to round.
"""
import os
import random
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import threading
import time

BLOCK, MAGIC, SIZE = 4096, 0x6C616D696E612121, "64M"
LIMIT_S = int(os.environ.get("LAMINA_TEST_LIMIT", "400"))
SKIP = 77


class Failed(Exception):
    pass


def record(sequence, block):
    words = [(sequence * 1000003 + block) * 31 + k & (1 << 64) - 1 for k in range(BLOCK // 8)]
    words[:3] = MAGIC, sequence, block
    return struct.pack("<512Q", *words)


class Disk:
    def __init__(self, name, form, interface):
        self.name, self.form, self.interface = name, form, interface
        self.safe = {}  # block: sequence number of the last record that was told

    def option(self):
        return f"{self.name},format={self.form},if={self.interface}"

    def device(self):
        return "/dev/vdb" if self.interface == "virtio" else "/dev/nvme0n1"

    def verify(self, folder):
        """Number of records that were found; what was written and not told may be there too."""
        plain = self.name
        if self.form == "qcow2":
            status = subprocess.run(["qemu-img", "check", "-q", self.name], check=False,
                                    stderr=subprocess.DEVNULL, stdout=subprocess.DEVNULL).returncode
            if status not in (0, 3):
                raise Failed(f"qemu-img check ends with {status}")
            plain = folder + "/plain"
            subprocess.run(["qemu-img", "convert", "-f", "qcow2", "-O", "raw", self.name, plain], check=True)
        with open(plain, "rb") as f:
            for block, sequence in self.safe.items():
                f.seek(block * BLOCK)
                data = f.read(BLOCK)
                magic, found, place = struct.unpack("<3Q", data[:24])
                if (magic, place) != (MAGIC, block) or found < sequence:
                    raise Failed(f"{self.name}: block {block} has {found:#x}, {sequence:#x} was safe")
                if data != record(found, block):
                    raise Failed(f"{self.name}: block {block} is torn")
                self.safe[block] = found
        return len(self.safe)


class Round:
    """One machine from its start to its sudden end."""

    def __init__(self, lamina, writer, disks, seed):
        command = "modprobe nvme 2>/dev/null; cat >/tmp/w; chmod +x /tmp/w; while [ ! -e /dev/nvme0n1 ]; " \
                  "do sleep 0.1; done; exec /tmp/w " + " ".join([str(seed), *(d.device() for d in disks)])
        options = [o for d in disks for o in ("--disk", d.option())]
        with open(writer, "rb") as program:
            self.process = subprocess.Popen([lamina, "run", "--cpus", "2", *options, "--", "sh", "-c", command],
                                            stdin=program, stdout=subprocess.PIPE, text=True)
        self.disks, self.batches, self.pending = disks, 0, []
        self.started = threading.Event()
        self.reader = threading.Thread(target=self.read)
        self.reader.start()

    def read(self):
        for line in self.process.stdout:
            if line == "safe\n":
                for disk, sequence, block in self.pending:
                    self.disks[disk].safe[block] = max(sequence, self.disks[disk].safe.get(block, 0))
                self.pending, self.batches = [], self.batches + 1
                self.started.set()
            elif line.endswith("\n"):
                self.pending.append(tuple(map(int, line.split())))
        self.started.set()

    def kill_after(self, seconds):
        if not self.started.wait(LIMIT_S) or self.process.poll() is not None:
            self.process.kill()
            raise Failed(f"the guest did not write: status {self.process.wait()}")
        time.sleep(seconds)
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.reader.join()
        self.process.stdout.close()


def crash(lamina, writer, rounds, seed):
    rng = random.Random(seed)
    batches = 0
    with tempfile.TemporaryDirectory(prefix="lamina-crash-") as folder:
        disks = [Disk(folder + "/a.qcow2", "qcow2", "virtio"), Disk(folder + "/b.raw", "raw", "nvme")]
        for disk in disks:
            subprocess.run([lamina, "image", "create", "--format", disk.form, disk.name, SIZE], check=True)
        for k in range(rounds):
            if k == rounds // 2:  # the other way round, and room for new clusters
                disks[0].interface, disks[1].interface = "nvme", "virtio"
                os.unlink(disks[0].name)
                disks[0].safe = {}
                subprocess.run([lamina, "image", "create", disks[0].name, SIZE], check=True)
            run = Round(lamina, writer, disks, k + 1)
            run.kill_after(rng.random() * 0.6)
            batches += run.batches
            found = [disk.verify(folder) for disk in disks]
            if rounds > 20:
                print(f"round {k + 1}: {run.batches} batches, {found} records", flush=True)
    print(f"{rounds} times killed, {batches} flushed batches, all there")


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    if not shutil.which("qemu-img"):
        print("skipped: no qemu-img; the package is qemu-utils")
        sys.exit(SKIP)
    rounds, seed = (int(a) for a in (sys.argv[3:] + ["10", "1"][len(sys.argv[3:]):]))
    try:
        crash(*map(os.path.abspath, sys.argv[1:3]), rounds, seed)
    except Failed as failure:
        print(f"{failure}\nagain: {' '.join(sys.argv[:3])} {rounds} {seed}")
        sys.exit(1)


main()
