"""Past outputs and the requests they answered, found again by likeness; in memory or in a SQLite file.

Every tenant has its own, and so has every vocabulary, since token ids mean nothing in another. A request is kept with a key of
its text, and where one was given with what a model made of it, which is compared with that model's only. A file may have one
writer and any number of readers at once, and outlives a killed process; one that cannot be read is moved aside, and a new one
begun; one from before there were models' keys gets room for them.
"""

import logging
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np

__all__ = ["Key", "Store", "key_of"]

log = logging.getLogger("paceline")

FORMAT = 1
WIDTH = 256  # numbers in the key of a text
TABLE = "CREATE TABLE outputs (id INTEGER PRIMARY KEY, vocabulary TEXT, tenant TEXT, key BLOB, tokens BLOB)"
LATER = ("model TEXT", "hidden BLOB")  # columns that the first files lack; whoever knows none of them still reads and adds
OWNER = "vocabulary = ? AND tenant = ?"
INDEX = "CREATE INDEX owners ON outputs (vocabulary, tenant)"


class Key(NamedTuple):
    """What a request is compared by, unit vectors: its text [256], and what the target made of it [D], where that is known."""

    text: np.ndarray
    hidden: np.ndarray | None = None


def key_of(prompt: Sequence[int], hidden: np.ndarray | None = None) -> Key:
    """A prompt's key: the counts of its pairs of tokens, hashed; beside them `hidden`, as it is."""
    ids = np.asarray(prompt, dtype=np.int64)
    pairs = (ids[:-1] * 1_000_003 + ids[1:]) % 1_000_000_007 % WIDTH if len(ids) > 1 else ids % WIDTH
    counts = np.sqrt(np.bincount(pairs, minlength=WIDTH).astype(np.float32))
    return Key(counts / max(float(np.linalg.norm(counts)), 1e-9), hidden)


@dataclass
class Held:
    """A tenant's outputs, the oldest first, as a version of the file has them; hidden: keys of our model."""

    version: int
    text: np.ndarray
    hidden: list[np.ndarray | None]
    outputs: list[list[int]]

    def likeness(self, key: Key) -> tuple[np.ndarray, np.ndarray]:
        """(cosine, whether it is that of hidden keys) of every output; of texts where one side has no hidden key."""
        likeness, near = self.text @ key.text, np.zeros(len(self.outputs), dtype=bool)
        if key.hidden is not None:
            which = [i for i, hidden in enumerate(self.hidden) if hidden is not None and hidden.shape == key.hidden.shape]
            if which:
                near[which], likeness[which] = True, np.stack([self.hidden[i] for i in which]) @ key.hidden  # type: ignore[misc]
        return likeness, near


class Store:
    """Outputs of one vocabulary. path: a file, None = memory only. cap: outputs kept for a tenant, the oldest go first. model:
    whose hidden keys are kept and compared.
    """

    def __init__(self, path: Path | str | None, vocabulary: str, cap: int = 1000, model: str = "") -> None:
        self.path, self.vocabulary, self.cap, self.model = None if path is None else Path(path), vocabulary, cap, model
        self.database = opened(self.path)
        self._held: dict[str, Held] = {}

    def add(self, tenant: str, key: Key, tokens: Sequence[int]) -> None:
        """Keep one more output. A file that is locked or full loses this output and nothing else."""
        owner = (self.vocabulary, tenant)
        text, hidden = key.text.astype(np.float32), None if key.hidden is None else key.hidden.astype(np.float32)
        row = (*owner, text.tobytes(), np.asarray(tokens, dtype=np.int32).tobytes(),
               *((None, None) if hidden is None else (self.model, hidden.tobytes())))
        try:
            with self.database:
                self.database.execute("INSERT INTO outputs (vocabulary, tenant, key, tokens, model, hidden) "
                                      "VALUES (?, ?, ?, ?, ?, ?)", row)
                self.database.execute(f"DELETE FROM outputs WHERE {OWNER} AND id <= "
                                      f"(SELECT id FROM outputs WHERE {OWNER} ORDER BY id DESC LIMIT 1 OFFSET ?)",
                                      (*owner, *owner, self.cap))
        except sqlite3.OperationalError as error:
            log.warning("An output could not be kept in %s: %s.", self.path, error)
            return
        if (held := self._held.get(tenant)) is not None:
            held.text = np.concatenate([held.text, text[None]])[-self.cap :]
            held.hidden = [*held.hidden, hidden][-self.cap :]
            held.outputs = [*held.outputs, list(tokens)][-self.cap :]

    def similar(self, tenant: str, key: Key, count: int) -> list[tuple[float, list[int]]]:
        """(likeness, tokens) of the outputs whose requests were most like this one; of equals the newest first.

        Those that a hidden key can be compared with stand before those of which only the text is known.
        """
        held = self._of(tenant)
        if not held.outputs:
            return []
        likeness, near = held.likeness(key)
        order = np.lexsort((-np.arange(len(near)), -likeness, ~near))[:count]
        return [(float(likeness[i]), held.outputs[i]) for i in order]

    def size(self, tenant: str) -> int:
        return len(self._of(tenant).outputs)

    def _of(self, tenant: str) -> Held:
        """A tenant's outputs, read again when another process has written."""
        [version] = self.database.execute("PRAGMA data_version").fetchone()
        held = self._held.get(tenant)
        if held is None or held.version != version:
            rows = self.database.execute("SELECT key, CASE WHEN model = ? THEN hidden END, tokens FROM outputs "
                                         f"WHERE {OWNER} ORDER BY id", (self.model, self.vocabulary, tenant)).fetchall()
            keys = np.frombuffer(b"".join(key for key, _, _ in rows), dtype=np.float32).reshape(-1, WIDTH)
            hidden = [None if h is None else np.frombuffer(h, dtype=np.float32) for _, h, _ in rows]
            outputs = [np.frombuffer(tokens, dtype=np.int32).tolist() for _, _, tokens in rows]
            held = self._held[tenant] = Held(version, keys, hidden, outputs)
        return held


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
        complete(database)
        return database
    except sqlite3.Error:
        database.close()
        raise


def complete(database: sqlite3.Connection) -> None:
    """Add the columns that an older file lacks: all of them or, if we are killed, none."""
    held = "SELECT COUNT(*) FROM pragma_table_info('outputs') WHERE name = 'hidden'"
    if database.execute(held).fetchone() == (0,):
        with database:
            database.execute("BEGIN IMMEDIATE")
            if database.execute(held).fetchone() == (0,):  # nobody was faster
                for column in LATER:
                    database.execute(f"ALTER TABLE outputs ADD COLUMN {column}")
