"""The metrics of the service: labelled by route, and in files of its own."""

import atexit
import contextlib
import fcntl
import os
import re
import shutil
import tempfile
import time
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from bentoml._internal.configuration.containers import BentoMLContainer
from bentoml._internal.server.http.instruments import RunnerTrafficMetricsMiddleware
from starlette.applications import Starlette
from starlette.routing import BaseRoute, Mount, Route
from starlette.types import ASGIApp, Receive, Scope, Send

from landmarks.serving.veil import Unveil, veil

UNKNOWN_ROUTE = "unknown"
_PREFIX = "landmarks-metrics-"
_FOLDER = Path(tempfile.gettempdir(), f"{_PREFIX}{uuid.uuid4().hex}")
_SETTLED_SECONDS = 60  # a younger folder may be of a service that starts, and not locked yet


class RouteMetrics(RunnerTrafficMetricsMiddleware):  # type: ignore[misc]  # BentoML's types are not followed
    """BentoML's metrics with the route as label; all paths without a route share one.

    BentoML's label is the path, of which clients can invent any number, and each costs 20 time series for ever.
    """

    def __init__(self, app: ASGIApp, service: Starlette, **options: Any) -> None:
        super().__init__(Unveil(app), **options)
        self._service = service
        self._routes: tuple[tuple[re.Pattern[str], str], ...] = ()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Count a request."""
        if scope["type"] != "lifespan":
            scope = veil(scope, path=self._name_route(scope["path"]))
        await super().__call__(scope, receive, send)

    def _name_route(self, path: str) -> str:
        self._routes = self._routes or tuple(_list_routes(self._service.routes))
        return next((name for pattern, name in self._routes if pattern.match(path)), UNKNOWN_ROUTE)


def _list_routes(routes: Iterable[BaseRoute], prefix: str = "") -> Iterator[tuple[re.Pattern[str], str]]:
    for route in routes:
        match route:
            case Mount(app=Starlette() as app, path=path):
                yield from _list_routes(app.routes, prefix + path)
            case Mount() | Route():
                # without the convertors of its parameters, such as `:path`
                name = prefix + (route.path_format if isinstance(route, Route) else route.path)
                yield re.compile(re.escape(prefix) + route.path_regex.pattern.removeprefix("^")), name


def use_own_folder() -> None:
    """Name a folder in which the metrics of this process and its workers lie.

    BentoML has one folder for all services of a model store, and empties it whenever another of them starts.
    """
    BentoMLContainer.prometheus_multiproc_dir.set(str(_FOLDER))


def keep_folder() -> None:
    """Keep the folder until this process ends, and remove those that killed services left behind."""
    lock_folder(_FOLDER)
    atexit.register(shutil.rmtree, _FOLDER, ignore_errors=True)
    for folder in _FOLDER.parent.glob(f"{_PREFIX}*"):
        if _is_left_behind(folder):
            shutil.rmtree(folder, ignore_errors=True)


def lock_folder(folder: Path) -> None:
    """Show that a folder is in use. The kernel ends that with the process, however it ends."""
    with contextlib.suppress(FileNotFoundError):  # BentoML has made another one, if this one could not be made
        fcntl.flock(os.open(folder, os.O_RDONLY), fcntl.LOCK_SH)


def _is_left_behind(folder: Path) -> bool:
    try:
        if time.time() - folder.stat().st_mtime < _SETTLED_SECONDS:
            return False
        descriptor = os.open(folder, os.O_RDONLY | os.O_NOFOLLOW)
    except OSError:  # of another user, or removed meanwhile
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True
