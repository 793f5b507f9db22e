"""Shared by the benches: one-line failures, paths, tools, rounds and statistics."""
import json
import math
import os
import shutil
import statistics
import subprocess
import sys
import time

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
# What is compared with QEMU unless --engine says otherwise.
DEFAULT_ENGINE = 'jit'
PACKAGES = {'qemu-system-x86_64': 'qemu-system-x86', 'bochs': 'bochs', 'unshare': 'util-linux',
            'gcc': 'gcc'}


def die(text):
    sys.exit(f'{os.path.basename(sys.argv[0])}: {text}')


def say(text):
    print(text, file=sys.stderr, flush=True)


def need(*tools):
    missing = [PACKAGES[tool] for tool in tools if not shutil.which(tool)]
    if missing:
        die('missing programs; install them with: apt-get install ' + ' '.join(missing))


def build_assets(script, *args):
    """Runs a script of this repository that prints the folder with what it made."""
    done = subprocess.run([os.path.join(TOP, script), *args], stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        die(f'{script} failed, see above')
    return done.stdout.strip().splitlines()[-1]


def guest_cmdline(guest):
    with open(guest + '/manifest.json', encoding='ascii') as f:
        return json.load(f)['cmdline']


def rotated(items, n):
    """The same items, another one first in each round: no system always runs after the same one."""
    n %= len(items)
    return items[n:] + items[:n]


def geomean(values):
    return math.exp(statistics.fmean(math.log(v) for v in values)) if values else math.nan


def spread(values):
    """(minimum, median, maximum), or None of nothing."""
    return (min(values), statistics.median(values), max(values)) if values else None


def first_line(command, pattern=''):
    try:
        text = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True).stdout
    except OSError:
        return 'not installed'
    return next((line.strip() for line in text.splitlines() if pattern in line), 'unknown')


def conditions(lamina):
    """What the figures depend on besides the code."""
    with open('/proc/cpuinfo', encoding='ascii') as f:
        cpu = next((line.split(':')[1].strip() for line in f if line.startswith('model name')), 'unknown')
    return {'date': time.strftime('%Y-%m-%d %H:%M:%S'), 'cpu': cpu, 'cpus': os.cpu_count(),
            'host_kernel': os.uname().release, 'load_at_start': [round(v, 1) for v in os.getloadavg()],
            'commit': first_line(['git', '-C', TOP, 'describe', '--always', '--dirty']),
            'lamina': first_line([lamina, '--version']),
            'qemu': first_line(['qemu-system-x86_64', '--version']),
            'bochs': first_line(['bochs', '--help'], 'Bochs x86 Emulator')}


def write_json(path, data):
    with open(path + '.tmp', 'w', encoding='ascii') as f:
        json.dump(data, f, indent=1)
        f.write('\n')
    os.replace(path + '.tmp', path)
