"""python -m flows automations."""

import typer

from flows.commands import options
from flows.errors import InputError


def automations(notify: options.Notify = None) -> None:
    """Put the automations on the Prefect server of PREFECT_API_URL; serve does so with its own."""
    import httpx
    from prefect.client.orchestration import get_client
    from prefect.settings import get_current_settings

    from flows.automations import notification_block, put_automations

    address = get_current_settings().api.url
    rule = "PREFECT_API_URL must be the address of a Prefect server that answers, such as http://127.0.0.1:4200/api"
    if not address:
        raise InputError(f"{rule}; it is not set")
    try:
        with get_client(sync_client=True) as client:
            if (problem := client.api_healthcheck()) is not None:
                raise problem
            block = notification_block(client, notify) if notify else None
            names = put_automations(client, block)
    except (httpx.HTTPError, ValueError) as error:  # the latter where a page answers, and no server
        raise InputError(f"{rule}; {address} is not: {error}") from error
    for name in names:
        typer.echo(name)
