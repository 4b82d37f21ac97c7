"""`paceline train translate` from two files to a folder, whatever it is killed in; `paceline translate` reads that folder."""

from __future__ import annotations

import io
import json
import random
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from paceline.cli import main
from paceline.errors import DataError, ModelError, RequestError, SpecError
from paceline.models.translation.markov import Markov
from paceline.models.translation.mask_predict import mask_predict
from paceline.models.translation.nat import Nat
from paceline.models.translation.rescore import token_scores
from paceline.models.translation.search import beam
from paceline.models.translation.translator import Asked, Translator
from paceline.recipes import _translation_stages as stages
from paceline.recipes.train_translate import Config, run

WORDS = {"red": "rot", "blue": "blau", "house": "Haus", "car": "Auto", "the": "das", "one": "ein"}


def files(folder: Path, count: int = 160) -> tuple[str, str]:
    rng = random.Random(0)
    texts = [rng.choices(list(WORDS), k=rng.randint(2, 4)) for _ in range(count)]
    (folder / "x.en").write_text("".join(f"{' '.join(text)}\n" for text in texts))
    (folder / "x.de").write_text("".join(f"{' '.join(WORDS[word] for word in text)}\n" for text in texts))
    return str(folder / "x.en"), str(folder / "x.de")


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> Config:
    folder = tmp_path_factory.mktemp("translate")
    src, tgt = files(folder)
    return Config(src, tgt, src, tgt, folder / "made", vocabulary=310, width=32, layers=1, longest=16, rows=16, dropout=0.0,
                  smoothing=0.0, teacher_steps=5, steps=5, tuning_steps=5)


@pytest.fixture
def few(config: Config, tmp_path: Path) -> Config:
    """The same for so few pairs that all is done in a moment; nothing is learned."""
    src, tgt = files(tmp_path, 20)
    return replace(config, src=src, tgt=tgt, test_src=src, test_tgt=tgt, out=tmp_path / "few")


@pytest.fixture(scope="module")
def made(config: Config) -> Path:
    return run(replace(config, raw=True, teacher_steps=0, steps=130))


def test_it_translates(made: Path, config: Config) -> None:
    held = Translator.load(made)
    texts, right = (Path(str(path)).read_text().split("\n")[:-1] for path in (config.src, config.tgt))
    written = [one.text for one in held.translate(texts, Asked(beam=1, iterations=3))]  # lengths are certain here
    assert sum(a == b for a, b in zip(written, right, strict=True)) / len(right) > 0.9
    assert held.translate(["", "the car", " "])[::2] == [("", "", [], 0.0), (" ", "", [], 0.0)]


