"""Plans and states of the host's networks as text, and as values for JSON. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import count

from xmcompat.render.network_values import Box, Change, Group, Picture, Plan, State

_STATES = {"up": "up", "trial": "waits for a confirmation", "half made": "half made, or half taken away"}


def plan_lines(plan: Plan) -> Iterator[str]:
    """Each step with its number and the exact commands, then what changes."""
    for text, warns in plan.remarks:
        yield f"{'Warning' if warns else 'Note'}: {text}"
    if plan.remarks:
        yield ""
    if not plan.networks:
        yield "Nothing is to be taken away: no network has been made here." if plan.down else "No network is asked for."
        return
    numbers = count(1)
    for network in plan.networks:
        yield f"{network.name}: {network.what}{'' if network.actions else ': there already'}"
        for action in network.actions:
            yield f"  {next(numbers):2}. {action.text}"
            yield from (f"        {line}" for line in action.command.split("\n"))
    if plan.empty:
        yield "Nothing is to be done."
        return
    for change in plan.changes:
        yield ""
        yield f"{change.title}:"
        yield from (f"  {line}" for line in difference(change.before, change.after))
    if plan.confirm:
        yield ""
        yield f"This needs --confirm: {plan.confirm}."


def difference(before: Sequence[str], after: Sequence[str]) -> Iterator[str]:
    """All rows: "-" for those that go, "+" for those that come, in the order of BEFORE, new ones last."""
    yield from (f"{' ' if row in after else '-'} {row}" for row in before)
    yield from (f"+ {row}" for row in after if row not in before)


def plan_document(plan: Plan) -> dict[str, object]:
    return {
        "networks": [
            {"name": network.name, "what": network.what, "steps": [action._asdict() for action in network.actions]}
            for network in plan.networks
        ],
        "changes": {change.title.lower(): _changed(change) for change in plan.changes},
        "remarks": [{"text": text, "warning": warns} for text, warns in plan.remarks],
        "needs_confirmation": plan.confirm or None,
    }  # fmt: skip


def _changed(change: Change) -> dict[str, object]:
    return {"before": list(change.before), "after": list(change.after)}


def state_lines(states: Sequence[State], busy: str = "") -> Iterator[str]:
    """A line for each network; what is wrong beneath it."""
    if busy:
        yield busy
    if not states:
        yield "No network has been made here."
    width = max((len(state.name) for state in states), default=0)
    for state in states:
        guests = f", with {', '.join(state.guests)}" if state.guests else ""
        yield f"{state.name:<{width}}  {state.what}: {_STATES.get(state.state, state.state)}{guests}"
        yield from (f"{'':<{width}}  ! {text}" for text in state.wrong)


def state_document(states: Sequence[State]) -> list[dict[str, object]]:
    return [
        {"name": one.name, "what": one.what, "state": one.state, "guests": list(one.guests), "wrong": list(one.wrong)}
        for one in states
    ]


def picture_lines(picture: Picture) -> Iterator[str]:
    """The picture as an indented list."""
    yield picture.host
    for group in picture.groups:
        yield f"  {_box(group.centre)}"
        yield from (f"    {'<-' if box.kind != 'peer' else '<~'} {_box(box)}" for box in group.left)
        yield from (f"    -> {_box(box)}" for box in group.right)
    yield from picture.notes


def picture_document(picture: Picture) -> dict[str, object]:
    return {"host": picture.host, "networks": [_group(group) for group in picture.groups]}


def _group(group: Group) -> dict[str, object]:
    return {
        **_named(group.centre), "ours": group.ours, "below": [_named(box) for box in group.left],
        "guests": [_named(box) for box in group.right],
    }  # fmt: skip


def _named(box: Box) -> dict[str, object]:
    return {"kind": box.kind, "name": box.title, "details": list(box.lines)}


def _box(box: Box) -> str:
    details = ", ".join(box.lines)
    return f"{box.title} ({details})" if details else box.title
