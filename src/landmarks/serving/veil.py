"""What BentoML's middleware and the log see of a request: nothing that forges a line, or that they cannot read."""

import logging
from urllib.parse import quote

from starlette.types import ASGIApp, Receive, Scope, Send

_ORIGINAL = "landmarks.scope"
_SAFE = "/:@!$&'*+;=~"  # in a path; not the brackets and commas between the fields of the access log


class Veil:
    """ASGI middleware that shows the path percent-encoded and the headers in ASCII, up to `Unveil`."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        if scope["type"] != "lifespan":
            headers = [(name, _escape_bytes(value)) for name, value in scope["headers"]]
            scope = veil(scope, path=quote(scope["path"], safe=_SAFE, errors="replace"), headers=headers)
        await self._app(scope, receive, send)


class Unveil:
    """ASGI middleware that passes a request on as it came."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on."""
        await self._app(scope.get(_ORIGINAL, scope), receive, send)


def veil(scope: Scope, **changes: object) -> Scope:
    """Return a changed copy of a scope, from which `Unveil` finds back to the scope."""
    return {**scope, **changes, _ORIGINAL: scope}


class EscapeControls(logging.Filter):
    """Makes a record one line, in which control characters are escaped; lines of a traceback are indented."""

    _formatter = logging.Formatter()

    def filter(self, record: logging.LogRecord) -> bool:
        """Change the record, and let it pass."""
        record.msg, record.args = escape(record.getMessage().rstrip("\n")), ()
        if record.exc_info and not record.exc_text:
            record.exc_text = self._formatter.formatException(record.exc_info)
        if record.exc_text:
            record.exc_text = "\n".join(f"  {escape(line.strip(' '))}" for line in record.exc_text.splitlines())
        return True


def escape_log() -> None:
    """Make every line of BentoML's log whole, whoever writes it."""
    for handler in logging.getLogger("bentoml").handlers:  # which other loggers share
        if not any(isinstance(item, EscapeControls) for item in handler.filters):
            handler.addFilter(EscapeControls())


def escape(text: str) -> str:
    r"""Escape all characters that are not printable.

    >>> escape("a\nb\x1b[2Jc")
    'a\\nb\\x1b[2Jc'
    """
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else character.encode("unicode_escape").decode() for character in text
    )


def _escape_bytes(value: bytes) -> bytes:
    return value if value.isascii() and b"\\" not in value else quote(value, safe=_SAFE + " ").encode()
