"""MLflow's own server with one change: its first page is the comparison of runs that `FIRST_PAGE` names.

MLflow opens with a page about language models. `landmarks ui` starts this module through the entry point `mlflow.app`.
"""

import asyncio
import os
from pathlib import Path

import click
from starlette.responses import HTMLResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from landmarks.tracking.ui import FIRST_PAGE, lead_to


def build_app() -> ASGIApp:
    """Build an application that answers as MLflow does, and says where the comparison is when it has started."""
    # not at the top: the server is half of MLflow
    from mlflow.server import app as flask_app
    from mlflow.server.fastapi_app import app as mlflow_app

    page = Path(str(flask_app.static_folder), "index.html").read_text(encoding="utf-8")
    first_page = HTMLResponse(lead_to(os.environ[FIRST_PAGE], page))
    mlflow_app.router.routes.insert(0, Route("/", lambda _: first_page))

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        task = asyncio.current_task()

        async def announce(message: Message) -> None:
            if message["type"] == "lifespan.shutdown.failed" and task and task.cancelling():
                return  # Ctrl+C cancels what waits for the end; uvicorn would print that as a fault
            await send(message)
            if message["type"] == "lifespan.startup.complete":
                click.echo(f"Side by side: {os.environ[FIRST_PAGE]}")
                click.echo("Press Ctrl+C to end.")

        await mlflow_app(scope, receive, announce if scope["type"] == "lifespan" else send)

    return app
