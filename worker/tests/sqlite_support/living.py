#!/usr/bin/env python3
"""Writes to the tables of `sqlite_follow.rs` from several connections at once, in every way that SQLite
knows to change a row: living.py PATH SECONDS SEED SESSIONS. Prints how many transactions it committed."""
import random, sqlite3, sys, threading, time

path, seconds, seed, sessions = sys.argv[1], float(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
stop, done, lock = time.time() + seconds, [0], threading.Lock()


def statements(r, n):
    i, j, u = r.randrange(60), r.randrange(60), r.randrange(60)
    word = r.choice(["a", "A", "b", "B", "ä", "a ", "", "Zz"])
    value = r.choice(["1", "1.0", "'x'", "x'00ff'", "NULL", "9e999", "'it''s'"])
    all_kinds = [
        f"INSERT OR REPLACE INTO alias(id, u, v) VALUES ({i}, {u}, {value})",
        f"INSERT OR IGNORE INTO alias(id, u, v) VALUES ({i}, {u}, {value})",
        f"INSERT INTO alias(u, v) VALUES ({1000 + n}, {value})",
        f"UPDATE OR REPLACE alias SET u = {u} WHERE id = {i}",
        f"UPDATE OR REPLACE alias SET id = {j} WHERE id = {i}",
        f"UPDATE OR IGNORE alias SET id = id + 1 WHERE id > {i}",
        f"INSERT INTO alias(id, u) VALUES ({i}, {u}) ON CONFLICT(id) DO UPDATE SET v = {value}",
        f"INSERT INTO alias(id, u) VALUES ({i}, {u}) ON CONFLICT(u) DO UPDATE SET id = excluded.id + 100",
        f"DELETE FROM alias WHERE id BETWEEN {i} AND {i + 3}",
        f"REPLACE INTO word(k, v) VALUES ('{word}', {value})",
        f"UPDATE OR REPLACE word SET k = '{word.upper()}' WHERE k = '{word}'",
        f"DELETE FROM word WHERE k = '{word}'",
        f"REPLACE INTO pair(a, b, v) VALUES ({i % 7}, '{word}', {value})",
        f"UPDATE OR REPLACE pair SET a = {j % 7} WHERE a = {i % 7}",
        f"DELETE FROM pair WHERE a = {i % 7} AND b <> '{word}'",
        f"INSERT INTO loose(a, b) VALUES ({i % 5}, {value})",
        f"INSERT INTO loose(a, b) SELECT a, b FROM loose WHERE a = {i % 5} LIMIT 2",
        f"UPDATE loose SET b = {value} WHERE a = {i % 5} AND random() % 2",
        f"DELETE FROM loose WHERE rowid IN (SELECT rowid FROM loose WHERE a = {i % 5} LIMIT 2)",
        f"REPLACE INTO loose_unique(u, v) VALUES ({r.choice(['NULL', str(u % 9)])}, {value})",
        f"UPDATE OR REPLACE loose_unique SET u = {u % 9} WHERE rowid % 5 = {i % 5}",
        f"INSERT OR IGNORE INTO loose_unique(u, v) VALUES ({u % 9}, 'ignored')",
        f"DELETE FROM loose_unique WHERE u = {u % 9}",
        f"INSERT INTO clause(id, b, e) VALUES ({i}, '{word}', '{word}{u % 9}') ON CONFLICT(id) DO NOTHING",
        f"UPDATE clause SET b = '{word}{i % 4}' WHERE id = {j}",
        f"INSERT OR REPLACE INTO clause(id, b, e) VALUES ({j}, '{word}{i}', '{word.lower()}{u % 9}')",
        f"INSERT INTO any_key(k, v) VALUES ({value if value != 'NULL' else i}, {n}) ON CONFLICT DO UPDATE SET k = excluded.k, v = excluded.v",
        f"REPLACE INTO any_key(k, v) VALUES ({value if value != 'NULL' else i}, {n})",
        f"DELETE FROM parent WHERE id = {i}",
        f"INSERT OR IGNORE INTO parent VALUES ({i})",
        f"INSERT OR IGNORE INTO child VALUES ({n * 100 + u}, {i})",
        f"UPDATE OR IGNORE parent SET id = {j} WHERE id = {i}",
    ]
    return [r.choice(all_kinds) for _ in range(r.randrange(1, 6))]


def worker(s):
    r, n = random.Random(seed * 1000 + s), s * 1_000_000
    db = sqlite3.connect(path, timeout=30, isolation_level=None)
    db.execute("PRAGMA foreign_keys = ON")
    if s % 2:
        db.execute("PRAGMA recursive_triggers = ON")
    while time.time() < stop:
        n += 1
        try:
            db.execute("BEGIN IMMEDIATE")
            swap = r.sample(range(20), 2)
            for sql in statements(r, n):
                try:
                    db.execute(sql)
                except sqlite3.IntegrityError:
                    pass
            if r.random() < 0.3:
                a, b = swap
                rows = dict(db.execute(f"SELECT id, u FROM swap WHERE id IN ({a}, {b})"))
                if len(rows) == 2:
                    db.execute(f"UPDATE swap SET u = {-1 - s} WHERE id = {a}")
                    db.execute(f"UPDATE swap SET u = {rows[a]} WHERE id = {b}")
                    db.execute(f"UPDATE swap SET u = {rows[b]} WHERE id = {a}")
            if r.random() < 0.1:
                db.execute("ROLLBACK")
                continue
            db.execute(f"INSERT INTO seq VALUES ({s}, (SELECT 1 + count(*) FROM seq WHERE s = {s}))")
            db.execute("COMMIT")
            with lock:
                done[0] += 1
        except sqlite3.OperationalError as error:
            if db.in_transaction:
                db.execute("ROLLBACK")
            if "locked" not in str(error):
                raise


threads = [threading.Thread(target=worker, args=(s,)) for s in range(sessions)]
[t.start() for t in threads]
[t.join() for t in threads]
print(done[0])
