"""Virtual machine monitors: their command lines for the same guest, and one run of one of them."""
import dataclasses
import os
import select
import signal
import subprocess
import tempfile
import time

from common import TOP

BOCHS_FILES = ('/usr/share/bochs/BIOS-bochs-latest', '/usr/share/vgabios/vgabios.bin')
BOCHSRC = """\
config_interface: textconfig
display_library: rfb, options="timeout=0"
romimage: file={files[0]}
vgaromimage: file={files[1]}
megs: {memory}
cpu: model=corei7_haswell_4770, count=1, ips=100000000
pci: enabled=1, chipset=i440fx
sound: driver=dummy
ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14
ata0-master: type=cdrom, path={iso}, status=inserted
boot: cdrom
clock: sync=none, time0=946684800
com1: enabled=1, mode=file, dev={folder}/console
log: {folder}/log
panic: action=fatal
error: action=ignore
info: action=ignore
debug: action=ignore
"""


@dataclasses.dataclass
class Guest:
    """What is booted. Without a kernel it is the default guest, as `lamina run` knows it."""
    cmdline: str
    kernel: str
    initrd: str
    disk: str = None        # never changed by a run
    disk_scratch: bool = False  # the guest may write to it, and what it wrote is thrown away
    memory: int = 512       # MiB
    cpus: int = 1


def lamina(guest, binary, engine):
    args = [binary, 'run', '--engine', engine, '--memory', f'{guest.memory}M', '--cpus', str(guest.cpus)]
    if guest.disk_scratch:
        return args
    args += ['--kernel', guest.kernel, '--initrd', guest.initrd, '--append', guest.cmdline]
    return args + (['--disk', guest.disk + ',ro'] if guest.disk else [])


def tsc_khz():
    """The host's, which TCG hands to its guests. Linux has twice the MHz as bogomips."""
    with open('/proc/cpuinfo', encoding='ascii') as f:
        mips = next(line.split(':')[1] for line in f if line.startswith('bogomips'))
    return int(float(mips) * 500)


def qemu(guest, machine, cpu):
    cmdline = guest.cmdline
    if machine.startswith('microvm'):
        # Without PM timer and HPET Linux measures the TSC by the PIT alone, gives up when the host is
        # busy, and then hangs for want of a clock.
        cmdline += f' tsc_early_khz={tsc_khz()}'
    args = ['qemu-system-x86_64', '-accel', 'tcg,thread=multi', '-machine', machine, '-cpu', cpu,
            '-m', str(guest.memory), '-smp', str(guest.cpus), '-nodefaults', '-no-user-config',
            '-display', 'none', '-no-reboot', '-serial', 'stdio',
            '-kernel', guest.kernel, '-initrd', guest.initrd, '-append', cmdline]
    if guest.disk:
        how = 'snapshot=on' if guest.disk_scratch else 'readonly=on'
        # cache=writeback, aio=threads: QEMU's defaults, through the host's page cache as lamina does.
        args += ['-drive', f'file={guest.disk},if=none,id=disk,format=raw,file.locking=off,{how}',
                 '-device', 'virtio-blk-pci,drive=disk']
    return args


def bochs(iso, memory, folder):
    """Bochs takes its settings from a file; Debian's has a debugger that waits for "continue"."""
    with open(folder + '/bochsrc', 'w', encoding='ascii') as f:
        f.write(BOCHSRC.format(files=BOCHS_FILES, memory=memory, iso=iso, folder=folder))
    with open(folder + '/commands', 'w', encoding='ascii') as f:
        f.write('continue\n')
    os.mkfifo(folder + '/console')
    return ['bochs', '-q', '-f', folder + '/bochsrc', '-rc', folder + '/commands']


class Ended(Exception):
    """The guest did not do what was waited for; the text is fit for a table."""


class Run:
    """One machine from its start on. `make` gets a folder for files and returns the command line; a
    fifo named console in there is read instead of standard output."""

    def __init__(self, make, limit_s):
        self.folder = tempfile.TemporaryDirectory(prefix='lamina-bench-')
        argv = make(self.folder.name)
        fifo = self.folder.name + '/console'
        self.errors = open(self.folder.name + '/stderr', 'w+b')
        self.text = b''
        self.usage = None
        # Written to by us as well, so that it never is at its end.
        self.console = os.open(fifo, os.O_RDWR | os.O_NONBLOCK) if os.path.exists(fifo) else None
        self.start = time.monotonic()
        self.end = self.start + limit_s
        self.limit_s = limit_s
        self.process = subprocess.Popen(argv, stdin=subprocess.PIPE, stderr=self.errors, cwd=TOP,
                                        stdout=subprocess.DEVNULL if self.console else subprocess.PIPE)
        if self.console is None:
            self.console = os.dup(self.process.stdout.fileno())
            self.process.stdout.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()
        self.process.stdin.close()
        os.close(self.console)
        self.errors.close()
        self.folder.cleanup()

    def read(self):
        """More of the console, with the time at which it came. Ended when there is none."""
        while True:
            left = self.end - time.monotonic()
            if left <= 0:
                raise Ended(f'timeout {self.limit_s} s')
            if select.select([self.console], [], [], min(left, 0.5))[0]:
                data = os.read(self.console, 65536)
                if data:
                    self.text += data
                    return data, time.monotonic()
                self.reap(0)
                raise Ended(self.why_ended())
            if self.reap(os.WNOHANG):
                raise Ended(self.why_ended())

    def wait_for(self, *texts):
        """Seconds from the start to the first of these texts on the console."""
        seen, at = 0, time.monotonic()
        while True:
            if any(self.text.find(text, max(0, seen - len(text))) >= 0 for text in texts):
                return at - self.start
            seen = len(self.text)
            _, at = self.read()

    def reap(self, flags):
        """True when the process is gone; then its CPU time is known."""
        if self.usage is None:
            pid, status, usage = os.wait4(self.process.pid, flags)
            if pid:
                self.process.returncode = os.waitstatus_to_exitcode(status)
                self.usage = usage
        return self.usage is not None

    def stop(self):
        """Ends the machine as it is. Returns its CPU seconds so far, user and system, of all threads."""
        if not self.reap(os.WNOHANG):
            os.kill(self.process.pid, signal.SIGKILL)
            self.reap(0)
        return self.usage.ru_utime + self.usage.ru_stime

    def cpu_so_far(self):
        """The same of a running machine, to 10 ms."""
        with open(f'/proc/{self.process.pid}/stat', encoding='ascii', errors='replace') as f:
            fields = f.read().rsplit(')', 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf('SC_CLK_TCK')

    def why_ended(self):
        self.errors.seek(0)
        words = self.errors.read().decode(errors='replace').strip().splitlines()
        last = words[-1] if words else 'without a message'
        return f'ended early, status {self.process.returncode}: {last}'
