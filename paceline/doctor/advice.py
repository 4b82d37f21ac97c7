"""From figures to advice: whether to draft, why, and the settings for it, here and in other engines. Pure.

The candidate advised is the fastest by both halves of the prompts, predicted on the one and measured on the other. Drafting is
advised where the measured figure lies above 1 with its interval, and beyond what plain decoding showed against itself, and the
prediction lies above 1 too: a gain that cannot be told from none is no reason. Few prompts and noisy machines get no verdict.
"""

from __future__ import annotations

from typing import Any

from paceline.bench.noise import disagreement, enough, hides
from paceline.bench.report import interval
from paceline.doctor.elsewhere import elsewhere
from paceline.doctor.model import best_length, break_even

__all__ = ["verdict"]

LARGE_PREFILL = 0.3  # share of plain decoding's time from which on it deserves a word


def verdict(report: dict[str, Any], rows: int) -> dict[str, Any]:
    """What to do with so many rows: `drafter` and `budget` (None where plain decoding is best), `sentence`, `reasons` and
    `settings`, engine -> what to type. `sure` is False where the measurement carries no verdict; the sentence says why.
    """
    judged = [c for c in report["candidates"] if c["rows"] == rows]
    if not judged:
        return {"rows": rows, "sure": True, "pays": False, "drafter": None, "budget": None, "settings": {},
                "sentence": f"Plain decoding{_rows(rows)}: no drafter could be tried.", "reasons": []}
    best = max(judged, key=lambda c: c["measured"]["value"] * c["modelled"]["value"])
    plain = report["plain"][str(rows)]
    doubt = _doubt(best, plain, rows)
    pays = not doubt and _gains(best, plain["noise"])
    curve = {int(n): v for n, v in report["cost"]["relative"][str(rows)].items()}
    return {
        "rows": rows, "sure": not doubt, "pays": pays,
        "drafter": best["drafter"] if pays else None, "budget": best["budget"] if pays else None,
        "sentence": doubt or _sentence(best, rows, pays), "reasons": reasons(report, best, curve, rows),
        "settings": _settings(report, best, curve) if pays else {},
    }  # fmt: skip


def _gains(best: dict[str, Any], noise: dict[str, Any]) -> bool:
    measured = best["measured"]
    return bool(measured["low"] > 1.0 and measured["value"] > 1.0 + disagreement(noise) and best["modelled"]["value"] > 1.0)


def _doubt(best: dict[str, Any], plain: dict[str, Any], rows: int) -> str | None:
    """Why the measurement carries no verdict; None where it does."""
    noise, what = plain["noise"], f"{best['drafter']} with a budget of {best['budget']}"
    measured = interval(best["measured"])
    if plain["prompts"] < enough(rows):
        return (f"Too few prompts for a verdict{_rows(rows)}: {plain['prompts']} checked, it takes {enough(rows)} (give "
                f"more, or a larger --limit). On these, {what} came to {measured} of plain decoding's speed.")
    if noise is None:
        return f"One repeat does not tell noise from speed, no verdict{_rows(rows)}: give --repeats 2 or more."
    if best["above_acceptance"]:
        return (f"Machine too noisy, no verdict{_rows(rows)}: rounds of {what} came out quicker than plain decoding's, which no "
                f"draft can make them ({best['acceptance_length']['value']:.2f} tokens a round).")
    if hides(noise, best["measured"]["value"]):
        return (f"Machine too noisy, no verdict{_rows(rows)}: plain decoding came to {interval(noise)} of its own speed, and "
                f"the best draft, {what}, to {measured}.")
    return None


def _sentence(best: dict[str, Any], rows: int, pays: bool) -> str:
    what = f"{best['drafter']} with a budget of {best['budget']}"
    measured = interval(best["measured"])
    if pays:
        return f"Draft{_rows(rows)}: {what} made this model {measured} as fast as plain decoding on this machine."
    if best["measured"]["high"] < 1.0:
        return f"Plain decoding is best here{_rows(rows)}: the best draft, {what}, came to {measured} of its speed."
    return (f"Plain decoding is best here{_rows(rows)}: the best draft, {what}, came to {measured} of its speed, which cannot be "
            "told from no gain.")


def _rows(rows: int) -> str:
    return f" with {rows} rows together" if rows > 1 else ""


def reasons(report: dict[str, Any], best: dict[str, Any], curve: dict[int, float], rows: int) -> list[str]:
    """Why, in numbers: what further tokens cost, what the best candidate needs and has, what the prefill takes."""
    plain, step = report["plain"][str(rows)], best["round"]["plain_round_seconds"]
    part = {name: best["round"][f"{name}_seconds"] / step for name in ("draft", "forward", "host", "catching_up")}
    return [*_prices(curve, rows), _round(best, part), *_first(best, part["draft"], curve), *_prefill(best, plain)]


def _prices(curve: dict[int, float], rows: int) -> list[str]:
    told = [f"of {n} {v:.2f}" for n, v in curve.items() if n in (4, 8, 16, 32)]
    each = " in each row" if rows > 1 else ""
    return [f"A forward of 2 tokens{each} costs {curve[2]:.2f} plain steps, {', '.join(told)}."] if 2 in curve else []


def _round(best: dict[str, Any], part: dict[str, float]) -> str:
    return (f"A round of {best['drafter']} takes {best['round']['break_even_length']:.2f} plain rounds (drafting "
            f"{part['draft'] + part['catching_up']:.2f}, forward {part['forward']:.2f}, the rest {part['host']:.2f}): so many "
            f"tokens it needs to break even, and it gives {best['modelled_acceptance_length']['value']:.2f}.")


def _first(best: dict[str, Any], draft: float, curve: dict[int, float]) -> list[str]:
    if 2 not in curve:
        return []
    price = break_even(curve, draft / max(1.0, best["drafted_per_round"]))
    found = best["accept_per_position"][0] if best["accept_per_position"] else 0.0
    pays = "whatever its chance" if price <= 0 else f"from {price:.0%} on" if price <= 1 else "never, at this price"
    return [f"Its first drafted token was accepted in {found:.0%} of all rounds; drafting a single one pays {pays}."]


def _prefill(best: dict[str, Any], plain: dict[str, Any]) -> list[str]:
    if plain["prefill_share"] < LARGE_PREFILL:
        return []
    return [f"Reading the prompts takes {plain['prefill_share']:.0%} of plain decoding's time, which no draft shortens; without "
            f"it the figure would be {best['modelled_without_prefill']['value']:.2f}x (modelled)."]


def _settings(report: dict[str, Any], best: dict[str, Any], curve: dict[int, float]) -> dict[str, str]:
    """Engine -> what to type for this drafter; other engines draft a constant number of tokens, chosen at these costs."""
    model, spec, budget = report["settings"]["model"], best["drafter"], best["budget"]
    step = best["round"]["plain_round_seconds"]
    price = best["round"]["draft_seconds"] / step / max(1.0, best["drafted_per_round"])
    length = best_length(best["accept_per_position"], curve, price)
    ours = {
        "paceline": f"paceline generate PROMPT --model {model} --drafter {quoted(spec)} --budget {budget}",
        "python": f'paceline.generate(lm, prompts, drafter="{spec}", controller="fixed:budget={budget}")',
    }
    return ours | (elsewhere(spec, model, length) if length and not report["grown"] else {})


def quoted(spec: str) -> str:
    """A spec as a shell takes it: brackets mean something there."""
    return f"'{spec}'" if set(spec) & set("[]*? ") else spec
