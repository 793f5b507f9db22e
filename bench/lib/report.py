"""From the measurements of bench/run to ratios, tables and geometric means."""
import statistics

from common import geomean, spread

QEMUS = ('qemu-max', 'qemu-qemu64')
GROUPS = (('micro', 'Microbenchmarks'), ('apps', 'Applications'), ('smp', 'Two vCPUs'))
# Benches whose quotient says how well two vCPUs scale: title, one thread, two threads.
SCALING = (('sysbench cpu', 'smp_sysbench_1', 'smp_sysbench_2'), ('gcc', 'smp_gcc_1', 'smp_gcc_2'))


def costs(data, system, bench):
    """What one operation costs in each round: time, or the reciprocal of a rate; None where it failed."""
    rate = data['benches'][bench]['unit'] != 'ns'
    values = [r['values'].get(bench) for r in data['rounds'].get(system, [])]
    return [None if not v else 1 / v if rate else v for v in values]


def ratios(above, below):
    """Quotients of two systems within the same round."""
    return [a / b for a, b in zip(above, below) if a and b]


def failure(data, system, bench):
    """Why there is no figure, from the last round that says so."""
    reasons = [r['failed'][bench] for r in data['rounds'].get(system, []) if bench in r['failed']]
    return reasons[-1] if reasons else 'not run'


def better_qemu(data, bench):
    """The QEMU CPU type with the lower median cost; None when both failed or did not run."""
    medians = {}
    for system in QEMUS:
        known = [c for c in costs(data, system, bench) if c]
        if known:
            medians[system] = statistics.median(known)
    return min(medians, key=medians.get) if medians else None


def rows(data, lamina):
    """One dictionary for each bench: ratios over the rounds, and what failed."""
    found = []
    for bench, about in data['benches'].items():
        native, ours = costs(data, 'native', bench), costs(data, lamina, bench)
        qemu = better_qemu(data, bench)
        theirs = costs(data, qemu, bench) if qemu else []
        known = [c for c in native if c]
        found.append({
            'bench': bench, **about, 'native': min(known) if known else None, 'qemu': qemu,
            'lamina_x_native': spread(ratios(ours, native)),
            'qemu_x_native': spread(ratios(theirs, native)),
            'x_faster_than_qemu': spread(ratios(theirs, ours)),
            'failed': {s: failure(data, s, bench) for s in ('native', lamina, *QEMUS)
                       if s in data['rounds'] and not any(costs(data, s, bench))},
        })
    return found


def number(value):
    return f'{value:.2f}' if value < 10 else f'{value:.1f}' if value < 100 else f'{value:.0f}'


def ratio_cell(found, reason=None):
    if not found:
        return reason or '—'
    return f'{number(found[1])}x ({number(found[0])}–{number(found[2])})'


def native_cell(row):
    if not row['native']:
        return row['failed'].get('native', '—')
    if row['unit'] != 'ns':
        return f'{number(1 / row["native"])} {row["unit"]}'
    for unit, size in (('s', 1e9), ('ms', 1e6), ('us', 1e3)):
        if row['native'] >= size:
            return f'{number(row["native"] / size)} {unit}'
    return f'{number(row["native"])} ns'


def qemu_reason(row):
    return '; '.join(sorted({row['failed'][s] for s in QEMUS if s in row['failed']})) or None


def group_table(group_rows, lamina):
    lines = [f'| bench | native | {lamina}, x native | QEMU, x native | QEMU -cpu | {lamina}, x faster than QEMU |',
             '|---|---|---|---|---|---|']
    for row in group_rows:
        qemu = row['qemu'].removeprefix('qemu-') if row['qemu'] else '—'
        lines.append(f'| {row["what"]} (`{row["bench"]}`) | {native_cell(row)} '
                     f'| {ratio_cell(row["lamina_x_native"], row["failed"].get(lamina))} '
                     f'| {ratio_cell(row["qemu_x_native"], qemu_reason(row))} | {qemu} '
                     f'| **{ratio_cell(row["x_faster_than_qemu"])}** |')
    return lines


def means_table(all_rows, lamina):
    lines = [f'| geometric mean of medians | benches | {lamina}, x native | QEMU, x native '
             f'| {lamina}, x faster than QEMU |', '|---|---|---|---|---|']
    for group, title in (*GROUPS, (None, 'all')):
        # Only benches that all three have: the means are of the same things.
        whole = [r for r in all_rows if group in (None, r['group']) and
                 r['lamina_x_native'] and r['qemu_x_native']]
        if whole:
            means = [geomean([r[key][1] for r in whole])
                     for key in ('lamina_x_native', 'qemu_x_native', 'x_faster_than_qemu')]
            lines.append(f'| {title} | {len(whole)} | ' + ' | '.join(number(m) + 'x' for m in means) + ' |')
    return lines if len(lines) > 2 else []


def scaling_table(data):
    lines = ['| two threads, x faster than one | ' + ' | '.join(data['rounds']) + ' |',
             '|---|' + '---|' * len(data['rounds'])]
    for title, one, two in SCALING:
        if one in data['benches'] and two in data['benches']:
            cells = [ratio_cell(spread(ratios(costs(data, s, one), costs(data, s, two)))) for s in data['rounds']]
            lines.append(f'| {title} | ' + ' | '.join(cells) + ' |')
    return lines if len(lines) > 2 else []


def skew_lines(data):
    """Guests whose clock did not run like the host's."""
    lines = []
    for system, found in data['rounds'].items():
        for n, one in enumerate(found):
            lines += [f'- {system}, round {n + 1}, {job}: the guest\'s clock measured {skew:+.1%} of the host\'s'
                      for job, skew in one['skew'].items() if abs(skew) > data['skew_limit']]
    return ['Clock skew:', '', *lines] if lines else []


def error_lines(data):
    lines = [f'- {system}, round {n + 1}: {one["error"]}' for system, found in data['rounds'].items()
             for n, one in enumerate(found) if one.get('error')]
    return ['Machines that did not run to their end:', '', *lines] if lines else []


def tables(data):
    """Everything as lines of Markdown."""
    lines = []
    for lamina in [s for s in data['rounds'] if s.startswith('lamina-')] or ['lamina']:
        all_rows = rows(data, lamina)
        for part in [means_table(all_rows, lamina)]:
            lines += [*part, ''] if part else []
        for group, title in GROUPS:
            group_rows = [r for r in all_rows if r['group'] == group]
            if group_rows:
                lines += [f'### {title}', '', *group_table(group_rows, lamina), '']
    for part in (scaling_table(data), error_lines(data), skew_lines(data)):
        lines += [*part, ''] if part else []
    return lines
