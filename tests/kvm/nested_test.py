#!/usr/bin/env python3
"""nested_test.py LAMINA UNIT_DIR short|long: engine kvm on a KVM that is one, anywhere.

QEMU's translator emulates an AMD processor with SVM. In it, the default guest's kernel and disk are
started with a shell as init, kvm-amd is loaded, and lamina (from a second disk, with its libraries,
the unit guests and the default guest) runs with --engine kvm. Each job reports its status on the
serial console; a job that fails shows what it printed.

QEMU's SVM does not intercept XSETBV, so guests have no AVX there; see src/engine/kvm/cpuid.c.
Exit status 77, with the reason, where a tool or the default guest is missing.
"""
import os
import re
import select
import shutil
import subprocess
import sys
import tempfile
import time

LIMIT_S = 3600
IMAGE_BYTES = 3 << 30
GUEST_FILES = ["manifest.json", "vmlinux", "initrd", "disk.img"]

SETUP = """
mount -t proc proc /proc
mount -t sysfs sys /sys
mount -t tmpfs tmp /tmp
mkdir -p /tmp/run /tmp/x
mount /dev/vdb /tmp/x
exec sh /tmp/x/jobs
"""

JOBS_HEAD = """
export PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root XDG_CACHE_HOME=/tmp/x/cache
export LD_LIBRARY_PATH=/tmp/x/lib XDG_RUNTIME_DIR=/tmp/run
# The benchmark is at the mercy of whoever else uses the machine that emulates this one.
export LAMINA_KVM_SLOW=1
cd /tmp/x
job() {
	name=$1
	shift
	"$@" </dev/null >/tmp/out 2>&1
	status=$?
	[ $status = 0 ] || { dmesg | tail -n 5; tail -n 40 /tmp/out; }
	echo "JOB $name $status"
}
boots() { # CPUS
	out=$(./lamina run --engine kvm --cpus $1 --timeout 600 -- \\
		sh -c 'echo cpus $(nproc) $(cat /sys/devices/system/clocksource/clocksource0/current_clocksource); exit 7')
	status=$?
	echo "$out"
	[ $status = 7 ] && [ "$out" = "cpus $1 tsc" ]
}
stops() { # two states of one machine, over its control socket
	./lamina run --engine kvm --cpus 2 --name m --timeout 600 -- \\
		sh -c 'for k in 1 2 3 4 5; do sleep 1; done; cat /proc/uptime; exit 5' &
	pid=$!
	for k in 1 2 3 4 5; do
		sleep 2
		./lamina pause m || continue
		sleep 2
		./lamina resume m || return 1
	done
	wait $pid
	[ $? = 5 ]
}
again() { # TIMES COMMAND...
	n=$1
	shift
	while [ $n -gt 0 ]; do
		"$@" || return 1
		n=$((n - 1))
	done
}
modprobe kvm-amd || echo "no kvm-amd"
job doctor sh -c './lamina doctor >/tmp/doctor; grep -q "^KVM  *\\(yes\\|partly\\)" /tmp/doctor'
"""

JOBS_SHORT = """
for image in real16 basic32 basic64; do
	job $image unit/unit-runner kvm unit/$image.img
done
job state unit/kvm-test unit/switch64.img
job switch unit/unit-switcher --with kvm unit/switch64.img interp jit kvm
job boot-1 boots 1
job boot-2 boots 2
"""

JOBS_LONG = JOBS_SHORT + """
job basic64-again again 50 unit/unit-runner kvm unit/basic64.img
job switch-again again 10 unit/unit-switcher unit/switch64.img kvm
job state-again again 20 unit/kvm-test unit/switch64.img
job boot-1-again again 4 boots 1
job boot-2-again again 4 boots 2
job boot-4 boots 4
job stops stops
"""

JOBS_TAIL = """
echo JOBS-DONE
echo o >/proc/sysrq-trigger
sleep 60
"""


def skip(why):
    print(f"skipped: {why}")
    sys.exit(77)


def guest_folder():
    cache = os.environ.get("XDG_CACHE_HOME") or os.path.expanduser("~/.cache")
    folder = os.path.realpath(os.path.join(cache, "lamina/guest/current"))
    for name in GUEST_FILES:
        if not os.path.exists(os.path.join(folder, name)):
            skip(f"no default guest in {folder} (make guest)")
    return folder