def test_what_is_killed_goes_on_to_the_same_weights(few: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(Exception):
        pass

    train, killed = stages.train, set()

    def dying(model, feed, gradient, loop, **options):
        def batch(step: int):
            if step == 3 and loop.folder.name not in killed:
                killed.add(loop.folder.name)
                raise Killed
            return feed(step)

        return train(model, batch, gradient, replace(loop, save_every_s=0.0), **options)

    unbroken, again = (replace(few, objective="oaxe:margin=0.05", dropout=0.1, out=tmp_path / name) for name in "ab")
    folders = [run(unbroken)]
    monkeypatch.setattr(stages, "train", dying)
    for _ in range(3):
        with pytest.raises(Killed):
            run(again)
    folders.append(run(again))
    first, second = (Translator.load(folder).model.state_dict() for folder in folders)
    assert len(killed) == 3 and all(torch.equal(first[key], second[key]) for key in first)
    kinds = [type(Translator.load(folders[0] / name).model) for name in ("teacher", "xe", "")]
    assert kinds == [Markov, Nat, Nat]
    figures = json.loads((folders[0] / "training.json").read_text())
    assert list(figures["measured"]) == ["teacher", "xe", "oaxe"] and figures["pairs"] == 20


def test_one_markov_model_for_several_orders(few: Config) -> None:
    folder = run(replace(few, model="markov", order=2, orders=(1, 2, 0), limit=3, pairs=12))
    assert json.loads((folder / "training.json").read_text())["pairs"] == 12
    held = Translator.load(folder)
    assert isinstance(held.model, Markov) and held.model.config.order == 2 and held.model.config.leak_free == "transparent"
    assert list(json.loads((folder / "training.json").read_text())["measured"]) == ["markov"]
    source = torch.tensor([held.subwords.encode("the car")])
    for order in (1, None, 0):
        asked = held.translate(["the car"], Asked(2, order=order))[0]
        assert asked.tokens == beam(held.model, source, 2, order=order)[0].tokens


def test_cross_entropy_and_whole_phrases_fade_from_scratch(few: Config, monkeypatch: pytest.MonkeyPatch) -> None:
    asked, train = [], stages.train
    monkeypatch.setattr(stages, "train", lambda model, feed, gradient, loop, **options: asked.append(loop) or train(
        model, feed, gradient, loop, **options))
    run(replace(few, raw=True, teacher_steps=0, steps=0, objective="ngram_oaxe:n=2", anneal="cosine", curriculum="linear"))
    [loop] = asked  # nothing before the objective, and at the full rate
    name = "raw-ngram-oaxe-n-2-0-5-mix-cosine-curriculum-linear"
    assert (loop.folder.name, loop.steps, loop.other_lr) == (name, 5, stages.RATE)


def test_one_pass_begins_with_the_teachers_weights_and_both_kinds_of_texts_share_a_folder(
        few: Config, monkeypatch: pytest.MonkeyPatch) -> None:  # fmt: skip
    began, train = dict[str, dict[str, torch.Tensor]](), stages.train

    def seen(model, feed, gradient, loop, **options):
        began[loop.folder.name] = {name: weight.clone() for name, weight in model.state_dict().items()}
        return train(model, feed, gradient, loop, **options)

    monkeypatch.setattr(stages, "train", seen)
    for raw in (False, True):
        run(replace(few, raw=raw))
    teacher = Translator.load(few.out / "teacher").model.state_dict()
    assert len(teacher) > 20 and {"teacher", "distilled-xe-5", "raw-xe-5"} == set(began)
    for kind in ("distilled", "raw"):
        assert all(torch.equal(began[f"{kind}-xe-5"][name], teacher[name]) for name in teacher)
        assert not torch.equal(began["teacher"]["body.tokens.weight"], teacher["body.tokens.weight"])


def test_what_cannot_be_trained(made: Path, config: Config, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="no objective 'oxae' for translation. Did you mean 'oaxe'"):
        run(replace(config, objective="oxae"))
    with pytest.raises(RequestError, match="rows to be at least 1, found 0"):
        run(replace(config, rows=0))
    with pytest.raises(RequestError, match="teacher_steps to be at least 1, found 0.*add --raw"):
        run(replace(config, teacher_steps=0))
    with pytest.raises(RequestError, match="to be one of the --orders 1, 0, found 5"):
        run(replace(config, model="markov", orders=(1, 0)))
    with pytest.raises(RequestError, match="pairs to be at least 1, found 0"):
        run(replace(config, pairs=0))
    with pytest.raises(RequestError, match="Expected both --test-src and --test-tgt"):
        run(replace(config, test_src=None))
    with pytest.raises(SpecError, match="no shape 'sine' to fall by. Did you mean 'cosine'"):
        run(replace(config, objective="oaxe", anneal="sine"))
    for bad in ({"anneal": "linear"}, {"objective": "oaxe", "curriculum": "linear"}):
        with pytest.raises(RequestError, match="Expected --anneal with --objective oaxe or ngram_oaxe only"):
            run(replace(config, **bad))
    with pytest.raises(DataError, match="x.de in the language of .*x.en, found that of its translations; exchange"):
        run(replace(config, out=tmp_path / "swapped", test_src=config.test_tgt, test_tgt=config.test_src))
    assert {path.name for path in (tmp_path / "swapped.work").iterdir()} == {"settings.json", "subwords"}  # nothing was trained
    with pytest.raises(DataError, match="begun with width = 32, not 64; use another folder"):
        run(replace(config, raw=True, teacher_steps=0, steps=130, width=64))
    with pytest.raises(DataError, match="pairs of at most 1 tokens, found none"):
        run(replace(config, out=tmp_path / "short", longest=1))
    for bad in ({"width": 50, "layers": 0}, {"dropout": 1.0}, {"smoothing": 1.0}, {"leak_free": "transparant"}, {"seed": -1},
                {"vocabulary": -1}, {"orders": (1,)}):  # fmt: skip
        with pytest.raises(RequestError):
            run(replace(config, out=tmp_path / "short", **bad))
    assert not (tmp_path / "short.work").exists()  # so that the folder takes what the complaints advise
    with pytest.raises(DataError, match="Expected a new folder for --out, .* which would be lost"):
        run(replace(config, out=Path(str(config.src)).parent))


def test_a_smoke_run_is_no_beginning_of_the_whole_one(few: Config) -> None:
    run(replace(few, limit=2))
    with pytest.raises(DataError, match="begun with limit = 2, not None; use another folder"):
        run(few)


def test_a_pipe_a_file_and_json(made: Path, config: Config, tmp_path: Path, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    texts = Path(config.src).read_text().split("\n")[:3]
    expected = [one.text for one in Translator.load(made).translate(texts, Asked(3, 2))]
    options = ["--model", str(made), "--beam", "3", "--iterations", "2"]
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(("\n".join(texts) + "\n").encode())))
    said(options)
    assert capsys.readouterr().out == "\n".join(expected) + "\n"
    (tmp_path / "x").write_text("\n".join([*texts, "", ""]))
    said([str(tmp_path / "x"), *options, "--json", "-"])
    rows = json.loads(capsys.readouterr().out)["translations"]
    assert [row["translation"] for row in rows] == [*expected, ""] and rows[0]["source"] == texts[0] and rows[0]["score"] < 0


