"""The data sets, made by the source itself: narrow rows with keys that point at each other, rows of
190 bytes with a secondary index, rows of 4 KB.

A set says what its tables are without secondary indexes and foreign keys, which of these are added
after a load, and how the rows are made. `{n}` stands for the number in a generated row.
"""

import dataclasses

DAY = {"mariadb": "DATE'{0}' + INTERVAL ({1}) DAY", "postgres": "DATE'{0}' + ({1})::int",
       "sqlite": "date('{0}', '+' || ({1}) || ' days')"}
DIV = {"mariadb": "({0}) DIV {1}", "postgres": "({0}) / {1}", "sqlite": "({0}) / {1}"}
HEX = {"mariadb": "MD5({0})", "postgres": "md5(({0})::text)", "sqlite": "lower(hex(randomblob(16)))"}
SERIES = {"mariadb": "SELECT {what} FROM (SELECT seq AS n FROM seq_{low}_to_{high}) s",
          "postgres": "SELECT {what} FROM generate_series({low}::bigint, {high}) n",
          "sqlite": "WITH RECURSIVE s(n) AS (VALUES({low}) UNION ALL SELECT n + 1 FROM s WHERE n < {high}) "
                    "SELECT {what} FROM s"}
STEP = 500_000


@dataclasses.dataclass(frozen=True)
class Table:
    """`split`: the leading key column and its first and last value, to read in ranges; None = one range."""

    name: str
    columns: str
    key: str
    rows: int
    what: str
    split: tuple | None = None
    indexes: tuple = ()
    references: tuple = ()


def day(engine, first, number):
    return DAY[engine].format(first, number)


def employees(engine, scale):
    """The shape of the employees sample: six tables, 3.9 million narrow rows at scale 1."""
    people = int(300_024 * scale)

    def of_person(rows):
        return f"10001 + {DIV[engine].format(f'n * {people}', rows)}"

    def employed(name, rows):
        columns = ("emp_no INT NOT NULL, dept_no CHAR(4) NOT NULL, from_date DATE NOT NULL, to_date DATE NOT NULL")
        department = "'d00' || (n % 9 + 1)" if engine != "mariadb" else "CONCAT('d00', n % 9 + 1)"
        what = (f"{of_person(rows)}, {department}, {day(engine, '1985-01-01', 'n % 5000')}, "
                f"{day(engine, '2000-01-01', 'n % 3000')}")
        return Table(name, columns, "emp_no, dept_no", rows, what, ("emp_no", 10001, 10000 + people),
                     ("dept_no",), (("emp_no", "employees"), ("dept_no", "departments")))

    titles, salaries = int(443_308 * scale), int(2_844_047 * scale)
    names = HEX[engine]
    length = {"postgres": "({0})::int"}.get(engine, "{0}")
    first, last = length.format("4 + n % 8"), length.format("5 + n % 9")
    name = f"substr({names.format('n')}, 1, {first}), substr({names.format('n + 1')}, 1, {last})"
    title = {"mariadb": "ELT(n % 4 + 1, 'Staff', 'Senior Engineer', 'Technique Leader', 'Engineer')"}.get(
        engine, "CASE n % 4 WHEN 0 THEN 'Staff' WHEN 1 THEN 'Senior Engineer' WHEN 2 THEN 'Technique Leader' "
                "ELSE 'Engineer' END")
    whole = ("emp_no", 10001, 10000 + people)
    dept = "'d00' || (n + 1), 'Department ' || n" if engine != "mariadb" else \
        "CONCAT('d00', n + 1), CONCAT('Department ', n)"
    return [
        Table("employees", "emp_no INT NOT NULL, birth_date DATE NOT NULL, first_name VARCHAR(14) NOT NULL, "
              "last_name VARCHAR(16) NOT NULL, gender CHAR(1) NOT NULL, hire_date DATE NOT NULL", "emp_no", people,
              f"10001 + n, {day(engine, '1952-02-01', 'n % 4700')}, {name}, "
              f"CASE n % 5 WHEN 0 THEN 'F' WHEN 1 THEN 'F' ELSE 'M' END, {day(engine, '1985-01-01', 'n % 5000')}",
              whole),
        Table("departments", "dept_no CHAR(4) NOT NULL, dept_name VARCHAR(40) NOT NULL", "dept_no", 9, dept,
              None, ("dept_name",)),
        employed("dept_emp", int(331_603 * scale)),
        employed("dept_manager", max(int(24 * scale), 3)),
        Table("titles", "emp_no INT NOT NULL, title VARCHAR(50) NOT NULL, from_date DATE NOT NULL, "
              "to_date DATE NOT NULL", "emp_no, title, from_date", titles,
              f"{of_person(titles)}, {title}, {day(engine, '1985-01-01', 'n % 5000')}, "
              f"{day(engine, '2000-01-01', 'n % 3000')}", whole, (), (("emp_no", "employees"),)),
        Table("salaries", "emp_no INT NOT NULL, salary INT NOT NULL, from_date DATE NOT NULL, to_date DATE NOT NULL",
              "emp_no, from_date", salaries,
              f"{of_person(salaries)}, 40000 + n * 7919 % 80000, {day(engine, '1985-01-01', 'n % 6000')}, "
              f"{day(engine, '1986-01-01', 'n % 6000')}", whole, (), (("emp_no", "employees"),)),
    ]


