"""Past outputs and the requests they answered, found again by likeness; in memory or in a SQLite file.

Every tenant has its own, and so has every vocabulary, since token ids mean nothing in another. A file may have one writer and any
number of readers at once, and outlives a killed process; one that cannot be read is moved aside, and a new one begun.
"""

import logging
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import numpy as np

__all__ = ["Store", "key_of"]

log = logging.getLogger("paceline")

FORMAT = 1
WIDTH = 256  # numbers in a key
TABLE = "CREATE TABLE outputs (id INTEGER PRIMARY KEY, vocabulary TEXT, tenant TEXT, key BLOB, tokens BLOB)"
OWNER = "vocabulary = ? AND tenant = ?"
INDEX = "CREATE INDEX owners ON outputs (vocabulary, tenant)"


def key_of(prompt: Sequence[int]) -> np.ndarray:
    """What a prompt is compared by: the counts of its pairs of tokens, hashed to [256] and of unit length."""
    ids = np.asarray(prompt, dtype=np.int64)
    pairs = (ids[:-1] * 1_000_003 + ids[1:]) % 1_000_000_007 % WIDTH if len(ids) > 1 else ids % WIDTH
    counts = np.sqrt(np.bincount(pairs, minlength=WIDTH).astype(np.float32))
    return counts / max(float(np.linalg.norm(counts)), 1e-9)


class Store:
    """Outputs of one vocabulary. path: a file, None = memory only. cap: outputs kept for a tenant, the oldest go first."""

    def __init__(self, path: Path | str | None, vocabulary: str, cap: int = 1000) -> None:
        self.path, self.vocabulary, self.cap = None if path is None else Path(path), vocabulary, cap
        self.database = opened(self.path)
        self._held: dict[str, tuple[int, np.ndarray, list[list[int]]]] = {}

    def add(self, tenant: str, key: np.ndarray, tokens: Sequence[int]) -> None:
        """Keep one more output. A file that is locked or full loses this output and nothing else."""
        owner = (self.vocabulary, tenant)
        row = (*owner, key.astype(np.float32).tobytes(), np.asarray(tokens, dtype=np.int32).tobytes())
        try:
            with self.database:
                self.database.execute("INSERT INTO outputs (vocabulary, tenant, key, tokens) VALUES (?, ?, ?, ?)", row)
                self.database.execute(f"DELETE FROM outputs WHERE {OWNER} AND id <= "
                                      f"(SELECT id FROM outputs WHERE {OWNER} ORDER BY id DESC LIMIT 1 OFFSET ?)",
                                      (*owner, *owner, self.cap))
        except sqlite3.OperationalError as error:
            log.warning("An output could not be kept in %s: %s.", self.path, error)
            return
        if tenant in self._held:
            version, keys, outputs = self._held[tenant]
            keys = np.concatenate([keys, key[None].astype(np.float32)])[-self.cap :]
            self._held[tenant] = version, keys, [*outputs, list(tokens)][-self.cap :]

    def similar(self, tenant: str, key: np.ndarray, count: int) -> list[tuple[float, list[int]]]:
        """(likeness, tokens) of the outputs whose requests were most like this one; of equals the newest first."""
        keys, outputs = self._of(tenant)
        if not outputs:
            return []
        likeness = keys @ key
        order = np.lexsort((-np.arange(len(outputs)), -likeness))[:count]
        return [(float(likeness[i]), outputs[i]) for i in order]

    def size(self, tenant: str) -> int:
        return len(self._of(tenant)[1])

    def _of(self, tenant: str) -> tuple[np.ndarray, list[list[int]]]:
        """A tenant's outputs, read again when another process has written."""
        [version] = self.database.execute("PRAGMA data_version").fetchone()
        held = self._held.get(tenant)
        if held is None or held[0] != version:
            rows = self.database.execute(f"SELECT key, tokens FROM outputs WHERE {OWNER} ORDER BY id",
                                         (self.vocabulary, tenant)).fetchall()
            keys = np.frombuffer(b"".join(key for key, _ in rows), dtype=np.float32).reshape(-1, WIDTH)
            held = self._held[tenant] = version, keys, [np.frombuffer(t, dtype=np.int32).tolist() for _, t in rows]
        return held[1], held[2]


def opened(path: Path | None) -> sqlite3.Connection:
    """The database, made where there is none."""
    if path is None:
        return prepared(sqlite3.connect(":memory:", check_same_thread=False))
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        return prepared(sqlite3.connect(path, timeout=5.0, check_same_thread=False))
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError):  # locked, read-only, no space: nothing is wrong with the file itself
            raise
        aside = next(p for i in range(10_000) if not (p := path.with_name(f"{path.name}.unreadable-{i}")).exists())
        path.rename(aside)
        for extra in ("-wal", "-shm"):
            path.with_name(path.name + extra).unlink(missing_ok=True)
        log.warning("The store %s cannot be read (%s); it was moved to %s and a new one begun.", path, error, aside)
        return prepared(sqlite3.connect(path, timeout=5.0, check_same_thread=False))


def prepared(database: sqlite3.Connection) -> sqlite3.Connection:
    """With our table in it. Raises sqlite3.DatabaseError where the file is none of ours or of another version."""
    try:
        [version] = database.execute("PRAGMA user_version").fetchone()
        with closing(database.execute("SELECT name FROM sqlite_master")) as found:
            empty = found.fetchone() is None
        if version != FORMAT and not (version == 0 and empty):
            raise sqlite3.DatabaseError(f"expected format {FORMAT}, found {version}")
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=NORMAL")
        if empty:
            with database:
                database.execute("BEGIN IMMEDIATE")
                if database.execute("SELECT name FROM sqlite_master").fetchone() is None:
                    database.execute(TABLE)
                    database.execute(INDEX)
                    database.execute(f"PRAGMA user_version = {FORMAT}")
        database.execute("SELECT key, tokens FROM outputs LIMIT 1").fetchone()
        return database
    except sqlite3.Error:
        database.close()
        raise
