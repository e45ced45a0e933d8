"""Approve or reject results, and apply the decision when the clip is edited again."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from flows.catalog.outcomes import HELD, PUBLISHED, REJECTED, WITH_RESULT, Outcome, recipe_digest
from flows.edit_request import EditRequest
from flows.requests.output_files import exported_files
from storage.outputs import Outputs
from storage.store import Store

APPROVED = "approved"


def decide(store: Store, outcome: Outcome, what: str, by: str) -> Outcome:
    """Approve or reject a result and move its files accordingly.

    Raises:
        UnwritableOutputError: a file that no run wrote is in the way. Nothing is moved then.
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


def request_to_run(request: EditRequest, before: Outcome | None) -> EditRequest:
    """The request that the run receives: a rejected clip is recomputed into the folder of held results."""
    if not before or not before.decision or before.decision["what"] == APPROVED:
        return request
    assert request.hold is not None
    assert request.output is not None
    return request.model_copy(update={"output": request.hold / request.output.name})


def apply_decision(store: Store, outcome: Outcome, sent: EditRequest) -> Outcome:
    """Apply the earlier decision on a clip to its new outcome, and move the files accordingly.

    A decision is about a video and holds while runs give the same bytes. If the same clip and recipe give other bytes
    (new code, another device), a rejected clip is held for another review. A decision on another clip or recipe is
    dropped.

    Args:
        sent: the request that the run received; see `request_to_run`.

    Raises:
        UnwritableOutputError: a file that no run wrote is in the way. Nothing is moved then.
    """
    assert sent.output is not None
    current = outcome.place if str(sent.output) == outcome.output else sent.output
    decided = _with_decision(outcome)
    _move(store, current, decided.place)
    return decided


def _with_decision(outcome: Outcome) -> Outcome:
    decision = outcome.decision
    if decision is None or outcome.state not in WITH_RESULT:
        return outcome
    approved = decision["what"] == APPROVED
    if outcome.video and decision.get("video") == outcome.video:
        return replace(outcome, state=PUBLISHED if approved else REJECTED)
    if not _covers(decision, outcome):
        return replace(outcome, decision=None)
    note = f"{decision['what']} by {decision['by']} on {decision['on']}, then recomputed with another result"
    return replace(outcome, state=outcome.state if approved else HELD, reasons=[*outcome.reasons, note])


def _covers(decision: dict[str, str], outcome: Outcome) -> bool:
    """True if clip and recipe are those of the decision; unknown digests count as equal, which asks for a review."""
    now = {"clip": outcome.clip, "recipe": recipe_digest(outcome.request)}
    return all(not digest or decision.get(name, digest) in {"", digest} for name, digest in now.items())


def _move(store: Store, source: Path, target: Path) -> None:
    Outputs(store).move(dict(zip(exported_files(source).values(), exported_files(target).values(), strict=True)))
