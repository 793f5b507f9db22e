"""What bench/agent.c says on the console, as values."""
import re

from common import say
from vmm import Ended

MICRO_VALUE = re.compile(r'([a-z0-9-]+) ([0-9]+\.[0-9]+)$')
MICRO_SKIP = re.compile(r'([a-z0-9-]+) skip (.+)$')
MICRO_ERROR = re.compile(r'([a-z0-9-]+): (.+)$')
RATE = re.compile(r'rate (\w+) ([0-9.]+) (\S+)$')
START = re.compile(r'@start (\w+)$')
END = re.compile(r'@end (\w+) (\w+) (\d+)$')
# The host may be late in reading a line; shorter jobs do not tell enough.
SKEW_MIN_S = 1


class Outcome:
    """Values (nanoseconds, or rates), reasons of failures and clock skew of one machine."""

    def __init__(self):
        self.values, self.failed, self.skew = {}, {}, {}
        self.job = None
        self.job_start = 0
        self.job_text = []
        self.done = False

    def take_line(self, line, at):
        start, end = START.search(line), END.search(line)
        if line.endswith('@done'):
            self.done = True
        elif start:
            self.job, self.job_start, self.job_text = start[1], at, []
        elif end:
            self.end_job(end[1], end[2], int(end[3]), at)
        elif self.job == 'micro':
            self.take_micro(line)
        elif self.job:
            self.take_output(line)

    def take_micro(self, line):
        value, skip, error = MICRO_VALUE.match(line), MICRO_SKIP.match(line), MICRO_ERROR.match(line)
        if value:
            self.values[value[1]] = float(value[2])
        elif skip:
            self.failed[skip[1]] = skip[2]
        elif error:
            self.failed[error[1]] = error[2]

    def take_output(self, line):
        rate = RATE.match(line)
        if rate and float(rate[2]) > 0:
            self.values[rate[1]] = float(rate[2])
        elif rate:
            self.failed[rate[1]] = 'too slow for one operation'
        elif line:
            self.job_text.append(line)

    def end_job(self, job, status, ns, at):
        if job != 'micro' and status != 'ok':
            said = ': ' + self.job_text[-1] if self.job_text else ''
            self.failed[job] = status + said
        elif job != 'micro':
            self.values.setdefault(job, ns)  # a job may have said its own rate
        host = at - self.job_start
        if host >= SKEW_MIN_S and status == 'ok':
            self.skew[job] = ns / 1e9 / host - 1
        self.job = None


def follow(run, outcome, verbose):
    """Reads the console until the agent is done; Ended when it does not get there."""
    rest = b''
    while not outcome.done:
        data, at = run.read()
        *lines, rest = (rest + data).split(b'\n')
        for line in lines:
            words = line.decode(errors='replace').strip()
            outcome.take_line(words, at)
            if verbose:
                say(f'{at - run.start:8.2f}  {words}')


def run_jobs(run, verbose):
    """The outcome of one machine as a dictionary, whatever happened to it."""
    outcome, error = Outcome(), None
    try:
        follow(run, outcome, verbose)
    except Ended as reason:
        error = str(reason) + (f' in {outcome.job}' if outcome.job else '')
    return {'values': outcome.values, 'failed': outcome.failed, 'skew': outcome.skew, 'error': error,
            'cpu': run.stop()}
