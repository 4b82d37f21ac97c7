"""The cache against a plain list per sequence: any order of joining, scoring, committing, cropping, cloning and leaving."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from paceline.errors import ModelError
from paceline.lm.kv import KV, Slot

H, D, LAYERS = 2, 3, 2
OPS = ("take", "free", "score", "score", "score", "clone", "crop")


class Reference:
    """What each slot should hold, as lists of the numbers that were written."""

    def __init__(self, kv: KV) -> None:
        self.kv, self.held, self.next = kv, {}, 0.0

    def take(self, draw) -> None:
        self.held[self.kv.take()] = []

    def free(self, draw) -> None:
        slot = self.pick(draw)
        self.kv.free(slot)
        del self.held[slot]

    def clone(self, draw) -> None:
        slot = self.pick(draw)
        length = draw(st.integers(0, slot.length))
        self.held[self.kv.clone(slot, length)] = self.held[slot][:length]

    def crop(self, draw) -> None:
        slot = self.pick(draw)
        length = draw(st.integers(0, slot.length))
        self.kv.crop(slot, length)
        del self.held[slot][length:]

    def score(self, draw) -> None:
        """Scratch for every slot, then a rising path of it is kept in each, as a tree's accepted nodes are."""
        slots, t = list(self.held), draw(st.integers(1, 6))
        self.kv.reserve(max(s.length for s in slots) + t)
        new = self.next + torch.arange(len(slots) * t).float().view(len(slots), 1, t, 1).expand(-1, H, -1, D)
        self.next += len(slots) * t
        for layer in range(LAYERS):
            self.kv.write(layer, slots, new + 0.25 * layer, -new - 0.25 * layer)
        paths = [sorted(draw(st.sets(st.integers(1, t - 1)))) if t > 1 else [] for _ in slots]
        self.kv.keep(slots, [[0, *path] for path in paths])
        for slot, path, values in zip(slots, paths, new[:, 0, :, 0].tolist(), strict=True):
            self.held[slot] += [values[i] for i in [0, *path]]

    def pick(self, draw) -> Slot:
        return draw(st.sampled_from(list(self.held)))

    def check(self) -> None:
        assert sorted(s.index for s in self.held) == list(range(len(self.held)))
        for slot, values in self.held.items():
            assert slot.length == len(values)
            for layer in range(len(self.kv.layers)):
                keys, negated = self.kv.view(layer, self.kv.index([slot]), slot.length)
                assert keys[0, :, :, 0].tolist() == [[v + 0.25 * layer for v in values]] * H
                assert torch.equal(keys, -negated)


@settings(max_examples=40, deadline=None)
@given(st.data())
@torch.inference_mode()
def test_any_history_leaves_what_was_committed(data) -> None:
    reference = Reference(KV(slots=1, capacity=4, quantum=4))
    reference.take(data.draw)
    for op in data.draw(st.lists(st.sampled_from(OPS), max_size=12)):
        if reference.held or op == "take":
            getattr(reference, op)(data.draw)
            reference.check()


def test_capacity_doubles_in_whole_quanta_up_to_the_limit() -> None:
    kv = KV(capacity=10, quantum=8, limit=60)
    assert kv.capacity == 16
    seen = []
    for length in (17, 33, 60):
        kv.reserve(length)
        seen.append(kv.capacity)
    assert seen == [32, 64, 64]
    with pytest.raises(ModelError, match="60 tokens"):
        kv.reserve(65)


def test_slots_double_and_keep_their_contents() -> None:
    kv = KV(slots=1, capacity=8, quantum=8)
    first = kv.take()
    kv.write(0, [first], torch.ones(1, H, 2, D), torch.ones(1, H, 2, D))
    kv.keep([first], [[0, 1]])
    others = [kv.take() for _ in range(4)]
    assert kv.room == 8 and len(others) == 4
    assert kv.view(0, [0], 2).eq(1).all()
    assert kv.bytes == 2 * 8 * H * 8 * D * 4


def test_a_clone_from_another_cache() -> None:
    home, kv = KV(capacity=8, quantum=8), KV(capacity=32, quantum=16)
    source = home.take()
    keys = torch.arange(5.0).view(1, 1, 5, 1).expand(1, H, 5, D)
    home.write(0, [source], keys, -keys)
    home.keep([source], [range(5)])
    kv.take()
    slot = kv.clone(source, 3, home)
    assert (slot.index, slot.length) == (1, 3)
    assert kv.view(0, [1], 3)[0, 0, 0, :, 0].tolist() == [0, 1, 2]


def test_rows_side_by_side_are_read_without_a_copy() -> None:
    kv = KV(slots=4, capacity=8, quantum=8)
    slots = [kv.take() for _ in range(4)]
    kv.write(0, slots, torch.zeros(4, H, 1, D), torch.zeros(4, H, 1, D))
    assert kv.view(0, kv.index(slots[1:3]), 4).data_ptr() == kv.layers[0][:, 1].data_ptr()
    assert kv.index([slots[2], slots[0]]) == [2, 0]


@pytest.mark.parametrize(("length", "held"), [(50, 20), (42, 12), (41, None), (29, None)])
def test_a_copy_of_a_slot_stands_where_its_text_does(length: int, held: int | None) -> None:
    """Of 50 tokens 30 were dropped, so that what stands within a window of 12 is held for texts of 42 tokens and more."""
    kv = KV(slots=1, capacity=64, quantum=64, window=12)
    source = kv.take()
    keys = torch.arange(20.0).view(1, 1, 20, 1).expand(1, H, 20, D)
    kv.write(0, [source], keys, -keys)
    source.length, source.dropped = 20, 30
    if held is None:
        with pytest.raises(ModelError, match="from 30 to 50"):
            kv.clone(source, length)
        assert len(kv.active) == 1
        return
    copy = kv.clone(source, length)
    assert (copy.position, copy.length, copy.dropped) == (length, held, 30)
    assert torch.equal(kv.view(0, [copy.index], held)[0, 0], keys[0, :, :held])
