"""The cache against a plain list per text: any order of joining, scoring, committing, cropping, forking and leaving, with layers
that see everything, a window, and sinks with a window.
"""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.errors import ModelError
from paceline.lm import kv as module
from paceline.lm.kv import KV, Slot
from paceline.patterns.full import Full
from paceline.patterns.sliding import Sliding

H, D = 2, 3
OPS = ("take", "free", "score", "score", "score", "fork", "crop")


PATTERNS = [Full(), Sliding(4), Sliding(5, sinks=2), Full()]


class Reference:
    """What each slot should hold, as lists of the numbers that were written."""

    def __init__(self, kv: KV) -> None:
        self.kv, self.texts, self.next = kv, {}, 0.0

    def take(self, draw) -> None:
        self.texts[self.kv.take()] = []

    def free(self, draw) -> None:
        slot = self.pick(draw)
        self.kv.free(slot)
        del self.texts[slot]

    def fork(self, draw) -> None:
        slot = self.pick(draw)
        length = draw(st.integers(0, slot.length))
        copy = self.kv.fork(slot, length)
        if copy is None:
            assert any(held.dropped for held in slot.held.values()) and length < slot.length
        else:
            self.texts[copy] = self.texts[slot][:length]

    def crop(self, draw) -> None:
        slot = self.pick(draw)
        length = draw(st.integers(0, slot.length))
        kept = length if slot.holds(length) else 0
        self.kv.crop(slot, length)
        del self.texts[slot][kept:]

    def score(self, draw) -> None:
        """Scratch for every slot, then a rising path of it is kept in each, as a tree's accepted nodes are."""
        slots, t = list(self.texts), draw(st.integers(1, 6))
        for slot in slots:
            new = (self.next + torch.arange(float(t)))[None, :, None].expand(H, -1, D)
            self.next += t
            for layer in range(len(PATTERNS)):
                self.kv.write(layer, slot, new + 0.25 * layer, -new - 0.25 * layer)
            path = [0, *(sorted(draw(st.sets(st.integers(1, t - 1)))) if t > 1 else [])]
            before = slot.length
            self.kv.keep([slot], [path])
            self.texts[slot] += [float(new[0, i, 0]) for i in path]
            assert slot.holds(before)  # a draft can be taken back to the pending token

    def pick(self, draw) -> Slot:
        return draw(st.sampled_from(list(self.texts)))

    def check(self) -> None:
        assert set(self.kv.active) == set(self.texts)
        for slot, values in self.texts.items():
            assert slot.length == len(values) and slot.holds(slot.length)
            for layer, pattern in self.kv.patterns.items() if values else ():
                (sinks, needed), start = pattern.keep(slot.length), self.kv.start(layer, slot)
                assert start <= needed and (start == 0 or slot.length - start <= 5 + 2 + module.MARGIN + 6 + self.kv.quantum)
                self.same(layer, slot, start, values)
                if slot.length and start and sinks:
                    first = slot.group(pattern).layers[layer][0, 0, :sinks, 0]
                    assert first.tolist() == [v + 0.25 * layer for v in values[:sinks]]

    def same(self, layer: int, slot: Slot, start: int, values: list[float]) -> None:
        keys, negated = self.kv.read(layer, slot, start, slot.length)
        assert keys[:, :, 0].tolist() == [[v + 0.25 * layer for v in values[start:]]] * H
        assert torch.equal(keys, -negated)


@settings(max_examples=60, deadline=None)
@given(st.data())
@torch.inference_mode()
def test_any_history_leaves_what_was_committed(data) -> None:
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(module, "MARGIN", 2)
        reference = Reference(KV(capacity=4, quantum=4, patterns=dict(enumerate(PATTERNS))))
        reference.take(data.draw)
        for op in data.draw(st.lists(st.sampled_from(OPS), max_size=20)):
            if reference.texts or op == "take":
                getattr(reference, op)(data.draw)
                reference.check()


def written(kv: KV, count: int) -> Slot:
    """A slot of so many tokens, committed one chunk of eight after the other."""
    slot = kv.take()
    for start in range(0, count, 8):
        new = torch.arange(float(start), float(min(start + 8, count)))[None, :, None].expand(H, -1, D)
        kv.write(0, slot, new, -new)
        kv.keep([slot], [range(new.shape[1])])
    return slot


def test_a_long_text_makes_no_other_slot_larger() -> None:
    kv = KV(capacity=16, quantum=8)
    short, long = written(kv, 10), written(kv, 1000)
    assert short.bytes == 2 * H * 16 * D * 4 and long.bytes == 64 * short.bytes
    kv.free(long)
    assert kv.bytes == short.bytes


def test_a_windows_memory_does_not_grow_with_the_text() -> None:
    kv = KV(quantum=8, patterns={0: Sliding(24)})
    sizes = {n: written(kv, n).bytes for n in (200, 400, 4000)}
    assert len(set(sizes.values())) == 1
    assert sizes[200] <= 2 * H * D * 4 * (24 + module.MARGIN + 3 * 8)


def test_room_doubles_in_whole_quanta_up_to_the_limit() -> None:
    kv, room = KV(capacity=10, quantum=8, limit=60), []
    for length in (9, 17, 33, 60):
        slot = written(kv, length)
        room.append(slot.held[module.FULL].capacity)
    assert room == [16, 32, 64, 64]
    with pytest.raises(ModelError, match="60 tokens"):
        kv.check(65)


def test_what_was_dropped_cannot_be_read_or_forked() -> None:
    kv = KV(quantum=8, patterns={0: Sliding(24)})
    slot = written(kv, 300)
    first = kv.start(0, slot)
    assert 0 < first <= 300 - 24
    with pytest.raises(ModelError, match=f"tokens {first} to 300"):
        kv.read(0, slot, first - 1, 300)
    assert kv.fork(slot, 100) is None and kv.active == [slot]
    other = KV(capacity=8, patterns=kv.patterns).fork(slot, 300)
    assert other is not None and torch.equal(other.kv.read(0, other, first, 300), kv.read(0, slot, first, 300))
