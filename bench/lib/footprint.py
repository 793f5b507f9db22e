"""Memory of a monitor beyond the memory of its guest, from /proc/PID/smaps."""
import re

HEADER = re.compile(r'^([0-9a-f]+)-([0-9a-f]+) \S+ \S+ \S+ \d+ *(.*)$')
# Guest RAM: lamina's memfd by name; any other mapping of exactly the size of the guest's memory.
LAMINA_RAM = 'memfd:lamina-ram'


def mappings(pid):
    """(size in KiB, name, {'Rss': KiB, 'Pss': KiB, ...}) of each mapping."""
    found = []
    with open(f'/proc/{pid}/smaps', encoding='ascii', errors='replace') as f:
        for line in f:
            header = HEADER.match(line)
            if header:
                size = (int(header[2], 16) - int(header[1], 16)) // 1024
                found.append((size, header[3], {}))
            elif line.endswith(' kB\n'):
                key, value = line.split(':')
                found[-1][2][key] = int(value.split()[0])
    return found


def page_tables(pid):
    with open(f'/proc/{pid}/status', encoding='ascii', errors='replace') as f:
        return next(int(line.split()[1]) for line in f if line.startswith('VmPTE:'))


def footprint(pid, memory_mib):
    """MiB: rss and pss without the guest's RAM, the RAM that the guest has touched, page tables of
    the process. None where the guest's RAM cannot be told from the rest."""
    ram, rest = [], []
    for size, name, values in mappings(pid):
        is_ram = LAMINA_RAM in name or size == memory_mib * 1024
        (ram if is_ram else rest).append(values)
    if not ram:
        return None
    kib = {'rss': sum(v['Rss'] for v in rest), 'pss': sum(v['Pss'] for v in rest),
           'guest_ram': max(v['Rss'] for v in ram), 'page_tables': page_tables(pid)}
    return {key: value / 1024 for key, value in kib.items()}