def sbtest(engine, scale):
    """5 million rows of 190 bytes at scale 1, with one secondary index of random order."""
    rows = int(5_000_000 * scale)
    digest = {"mariadb": "SHA2({0}, 256)", "postgres": "encode(sha256(({0})::text::bytea), 'hex')",
              "sqlite": "lower(hex(randomblob(32)))"}[engine]
    what = (f"n + 1, n * 7919 % {rows}, substr({digest.format('n')} || {digest.format('n + 1')}, 1, 120), "
            f"substr({digest.format('n * 7')}, 1, 60)")
    if engine == "mariadb":
        what = (f"n + 1, n * 7919 % {rows}, LEFT(CONCAT({digest.format('n')}, {digest.format('n + 1')}), 120), "
                f"LEFT({digest.format('n * 7')}, 60)")
    columns = "id INT NOT NULL, k INT NOT NULL, c CHAR(120) NOT NULL, pad CHAR(60) NOT NULL"
    return [Table("sbtest1", columns, "id", rows, what, ("id", 1, rows), ("k",))]


def wide(engine, scale):
    """200,000 rows of 4 KB at scale 1: half text that compresses, half random bytes."""
    rows = int(200_000 * scale)
    what = {"mariadb": "n + 1, REPEAT(MD5(n), 64), CONCAT(RANDOM_BYTES(1024), RANDOM_BYTES(1024))",
            "postgres": "n + 1, repeat(md5(n::text), 64), (SELECT string_agg(decode(md5(n || '/' || i), 'hex'), '') "
                        "FROM generate_series(1, 128) i)",
            "sqlite": "n + 1, replace(hex(zeroblob(1024)), '00', substr(hex(n + 16), 1, 2)), randomblob(2048)"}[engine]
    binary = {"mariadb": "BLOB", "postgres": "bytea", "sqlite": "BLOB"}[engine]
    columns = f"id INT NOT NULL, t TEXT NOT NULL, b {binary} NOT NULL"
    return [Table("wide", columns, "id", rows, what, ("id", 1, rows))]


SETS = {"employees": employees, "sbtest": sbtest, "wide": wide}


def create(table, engine, key=True):
    """CREATE TABLE without secondary indexes and foreign keys; without the primary key if `key` is False."""
    primary = f", PRIMARY KEY ({table.key})" if key else ""
    options = " DEFAULT CHARSET=utf8mb4 COLLATE utf8mb4_bin" if engine == "mariadb" else ""
    return f"CREATE TABLE {table.name} ({table.columns}{primary}){options}"


def keys_after(table, engine, key=False):
    """Statements for what a load leaves to the end; the primary key too if `key`."""
    parts = [f"ADD PRIMARY KEY ({table.key})"] if key else []
    if engine == "mariadb":
        parts += [f"ADD INDEX {column}_i ({column})" for column in table.indexes]
        return [f"ALTER TABLE {table.name} {', '.join(parts)}"] if parts else []
    after = [f"ALTER TABLE {table.name} {part}" for part in parts]
    return after + [f"CREATE INDEX {table.name}_{column} ON {table.name} ({column})" for column in table.indexes]


def references_after(table, engine):
    """Foreign keys, once every table has its keys. Checked where the engine checks them by default."""
    if engine == "sqlite" or not table.references:
        return []
    parts = [f"ADD FOREIGN KEY ({column}) REFERENCES {other} ({column})" for column, other in table.references]
    return [f"ALTER TABLE {table.name} {', '.join(parts)}"]


def make(server, database, tables):
    """The source database, unless it was made in this place before."""
    size = sum(table.rows for table in tables)
    made = server.home / f"{database}.{size}"
    if made.exists():
        return
    server.renew(database)
    engine = server.engine
    for table in tables:
        columns = [create(table, engine)]
        if engine == "sqlite" and table.references:
            keys = "".join(f", FOREIGN KEY ({c}) REFERENCES {o} ({c})" for c, o in table.references)
            columns = [f"{columns[0][:-1]}{keys})"]
        server.sql(";".join(columns), database)
        for low in range(0, table.rows, STEP):
            high = min(low + STEP, table.rows) - 1
            series = SERIES[engine].format(what=table.what, low=low, high=high)
            server.sql(f"INSERT INTO {table.name} {series}", database)
    for statements in (keys_after, references_after):
        for table in tables:
            for statement in statements(table, engine):
                server.sql(statement, database)
    for table in tables:
        server.sql(f"ANALYZE {'TABLE ' if engine == 'mariadb' else ''}{table.name}", database)
    made.touch()
