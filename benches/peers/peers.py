#!/usr/bin/env python3
"""Sterna beside the tools a user would take instead, and beside the limits of the databases: every cell
in turn, turn after turn, in one run, on private servers with equal settings. See README.md."""

import argparse
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile

import cells
import measure
import servers
import sets

ROOT = pathlib.Path(__file__).resolve().parents[2]


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.ArgumentDefaultsHelpFormatter)
    parser.add_argument("--pair", action="append", choices=cells.PAIRS, help="only this pair (may be repeated)")
    parser.add_argument("--set", action="append", choices=sets.SETS, help="only this data set (may be repeated)")
    parser.add_argument("--cell", action="append", help="only cells whose name contains this (may be repeated)")
    parser.add_argument("--scale", type=float, default=1.0, help="size of the data sets")
    parser.add_argument("--runs", type=int, default=5, help="turns")
    parser.add_argument("--slow", action="store_true", help="the peers that take minutes too")
    parser.add_argument("--dir", type=pathlib.Path, help="where the servers live and stay (else a temporary folder)")
    parser.add_argument("--sterna", type=pathlib.Path, default=ROOT / "target/release/sterna", help="the binary")
    parser.add_argument("--report", type=pathlib.Path, default=ROOT / "target/peers.md", help="where the report goes")
    return parser.parse_args()


def chosen(options, pair):
    known = cells.PAIRS[pair] + (cells.SLOW.get(pair, []) if options.slow else [])
    wanted = [cell for cell in known if not options.cell or any(part in cell.name for part in options.cell)]
    missing = [cell for cell in wanted if cell.needs and not shutil.which(cell.needs)]
    for cell in missing:
        print(f"not measured, {cell.needs} is missing: {cell.name}", file=sys.stderr)
    return [cell for cell in wanted if cell not in missing]


def check_rows(bench, cell):
    """A tool that lost rows was not fast."""
    for table in bench.tables:
        found = int(bench.target.sql(f"SELECT COUNT(*) FROM {table.name}", bench.database))
        if found != table.rows:
            raise SystemExit(f"{cell.name}: {found} rows of {table.rows} in {table.name}")


def run_pair(options, folder, pair, name):
    """The runs of every cell by its name."""
    one, two = pair.split("-")
    database = f"{name}_bench"
    source = servers.ENGINES[one](folder / f"{one}-source", True)
    target = servers.ENGINES[two](folder / f"{two}-target", False)
    try:
        tables = sets.SETS[name](one, options.scale)
        sets.make(source, database, tables)
        bench = cells.Bench(source, target, database, tables, folder, options.sterna)
        runs = {cell.name: [] for cell in chosen(options, pair)}
        for turn in range(options.runs):
            for cell in chosen(options, pair):
                cell.prepare(bench)
                run = measure.measure(lambda c=cell: c.act(bench), source, target)
                runs[cell.name].append(run)
                print(f"{pair} {name} {turn + 1}/{options.runs} {cell.name}: {run.wall:.2f} s, CPU {run.tool:.1f} + "
                      f"{run.source:.1f} + {run.target:.1f} s, others {run.noise:.0%}", file=sys.stderr)
                if cell.whole:
                    check_rows(bench, cell)
        return runs
    finally:
        source.stop()
        target.stop()


def tell(pair, name, tables, runs):
    """One table of the report."""
    base = next((cell for cell in runs if cell.startswith("limit: pipe") or "ATTACH" in cell), next(iter(runs)))
    lines = [f"## {pair}, {name} ({sum(t.rows for t in tables):,} rows)", "",
             f"| cell | wall s, median [least-most] | quiet runs | ratio to `{base}` | CPU: tool | source | target | "
             "tool's part |", "|---|---|---|---|---|---|---|---|"]
    for cell, of in runs.items():
        walls = [run.wall for run in of]
        calm = sum(run.noise <= measure.QUIET for run in of)
        cpu = {end: measure.median(of, lambda run, end=end: getattr(run, end)) for end in ("tool", "source", "target")}
        part = cpu["tool"] / max(sum(cpu.values()), 0.01)
        lines.append(f"| {cell} | {measure.median(of, lambda r: r.wall):.2f} [{min(walls):.2f}-{max(walls):.2f}] | "
                     f"{calm} of {len(of)} | {measure.ratio(of, runs[base], lambda r: r.wall):.2f} | "
                     f"{cpu['tool']:.1f} | {cpu['source']:.1f} | {cpu['target']:.1f} | {part:.0%} |")
    return "\n".join(lines) + "\n"


def main():
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    if not options.sterna.exists():
        raise SystemExit(f"{options.sterna} is not there: cargo build --release")
    version = subprocess.run([options.sterna, "--version"], capture_output=True, text=True, check=True).stdout.strip()
    temporary = None if options.dir else tempfile.TemporaryDirectory(prefix="sterna-peers-")
    folder = options.dir or pathlib.Path(temporary.name)
    folder.mkdir(parents=True, exist_ok=True)
    folder.chmod(0o755)
    parts = [f"# {version} beside its peers: {options.runs} turns, scale {options.scale}, "
             f"{measure.CORES} cores, {cells.STREAMS} streams in the limits\n"]
    for pair in options.pair or cells.PAIRS:
        for name in options.set or sets.SETS:
            runs = run_pair(options, folder, pair, name)
            parts.append(tell(pair, name, sets.SETS[name](pair.split("-")[0], options.scale), runs))
            options.report.parent.mkdir(parents=True, exist_ok=True)
            options.report.write_text("\n".join(parts))
            print(parts[-1])
    if temporary:
        temporary.cleanup()


if __name__ == "__main__":
    main()
