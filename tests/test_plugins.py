"""Spec strings and plug-ins found by file name."""

from __future__ import annotations

import dataclasses
from typing import Literal

import pytest

from paceline import Engine, SpecError, plugins
from paceline.drafters.ngram import Ngram
from paceline.testing import ToyLM


@pytest.mark.parametrize(("spec", "name", "options"), [
    ("none", "none", {}),
    (" ngram : max_n = 3 , length=2 ", "ngram", {"max_n": "3", "length": "2"}),
    ("a:", "a", {}),
    ("a:x=[b:y=1,z=2],w=3", "a", {"x": "b:y=1,z=2", "w": "3"}),
    ("a:x=[b:y=[c:z=1]]", "a", {"x": "b:y=[c:z=1]"}),
    ("small_model:model=zoo:tiny-draft", "small_model", {"model": "zoo:tiny-draft"}),
    ("a:x=u=v", "a", {"x": "u=v"}),
    ("a:x=", "a", {"x": ""}),
])  # fmt: skip
def test_parse(spec: str, name: str, options: dict[str, str]) -> None:
    assert plugins.parse(spec) == (name, options)


@pytest.mark.parametrize(("spec", "problem"), [
    ("a:x", "field=value"), ("a:=1", "field=value"), ("a:x=1,x=2", "twice"), ("a:x=[1", "brackets"), ("a:x=1]", "brackets"),
    ("a:x=]1[", "brackets"),
])  # fmt: skip
def test_parse_says_what_is_wrong(spec: str, problem: str) -> None:
    with pytest.raises(SpecError, match=problem):
        plugins.parse(spec)


def test_names_are_the_files() -> None:
    assert {"none", "ngram", "small_model"} <= set(plugins.names("drafter"))
    assert "lossless" in plugins.names("rule") and "fixed" in plugins.names("controller")
    with pytest.raises(SpecError, match="Did you mean 'drafter'"):
        plugins.names("drafters")


@pytest.mark.parametrize("kind", ["drafter", "rule", "controller", "probe", "objective", "recipe"])
def test_every_plug_in_has_one_public_object_and_a_summary(kind: str) -> None:
    for name in plugins.names(kind):
        assert plugins.load(kind, name) is not None
        assert plugins.summary(kind, name).endswith((".", ")", ":")), name


def test_make_converts_to_the_annotated_types() -> None:
    assert plugins.make("drafter", "ngram:max_n=5,worth=0.5") == Ngram(max_n=5, worth=0.5)
    made = plugins.make("drafter", "small_model:model=zoo:tiny-draft,drawn=no")
    assert made.model == "zoo:tiny-draft" and made.drawn is False
    assert plugins.make("drafter", "ngram:max_n=5", max_n=6) == Ngram(max_n=6)
    built = Ngram()
    assert plugins.make("drafter", built) is built


@pytest.mark.parametrize(("spec", "problem"), [
    ("ngrm", "Did you mean 'ngram'"), ("", "no drafter ''"), ("ngram:max=3", "no option 'max'.*Did you mean 'max_n'"),
    ("none:x=1", "no option 'x'"), ("ngram:max_n=two", "whole number"), ("ngram:worth=much", "a number"),
    ("small_model", "needs model"), ("small_model:model=a,drawn=maybe", "true or false"), ("ngram:min_n=5", "min_n <= max_n"),
    ("ngram:length=0", "length >= 1"), ("ngram:worth=1.5", "worth"), ("small_model:model=a,length=0", "length >= 1"),
    ("small_model:model=a,branch=0", "branch >= 1"),
])  # fmt: skip
def test_make_says_what_is_wrong(spec: str, problem: str) -> None:
    with pytest.raises(SpecError, match=problem):
        plugins.make("drafter", spec)


def test_the_engine_passes_spec_errors_on() -> None:
    for keywords in ({"drafter": "ngramm"}, {"rule": "losless"}, {"controller": "fixd"}, {"controller": "fixed:budget=-1"}):
        with pytest.raises(SpecError):
            Engine(ToyLM(), **keywords)


@dataclasses.dataclass(frozen=True)
class Options:
    mode: Literal["a", "b"] = "a"
    sizes: tuple[int, ...] = ()
    names: list[str] = dataclasses.field(default_factory=list)
    maybe: int | None = None


def test_convert_knows_literals_lists_and_none() -> None:
    kinds = plugins.fields(Options)
    assert plugins.convert("b", kinds["mode"], "x") == "b"
    assert plugins.convert("1, 2,3", kinds["sizes"], "x") == (1, 2, 3)
    assert plugins.convert("p,[q:r=1,s=2]", kinds["names"], "x") == ["p", "q:r=1,s=2"]
    assert plugins.convert("none", kinds["maybe"], "x") is None and plugins.convert("4", kinds["maybe"], "x") == 4
    with pytest.raises(SpecError, match="one of a, b"):
        plugins.convert("c", kinds["mode"], "x")
