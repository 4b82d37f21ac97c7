"""What a round has decided becomes part of a row: just what plain decoding would have kept, and what it was good for."""

from typing import Any

from paceline.core.arms import Outcome
from paceline.core.proposal import Verdict
from paceline.core.row import Logprob, Round, Row
from paceline.core.sampling import Scores
from paceline.engine.drafting import Turn

__all__ = ["commit", "outcome"]


def commit(turn: Turn, scores: Scores, verdict: Verdict, shown: dict[str, Any], context: int) -> None:
    """Add what was decided, token by token, until something ends the row. shown: what its drafter captures of this round."""
    row, proposal, stats = turn.row, scores.proposal, turn.row.stats
    kept = 0
    for before, node in zip([-1, *verdict.path], [*verdict.path, None], strict=True):
        token = verdict.bonus_token if node is None else proposal.tokens[node]
        if row.request.sampling.logprobs is not None:
            row.logprobs.append(Logprob(token, *scores.logprobs(before, token)))
        row.tokens.append(token)
        row.drafted.append(node is not None)
        if row.grammar is not None:
            row.grammar.advance(token)
        kept, row.finish_reason = kept + 1, ending(row, token, context)
        if row.finish_reason is not None:
            break
    turn.last = row.last = Round(proposal, verdict, kept, turn.arm.drafter, shown)
    stats.rounds += 1
    stats.new_tokens += kept
    stats.spent += verdict.spent
    stats.count(proposal, verdict.path[:kept])


def ending(row: Row, token: int, context: int) -> str | None:
    """Why a row ends with this token, its last; None where it goes on."""
    stopped = row.text is not None and row.text.add(token, row.drafted[-1])
    if row.grammar is not None and row.grammar.ended:
        return "eos" if row.grammar.complete else dead_end(row)
    if token in row.request.eos:
        return "eos"
    if stopped or (row.request.until is not None and row.request.until(row.tokens)):
        return "stop"
    return "length" if row.left <= 0 or row.reach >= context else None


def dead_end(row: Row) -> str:
    row.stats.failures.append("no token of this model goes on with what the grammar asks for, so the text is unfinished")
    return "dead_end"


def outcome(turn: Turn, seconds: dict[str, float], share: float) -> Outcome:
    """What a controller learns of a row's round. seconds: of the whole round, by part; share: this row's of them."""
    last, draft = turn.last, turn.seconds
    assert last is not None, "a round is committed before it is learned of"
    depth = max(last.proposal.depths(), default=0)
    taken = min(len(last.verdict.path), last.committed)
    return Outcome(turn.row.id, turn.arm, len(last.proposal), [i < taken for i in range(depth)], last.committed,
                   draft, seconds["verify"] * share, last.committed < len(last.verdict.path) + 1,
                   draft + (sum(seconds.values()) - seconds["draft"]) * share)
