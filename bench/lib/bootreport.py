"""From the measurements of bench/boot to tables."""
from common import spread


def cell(values):
    found = spread(values)
    return f'{found[1]:.2f} ({found[0]:.2f}–{found[2]:.2f})' if found else '—'


def loader_line(name, good):
    """Without what ran before the kernel, where that is known."""
    known = [r for r in good if 'loader_cpu' in r]
    if not known:
        return []
    return [f'| {name}, from kernel on | {cell([r["cpu"] - r["loader_cpu"] for r in known])} '
            f'| {cell([r["wall"] - r["loader_wall"] for r in known])} | — | — |']


def times_table(title, results):
    lines = [f'### {title}', '', '| system | CPU s | wall s | least CPU, x lamina | failed |', '|---|---|---|---|---|']
    best = {name: min((r['cpu'] for r in runs if 'cpu' in r), default=None) for name, runs in results.items()}
    for name, runs in results.items():
        good = [r for r in runs if 'cpu' in r]
        ratio = f'{best[name] / best["lamina"]:.2f}' if best[name] and best.get('lamina') else '—'
        failed = '; '.join(sorted({r['failed'] for r in runs if 'failed' in r})) or '—'
        lines.append(f'| {name} | {cell([r["cpu"] for r in good])} | {cell([r["wall"] for r in good])} '
                     f'| {ratio} | {failed} |')
        lines += loader_line(name, good)
    return [*lines, '']


def footprint_table(results):
    lines = ["### Memory beyond the guest's, MiB, idle at the prompt", '',
             '| system | PSS | RSS | page tables | RAM touched by the guest |', '|---|---|---|---|---|']
    for name, runs in results.items():
        found = [r['footprint'] for r in runs if r.get('footprint')]
        cells = [cell([f[key] for f in found]) for key in ('pss', 'rss', 'page_tables', 'guest_ram')]
        lines.append(f'| {name} | ' + ' | '.join(cells) + ' |')
    return [*lines, '']


def boot_tables(data):
    """Everything as lines of Markdown."""
    about = f'Median (least–greatest) of the rounds; lamina with `--engine {data["engine"]}`, {data["memory_mib"]} MiB.'
    lines = [about, '']
    if 'init' in data:
        lines += times_table('Start of the monitor to init', data['init'])
    if 'shell' in data:
        lines += times_table('Start of the monitor to the shell of the default guest', data['shell'])
        lines += footprint_table(data['shell'])
    return lines
