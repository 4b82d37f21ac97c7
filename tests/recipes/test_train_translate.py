"""`paceline train translate` from two files to a folder, whatever it is killed in; `paceline translate` reads that folder."""

from __future__ import annotations

import io
import json
import random
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from paceline.cli import main
from paceline.errors import DataError, ModelError, RequestError, SpecError
from paceline.models.translation.markov import Markov
from paceline.models.translation.nat import Nat
from paceline.models.translation.search import beam
from paceline.models.translation.translator import Asked, Translator
from paceline.recipes import train_translate
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
    return run(replace(config, raw=True, steps=130))


def test_it_translates(made: Path, config: Config) -> None:
    held = Translator.load(made)
    texts, right = (Path(str(path)).read_text().split("\n")[:-1] for path in (config.src, config.tgt))
    written = [one.text for one in held.translate(texts, Asked(iterations=3))]
    assert sum(a == b for a, b in zip(written, right, strict=True)) / len(right) > 0.5
    assert held.translate(["", "the car", " "])[::2] == [("", "", [], 0.0), (" ", "", [], 0.0)]


def test_what_is_killed_goes_on_to_the_same_weights(few: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Killed(Exception):
        pass

    train, killed = train_translate.train, set()

    def dying(model, feed, gradient, loop, **options):
        def batch(step: int):
            if step == 3 and loop.folder.name not in killed:
                killed.add(loop.folder.name)
                raise Killed
            return feed(step)

        return train(model, batch, gradient, replace(loop, save_every_s=0.0), **options)

    unbroken, again = (replace(few, objective="oaxe:margin=0.05", dropout=0.1, out=tmp_path / name) for name in "ab")
    folders = [run(unbroken)]
    monkeypatch.setattr(train_translate, "train", dying)
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


def test_what_cannot_be_trained(made: Path, config: Config, tmp_path: Path) -> None:
    with pytest.raises(SpecError, match="no objective 'oxae' for translation. Did you mean 'oaxe'"):
        run(replace(config, objective="oxae"))
    with pytest.raises(RequestError, match="rows to be at least 1, found 0"):
        run(replace(config, rows=0))
    with pytest.raises(RequestError, match="pairs to be at least 1, found 0"):
        run(replace(config, pairs=0))
    with pytest.raises(RequestError, match="Expected both --test-src and --test-tgt"):
        run(replace(config, test_src=None))
    with pytest.raises(DataError, match="begun with width = 32, not 64; use another folder"):
        run(replace(config, raw=True, steps=130, width=64))
    with pytest.raises(DataError, match="pairs of at most 1 tokens, found none"):
        run(replace(config, out=tmp_path / "short", longest=1))


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
    ],
)
def test_what_cannot_be_asked(made: Path, config: Config, options: list[str], complaint: str, capsys) -> None:
    with pytest.raises(SystemExit):
        main(["translate", "the car", "--model", str(made), *(option.format(src=config.src) for option in options)])
    assert complaint in capsys.readouterr().err


def test_a_folder_of_something_else(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="Cannot read the file"):
        Translator.load(tmp_path)
    (tmp_path / "config.json").write_text('{"architectures": ["LlamaForCausalLM"]}')
    with pytest.raises(ModelError, match=r"a translation model \(Nat or Markov\) in .*, found LlamaForCausalLM"):
        Translator.load(tmp_path)
