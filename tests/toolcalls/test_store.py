"""The store: likeness, tenants, caps, files of other formats, broken files, several processes, a killed one."""

from __future__ import annotations

import logging
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from paceline.toolcalls.store import FORMAT, TABLE, Store, key_of


def test_the_most_alike_come_first_and_of_equals_the_newest() -> None:
    store = Store(None, "v")
    for n, prompt in enumerate(([1, 2, 3, 4], [1, 2, 3, 9], [7, 8, 7, 8], [1, 2, 3, 4])):
        store.add("", key_of(prompt), [n])
    assert [tokens for _, tokens in store.similar("", key_of([1, 2, 3, 4]), 3)] == [[3], [0], [1]]
    assert store.similar("", key_of([1, 2, 3, 4]), 1)[0][0] == pytest.approx(1.0)


def test_tenants_and_vocabularies_see_their_own_only(tmp_path: Path) -> None:
    store, key = Store(tmp_path / "s", "v"), key_of([1, 2])
    store.add("a", key, [5])
    assert store.similar("b", key, 9) == [] and Store(tmp_path / "s", "w").similar("a", key, 9) == []
    assert [t for _, t in Store(tmp_path / "s", "v").similar("a", key, 9)] == [[5]]


def test_hidden_keys_are_compared_with_those_of_their_model_only(tmp_path: Path) -> None:
    """Three calls of equal texts: of one model near and far, of another nearer still; and one whose text alone is known."""
    at = {angle: key_of([1, 2], np.array([np.cos(angle), np.sin(angle)])) for angle in (0.0, 0.1, 0.5, 1.0)}
    one, other = Store(tmp_path / "s", "v", model="one"), Store(tmp_path / "s", "v", model="other")
    for store, key, token in ((one, at[0.5], 5), (one, at[1.0], 10), (other, at[0.1], 1), (one, key_of([1, 2]), 0)):
        store.add("", key, [token])
    for store in (one, Store(tmp_path / "s", "v", model="one")):
        found = store.similar("", at[0.0], 9)
        assert [tokens for _, tokens in found] == [[5], [10], [0], [1]]
        assert [like for like, _ in found] == pytest.approx([np.cos(0.5), np.cos(1.0), 1.0, 1.0])
    assert [t for _, t in other.similar("", at[0.0], 2)] == [[1], [0]]
    assert [t for _, t in one.similar("", key_of([1, 2]), 9)] == [[0], [1], [10], [5]]  # asked by text: all by text
    assert [t for _, t in one.similar("", key_of([1, 2], np.array([1.0])), 1)] == [[0]]  # of another size: by text
    assert one.similar("tenant", at[0.0], 9) == []


def test_a_file_from_before_hidden_keys_is_gone_on_with(tmp_path: Path) -> None:
    path, key = tmp_path / "s", key_of([1, 2])
    with sqlite3.connect(path) as old:
        old.execute(TABLE)
        old.execute(f"PRAGMA user_version = {FORMAT}")
        old.execute("INSERT INTO outputs (vocabulary, tenant, key, tokens) VALUES ('v', '', ?, ?)",
                    (key.text.tobytes(), np.array([7], dtype=np.int32).tobytes()))
    old.close()
    Store(path, "v", model="one").add("", key_of([3, 4], np.array([1.0, 0.0])), [8])
    again = Store(path, "v", model="one")
    assert [t for _, t in again.similar("", key_of([1, 2], np.array([1.0, 0.0])), 9)] == [[8], [7]]
    assert [t for _, t in again.similar("", key, 9)] == [[7], [8]] and list(tmp_path.glob("*unreadable*")) == []


@pytest.mark.parametrize("held", [False, True])
def test_the_oldest_go_beyond_the_cap(held: bool) -> None:
    store, key = Store(None, "v", cap=3), key_of([1, 2])
    store.add("other", key, [99])
    for n in range(5):
        store.add("a", key, [n])
        if held:
            store.similar("a", key, 1)
    assert [t for _, t in store.similar("a", key, 9)] == [[4], [3], [2]] and store.size("other") == 1


def test_another_process_s_outputs_are_seen(tmp_path: Path) -> None:
    one, two = Store(tmp_path / "s", "v"), Store(tmp_path / "s", "v")
    key = key_of([1, 2])
    assert one.size("") == two.size("") == 0
    two.add("", key, [1])
    assert one.size("") == 1
    one.add("", key, [2])
    assert [t for _, t in two.similar("", key, 9)] == [[2], [1]]


@pytest.mark.parametrize("kind", ["garbage", "other version", "another program's"])
def test_a_file_that_cannot_be_read_is_moved_aside(tmp_path: Path, kind: str, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "calls"
    if kind == "garbage":
        path.write_bytes(b"no database" * 100)
    else:
        with sqlite3.connect(path) as database:
            database.execute("PRAGMA user_version = 7" if kind == "other version" else "CREATE TABLE things (a)")
        database.close()
    before = path.read_bytes()
    with caplog.at_level(logging.WARNING):
        store = Store(path, "v")
    assert (tmp_path / "calls.unreadable-0").read_bytes() == before and len(caplog.records) == 1
    store.add("", key_of([1]), [1])
    assert Store(path, "v").size("") == 1


def test_what_was_kept_outlives_a_killed_process(tmp_path: Path) -> None:
    script = ("import sys; from paceline.toolcalls.store import Store, key_of\n"
              f"s = Store({str(tmp_path / 's')!r}, 'v')\n"
              "for n in range(100000):\n    s.add('', key_of([n, 1]), [n])\n    print(n, flush=True)")
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, env=dict(os.environ))
    assert process.stdout is not None
    said = [int(process.stdout.readline()) for _ in range(20)]
    process.send_signal(signal.SIGKILL)
    process.wait()
    store = Store(tmp_path / "s", "v")
    assert store.size("") > said[-1]
    store.add("", key_of([1]), [1])


def test_a_key_of_any_prompt_has_unit_length() -> None:
    for prompt in ([5], [1, 2], list(range(1000))):
        assert np.linalg.norm(key_of(prompt).text) == pytest.approx(1.0)
