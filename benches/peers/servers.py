"""Private database servers with equal settings, on free ports of 127.0.0.1.

MariaDB and PostgreSQL as a careful user runs them: every commit durable, memory for the data, the
source with its log for following. Everybody connects by TCP, as to another machine. Stopped by
process id.
"""

import os
import pathlib
import shutil
import socket
import subprocess
import time

ROOT = os.geteuid() == 0


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def cpu_of(pid):
    """CPU seconds of a process and of its children that have ended."""
    try:
        fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    except FileNotFoundError:
        return 0.0
    return sum(int(fields[n]) for n in (11, 12, 13, 14)) / os.sysconf("SC_CLK_TCK")


class Server:
    """A running server; `cpu` counts what it burned so far."""

    def __init__(self, home):
        self.home = home
        self.port = free_port()
        self.process = None

    def cpu(self):
        pid = self.process.pid
        children = pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        return cpu_of(pid) + sum(cpu_of(child) for child in children)

    def begin(self, command, ready):
        with open(self.home / "log", "ab") as log:
            self.process = subprocess.Popen(command, stdout=log, stderr=log)
        deadline = time.monotonic() + 60
        while subprocess.run(ready, capture_output=True, check=False).returncode != 0:
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise SystemExit(f"a server did not start: {self.home / 'log'}")
            time.sleep(0.1)

    def stop(self):
        if self.process and self.process.poll() is None:
            self.process.send_signal(self.stop_signal)
            self.process.wait()


class MariaDB(Server):
    engine = "mariadb"
    stop_signal = 15

    def __init__(self, home, source):
        super().__init__(home)
        home.mkdir(parents=True, exist_ok=True)
        user = ["--user=mysql"] if ROOT else []
        if ROOT:
            shutil.chown(home, "mysql")
        self.socket = home / "s.sock"
        if not (home / "data").exists():
            install = ["mariadb-install-db", "--no-defaults", f"--datadir={home / 'data'}", "--skip-test-db",
                       "--auth-root-authentication-method=normal", *user]
            subprocess.run(install, check=True, capture_output=True)
        log = ["--log-bin", "--binlog-format=ROW", "--binlog-row-image=FULL", "--sync-binlog=1"]
        command = [
            "mariadbd", "--no-defaults", f"--datadir={home / 'data'}", f"--socket={self.socket}",
            f"--port={self.port}", "--bind-address=127.0.0.1", "--local-infile=1", "--secure-file-priv=",
            "--innodb-buffer-pool-size=1G", "--innodb-log-file-size=1G", "--innodb-flush-log-at-trx-commit=1",
            "--innodb-flush-method=O_DIRECT", "--max-allowed-packet=256M", "--character-set-server=utf8mb4",
            "--performance-schema=OFF", "--skip-name-resolve", f"--server-id={1 if source else 2}",
            *(log if source else ["--skip-log-bin"]), *user,
        ]
        self.begin(command, self.client("-e", "SELECT 1"))

    def client(self, *more):
        return ["mariadb", "--no-defaults", "-uroot", "-h127.0.0.1", f"-P{self.port}", *more]

    def sql(self, text, database=None):
        """Runs statements; the answer as text."""
        command = self.client("--skip-column-names", "--batch", *([database] if database else []))
        return subprocess.run(command, input=text, text=True, check=True, stdout=subprocess.PIPE).stdout

    def url(self, database):
        return f"mysql://root@127.0.0.1:{self.port}/{database}"

    def renew(self, database):
        self.sql(f"DROP DATABASE IF EXISTS {database}; CREATE DATABASE {database}")


class PostgreSQL(Server):
    engine = "postgres"
    stop_signal = 2

    def __init__(self, home, _source):
        super().__init__(home)
        home.mkdir(parents=True, exist_ok=True)
        self.bin = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin"))[-1]
        as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--clear-groups"] if ROOT else []
        if ROOT:
            shutil.chown(home, "postgres")
        if not (home / "data").exists():
            init = [*as_user, self.bin / "initdb", "-D", home / "data", "-U", "postgres", "-A", "trust",
                    "-E", "UTF8", "--no-locale"]
            subprocess.run(init, check=True, capture_output=True)
        settings = ["listen_addresses=127.0.0.1", "wal_level=logical", "max_prepared_transactions=64",
                    "shared_buffers=512MB", "max_wal_size=4GB", "max_replication_slots=10", "max_wal_senders=10"]
        command = [*as_user, self.bin / "postgres", "-D", home / "data", "-p", str(self.port), "-k", home]
        command += [word for setting in settings for word in ("-c", setting)]
        self.begin(command, self.client("postgres", "-c", "SELECT 1"))

    def client(self, database, *more):
        return ["psql", "-qAtX", "-h", "127.0.0.1", "-p", str(self.port), "-U", "postgres", "-d", database,
                "-v", "ON_ERROR_STOP=1", *more]

    def sql(self, text, database="postgres"):
        """Runs statements; the answer as text."""
        command = self.client(database)
        return subprocess.run(command, input=text, text=True, check=True, stdout=subprocess.PIPE).stdout

    def url(self, database):
        return f"postgres://postgres@127.0.0.1:{self.port}/{database}"

    def renew(self, database):
        self.sql(f"SET client_min_messages = error; DROP DATABASE IF EXISTS {database} WITH (FORCE)")
        self.sql(f"CREATE DATABASE {database}")
        self.sql("CHECKPOINT")


class SQLite:
    """Files in a folder: no server, no CPU of its own."""

    engine = "sqlite"

    def __init__(self, home, _source):
        self.home = home
        home.mkdir(parents=True, exist_ok=True)

    def cpu(self):
        return 0.0

    def path(self, database):
        return self.home / f"{database}.db"

    def sql(self, text, database):
        command = ["sqlite3", "-bail", self.path(database)]
        return subprocess.run(command, input=text, text=True, check=True, stdout=subprocess.PIPE).stdout

    def url(self, database):
        return f"sqlite:{self.path(database)}"

    def renew(self, database):
        for ending in ("", "-wal", "-shm", "-journal"):
            pathlib.Path(f"{self.path(database)}{ending}").unlink(missing_ok=True)


    def stop(self):
        pass


ENGINES = {"mariadb": MariaDB, "postgres": PostgreSQL, "sqlite": SQLite}
