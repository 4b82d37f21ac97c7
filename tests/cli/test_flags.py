"""Dataclass fields become flags and come back as dataclasses."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path

import typer
from typer.testing import CliRunner

from paceline.cli._flags import LIBRARY_HELP, argument, as_command, flag
from paceline.core.sampling import Sampling


@dataclasses.dataclass(frozen=True)
class Trip:
    goal: str = argument(..., "Where to.")
    days: int = flag(3, "How long.")
    rain: bool = flag(False, "Take an umbrella.", "--rain")
    stops: tuple[str, ...] = flag((), "On the way.")
    weight: float | None = flag(None, "In kilograms.")
    note: str = "kept"


@dataclasses.dataclass(frozen=True)
class Calibration:
    bias: Mapping[int, float] = dataclasses.field(default_factory=dict)
    path: Path = Path("x")
    hidden: int = 5


def run(verb, *arguments: str, helps=None):  # noqa: ANN001, ANN201
    app = typer.Typer()
    app.command()(as_command(verb, helps))
    return CliRunner().invoke(app, list(arguments))


def test_fields_arrive_typed() -> None:
    seen = []

    def go(trip: Trip) -> None:
        seen.append(trip)

    assert run(go, "Oslo", "--days", "4", "--rain", "--stops", "A", "--stops", "B", "--weight", "1.5").exit_code == 0
    assert run(go, "Rome").exit_code == 0
    assert seen == [Trip("Oslo", 4, True, ("A", "B"), 1.5), Trip("Rome")]


def test_bad_values_are_bad_usage() -> None:
    def go(trip: Trip) -> None: ...

    assert run(go).exit_code == 2
    assert run(go, "Oslo", "--days", "many").exit_code == 2


def test_several_holders_and_described_fields() -> None:
    seen = []

    def go(odds: Calibration, trip: Trip) -> None:
        seen.append((odds, trip.goal))

    helps = {"Calibration": {"bias": "ID=VALUE", "path": "A file."}}
    assert run(go, "Oslo", "--bias", "3=-1.5", "--bias", "7=2", "--path", "/a/b", helps=helps).exit_code == 0
    assert seen == [(Calibration({3: -1.5, 7: 2.0}, Path("/a/b")), "Oslo")]
    assert run(go, "Oslo", "--hidden", "6", helps=helps).exit_code == 2
    assert run(go, "Oslo", "--bias", "three", helps=helps).exit_code == 2


def test_every_plain_sampling_field_has_a_flag() -> None:
    """What a command line can say about sampling can be said; the rest takes Python objects."""
    fields = {field.name for field in dataclasses.fields(Sampling)}
    assert fields - set(LIBRARY_HELP["Sampling"]) == {"processors", "raw_logprobs", "grammar"}
    assert set(LIBRARY_HELP["Sampling"]) <= fields


def test_defaults_of_sampling_survive_the_round_trip() -> None:
    seen = []

    def go(sampling: Sampling) -> None:
        seen.append(sampling)

    assert run(go).exit_code == 0
    assert seen == [Sampling()]
