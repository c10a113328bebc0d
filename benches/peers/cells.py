"""What is compared: Sterna, the tools a user would take instead, and the limits of the databases.

A cell has `prepare` (not measured) and `act` (measured, from start to exit 0, indexes and foreign keys
included). Limits are lean pipes of the engines' own clients, with nothing added.
"""

import concurrent.futures
import dataclasses
import math
import os
import pathlib
import shutil
import subprocess
import typing

import sets

STREAMS = max(2, os.cpu_count())
CHUNK_ROWS = 400_000


@dataclasses.dataclass
class Bench:
    """One pair of servers with one data set."""

    source: typing.Any
    target: typing.Any
    database: str
    tables: list
    folder: pathlib.Path
    sterna: pathlib.Path


@dataclasses.dataclass
class Cell:
    name: str
    act: typing.Callable
    needs: str = ""
    prepare: typing.Callable = lambda bench: bench.target.renew(bench.database)
    whole: bool = True  # the target then holds the rows, and their number is checked


def shell(line, **more):
    """A line of bash that must succeed; what it says is shown only if it doesn't."""
    done = subprocess.run(["bash", "-o", "pipefail", "-ec", line], capture_output=True, text=True, check=False, **more)
    if done.returncode != 0:
        raise SystemExit(f"{line}\nended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
    return done.stdout


def words(command):
    return " ".join(f"'{word}'" for word in command)


def chunks(table):
    """WHERE clauses that split a table into ranges of its key."""
    if table.split is None or table.rows <= CHUNK_ROWS:
        return [""]
    column, first, last = table.split
    pieces = math.ceil(table.rows / CHUNK_ROWS)
    edges = [first + (last + 1 - first) * n // pieces for n in range(pieces + 1)]
    return [f" WHERE {column} >= {low} AND {column} < {high}" for low, high in zip(edges, edges[1:])]


def spread(jobs):
    """Calls all, as many at a time as there are streams."""
    with concurrent.futures.ThreadPoolExecutor(STREAMS) as pool:
        for done in [pool.submit(job) for job in jobs]:
            done.result()


def sterna(*options):
    def act(bench):
        state = bench.folder / "state"
        shutil.rmtree(state, ignore_errors=True)
        source, target = bench.source.url(bench.database), bench.target.url(bench.database)
        shell(f"{bench.sterna} clone {source} {target} --progress none --state-dir {state} {' '.join(options)}")

    return act


# The limits.


def select(server, database, query):
    """A command that writes the rows of a query as tab-separated text."""
    if server.engine == "mariadb":
        return words(server.client("--quick", "--batch", "--skip-column-names", database, "-e", query))
    return words(server.client(database, "-c", f"COPY ({query}) TO STDOUT"))


def read_all(bench):
    """Limit: every row read once and thrown away."""
    queries = [f"SELECT * FROM {table.name}{where}" for table in bench.tables for where in chunks(table)]
    spread([lambda q=query: shell(f"{select(bench.source, bench.database, q)} > /dev/null") for query in queries])


def load(bench, table, where, number):
    """One range of a table through a pipe of two clients."""
    query = f"SELECT * FROM {table.name}{where}"
    source, target, database = bench.source, bench.target, bench.database
    if target.engine == "mariadb":
        pipe = bench.folder / f"pipe{number}"
        charset = "binary" if source.engine == "mariadb" else "utf8mb4"
        into = (f"SET foreign_key_checks = 0; LOAD DATA LOCAL INFILE \"{pipe}\" INTO TABLE {table.name} "
                f"CHARACTER SET {charset}")
        loading = words(target.client("--local-infile=1", database, "-e", into))
        shell(f"rm -f {pipe}; mkfifo {pipe}; {select(source, database, query)} > {pipe} & {loading}; wait $!; rm {pipe}")
    elif source.engine == "postgres":
        out = words(source.client(database, "-c", f"COPY ({query}) TO STDOUT (FORMAT binary)"))
        into = words(target.client(database, "-c", f"COPY {table.name} FROM STDIN (FORMAT binary)"))
        shell(f"{out} | {into}")
    else:
        into = words(target.client(database, "-c", f"COPY {table.name} FROM STDIN"))
        shell(f"{select(source, database, query)} | {into}")


def pipe_all(bench):
    """Limit: ranges piped from reading into loading, indexes after, foreign keys last."""
    engine, database = bench.target.engine, bench.database
    late_key = engine == "postgres"
    for table in bench.tables:
        bench.target.sql(sets.create(table, engine, key=not late_key), database)
    ranges = [(table, where) for table in sorted(bench.tables, key=lambda t: -t.rows) for where in chunks(table)]
    spread([lambda n=n, r=r: load(bench, *r, n) for n, r in enumerate(ranges)])
    keys = [statement for table in bench.tables for statement in sets.keys_after(table, engine, late_key)]
    spread([lambda s=s: bench.target.sql(s, database) for s in keys])
    unchecked = "SET foreign_key_checks = 0; " if engine == "mariadb" else ""
    for table in bench.tables:
        for statement in sets.references_after(table, engine):
            bench.target.sql(unchecked + statement, database)


def unload(bench):
    """Files of the rows, for the server-side load."""
    bench.target.renew(bench.database)
    files = bench.folder / "files"
    shutil.rmtree(files, ignore_errors=True)
    files.mkdir()
    files.chmod(0o777)
    for table in bench.tables:
        for n, where in enumerate(chunks(table)):
            query = f"SELECT * FROM {table.name}{where}"
            shell(f"{select(bench.source, bench.database, query)} > {files}/{table.name}.{n}")


def load_files(bench):
    """Limit: the server reads the rows from files by itself, indexes after."""
    engine, database = bench.target.engine, bench.database
    for table in bench.tables:
        bench.target.sql(sets.create(table, engine), database)
    into = ('SET foreign_key_checks = 0; LOAD DATA INFILE "{0}" INTO TABLE {1} CHARACTER SET binary'
            if engine == "mariadb" else "COPY {1} FROM '{0}'")
    files = [(bench.folder / "files" / f"{table.name}.{n}", table.name)
             for table in bench.tables for n, _ in enumerate(chunks(table))]
    spread([lambda f=f: bench.target.sql(into.format(*f), database) for f in files])
    keys = [statement for table in bench.tables for statement in sets.keys_after(table, engine)]
    spread([lambda s=s: bench.target.sql(s, database) for s in keys])


# The peers.


def mysqldump(bench):
    out = words(["mysqldump", "--no-defaults", "-uroot", "-h127.0.0.1", f"-P{bench.source.port}", "--single-transaction",
                 bench.database])
    shell(f"{out} | {words(bench.target.client(bench.database))}")


def mydumper(bench):
    dump = bench.folder / "mydumper"
    shutil.rmtree(dump, ignore_errors=True)
    shell(f"mydumper -u root -h 127.0.0.1 -P {bench.source.port} -B {bench.database} -t 4 -r 200000 --no-locks -o {dump}; "
          f"myloader -u root -h 127.0.0.1 -P {bench.target.port} -B {bench.database} -o -t 4 -d {dump}")
    shutil.rmtree(dump)


def pt_archiver(bench):
    for table in bench.tables:
        bench.target.sql(sets.create(table, "mariadb"), bench.database)
        ends = [f"h=127.0.0.1,P={end.port},u=root,D={bench.database},t={table.name}" for end in (bench.source, bench.target)]
        shell(f"pt-archiver --source {ends[0]} --dest {ends[1]} --where 1=1 --no-delete --no-check-charset "
              f"--bulk-insert --limit 10000 --commit-each --no-safe-auto-increment")
    for statements in (sets.keys_after, sets.references_after):
        for table in bench.tables:
            for statement in statements(table, "mariadb"):
                bench.target.sql(f"SET foreign_key_checks = 0; {statement}", bench.database)


def pg_dump(bench):
    dump = bench.folder / "pgdump"
    shutil.rmtree(dump, ignore_errors=True)
    shell(f"{bench.source.bin}/pg_dump -Fd -Z0 -j4 -f {dump} '{bench.source.url(bench.database)}'; "
          f"{bench.target.bin}/pg_restore -j4 -d '{bench.target.url(bench.database)}' {dump}")
    shutil.rmtree(dump)


def pgcopydb(bench):
    work = bench.folder / "pgcopydb"
    shutil.rmtree(work, ignore_errors=True)
    shell(f"pgcopydb clone --dir {work} --table-jobs 4 --index-jobs 4 "
          f"--source '{bench.source.url(bench.database)}' --target '{bench.target.url(bench.database)}'",
          env={**os.environ, "PATH": f"{bench.target.bin}:{os.environ['PATH']}"})
    shutil.rmtree(work, ignore_errors=True)


def pgloader(bench):
    """As tuned for the measurements: four workers, several readers of a table."""
    text = (f"LOAD DATABASE FROM mysql://root@127.0.0.1:{bench.source.port}/{bench.database} "
            f"INTO postgresql://postgres@127.0.0.1:{bench.target.port}/{bench.database} "
            "WITH workers = 4, concurrency = 2, multiple readers per thread, rows per range = 200000, "
            "prefetch rows = 25000, batch rows = 50000;")
    command = bench.folder / "pgloader.load"
    command.write_text(text)
    shell(f"pgloader --no-ssl-cert-verification {command}")


def dump(bench):
    shell(f"sqlite3 {bench.source.path(bench.database)} .dump | sqlite3 {bench.target.path(bench.database)}")


def attach(bench):
    """Limit: SQLite copies by itself, in one transaction."""
    def made(kind):
        query = (f"SELECT sql || ';' FROM sqlite_schema WHERE sql IS NOT NULL AND type = '{kind}' "
                 "AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'")
        return bench.source.sql(query, bench.database)

    schema, after = made("table"), made("index")
    rows = "".join(f"INSERT INTO main.{t.name} SELECT * FROM source.{t.name};" for t in bench.tables)
    bench.target.sql(f"ATTACH '{bench.source.path(bench.database)}' AS source; BEGIN; {schema} {rows} {after} COMMIT;",
                     bench.database)


STERNA = [Cell("sterna", sterna()), Cell("sterna --verify none", sterna("--verify", "none"))]
READ = Cell("limit: read", read_all, whole=False)
LOAD = Cell("limit: load files", load_files, prepare=unload)
PIPE = Cell("limit: pipe", pipe_all)
PAIRS = {
    "mariadb-mariadb": [*STERNA, PIPE, READ, LOAD, Cell("mysqldump | mysql", mysqldump, "mysqldump"),
                        Cell("mydumper, myloader -t 4 -r 200000", mydumper, "mydumper")],
    "postgres-postgres": [*STERNA, PIPE, READ, LOAD, Cell("pg_dump | pg_restore -j 4", pg_dump),
                          Cell("pgcopydb -j 4", pgcopydb, "pgcopydb")],
    "mariadb-postgres": [*STERNA, PIPE, Cell("pgloader, tuned", pgloader, "pgloader")],
    "postgres-mariadb": [*STERNA, PIPE],
    "sqlite-sqlite": [*STERNA, Cell("limit: ATTACH, INSERT SELECT", attach), Cell(".dump | sqlite3", dump, "sqlite3")],
}
SLOW = {"mariadb-mariadb": [Cell("pt-archiver --bulk-insert", pt_archiver, "pt-archiver")]}
