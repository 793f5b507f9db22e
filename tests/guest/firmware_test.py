#!/usr/bin/env python3
"""tests/guest/firmware_test.py LAMINA [CASE [ENGINE]]: boots by SeaBIOS and OVMF, watched by screenshots, in
terminals and through VNC, with keys typed into them. LAMINA_SHOTS: a folder for the pictures."""
import os
import shutil
import socket
import struct
import subprocess
import tempfile
import time

from lamina_run import GUEST, Failed, main, manifest, skip, start, want
from terminal import Terminal

MEMTEST = "/usr/lib/memtest86+/memtest86+x64.iso"
MEMTEST_EFI = "/boot/memtest86+x64.efi"
MENU = """
set timeout=-1
menuentry "first entry" { echo one; sleep 600 }
menuentry "second entry" { echo chosen: two; sleep 600 }
"""
PATIENCE = 600  # seconds, on the slowest of hosts

work = tempfile.TemporaryDirectory(prefix="lamina-firmware-")


def needs(path, package):
    if not os.path.exists(path):
        skip(f"{path} is missing; the package {package} has it")


def name():
    return f"fw-test-{os.getpid()}"


def boot(binary, *args, engine="jit", **options):
    needs("/usr/share/seabios/bios-256k.bin", "seabios")
    return start(binary, "--engine", engine, "--name", name(), *args, **options)


