"""Reproductions run through at their smallest, and say what they found; their figures are for the record, not for a test."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from paceline import plugins
from paceline.errors import DataError, RequestError
from paceline.models.draft_head.head import Head
from paceline.models.draft_head.shape import longspec_shape
from paceline.models.small_lm import Shape, SmallLM
from paceline.probes._stability import correlation
from paceline.probes.sinks import uniform
from paceline.recipes import images
from paceline.recipes.reproduce import (
    attention_sink,
    banditspec,
    cool_sd,
    glide_cape,
    longspec,
    slash_heads,
    sparse_to_dense,
    toolspec,
)
from paceline.recipes.reproduce._record import mean_of, table
from paceline.recipes.reproduce.attention_sink._runs import Setting, importance
from paceline.recipes.reproduce.attention_sink._runs import rows as sink_rows
from paceline.recipes.reproduce.banditspec import _batch_sizes as batch_sizes
from paceline.recipes.reproduce.banditspec._batch_sizes import LENGTHS, SIZES
from paceline.recipes.reproduce.banditspec._simulated_arms import Arms, attached, play
from paceline.recipes.reproduce.cool_sd._images import frechet
from paceline.recipes.reproduce.longspec._by_position import as_batch, divergence
from paceline.recipes.reproduce.longspec._figures import beside, fall, gained
from paceline.recipes.reproduce.longspec._lengths import CEILING, CONTROL, SHIPPED, chained
from paceline.recipes.reproduce.slash_heads._heads import heads_of, meant, without
from paceline.recipes.reproduce.slash_heads._toy import Toy, learned
from paceline.testing import tiny_model
from paceline.train.heads import read, reading


def test_they_are_recipes() -> None:
    assert {"reproduce/glide_cape", "reproduce/longspec"} <= set(plugins.names("recipe"))
    assert "arXiv 2402.02082" in plugins.summary("recipe", "reproduce/glide_cape")


def test_glide_with_a_cape(tmp_path: Path) -> None:
    page = glide_cape.run(glide_cape.Config(out=tmp_path / "out", work=tmp_path / "work", fast=True, tokens=20_000))
    text, data = page.read_text(), json.loads(page.with_suffix(".json").read_text())
    assert "points over no reading" in text and "CaPE's candidates add" in text and page.with_suffix(".png").stat().st_size > 5000
    assert set(data["seeds"][0]["agreement"]) == {"glide", "small"}
    assert set(data["ablations"][0]["agreement"]) == {"glide", "glide-causal", "glide-8", "glide-2"} and "mask over" in text
    assert all(1 <= length <= 6 for kinds in data["seeds"][0]["decoding"].values() for length in kinds.values())
    with pytest.raises(RequestError, match="at least 1"):
        glide_cape.run(glide_cape.Config(seeds=0))


def test_longspec(tmp_path: Path) -> None:
    page = longspec.run(longspec.Config(out=tmp_path / "out", work=tmp_path / "work", fast=True))
    data = json.loads(page.with_suffix(".json").read_text())
    assert "offset over plain" in page.read_text() and page.with_suffix(".png").stat().st_size > 5000
    assert len({step["bytes"] for step in data["steps"]}) == 1
    assert all(a["apart"] < 1e-5 and a["own"] < a["mask"] / 10 for a in data["attention"])
    assert all(1 <= tokens / rounds <= 7 for kinds in data["lengths"]["who"].values() for prompts in kinds.values()
               for prompt in prompts for rounds, tokens, _ in prompt)
    assert all(rounds == math.ceil(tokens / 7) for prompts in data["lengths"]["who"][f"greedy, {CEILING}"].values()
               for prompt in prompts for rounds, tokens, _ in prompt)
    assert {SHIPPED, "offset, 0", "plain, 0"} < set(data["far"]["kl"]) and "offset lower by" in page.read_text()
    with pytest.raises(RequestError, match="copy_steps"):
        longspec.run(longspec.Config(copy_steps=1))


def test_attention_sink(tmp_path: Path) -> None:
    config = attention_sink.Config(out=tmp_path / "out", work=tmp_path / "work", model="zoo:tiny", seeds=1, fast=True)
    page = attention_sink.run(config)
    text, data = page.read_text(), json.loads(page.with_suffix(".json").read_text())
    assert "a key bias takes them" in text and page.with_suffix(".png").stat().st_size > 5000
    assert set(data["real"]) == {"text", "start token first", "random tokens", "one token"}
    assert all(0 < of["history"][0][-1]["mean"][0] < 1 for of in data["runs"].values())
    attention_sink.run(config)
    assert page.read_text() == text  # nothing was trained again
    with pytest.raises(RequestError, match="at least 1"):
        attention_sink.run(attention_sink.Config(seeds=0))


def test_sinks_are_counted_where_they_are() -> None:
    """All attention on an extra key, or on the second token; negative weights count by their size."""
    shape, even = Shape(bias="k"), torch.ones(1, 1, 1, 8, 8).tril()
    extra = torch.cat((torch.ones(1, 1, 1, 8, 1), torch.zeros(1, 1, 1, 8, 8)), -1)
    assert importance(shape, extra)[0, 0, 0].tolist() == [1, 0, 0, 0, 0]
    second = torch.zeros(1, 1, 1, 8, 8)
    second[..., 1], second[..., 0, :2] = -5, torch.tensor([1.0, 0.0])
    assert importance(Shape(), second)[0, 0, 0].tolist() == [0.125, 1, 0, 0]
    torch.testing.assert_close(importance(Shape(), even)[0, 0, 0], uniform(8)[:4])


def test_a_row_of_the_study_begins_as_its_setting_says() -> None:
    text = np.full(1000, 50, dtype=np.uint8)
    for setting, first in ((Setting(), [1, 50, 50]), (Setting(start=1), [50, 1, 50]), (Setting(start=None), [50, 50, 50])):
        assert (sink_rows(text, setting, 4, 9, [0])[:, :3] == torch.tensor(first)).all()
    drawn = sink_rows(text, Setting(start=None, random=(0, 1)), 64, 9, [0])
    assert drawn[:, :2].unique().numel() > 40 and drawn.min() > 1 and (drawn[:, 2:] == 50).all()


def test_a_chain_of_right_tokens_takes_so_many_forwards() -> None:
    assert chained([True] * 8, 3) == 2  # three and a bonus, twice
    assert chained([False] * 4, 3) == 4
    assert chained([True, False, True, True, True, True], 3) == 2


def test_a_fall_is_seen_beside_the_controls() -> None:
    circles = [[1, 8, 1], [4, 8, 0]]
    who = {SHIPPED: {"code": [[[2, 8, 0], [4, 8, 0]], circles]}, CONTROL: {"code": [[[4, 8, 0], [5, 8, 0]], circles]}}
    assert fall({"who": who}, [SHIPPED], straight=True)["value"] == 0.5
    assert math.isclose(fall({"who": who}, [SHIPPED])["value"], 3 / 8)
    assert math.isclose(beside({"who": who}, [SHIPPED], CONTROL, straight=True)["value"], 0.5 / 0.8)


def test_what_offset_positions_gain_is_taken_text_by_text() -> None:
    found = {"kl": {"offset, 0": [[1.0], [3.0]], "plain, 0": [[1.5], [3.5]], "offset, 1": [[1.0], [3.0]],
                    "plain, 1": [[1.3], [3.3]]}}
    mean, over_texts = gained(found, 2, 0)
    assert math.isclose(mean, 0.4) and mean.half > 0.5 and all(math.isclose(edge, 0.4) for edge in over_texts)


def test_divergence_is_the_mean_kl_between_each_two_edges() -> None:
    model, batch = tiny_model("llama", vocab=64, hidden_size=32, num_hidden_layers=2), as_batch(range(3, 35))
    head = Head(longspec_shape(model, block=4, window=8, final_norm=True))
    [found] = divergence(model, {"head": head}, [batch], (0, 16, 32))["head"]
    with torch.no_grad():
        taught, memory = read(model, batch, batch.positions)
        laws = [logits.double().log_softmax(-1) for logits in (
            head.logits(reading(head, batch, batch.positions, memory, "block")), model.get_output_embeddings()(taught))]
    apart = torch.nn.functional.kl_div(*laws, reduction="none", log_target=True).sum(-1)
    assert apart.min() > 1e-4
    # The first block has nothing earlier to read, the last token nothing to foresee.
    assert found == pytest.approx([float(apart[4:16].mean()), float(apart[16:31].mean())], rel=0.1)


def test_sparse_to_dense(tmp_path: Path) -> None:
    page = sparse_to_dense.run(sparse_to_dense.Config(out=tmp_path / "out", fast=True))
    data = json.loads(page.with_suffix(".json").read_text())
    assert "Accepted share by keys" in page.read_text() and page.with_suffix(".png").stat().st_size > 5000
    [found] = data["seeds"]
    arms = found["lengths"]["512"]["arms"]
    assert arms["plain"]["acceptance_length"] == 1.0 and {"streaming", "random", "LayerSkip"} < set(arms)
    assert all(0 <= share <= 1 for share in found["middle"].values()) and len(found["middle"]) == 22
    with pytest.raises(RequestError, match="at least 1"):
        sparse_to_dense.run(sparse_to_dense.Config(keys=0))


def test_slash_heads(tmp_path: Path) -> None:
    config = slash_heads.Config(out=tmp_path, work=tmp_path / "work", texts=2, seeds=2, fast=True)
    page = slash_heads.run(config)
    text, data = page.read_text(), json.loads(page.with_suffix(".json").read_text())
    assert "Slash-dominant" in text and "copy the token so many before" in text and page.with_suffix(".png").stat().st_size > 5000
    assert all(run["learned"] == run["foretold"] == 8 and run["others"] > 0.5 for run in data["toys"]["both, 8"])
    near, counts = data["real"]["lags"]["1"], data["real"]["counts"]["1"]
    assert near["heads"] == counts[0] > 4 and counts[1] <= counts[0] <= counts[2] and near["lift"] > 3
    assert near["changed"]["drop high"]["high"] < near["changed"]["drop low"]["low"] and near["told"] <= near["near"]
    assert all(-1 <= bounds["low"] <= bounds["value"] <= bounds["high"] <= 1 for bounds in data["real"]["ranks"].values())
    steps = [look["step"] for look in data["text"]["free"][0]["history"]]
    assert steps == sorted(set(steps)) and steps[0] == 0 and len(data["copying"]["free, 8"]) == 2
    slash_heads.run(config)
    assert json.loads(page.with_suffix(".json").read_text()) == data
    with pytest.raises(RequestError, match="at least 1"):
        slash_heads.run(slash_heads.Config(seeds=0))


def test_a_toy_learns_a_distance_only_where_its_tokens_have_something_in_common() -> None:
    found = learned(Toy(3, cone=0.0), 60, 0)
    assert found["score"] < 0.1 and learned(Toy(3), 60, 0)["score"] > 0.8


def test_a_small_model_without_pairs_looks_evenly_and_mean_vectors_do_as_they_foretell() -> None:
    model, tokens = SmallLM(Shape(vocabulary=50, width=16, layers=2, heads=2, ffn=16)), torch.randint(50, (2, 40))
    with torch.no_grad():
        for block in model.blocks:
            block.attention.qkv.weight.mul_(40)
        even = heads_of(without(model, "all", 40), tokens).scores
        assert even.allclose(even[:1].expand_as(even), atol=1e-5) and not heads_of(model, tokens).scores.allclose(even, atol=1e-2)
        fixed = meant(model, heads_of(model, tokens))
        heads = heads_of(fixed, tokens)
        assert heads.query.min() > 0.999 and meant(fixed, heads)(tokens).allclose(fixed(tokens), atol=1e-4)
    assert correlation(heads.scores, heads.law).min() > 0.95


def test_intervals_over_seeds() -> None:
    mean = mean_of([1.0, 2.0, 3.0])
    assert mean == 2.0 and abs(mean.half - 4.303 / math.sqrt(3)) < 1e-3 and str(mean) == "2.00 ± 2.48"
    assert str(mean_of([1.5])) == "1.50" and mean_of([1.5]).bar == 0.0
    assert table(["a"], [[mean_of([1.0])]]) == "| a |\n| --- |\n| 1.00 |"


def test_toolspec(tmp_path: Path) -> None:
    page = toolspec.run(toolspec.Config(out=tmp_path, work=tmp_path, fast=True))
    data = json.loads(page.with_suffix(".json").read_text())
    assert "Reference answers, replayed" in page.read_text() and page.with_suffix(".png").stat().st_size > 5000
    assert data["zoo"]["arms"]["plain"]["acceptance_length"]["value"] == 1.0
    assert data["replay"]["API-Bank"]["ToolSpec"]["value"] > data["replay"]["API-Bank"]["prompt lookup"]["value"] >= 1.0
    assert data["stores"]["10"]["past calls"]["value"] > data["stores"]["0"]["past calls"]["value"] == 1.0
    with pytest.raises(RequestError, match="at least 1"):
        toolspec.run(toolspec.Config(work=tmp_path, budget=0))


def test_banditspec(tmp_path: Path) -> None:
    page = banditspec.run(banditspec.Config(out=tmp_path, fast=True))
    data = json.loads(page.with_suffix(".json").read_text())
    assert "The best arm changes" in page.read_text() and page.with_suffix(".png").stat().st_size > 5000
    lost = {policy: marks["512"]["lost"] for policy, marks in data["regret"]["four"].items()}
    assert 0 < lost["quarter"] < lost["ucb"] < lost["uniform"] and lost["exp3"] < lost["uniform"]
    assert all(f["apart"] < 4 for marks in data["regret"]["deep"].values() for f in marks.values())
    assert len(data["checks"]["compared"]) == 6 and min(data["microseconds"].values()) > 0
    assert data["switch"]["scale 0.25, discount 0.98"]["lost"] < data["switch"]["scale 0.25"]["lost"]
    best = [data["batches"][str(size)]["best"] for size in SIZES]
    assert best == sorted(best, reverse=True) and best[0] == LENGTHS[-1] and best[-1] == 0
    decoding = data["decoding"]["methods"]
    assert decoding["plain"]["length"]["all"]["value"] == 1.0 and "oracle" in decoding
    assert all(f["length"]["all"]["value"] >= 1.0 and f["speed"]["all"]["value"] > 0 for f in decoding.values())
    for bad in ({"runs": 1}, {"prompts": 16}, {"tokens": 0}):
        with pytest.raises(RequestError, match="at least 2.*1 to 15 prompts"):
            banditspec.run(banditspec.Config(**bad))


def test_a_controller_drafts_for_one_row_and_not_for_a_full_batch() -> None:
    """By the clock it comes near to the best length of every batch; by tokens it drafts where each one costs a step."""
    for rows, length in ((1, 6), (128, 0)):
        speed = batch_sizes.played("ucb:carry=true,scale=0.2,reward=net,budgets=[0,2,4,6]", rows, 120, 0)
        assert speed > 0.7 * batch_sizes.fixed(rows, length)
    assert batch_sizes.played("ucb:carry=true,budgets=[0,6]", 128, 60, 0) < 0.7 * batch_sizes.fixed(128, 0)
    simulated = batch_sizes.played("fixed:budget=4", 4, 4000, 1)
    assert simulated == pytest.approx(batch_sizes.fixed(4, 4), rel=0.02)


def test_simulated_arms_have_the_means_and_rounds_they_say() -> None:
    """Means by enumeration, rounds of one arm by simulation within four standard errors, streams alike for every controller."""
    arms = Arms((0.5, 0.8), 4)
    for p, mean in zip(arms.chances, arms.means, strict=True):
        assert sum((x + 1) * p**x * (1 - p) for x in range(4)) + 5 * p**4 == pytest.approx(mean)
    assert Arms((0.5,), 1).rounds(2).tolist() == [0.0, 1.0, 1.5]  # two tokens: at once with chance 1/2, else in two rounds
    alone = Arms((0.8,), 4)
    rounds = [play(attached("ucb", alone), alone, [50, 100], row, 0) for row in range(300)]
    for i, tokens in enumerate((50, 100)):
        seen = [played[i].rounds for played in rounds]
        mean = sum(seen) / 300
        error = math.sqrt(sum((r - mean) ** 2 for r in seen)) / 300
        assert abs(mean - alone.rounds(100)[tokens]) < 4 * error and all(p[i].pulls == (p[i].rounds,) for p in rounds)
    first, again = ([tokens for tokens, _ in zip(arms.stream(1, (3, 4)), range(9), strict=False)] for _ in range(2))
    assert first == again
def test_cool_sd(tmp_path: Path) -> None:
    digits = images.run(images.Config(out=tmp_path / "digits", fast=True))
    config = cool_sd.Config(digits=digits, out=tmp_path, work=tmp_path / "work", seeds=2, fast=True)
    page = cool_sd.run(config)
    data = json.loads(page.with_suffix(".json").read_text())
    assert "Fréchet distance" in page.read_text() and page.with_suffix(".png").stat().st_size > 5000
    runs = data["runs"]
    assert set(runs) == {"target again", "exact", "clamped 1.5", "uniform 1.5"} and all(len(r) == 2 for r in runs.values())
    assert all(r["acceptance_length"] == 1.0 and r["forwards"] == 64 for r in runs["target again"])
    assert all(r["spent"] == 0.0 for r in runs["exact"]) and all(r["spent"] > 0 for r in runs["clamped 1.5"])
    for relaxed, exact in zip(runs["clamped 1.5"], runs["exact"], strict=True):
        assert relaxed["acceptance_length"] > exact["acceptance_length"] > 1
    for part in data["speed"].values():
        assert part["plain"]["value"] == 1.0 and part["plain"]["acceptance_length"] == 1.0
        assert part["exact, L = 8"]["spent"] == 0.0 < part["clamped 1.1, L = 8"]["spent"]
        assert all(arm["low"] <= arm["value"] <= arm["high"] and arm["value"] > 0 for arm in part.values())
    cool_sd.run(config)
    assert json.loads(page.with_suffix(".json").read_text()) == data  # seconds and all: nothing was drawn again
    with pytest.raises(DataError, match="cook images"):
        cool_sd.run(cool_sd.Config(digits=tmp_path / "nowhere"))
    with pytest.raises(RequestError, match="at least"):
        cool_sd.run(cool_sd.Config(seeds=0))


def test_the_full_run_has_every_arm() -> None:
    names = list(cool_sd.arms(cool_sd.Config()))
    assert {"exact", "exact, L = 8", "clamped 1.1", "first 2", "reversed 1.5", "neighbour 0.1, lantern"} <= set(names)
    assert len(names) == 1 + 5 + 6 * 3 + 2 + 4


def test_schedules_are_compared_at_equal_length() -> None:
    """On the line from exact drafts on; without them where a schedule writes less."""
    def runs(*figures: tuple[float, float]) -> list[dict[str, float]]:
        return [{"acceptance_length": length, "spent": spent} for length, spent in figures]

    found = {"runs": {
        "exact": runs((4.0, 0.0), (3.0, 0.0)), "first 1.5": runs((4.4, 2.0), (3.4, 4.0)), "first 2": runs((5.0, 9.0), (4.0, 9.0)),
        "clamped 1.5": runs((4.2, 1.0), (3.4, 1.0)), "printed 1.5": runs((3.5, 2.0), (2.5, 2.0)),
        "printed 2": runs((4.5, 4.0), (3.5, 4.0)),
    }}  # fmt: skip
    assert cool_sd.spent_at(found, "first", 0.2).startswith("1.50 ±")
    assert cool_sd.spent_at(found, "clamped", 0.3) == "–"  # one of its seeds does not get there
    assert cool_sd.spent_at(found, "printed", 0.5).startswith("4.00 ±")


def test_frechet_distance() -> None:
    """Of normal sets with known means and spreads, and of a set with itself."""
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(100_000, 3)), rng.normal(size=(100_000, 3)) * [1.0, 2.0, 3.0] + [1.0, 0.0, 0.0]
    assert abs(frechet(a, a)) < 1e-9
    assert abs(frechet(a, b) - (1 + 0 + 1 + 4)) < 0.1
