"""Runs cells in turn and measures each: wall time, CPU of the tool and of every server, and how quiet
the machine was meanwhile."""

import dataclasses
import os
import pathlib
import resource
import statistics
import time

TICKS = os.sysconf("SC_CLK_TCK")
CORES = os.cpu_count()
QUIET = 0.15


@dataclasses.dataclass
class Run:
    """One run of one cell. Seconds; `noise` is the part of the machine that others used."""

    wall: float
    tool: float
    source: float
    target: float
    noise: float

    @property
    def cpu(self):
        return self.tool + self.source + self.target


def machine():
    """Busy and stolen CPU seconds of the whole machine."""
    fields = [int(word) for word in pathlib.Path("/proc/stat").read_text().split("\n")[0].split()[1:]]
    user, nice, system, _idle, _wait, irq, soft, steal = fields[:8]
    return (user + nice + system + irq + soft + steal) / TICKS


def children():
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def own():
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def measure(act, source, target):
    """Calls `act` and says what it cost."""
    before = (machine(), children(), own(), source.cpu(), target.cpu())
    began = time.monotonic()
    act()
    wall = time.monotonic() - began
    after = (machine(), children(), own(), source.cpu(), target.cpu())
    busy, tool, self_, one, two = (b - a for a, b in zip(before, after))
    noise = max(0.0, busy - tool - self_ - one - two) / (wall * CORES)
    return Run(wall, tool, one, two, noise)


def quiet(runs):
    """The quiet runs where there are at least two, otherwise all of them."""
    calm = [run for run in runs if run.noise <= QUIET]
    return calm if len(calm) >= 2 else runs


def median(runs, of):
    return statistics.median(of(run) for run in quiet(runs))


def ratio(runs, base, of):
    """Median over the turns of cell / base of the same turn; pairs of quiet runs where there are two."""
    pairs = list(zip(runs, base))
    calm = [(a, b) for a, b in pairs if a.noise <= QUIET and b.noise <= QUIET]
    chosen = calm if len(calm) >= 2 else pairs
    return statistics.median(of(a) / max(of(b), 0.01) for a, b in chosen)
