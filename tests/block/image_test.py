#!/usr/bin/env python3
"""tests/block/image_test.py LAMINA RANDOM [CASE]: qcow2 images, with qemu-img as the judge.

RANDOM is the program of random.c, which makes random requests on an image and a model.
"""
import hashlib
import json
import os
import shutil
import struct
import subprocess
import sys
import tempfile

MIB = 1 << 20
SKIP = 77


class Failed(Exception):
    pass


def want(what, got, wanted):
    if got != wanted:
        raise Failed(f"{what} is {got!r}, not {wanted!r}")


def call(*argv, status=0):
    done = subprocess.run(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
    if done.returncode != status:
        raise Failed(f"{' '.join(argv)}: status {done.returncode}, not {status}\n{done.stdout}{done.stderr}")
    return done.stdout


def qemu_img(*argv):
    return call("qemu-img", *argv)


def create(name, size, options="", *more):
    qemu_img("create", "-q", "-f", "qcow2", "-o", "cluster_size=65536" + options.replace("/", ","),
             *more, name, *([str(size)] if size else []))


def plain(name, size, seed=None):
    """A file of zeros, or one of bytes that compress somewhat, with holes."""
    with open(name, "wb") as f:
        f.truncate(size)
        for at in range(0, size if seed is not None else 0, 96 << 10):
            f.seek(at)
            f.write(hashlib.sha256(f"{seed} {at}".encode()).digest() * (1 << 10))


def digest(name):
    with open(name, "rb") as f:
        return hashlib.file_digest(f, "sha256").hexdigest() if hasattr(hashlib, "file_digest") \
            else hashlib.sha256(f.read()).hexdigest()


class Case:
    """A folder to work in, and the two programs."""

    def __init__(self, lamina, random):
        self.lamina, self.random = lamina, random

    def image(self, *argv, status=0):
        return call(self.lamina, "image", *argv, status=status)

    def judge(self, name, model):
        """The image is sound to both checkers, and both read in it what the model has."""
        qemu_img("check", "-q", "-f", "qcow2", name)
        self.image("check", "--format", "qcow2", name)
        qemu_img("compare", "-q", "-f", "qcow2", "-F", "raw", name, model)

    def requests(self, name, model, seed, count, threads=1):
        call(self.random, name, model, str(seed), str(count), str(threads))
        self.judge(name, model)

    def refuses(self, text, *argv):
        """One line with this text, a non-zero status, nothing printed."""
        done = subprocess.run([self.lamina, *argv], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              stdin=subprocess.DEVNULL, text=True, errors="replace", check=False, timeout=300)
        if done.returncode == 0 or done.returncode < 0 or text not in done.stderr or \
                done.stderr.count("\n") != 1 or done.stdout:
            raise Failed(f"{argv}: status {done.returncode}, wanted {text!r}: {done.stderr}{done.stdout}")


def case_random(t):
    """Random requests on images as qemu-img makes them: cluster sizes, versions, refcount widths."""
    for seed, (options, size, count, threads) in enumerate([
            ("", 32 * MIB, 1000, 1), ("/cluster_size=512", 4 * MIB, 700, 1),
            ("/cluster_size=4096", 16 * MIB, 700, 1), ("/cluster_size=2M", 64 * MIB, 300, 1),
            ("/compat=0.10", 32 * MIB, 500, 1), ("/cluster_size=512/refcount_bits=1", 4 * MIB, 400, 1),
            ("/cluster_size=1024/refcount_bits=64", 4 * MIB, 400, 1),
            ("/preallocation=metadata", 32 * MIB, 500, 1), ("", 32 * MIB, 700, 4)]):
        create("i.qcow2", size, options)
        plain("model", size)
        t.requests("i.qcow2", "model", seed, count, threads)
        os.unlink("i.qcow2")


def case_own(t):
    """The same on images of our own making."""
    for seed, (cluster, size) in enumerate([("64K", 32 * MIB), ("512", 4 * MIB), ("2M", 64 * MIB)]):
        t.image("create", "--cluster-size", cluster, "i.qcow2", str(size))
        plain("model", size)
        t.judge("i.qcow2", "model")
        t.requests("i.qcow2", "model", seed, 400)
        os.unlink("i.qcow2")


def case_compressed(t):
    """Compressed clusters are read, and give way to what is written."""
    plain("model", 8 * MIB, "compressed")
    for kind in "zlib", "zstd":
        for cluster in 4096, 65536:
            qemu_img("convert", "-c", "-f", "raw", "-O", "qcow2", "-o",
                     f"compression_type={kind},cluster_size={cluster}", "model", "i.qcow2")
            shutil.copy("model", "copy")
            t.image("convert", "i.qcow2", "plain.img")
            want("read back", digest("plain.img"), digest("model"))
            t.requests("i.qcow2", "copy", cluster, 200)
            os.unlink("i.qcow2")
            os.unlink("plain.img")


def case_snapshots(t):
    """Snapshots that QEMU made share clusters with the disk: writes leave them as they are."""
    plain("first", 8 * MIB, "snapshots")
    shutil.copy("first", "model")
    qemu_img("convert", "-f", "raw", "-O", "qcow2", "model", "i.qcow2")
    qemu_img("snapshot", "-c", "one", "i.qcow2")
    t.requests("i.qcow2", "model", 1, 300)
    qemu_img("snapshot", "-c", "two", "i.qcow2")
    shutil.copy("model", "second")
    t.requests("i.qcow2", "model", 2, 300, 4)
    qemu_img("snapshot", "-a", "two", "i.qcow2")
    t.judge("i.qcow2", "second")
    qemu_img("snapshot", "-a", "one", "i.qcow2")
    t.judge("i.qcow2", "first")
    t.refuses("snapshots of its own", "image", "resize", "i.qcow2", "+1M")


def case_backing(t):
    """Backing files: read where allowed, refused elsewhere, never written."""
    plain("base", 8 * MIB, "backing")
    qemu_img("convert", "-f", "raw", "-O", "qcow2", "base", "base.qcow2")
    before = digest("base.qcow2"), digest("base")
    for version, base, form in (("1.1", "base.qcow2", "qcow2"), ("0.10", "base", "raw")):
        create("i.qcow2", 10 * MIB, f"/compat={version}", "-b", base, "-F", form)
        shutil.copy("base", "model")
        os.truncate("model", 10 * MIB)
        t.requests("i.qcow2", "model", 3, 400)
        t.requests("i.qcow2", "model", 4, 400, 4)
        t.refuses("backing=allow", "run", "--disk", "i.qcow2", "--", "true")
        t.refuses("backing=allow", "image", "convert", "i.qcow2", "out.img")
        os.unlink("i.qcow2")
    want("base", (digest("base.qcow2"), digest("base")), before)
    t.image("create", "--backing", "base", "--backing-format", "raw", "ours.qcow2")
    t.judge("ours.qcow2", "base")
    want("QEMU's view", json.loads(qemu_img("info", "--output=json", "ours.qcow2"))["backing-filename"], "base")


def case_backing_tricks(t):
    """Names that an image of somebody else may have in it."""
    create("i.qcow2", MIB)
    secret = os.path.abspath("secret")
    plain(secret, 1001)
    for name, form, text in ((secret, "raw", "multiple of 512"), ("none", "raw", "No such file"),
                             ("nbd:localhost:10809", "raw", "no plain file name"),
                             ("json:{}", "raw", "no plain file name"), ("i.qcow2", "qcow2", "back one another"),
                             ("none", None, "without a format"), ("/dev/zero", "raw", "neither a regular file"),
                             ("/", "raw", "directory")):
        form = ["-F", form] if form else []
        qemu_img("rebase", "-u", "-f", "qcow2", "-b", name, *form, "i.qcow2") if form else set_backing("i.qcow2", name)
        before = digest("i.qcow2")
        t.refuses(text, "image", "convert", "--allow-backing", "i.qcow2", "out.img")
        want("there is output", os.path.exists("out.img"), False)
        t.refuses("backing=allow" if form else "without a format", "image", "convert", "i.qcow2", "out.img")
        want("the image", digest("i.qcow2"), before)


def set_backing(name, backing):
    """Without the extension that says the format."""
    with open(name, "r+b") as f:
        f.seek(104 if header(name)["length"] == 104 else 112)
        f.write(bytes(8))
        f.seek(512)
        f.write(backing.encode())
        f.seek(8)
        f.write(struct.pack(">QI", 512, len(backing)))


def header(name):
    with open(name, "rb") as f:
        b = f.read(104)
    return {"length": struct.unpack(">I", b[100:104])[0], "l1": struct.unpack(">Q", b[40:48])[0],
            "rt": struct.unpack(">Q", b[48:56])[0]}


def case_convert(t):
    """Both formats both ways; what is zeros takes no space."""
    plain("model", 16 * MIB, "convert")
    os.truncate("model", 64 * MIB)
    t.image("convert", "model", "a.qcow2")
    t.judge("a.qcow2", "model")
    t.image("convert", "--cluster-size", "4K", "a.qcow2", "b.qcow2")
    t.judge("b.qcow2", "model")
    t.image("convert", "b.qcow2", "c.img")
    want("content", digest("c.img"), digest("model"))
    want("blocks of zeros", os.stat("c.img").st_blocks * 512 <= 17 * MIB, True)
    maps = [[(e["start"], e["length"]) for e in json.loads(qemu_img("map", "--output=json", "-f", "qcow2", n))
             if e["data"]] for n in ("a.qcow2", "b.qcow2")]
    want("data in 64K clusters", sum(n for _, n in maps[0]) <= 17 * MIB, True)
    t.refuses("such a file already", "image", "convert", "model", "a.qcow2")
    t.judge("a.qcow2", "model")


def case_resize(t):
    """Larger by a little, larger than the L1 table, smaller; and what QEMU then reads."""
    plain("model", 8 * MIB, "resize")
    for cluster in "64K", "512":
        t.image("convert", "--cluster-size", cluster, "model", "i.qcow2")
        for size in ("9M", "+7M", "100M"):
            t.image("resize", "i.qcow2", size)
            qemu_img("compare", "-q", "-f", "qcow2", "-F", "raw", "i.qcow2", "model")
            t.image("check", "i.qcow2")
        t.refuses("--shrink", "image", "resize", "i.qcow2", "3M")
        t.image("resize", "--shrink", "i.qcow2", "3145728")
        shutil.copy("model", "short")
        os.truncate("short", 3 * MIB)
        t.judge("i.qcow2", "short")
        t.image("resize", "i.qcow2", "8M")
        os.truncate("short", 8 * MIB)
        t.judge("i.qcow2", "short")
        os.unlink("i.qcow2")
    t.image("create", "i.qcow2", "1G")
    t.image("resize", "i.qcow2", "1P")
    qemu_img("check", "-q", "i.qcow2")
    t.refuses("too large for its cluster size", "image", "resize", "i.qcow2", "7E")
    t.refuses("too large for its cluster size", "image", "create", "--cluster-size", "512", "j.qcow2", "1T")
    want("left over", os.path.exists("j.qcow2"), False)


def put(name, *fields):
    with open(name, "r+b") as f:
        for at, form, value in fields:
            f.seek(at)
            f.write(struct.pack(form, value))


def case_bad_images(t):
    """Headers that lie: one line, and nothing is written."""
    plain("model", MIB, "bad")
    qemu_img("convert", "-f", "raw", "-O", "qcow2", "model", "good.qcow2")
    refused = {
        "version": (4, ">I", 7), "cluster size": (20, ">I", 5), "2^31": (20, ">I", 31),
        "positive multiple of 512": (24, ">Q", 1 << 63), "multiple of 512": (24, ">Q", 1001),
        "no positive multiple": (24, ">Q", 0), "encrypted": (32, ">I", 1), "L1 table has": (36, ">I", 0),
        "L1 table has 4294967295": (36, ">I", 0xffffffff), "does not fit its size": (24, ">Q", 1 << 62),
        "L1 table is not inside": (40, ">Q", 1 << 40), "L1 table is not": (40, ">Q", 0),
        "L1 table": (40, ">Q", 77), "refcount table is not inside": (48, ">Q", (1 << 63) + 65536),
        "refcount table is not": (56, ">I", 0), "refcount table": (56, ">I", 0xffffffff),
        "snapshots": (60, ">I", 0xffffffff), "external data file": (72, ">Q", 4), "subclusters": (72, ">Q", 16),
        "does not know: 0x20": (72, ">Q", 32), "2^9 bits": (96, ">I", 9), "header's length": (100, ">I", 8),
        "marked as damaged": (72, ">Q", 2), "not closed": (72, ">Q", 1),
        "backing file's name": (8, ">Q", 1 << 50), "backing file's name is": (8, ">Q", 65000),
    }
    for text, field in refused.items():
        shutil.copy("good.qcow2", "bad.qcow2")
        put("bad.qcow2", field)
        if text.startswith("backing"):
            put("bad.qcow2", (16, ">I", 2000))
        before = digest("bad.qcow2")
        t.refuses(text, "image", "resize", "bad.qcow2", "2M")
        want(f"image after {text}", digest("bad.qcow2"), before)
    for size in 0, 3, 71, 103, 4096, 65536, 65536 * 3:
        shutil.copy("good.qcow2", "bad.qcow2")
        os.truncate("bad.qcow2", size)
        t.refuses("", "image", "resize", "bad.qcow2", "2M")
        want("size", os.stat("bad.qcow2").st_size, size)


def case_damage(t):
    """Damage inside: found by both checkers, an I/O error at worst for who reads it."""
    plain("model", 2 * MIB, "damage")
    qemu_img("convert", "-f", "raw", "-O", "qcow2", "model", "good.qcow2")
    h = header("good.qcow2")
    with open("good.qcow2", "rb") as f:
        f.seek(h["l1"])
        l2 = struct.unpack(">Q", f.read(8))[0] & 0x00fffffffffffe00
        f.seek(h["rt"])
        block = struct.unpack(">Q", f.read(8))[0]
    damages = {
        "L1 entry outside": (h["l1"], ">Q", (1 << 50) | 1 << 63), "L1 entry odd": (h["l1"], ">Q", l2 + 512),
        "L1 at the header": (h["l1"], ">Q", h["l1"] | 1 << 63), "reserved bit": (l2, ">Q", 1 << 60 | 65536),
        "L2 outside": (l2, ">Q", 1 << 48 | 1 << 63), "L2 at the L1 table": (l2, ">Q", h["l1"] | 1 << 63),
        "compressed nowhere": (l2, ">Q", 1 << 62 | 1 << 40), "refcount 0": (block + 2 * 8, ">H", 0),
        "refcount 5": (block + 2 * 8, ">H", 5), "table of itself": (h["rt"], ">Q", h["rt"]),
        "block outside": (h["rt"], ">Q", 1 << 44),
    }
    for what, field in damages.items():
        shutil.copy("good.qcow2", "bad.qcow2")
        put("bad.qcow2", field)
        theirs = subprocess.run(["qemu-img", "check", "-q", "bad.qcow2"], stderr=subprocess.DEVNULL,
                                stdout=subprocess.DEVNULL, check=False).returncode
        ours = subprocess.run([t.lamina, "image", "check", "bad.qcow2"], stderr=subprocess.PIPE,
                              stdout=subprocess.DEVNULL, check=False).returncode
        want(f"{what}: both find it", (theirs != 0, ours > 0), (True, True))
        # No crash, no hang; success only where the damage is in refcounts, which readers do not use.
        done = subprocess.run([t.lamina, "image", "convert", "bad.qcow2", "out.img"], check=False,
                              stderr=subprocess.PIPE, timeout=300)
        want(f"{what}: status", done.returncode >= 0, True)
        if done.returncode == 0:
            want(f"{what}: content", digest("out.img"), digest("model"))
            os.unlink("out.img")
        want(f"{what}: output left", os.path.exists("out.img"), False)
        subprocess.run([t.random, "bad.qcow2", "model", "1", "50"], check=False, stdout=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL, timeout=300)
        plain("model", 2 * MIB, "damage")


def case_repair(t):
    """Lost clusters and wrong refcounts are put right, as QEMU sees it too."""
    plain("model", 2 * MIB, "repair")
    for value in 0, 3:
        qemu_img("convert", "-f", "raw", "-O", "qcow2", "model", "i.qcow2")
        with open("i.qcow2", "rb") as f:
            f.seek(header("i.qcow2")["rt"])
            block = struct.unpack(">Q", f.read(8))[0]
        put("i.qcow2", (block + 2 * 6000, ">H", value or 1), (block + 2 * 1, ">H", value), (72, ">Q", 1))
        t.image("check", "i.qcow2", status=2 if value == 0 else 3)
        t.image("check", "--repair", "i.qcow2")
        t.judge("i.qcow2", "model")
        os.unlink("i.qcow2")


def case_locks(t):
    """Who else has the image open: QEMU's tools respect our lock and we theirs."""
    t.image("create", "i.qcow2", "64M")
    with subprocess.Popen(["qemu-io", "-f", "qcow2", "i.qcow2"], stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE) as other:
        other.stdout.read(7)  # "qemu-io", its prompt
        t.refuses("in use", "image", "resize", "i.qcow2", "65M")
        t.refuses("being written", "image", "convert", "i.qcow2", "j.qcow2")
        other.stdin.close()
        other.wait()
    t.image("resize", "i.qcow2", "65M")


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    if not shutil.which("qemu-img"):
        print("skipped: no qemu-img; the package is qemu-utils")
        sys.exit(SKIP)
    programs = [os.path.abspath(p) for p in sys.argv[1:3]]
    cases = {n[5:]: f for n, f in globals().items() if n.startswith("case_")}
    names = sys.argv[3:] or list(cases)
    failed = 0
    for name in names:
        with tempfile.TemporaryDirectory(prefix="lamina-image-") as folder:
            os.chdir(folder)
            try:
                cases[name](Case(*programs))
            except (Failed, subprocess.TimeoutExpired) as failure:
                failed += 1
                print(f"{name}: {failure}\nagain: {os.path.abspath(__file__)} {' '.join(programs)} {name}")
            os.chdir("/")
    print(f"{len(names) - failed} passed, {failed} failed")
    sys.exit(1 if failed else 0)


main()