def verb(binary, *args, check=True):
    done = subprocess.run([binary, *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
    if check and done.returncode:
        raise Failed(f"lamina {' '.join(args)}: {done.stderr.decode()}")
    return done.stdout.decode(errors="replace")


def screen_text(binary):
    """The text on the screen; nothing while the machine is not there or its screen has none."""
    return verb(binary, "screenshot", name(), "-", check=False)


def wait_screen(binary, run, *texts):
    end = time.monotonic() + PATIENCE
    text = ""
    while time.monotonic() < end and run.process.poll() is None:
        text = screen_text(binary)
        if all(t in text for t in texts):
            keep_picture(binary, texts[0])
            return text
        run.read(0.3)
    raise Failed(f"the screen never showed {texts}, but\n{text}")


def picture(binary):
    """Width, height and pixels (rows of RGB) of the screen."""
    path = os.path.join(work.name, "shot.png")
    verb(binary, "screenshot", name(), path)
    import zlib
    with open(path, "rb") as f:
        data = f.read()
    want("the PNG's signature", data[:8], b"\x89PNG\r\n\x1a\n")
    at, body, width, height = 8, b"", 0, 0
    while at < len(data):
        size, kind = struct.unpack(">I4s", data[at:at + 8])
        if kind == b"IHDR":
            width, height = struct.unpack(">II", data[at + 8:at + 16])
        elif kind == b"IDAT":
            body += data[at + 8:at + 8 + size]
        at += 12 + size
    return width, height, unfilter(zlib.decompress(body), width, height)


def unfilter(raw, width, height):
    """PNG 1.2 §6: each row names how it differs from its neighbours."""
    rows, above = [], bytes(3 * width)
    for y in range(height):
        kind, row = raw[y * (3 * width + 1)], bytearray(raw[y * (3 * width + 1) + 1:(y + 1) * (3 * width + 1)])
        for x, v in enumerate(row):
            left = row[x - 3] if x >= 3 else 0
            corner = above[x - 3] if x >= 3 else 0
            up = above[x]
            p = left + up - corner
            paeth = min((abs(p - left), 0, left), (abs(p - up), 1, up), (abs(p - corner), 2, corner))[2]
            row[x] = (v + (0, left, up, (left + up) // 2, paeth)[kind]) & 0xff
        rows.append(bytes(row))
        above = rows[-1]
    return rows


def keep_picture(binary, title):
    folder = os.environ.get("LAMINA_SHOTS")
    if folder:
        os.makedirs(folder, exist_ok=True)
        plain = "".join(c if c.isalnum() else "-" for c in title).strip("-")
        verb(binary, "screenshot", name(), os.path.join(folder, f"{plain}.png"))


def wait_colours(binary, run, at_least):
    """Until the screen shows graphics with so many different pixels that something was drawn."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and run.process.poll() is None:
        if not screen_text(binary):
            width, height, rows = picture(binary)
            lit = sum(any(row) for row in rows)
            if width >= 640 and lit >= at_least:
                return width, height, rows
        run.read(1)
    raise Failed("the screen never showed graphics")


def rescue_image(menu, files=()):
    if not shutil.which("grub-mkrescue"):
        skip("no grub-mkrescue; the package grub-common has it")
    needs("/usr/lib/grub/i386-pc/cdboot.img", "grub-pc-bin")
    root = os.path.join(work.name, "root")
    os.makedirs(root + "/boot/grub", exist_ok=True)
    with open(root + "/boot/grub/grub.cfg", "w", encoding="ascii") as f:
        f.write(menu)
    for source, target in files:
        shutil.copy(source, os.path.join(root, target))
    image = os.path.join(work.name, "rescue.iso")
    subprocess.run(["grub-mkrescue", "-o", image, root], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=True)
    return image


def case_nothing(binary, engine="jit"):
    """An empty disk: SeaBIOS says so, on the screen and on the serial port."""
    disk = os.path.join(work.name, "empty.img")
    with open(disk, "wb") as f:
        f.truncate(1 << 20)
    run = boot(binary, disk, engine=engine)
    run.expect(b"No bootable device")
    wait_screen(binary, run, "SeaBIOS", "Boot failed: not a bootable disk", "No bootable device")


def case_grub_cd(binary, engine="jit"):
    run = boot(binary, rescue_image(MENU), engine=engine)
    wait_screen(binary, run, "GNU GRUB", "*first entry", "second entry")
    verb(binary, "sendkeys", name(), "down", "ret")
    wait_screen(binary, run, "chosen: two")
    width, height, rows = picture(binary)
    want("the picture", (width, height), (720, 400))
    if not any(any(row) for row in rows):
        raise Failed("the picture is black")


def case_grub_disk(binary, engine="jit"):
    """The same image as a disk (it is both), and a command typed at GRUB's prompt."""
    run = boot(binary, "--disk", rescue_image(MENU) + ",ro", "--firmware", "seabios", engine=engine)
    wait_screen(binary, run, "GNU GRUB", "*first entry")
    verb(binary, "sendkeys", "--text", "cecho do\"ne_(6*7)\"_$?\n", name())
    wait_screen(binary, run, "grub>", "done_(6*7)_0")
    verb(binary, "sendkeys", "--text", "reboot\n", name())
    wait_screen(binary, run, "GNU GRUB", "*first entry")


def isolinux_image(menu, *modules):
    needs("/usr/lib/ISOLINUX/isolinux.bin", "isolinux")
    needs("/usr/lib/syslinux/modules/bios/ldlinux.c32", "syslinux-common")
    if not shutil.which("xorriso"):
        skip("no xorriso")
    root = os.path.join(work.name, "isolinux")
    os.makedirs(root, exist_ok=True)
    shutil.copy("/usr/lib/ISOLINUX/isolinux.bin", root)
    for module in ("ldlinux.c32", *modules):
        shutil.copy("/usr/lib/syslinux/modules/bios/" + module, root)
    with open(root + "/isolinux.cfg", "w", encoding="ascii") as f:
        f.write(menu)
    image = os.path.join(work.name, "isolinux.iso")
    subprocess.run(["xorriso", "-as", "mkisofs", "-quiet", "-o", image, "-b", "isolinux.bin", "-c", "boot.cat",
                    "-no-emul-boot", "-boot-load-size", "4", "-boot-info-table", root],
                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=True)
    return image


def case_isolinux(binary, engine="jit"):
    """Its prompt, and its menu in a VESA mode."""
    image = isolinux_image("prompt 1\nsay what shall it be\n"
                           "label menu\nkernel vesamenu.c32\nmenu title what shall it be\n",
                           "vesamenu.c32", "libcom32.c32", "libutil.c32")
    run = boot(binary, image, engine=engine)
    wait_screen(binary, run, "ISOLINUX", "what shall it be", "boot:")
    verb(binary, "sendkeys", "--text", "nothing\n", name())
    wait_screen(binary, run, "Loading nothing... failed")
    verb(binary, "sendkeys", "--text", "menu\n", name())
    width, height, _ = wait_colours(binary, run, 100)
    want("the menu's mode", (width, height), (640, 480))
    keep_picture(binary, "vesamenu")


def case_linux(binary, engine="jit"):
    """GRUB on a disk loads the default guest's kernel and initrd, which finds its disk by itself."""
    info = manifest()
    line = info["cmdline"] if isinstance(info.get("cmdline"), str) else " ".join(info.get("cmdline", []))
    menu = f"""
set timeout=0
menuentry "guest" {{ linux /boot/vmlinuz {line} console=tty0 console=ttyS0; initrd /boot/initrd }}
"""
    image = rescue_image(menu, ((GUEST + "/vmlinuz", "boot/vmlinuz"), (GUEST + "/initrd", "boot/initrd")))
    run = boot(binary, "--firmware", "seabios", "--disk", GUEST + "/disk.img,ephemeral", "--disk", image + ",ro",
               "--cdrom", image, engine=engine)
    run.expect(b"root@lamina:~# ")
    run.send(b"uname -n; ls /sys/firmware/acpi/tables | tr '\\n' ' '; poweroff\n")
    run.expect(b"FACP")
    want("the status", run.finish(), 0)


def case_memtest(binary, engine="jit"):
    needs(MEMTEST, "memtest86+")
    run = boot(binary, "--memory", "64M", MEMTEST, engine=engine)
    text = wait_screen(binary, run, "Memtest86+", "Pass", "Test #3", "Errors: 0")
    if "64MB" not in text:
        raise Failed(f"it does not see 64 MB:\n{text}")


def case_memtest_pass(binary, engine="jit"):
    """The whole first pass."""
    needs(MEMTEST, "memtest86+")
    run = boot(binary, "--memory", "32M", MEMTEST, engine=engine, timeout=3000)
    global PATIENCE
    PATIENCE = 2900
    wait_screen(binary, run, "Pass:  1", "Errors: 0")


def case_ovmf_shell(binary, engine="jit"):
    """Nothing to boot: UEFI's own shell, on the serial port and on the screen; its variables are kept."""
    needs("/usr/share/OVMF/OVMF_CODE_4M.fd", "ovmf")
    kept = os.path.join(work.name, "vars.fd")
    run = boot(binary, "--firmware", f"ovmf,vars={kept}", engine=engine)
    run.expect(b"Shell> ")
    wait_colours(binary, run, 40)
    verb(binary, "sendkeys", "--text", "set kept yes\nreset -s\n", name())
    want("the status", run.finish(), 0)
    run = boot(binary, "--firmware", f"ovmf,vars={kept}", engine=engine)
    at = run.expect(b"Shell> ")
    verb(binary, "sendkeys", "--text", "echo it is %kept%\n", name())
    run.expect(b"it is yes", at)


def case_ovmf_grub(binary, engine="jit"):
    needs("/usr/share/OVMF/OVMF_CODE_4M.fd", "ovmf")
    needs("/usr/lib/grub/x86_64-efi/moddep.lst", "grub-efi-amd64-bin")
    run = boot(binary, "--firmware", "ovmf", rescue_image(MENU), engine=engine)
    run.expect(b"second entry")
    wait_colours(binary, run, 100)
    verb(binary, "sendkeys", name(), "down", "ret")
    run.expect(b"chosen: two")


def case_ovmf_memtest(binary, engine="jit"):
    """memtest86+ as an EFI program, started by GRUB; it draws on the framebuffer."""
    needs("/usr/share/OVMF/OVMF_CODE_4M.fd", "ovmf")
    needs("/usr/lib/grub/x86_64-efi/moddep.lst", "grub-efi-amd64-bin")
    needs(MEMTEST_EFI, "memtest86+")
    image = rescue_image('set timeout=0\nmenuentry "memtest" { chainloader /boot/memtest.efi }\n',
                         ((MEMTEST_EFI, "boot/memtest.efi"),))
    run = boot(binary, "--memory", "256M", "--firmware", "ovmf", image, engine=engine)
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end and run.process.poll() is None:
        if not screen_text(binary):
            _, _, rows = picture(binary)
            blue = sum(row[k:k + 3] in (b"\x00\x00\xaa", b"\x00\x00\xa8", b"\x00\x00\xab")
                       for row in rows[::8] for k in range(0, len(row), 24))
            if blue > 500:
                keep_picture(binary, "memtest86+ by UEFI")
                return
        run.read(1)
    raise Failed("memtest86+ never drew its screen")


def case_terminal(binary, engine="jit"):
    """The screen in the terminal, and the terminal's keys."""
    run = boot(binary, "--display", "text", rescue_image(MENU), engine=engine, tty=True)
    terminal, fed = Terminal(rows=25), 0
    for expected, keys in (("*first entry", b"\x1b[B"), ("*second entry", b"\r"), ("chosen: two", b"")):
        end = time.monotonic() + PATIENCE
        while expected not in terminal.text():
            if time.monotonic() > end or run.process.poll() is not None:
                raise Failed(f"the terminal never showed {expected!r}, but\n{terminal.text()}")
            run.read(0.5)
            terminal.feed(run.console[fed:])
            fed = len(run.console)
        run.send(keys)
    run.send(b"\x01x")
    run.finish()


class Viewer:
    """A VNC viewer (RFC 6143): raw pixels, no authentication."""

    def __init__(self, path):
        end = time.monotonic() + PATIENCE
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(60)
        while True:
            try:
                self.socket.connect(path)
                break
            except OSError:
                if time.monotonic() > end:
                    raise
                time.sleep(0.2)
        want("the protocol", self.take(12), b"RFB 003.008\n")
        self.socket.sendall(b"RFB 003.008\n")
        want("authentication", self.take(self.take(1)[0]), b"\x01")
        self.socket.sendall(b"\x01")
        want("the security result", self.take(4), bytes(4))
        self.socket.sendall(b"\x01")
        self.width, self.height = struct.unpack(">HH", self.take(4))
        self.take(16)
        self.take(struct.unpack(">I", self.take(4))[0])
        self.socket.sendall(struct.pack(">BxHii", 2, 2, 0, -223))  # raw, desktop size

    def take(self, size):
        data = b""
        while len(data) < size:
            more = self.socket.recv(size - len(data))
            if not more:
                raise Failed("VNC: the connection ended")
            data += more
        return data

    def update(self, incremental):
        """The rectangles of one update."""
        self.socket.sendall(struct.pack(">BBHHHH", 3, incremental, 0, 0, self.width, self.height))
        kind = self.take(1)[0]
        if kind == 3:  # cut text
            self.take(3)
            self.take(struct.unpack(">I", self.take(4))[0])
            return []
        want("the message", kind, 0)
        rectangles = []
        for _ in range(struct.unpack(">xH", self.take(3))[0]):
            x, y, width, height, encoding = struct.unpack(">HHHHi", self.take(12))
            if encoding == -223:
                self.width, self.height = width, height
            else:
                rectangles.append((x, y, width, height, self.take(4 * width * height)))
        return rectangles

    def key(self, keysym):
        for down in (1, 0):
            self.socket.sendall(struct.pack(">BBxxI", 4, down, keysym))


def case_vnc(binary, engine="jit"):
    path = os.path.join(work.name, "vnc")
    run = boot(binary, "--display", f"vnc=unix:{path}", rescue_image(MENU), engine=engine)
    viewer = Viewer(path)
    wait_screen(binary, run, "*first entry")
    end = time.monotonic() + PATIENCE
    lit = 0
    while (viewer.width, viewer.height) != (720, 400) or lit < 1000:
        if time.monotonic() > end:
            raise Failed(f"VNC shows {viewer.width} x {viewer.height}, {lit} pixels lit")
        for _, _, _, _, pixels in viewer.update(0):
            lit = sum(pixels[k:k + 3] != b"\0\0\0" for k in range(0, len(pixels), 4))
        run.read(0.2)
    for keysym in (0xff54, 0xff0d):  # down, return
        viewer.key(keysym)
    wait_screen(binary, run, "chosen: two")
    viewer.socket.close()
    verb(binary, "stop", "--timeout", "0", name())
    run.finish()
    if os.path.exists(path):
        raise Failed("the socket of VNC is left behind")


INSTALL = """
set -eux
disk=/dev/vdb
echo "deb $1 bookworm main" >/etc/apt/sources.list
rm -f /etc/apt/sources.list.d/*
apt-get update
apt-get install -y --no-install-recommends debootstrap fdisk e2fsprogs
echo ',,L,*' | sfdisk $disk
mkfs.ext4 -q ${disk}1
mount ${disk}1 /mnt
debootstrap --variant=minbase --include=linux-image-cloud-amd64,grub-pc,systemd-sysv,udev,login,passwd bookworm /mnt "$1"
for dir in dev proc sys; do mount --rbind /$dir /mnt/$dir; done
uuid=$(blkid -s UUID -o value ${disk}1)
mkdir -p /dev/disk/by-uuid
ln -s ../../vdb1 /dev/disk/by-uuid/$uuid
echo root:secret | chroot /mnt chpasswd
echo installed >/mnt/etc/hostname
echo "UUID=$uuid / ext4 defaults 0 1" >/mnt/etc/fstab
chroot /mnt grub-install $disk
chroot /mnt update-grub
umount -R /mnt
sync
echo INSTALLED
"""


def mirror():
    """The package archive that this host is configured for."""
    done = subprocess.run(["apt-get", "--print-uris", "download", "hostname"], stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, cwd=work.name, check=False)
    uri = done.stdout.decode().partition("'")[2].partition("/pool/")[0]
    if not uri.startswith("http"):
        skip("apt on this host knows no archive")
    return uri


def case_install(binary, engine="jit"):
    """Debian installed from the network onto a qcow2 disk, by a guest; the disk boots by itself."""
    disk = os.path.join(work.name, "installed.qcow2")
    verb(binary, "image", "create", disk, "3G")
    run = boot(binary, "--memory", "1G", "--net", "user", "--disk", disk, "--", "sh", "-c", INSTALL, "sh", mirror(),
               engine=engine, timeout=7000)
    run.end += 7000
    want("the installation's status", run.finish(), 0)
    if b"INSTALLED" not in run.console:
        raise Failed("the installation did not come to its end")
    run = boot(binary, disk, engine=engine, timeout=3000)
    wait_screen(binary, run, "installed login:")
    verb(binary, "sendkeys", "--text", "root\n", name())
    wait_screen(binary, run, "Password:")
    verb(binary, "sendkeys", "--text", "secret\n", name())
    wait_screen(binary, run, "root@installed:~#")
    verb(binary, "sendkeys", "--text", "systemctl poweroff\n", name())
    want("the status", run.finish(), 0)
    if shutil.which("qemu-img"):
        done = subprocess.run(["qemu-img", "check", disk], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
        want(f"qemu-img check: {done.stdout.decode()}", done.returncode, 0)


def case_interp(binary):
    case_grub_cd(binary, "interp")


main({key[5:]: value for key, value in list(globals().items()) if key.startswith("case_")}, __doc__)
