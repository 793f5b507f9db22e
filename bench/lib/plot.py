"""One plot of bench/run's measurements: how much slower than the host, lamina and QEMU. SVG, and PNG
beside it where rsvg-convert is installed."""
import math
import os
import shutil
import subprocess

from report import GROUPS, number, rows

WIDTH, LEFT, RIGHT, TOP, ROW, HEAD = 860, 190, 150, 64, 22, 30
LAMINA, QEMU, TEXT, GRID = '#1f6fb2', '#c9ccd1', '#24292f', '#e6e8eb'
STYLE = 'font-family="Helvetica,Arial,sans-serif"'


def text(x, y, words, size=12, anchor='start', weight='normal', fill=TEXT):
    words = words.replace('&', '&amp;').replace('<', '&lt;')
    return (f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" '
            f'font-weight="{weight}" fill="{fill}" {STYLE}>{words}</text>')


def bar(x, y, width, height, fill):
    return f'<rect x="{x:.1f}" y="{y:.1f}" width="{max(width, 1):.1f}" height="{height:.1f}" fill="{fill}"/>'


class Axis:
    """Logarithmic, from below the least value to above the greatest."""

    def __init__(self, values):
        self.low = min(0, math.floor(math.log10(min(values))))
        self.high = max(1, math.ceil(math.log10(max(values))))

    def x(self, value):
        return LEFT + (math.log10(value) - self.low) / (self.high - self.low) * (WIDTH - LEFT - RIGHT)


def bench_row(row, y, axis):
    ours, theirs = row['lamina_x_native'], row['qemu_x_native']
    parts = [text(LEFT - 8, y + 13, row['bench'], anchor='end')]
    # From 1 on: what is left of it is faster than the host.
    for found, offset, fill in ((ours, 2, LAMINA), (theirs, 11, QEMU)):
        if found:
            ends = sorted((axis.x(1), axis.x(found[1])))
            parts.append(bar(ends[0], y + offset, ends[1] - ends[0], 8, fill))
    ratio = row['x_faster_than_qemu']
    words = number(ratio[1]) + 'x' if ratio else '; '.join(sorted(set(row['failed'].values())))[:22] or '—'
    parts.append(text(WIDTH - 12, y + 13, words, anchor='end', weight='bold' if ratio and ratio[1] > 1 else 'normal'))
    return parts


def draw(data, lamina):
    all_rows = rows(data, lamina)
    groups = [(title, [r for r in all_rows if r['group'] == key]) for key, title in GROUPS]
    groups = [(title, found) for title, found in groups if found]
    values = [r[key][1] for r in all_rows for key in ('lamina_x_native', 'qemu_x_native') if r[key]]
    if not values:
        return None
    axis = Axis(values)
    height = TOP + len(groups) * HEAD + len(all_rows) * ROW + 30
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
             f'viewBox="0 0 {WIDTH} {height}">', f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
             text(12, 24, 'Times slower than the host (logarithmic; shorter is better)', 15, weight='bold'),
             bar(12, 36, 12, 10, LAMINA), text(28, 45, lamina), bar(140, 36, 12, 10, QEMU),
             text(156, 45, 'QEMU TCG, the better of -cpu max and qemu64'),
             text(WIDTH - 12, 45, 'x faster than QEMU', anchor='end')]
    for power in range(axis.low, axis.high + 1):
        x = axis.x(10 ** power)
        parts += [f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{TOP}" y2="{height - 24}" stroke="{GRID}"/>',
                  text(x, height - 8, f'{10 ** power:g}x', anchor='middle')]
    y = TOP
    for title, found in groups:
        parts.append(text(12, y + 20, title, 13, weight='bold'))
        y += HEAD
        for row in found:
            parts += bench_row(row, y, axis)
            y += ROW
    return '\n'.join([*parts, '</svg>', ''])


def write_plot(data, path):
    """For the last of lamina's engines that were measured."""
    systems = [s for s in data['rounds'] if s.startswith('lamina-')]
    picture = draw(data, systems[-1]) if systems and 'native' in data['rounds'] else None
    if not picture:
        return False
    with open(path, 'w', encoding='utf-8') as f:
        f.write(picture)
    if shutil.which('rsvg-convert'):
        subprocess.run(['rsvg-convert', '-z', '2', '-o', os.path.splitext(path)[0] + '.png', path], check=False)
    return True
