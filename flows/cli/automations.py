"""rnnfast automations."""

import typer

from flows.cli import options
from flows.errors import InputError


def automations(notify: options.Notify = None) -> None:
    """Put the automations on the Prefect server of PREFECT_API_URL; serve does so with its own."""
    from flows.orchestration.surroundings import chosen_server, require_answer, require_machine

    require_machine()
    address = chosen_server()
    if address is None:
        raise InputError(
            "PREFECT_API_URL must be the address of a Prefect server that answers, such as "
            "http://127.0.0.1:4200/api; it is not set"
        )
    require_answer(address)
    from prefect.client.orchestration import get_client

    from flows.orchestration.automations import notification_block, put_automations

    with get_client(sync_client=True) as client:
        block = notification_block(client, notify) if notify else None
        names = put_automations(client, block)
    for name in names:
        typer.echo(name)
