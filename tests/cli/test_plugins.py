"""`paceline plugins`: everything in the folders is listed, with words, options and paper."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from paceline import plugins
from paceline.cli.plugins import paper_of


def test_every_plugin_is_listed_with_its_words(paceline_cli: Callable) -> None:
    listed = json.loads(paceline_cli("plugins", "--json", "-").out)
    for kind in plugins.KINDS:
        entries = listed.get(kind, [])
        assert [entry["name"] for entry in entries] == plugins.names(kind)
        assert all(len(entry["summary"]) > 10 for entry in entries)
    assert {"none", "ngram", "small_model"} <= {entry["name"] for entry in listed["drafter"]}


def test_options_come_with_their_defaults(paceline_cli: Callable) -> None:
    drafters = {e["name"]: e for e in json.loads(paceline_cli("plugins", "drafter", "--json", "-").out)["drafter"]}
    assert drafters["small_model"]["options"]["model"] == "required"
    assert drafters["none"]["options"] == {}


def test_the_table_names_kinds_and_plugins(paceline_cli: Callable) -> None:
    outcome = paceline_cli("plugins")
    assert outcome.code == 0 and all(word in outcome.out for word in ("drafters", "ngram", "lossless", "fixed"))


def test_one_kind_in_singular_or_plural(paceline_cli: Callable) -> None:
    assert paceline_cli("plugins", "drafter").out == paceline_cli("plugins", "drafters").out


def test_an_unknown_kind(paceline_cli: Callable) -> None:
    outcome = paceline_cli("plugins", "drafers")
    assert outcome.code == 2 and "Did you mean 'drafter'" in outcome.err


def test_papers_are_found_in_the_files(tmp_path: Path) -> None:
    for text, paper in [
        ('"""X (arXiv 2401.07851), and (Doe 2023)."""', "arXiv 2401.07851"),
        ('"""X (Doe et al. 2023; Roe 2024)."""', "Doe et al. 2023; Roe 2024"),
        ('"""X (Doe 2023, section 3)."""', "Doe 2023"),
        ('"""Ours; see f(x) and (2 of 3)."""', ""),
    ]:
        (tmp_path / "x.py").write_text(text)
        assert paper_of(tmp_path / "x.py") == paper
