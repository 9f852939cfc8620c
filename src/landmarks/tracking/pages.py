"""MLflow's own server with one change: its first page is the comparison of runs that `FIRST_PAGE` names.

MLflow opens with a page about language models. `landmarks ui` starts this module through the entry point `mlflow.app`.
"""

import asyncio
import os
from pathlib import Path

import click
from mlflow.server import app as flask_app
from mlflow.server.fastapi_app import app as mlflow_app
from starlette.responses import HTMLResponse
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from landmarks.tracking.ui import FIRST_PAGE, lead_to


def build_app() -> ASGIApp:
    """Build an application that answers as MLflow does, and says where the comparison is when it is ready."""
    mlflow_app.router.routes.insert(0, Route("/", lambda _: _build_first_page()))

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


def _build_first_page() -> HTMLResponse:
    page = Path(str(flask_app.static_folder), "index.html").read_text(encoding="utf-8")
    return HTMLResponse(lead_to(os.environ[FIRST_PAGE], page))
