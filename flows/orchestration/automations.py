"""What Prefect's server does by itself: it ends runs that are dead or take too long, and sends notifications."""

from datetime import timedelta
from typing import Any
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.objects import StateType
from prefect.events.actions import (
    ActionTypes,
    CancelFlowRun,
    ChangeFlowRunState,
    DoNothing,
    SendNotification,
)
from prefect.events.schemas.automations import AutomationCore, EventTrigger, Posture
from prefect.exceptions import ObjectNotFound

from flows.errors import InputError
from flows.orchestration.events import DRIFTED, PROMOTED

RUN = "prefect.flow-run"
ENDED = {f"{RUN}.{state}" for state in ("Completed", "Failed", "TimedOut", "Cancelled", "Crashed")}
HEARTBEAT = f"{RUN}.heartbeat"
# Of all flows on a server, those that flows/prefect.yaml deploys.
TAGGED = {"prefect.resource.role": "tag", "prefect.resource.id": "prefect.tag.rnnfast"}
DEAD = timedelta(seconds=100)  # after three of the heartbeats that flows/prefect.yaml asks for
NOT_BEGUN = timedelta(minutes=10)
LONGEST = {
    "reviews": timedelta(hours=24),
    "sensors": timedelta(hours=24),
    "pretrain": timedelta(hours=48),
    "score": timedelta(hours=6),
    "clean": timedelta(hours=1),
}
TOLD = {
    "failure": {f"{RUN}.Failed", f"{RUN}.TimedOut", f"{RUN}.Crashed"},
    "drift": {DRIFTED},
    "promotion": {PROMOTED},
}


def put_automations(client: SyncPrefectClient, block: UUID | None) -> list[str]:
    """Creates the automations, or brings those that there are up to date.

    One that is up to date is left alone: by a change Prefect forgets which runs it waits for.

    Args:
        client: of the server.
        block: the document of the block that sends notifications; without one nothing is sent.

    Returns:
        The names of all of them.
    """
    automations = _automations(block)
    for wanted in automations:
        known = client.read_automations_by_name(wanted.name)
        if known and _content(known[0]) == _content(wanted):
            continue
        # Not `update_automation`: it leaves out what is a default, such as an action's type, which then is another.
        for each in known:
            client.delete_automation(each.id)
        client.create_automation(wanted)
    return [each.name for each in automations]


def notification_block(client: SyncPrefectClient, name: str) -> UUID:
    """The document of a block by its name, such as slack-webhook/team.

    Raises:
        InputError: there is none.
    """
    kind, _, document = name.partition("/")
    try:
        return client.read_block_document_by_name(document, kind).id
    except ObjectNotFound:
        raise InputError(
            f"--notify must name a block of the server as TYPE/NAME, such as slack-webhook/team; got: {name!r}"
        ) from None


def _content(automation: AutomationCore) -> dict[str, Any]:
    """What it says, without the names that the server has given to its parts."""
    # Not as JSON, in which a set of events is a list whose order is not always the same.
    fields = automation.model_dump(include=set(AutomationCore.model_fields))
    return fields | {"trigger": {k: v for k, v in fields["trigger"].items() if k != "id"}}


def _automations(block: UUID | None) -> list[AutomationCore]:
    longest = [
        _when_absent(
            f"rnnfast: {flow} takes too long",
            {f"{RUN}.Running"},
            ENDED,
            within,
            CancelFlowRun(),
            flow,
        )
        for flow, within in LONGEST.items()
    ]
    # Without force: a run that has ended stays as it is, whatever order the events come in.
    crashed = ChangeFlowRunState(
        state=StateType.CRASHED, name="Crashed", message="Its process gave no sign of life."
    )
    return [
        # Also after Running: a run may die before its first heartbeat.
        _when_absent(
            "rnnfast: a run is dead",
            {f"{RUN}.Running", HEARTBEAT},
            {HEARTBEAT, *ENDED},
            DEAD,
            crashed,
        ),
        _when_absent(
            "rnnfast: a run does not begin",
            {f"{RUN}.Pending"},
            {f"{RUN}.Running", f"{RUN}.Scheduled", *ENDED},
            NOT_BEGUN,
            crashed,
        ),
        *longest,
        *(_notification(what, events, block) for what, events in TOLD.items()),
    ]


def _when_absent(
    name: str,
    after: set[str],
    expect: set[str],
    within: timedelta,
    action: ActionTypes,
    flow: str | None = None,
) -> AutomationCore:
    """Acts on a run for which none of the expected events comes in time."""
    of_flow = {"prefect.resource.role": "flow", "prefect.resource.name": flow}
    related = [TAGGED, of_flow] if flow else TAGGED
    trigger = EventTrigger(
        after=after,
        expect=expect,
        match={"prefect.resource.id": f"{RUN}.*"},
        match_related=related,
        for_each={"prefect.resource.id"},
        posture=Posture.Proactive,
        threshold=1,
        within=within,
    )
    return AutomationCore(name=name, trigger=trigger, actions=[action])


def _notification(what: str, events: set[str], block: UUID | None) -> AutomationCore:
    related = TAGGED if events == TOLD["failure"] else {}
    trigger = EventTrigger(
        expect=events, match_related=related, posture=Posture.Reactive, threshold=1
    )
    action: ActionTypes = DoNothing()
    if block is not None:
        action = SendNotification(
            block_document_id=block,
            subject=f"rnnfast: {what} ({{{{ event.resource.name }}}})",
            body="{{ event.event }} of {{ event.resource.name }}\n"
            "{{ event.payload.reason or event.payload.validated_state.message }}",
        )
    return AutomationCore(name=f"rnnfast: notify of {what}", trigger=trigger, actions=[action])