def test_texts_in_the_language_that_is_written_are_noticed(made: Path, caplog: pytest.LogCaptureFixture) -> None:
    held = Translator.load(made)
    held.translate(["the red house", "one car", "Auto"])
    assert not caplog.text
    held.translate(["das rot Haus", "ein Auto"])
    assert "The texts read like de, but this model translates from en into de." in caplog.text


def test_a_teacher_reranks_what_is_written_at_once(few: Config) -> None:
    """The likeliest by the teacher of all lengths' translations, each of them scored by itself."""
    folder = run(replace(few, limit=3))
    held, judge = Translator.load(folder), Translator.load(folder / "teacher")
    for one in held.translate(["the car", "one red house"], Asked(4, rerank=judge)):
        source = torch.tensor([held.subwords.encode(one.source)])
        texts = [held.subwords.decode(some.tokens, one.source) for some in mask_predict(held.model, source, 4)[0]]
        targets = [torch.tensor([judge.subwords.encode(text)[:16]]) for text in texts]
        scores = [float(token_scores(judge.model, judge.model.read(source), target).mean()) for target in targets]
        best = max(range(4), key=scores.__getitem__)
        assert one.text == texts[best] and one.score == pytest.approx(scores[best], abs=1e-5)
    with pytest.raises(ModelError, match="token by token to rerank by, found one that writes in one pass"):
        held.translate(["the car"], Asked(rerank=held))
    with pytest.raises(RequestError, match="leave --rerank out"):
        judge.translate(["the car"], Asked(rerank=judge))
    with pytest.raises(RequestError, match="leave --iterations out"):
        judge.translate(["the car"], Asked(iterations=2))


def said(options: list[str]) -> None:
    with pytest.raises(SystemExit) as left:
        main(["translate", *options])
    assert not left.value.code


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        (["--beam", "0"], "Expected a beam of at least 1, found 0."),
        (["--iterations", "0"], "Expected at least 1 iteration, found 0."),
        (["--order", "2"], "A model that writes in one pass has no order"),
        (["--order", "-1"], "Expected an order of at least 0, found -1."),
        (["--reference", "{src}"], "as there are texts, 1; found 160."),
        (["--reference", "das Auto"], "Cannot read the file das Auto"),
        (["--drafter", "none", "--iterations", "2"], "leave --iterations 2 out, or --drafter"),
    ],
)
def test_what_cannot_be_asked(made: Path, config: Config, options: list[str], complaint: str, capsys) -> None:
    with pytest.raises(SystemExit):
        main(["translate", "the car", "--model", str(made), *(option.format(src=config.src) for option in options)])
    assert complaint in capsys.readouterr().err


def test_a_sentence_may_be_longer_than_any_file_name(made: Path, capsys) -> None:
    said(["the car " * 80, "--model", str(made)])
    assert capsys.readouterr().out.count("\n") == 1


def test_weights_that_cannot_be_read(made: Path, tmp_path: Path) -> None:
    broken = shutil.copytree(made, tmp_path / "broken")
    weights = broken / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:200])
    for _ in range(2):
        with pytest.raises(ModelError, match="The translator in .*broken cannot be read"):
            Translator.load(broken)
        weights.unlink(missing_ok=True)


def test_a_folder_of_something_else(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Cannot read the file"):
        Translator.load(tmp_path)
    (tmp_path / "config.json").write_text('{"architectures": ["LlamaForCausalLM"]}')
    with pytest.raises(ModelError, match=r"a translation model \(Nat or Markov\) in .*, found LlamaForCausalLM"):
        Translator.load(tmp_path)