def libraries(programs):
    found = set()
    for program in programs:
        text = subprocess.run(["ldd", program], capture_output=True, text=True, check=True).stdout
        found |= set(re.findall(r"=> (/\S+)", text)) | set(re.findall(r"^\s*(/\S+)", text, re.M))
    return found


def payload(lamina, unit_dir, guest, jobs, work):
    """A disk image with everything; files of the cache are linked where that can be."""
    root = os.path.join(work, "root")
    cache = os.path.join(root, "cache/lamina/guest/current")
    for folder in (cache, os.path.join(root, "lib"), os.path.join(root, "unit")):
        os.makedirs(folder)
    for name in GUEST_FILES:
        subprocess.run(["cp", "--sparse=always", os.path.join(guest, name), cache], check=True)
    programs = [os.path.join(unit_dir, name) for name in ("unit-runner", "unit-switcher", "kvm-test")]
    images = [os.path.join(unit_dir, name) for name in os.listdir(unit_dir) if name.endswith(".img")]
    shutil.copy(lamina, os.path.join(root, "lamina"))
    for path in programs + images:
        shutil.copy(path, os.path.join(root, "unit"))
    for path in libraries(programs + [lamina]):
        shutil.copy(path, os.path.join(root, "lib"))
    with open(os.path.join(root, "jobs"), "w", encoding="utf-8") as out:
        out.write(JOBS_HEAD + jobs + JOBS_TAIL)
    image = os.path.join(work, "payload.img")
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-O", "^has_journal", "-d", root, image,
                    str(IMAGE_BYTES >> 10)], check=True)
    return image


def drive(path, name):
    return ["-drive", f"driver=raw,file.driver=file,file.filename={path},file.locking=off,if=none,"
            f"id={name},snapshot=on", "-device", f"virtio-blk-pci,drive={name}"]


def start(guest, image):
    append = ("root=/dev/vda ro init=/bin/sh console=ttyS0 quiet panic=-1 cryptomgr.notests"
              " tsc=reliable no_timer_check mitigations=off")
    command = ["qemu-system-x86_64", "-accel", "tcg", "-machine", "q35", "-cpu", "EPYC,+svm",
               "-m", "2048", "-nodefaults", "-display", "none", "-no-reboot", "-serial", "stdio",
               "-kernel", os.path.join(guest, "vmlinux"), "-initrd", os.path.join(guest, "initrd"),
               "-append", append] + drive(os.path.join(guest, "disk.img"), "d0") + drive(image, "d1")
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT)


def converse(qemu, deadline):
    """Sends the setup when the shell asks for it; returns all that was printed."""
    text, sent = b"", False
    fd = qemu.stdout.fileno()
    while time.monotonic() < deadline:
        if not select.select([fd], [], [], 1)[0]:
            continue
        data = os.read(fd, 65536)
        if not data:
            break
        text += data
        if not sent and b"# " in text:
            qemu.stdin.write(SETUP.encode())
            qemu.stdin.flush()
            sent = True
        if b"JOBS-DONE" in text:
            break
    return text.decode(errors="replace")


def main():
    lamina, unit_dir, length = sys.argv[1:4]
    for tool in ("qemu-system-x86_64", "mke2fs"):
        if not shutil.which(tool):
            skip(f"no {tool}")
    guest = guest_folder()
    jobs = JOBS_LONG if length == "long" else JOBS_SHORT
    began = time.monotonic()
    with tempfile.TemporaryDirectory(dir=os.environ.get("LAMINA_TEST_TMP")) as work:
        qemu = start(guest, payload(lamina, unit_dir, guest, jobs, work))
        try:
            text = converse(qemu, began + LIMIT_S)
        finally:
            qemu.kill()
            qemu.wait()
    results = re.findall(r"^(?:# )*JOB (\S+) (\d+)\r?$", text, re.M)
    failed = [name for name, status in results if status != "0"]
    for name, status in results:
        print(f"{name}: {'passed' if status == '0' else 'failed, status ' + status}")
    print(f"{len(results) - len(failed)} passed, {len(failed)} failed in"
          f" {time.monotonic() - began:.0f} s")
    if failed or "JOBS-DONE" not in text:
        print(text[-6000:])
        return 1
    return 0


sys.exit(main())
