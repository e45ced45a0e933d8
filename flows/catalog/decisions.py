"""What somebody decided of a result, and what of that holds when the clip is edited again."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from flows.catalog.outcomes import HELD, MADE, PUBLISHED, REJECTED, Outcome, recipe_digest
from flows.edit_request import EditRequest
from flows.requests.output_files import exported_files
from storage.outputs import Outputs
from storage.store import Store

APPROVED = "approved"


def decide(store: Store, outcome: Outcome, what: str, by: str) -> Outcome:
    """`outcome` approved or rejected, and its files where that belongs.

    Raises:
        UnwritableOutputError: something that no run wrote is there. Nothing is moved then.
    """
    decision = {
        "what": what,
        "by": by,
        "on": f"{datetime.now(UTC):%Y-%m-%d}",
        "video": outcome.video or "",
        "clip": outcome.clip or "",
        "recipe": recipe_digest(outcome.request),
    }
    decided = replace(outcome, state=PUBLISHED if what == APPROVED else REJECTED, decision=decision)
    _move(store, outcome.place, decided.place)
    return decided


def to_send(request: EditRequest, before: Outcome | None) -> EditRequest:
    """The request as its run gets it: what somebody rejected is made again where nobody takes it for published."""
    if not before or not before.decision or before.decision["what"] == APPROVED:
        return request
    assert request.hold is not None
    assert request.output is not None
    return request.model_copy(update={"output": request.hold / request.output.name})


def settled(store: Store, outcome: Outcome, sent: EditRequest) -> Outcome:
    """The outcome of a run with what was decided of the clip before, and its files where that belongs.

    A decision is on a video: it holds while the same one is made, whatever made it. If another one is made of the same
    clip by the same recipe (by new code, on another device), a rejected clip is held for somebody to look at. Of
    another clip or another recipe nothing was decided.

    Args:
        sent: what the run was asked for; see `to_send`.

    Raises:
        UnwritableOutputError: something that no run wrote is where the files belong. Nothing is moved then.
    """
    assert sent.output is not None
    lies = outcome.place if str(sent.output) == outcome.output else sent.output
    decided = _with_decision(outcome)
    _move(store, lies, decided.place)
    return decided


def _with_decision(outcome: Outcome) -> Outcome:
    decision = outcome.decision
    if decision is None or outcome.state not in MADE:
        return outcome
    approved = decision["what"] == APPROVED
    if outcome.video and decision.get("video") == outcome.video:
        return replace(outcome, state=PUBLISHED if approved else REJECTED)
    if not _is_about(decision, outcome):
        return replace(outcome, decision=None)
    told = f"it was {decision['what']} by {decision['by']} on {decision['on']}, before it was made anew"
    return replace(outcome, state=outcome.state if approved else HELD, reasons=[*outcome.reasons, told])


def _is_about(decision: dict[str, str], outcome: Outcome) -> bool:
    """Whether it was taken on the same clip and recipe, as far as either is known: in doubt, somebody is asked."""
    now = {"clip": outcome.clip, "recipe": recipe_digest(outcome.request)}
    return all(not digest or decision.get(name, digest) in {"", digest} for name, digest in now.items())


def _move(store: Store, source: Path, target: Path) -> None:
    Outputs(store).move(dict(zip(exported_files(source).values(), exported_files(target).values(), strict=True)))
