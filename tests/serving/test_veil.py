"""What BentoML's middleware and the log see of a request."""

import asyncio
import logging
import sys
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from landmarks.serving.veil import EscapeControls, Unveil, Veil


def pass_through(scope: Scope) -> tuple[Scope, Scope]:
    """What stands between the veils sees, and what stands behind them."""
    seen: list[Scope] = []

    async def see(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope)
        await Unveil(see_behind)(scope, receive, send)

    async def see_behind(scope: Scope, _: Receive, __: Send) -> None:
        seen.append(scope)

    async def ignore(*_: Any) -> Any:
        return None

    asyncio.run(Veil(see)(scope, ignore, ignore))
    between, behind = seen
    return between, behind


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        ("/classify", "/classify"),
        ("/a b", "/a%20b"),
        ("/a\n2001-01-01 forged", "/a%0A2001-01-01%20forged"),
        ("/\x1b[2J", "/%1B%5B2J"),
        ("/a) (status=200,x", "/a%29%20%28status=200%2Cx"),
        ("/café\u202e", "/caf%C3%A9%E2%80%AE"),
        ("/\ud800", "/%3F"),
    ],
)
def test_paths(path: str, shown: str) -> None:
    scope: Scope = {"type": "http", "path": path, "headers": []}
    between, behind = pass_through(scope)
    assert between["path"] == shown
    assert behind is scope


@pytest.mark.parametrize("value", [b"caf\xe9", b"\xff\xfe\\", b"a\\", "é".encode()])
def test_headers(value: bytes) -> None:
    scope: Scope = {"type": "http", "path": "/", "headers": [(b"content-type", value), (b"accept", b"image/*; q=1")]}
    between, behind = pass_through(scope)
    (_, shown), plain = between["headers"]
    assert shown.isascii()
    assert b"\\" not in shown
    assert plain == (b"accept", b"image/*; q=1")
    assert behind is scope


def write(message: str, *arguments: object, error: Exception | None = None) -> str:
    exc_info = (type(error), error, error.__traceback__) if error else None
    record = logging.LogRecord("a", logging.INFO, __file__, 1, message, arguments, exc_info)
    assert EscapeControls().filter(record)
    return logging.Formatter("%(message)s").format(record)


def test_a_message_is_one_line() -> None:
    assert write("asked for %s\n", "a\r\n2001-01-01\x1b[2J\x85\u2028\u202e\ud800é") == (
        r"asked for a\r\n2001-01-01\x1b[2J\x85\u2028\u202e\ud800é"
    )


def test_lines_of_a_traceback_are_indented() -> None:
    try:
        int("a\n2001-01-01 forged\x1b[2J")
    except ValueError as error:
        error.args = ("a\n2001-01-01 forged\x1b[2J",)
        first, *others = write("it failed", error=error).split("\n")
    assert first == "it failed"
    assert others[0] == "  Traceback (most recent call last):"
    assert others[-1] == r"  2001-01-01 forged\x1b[2J"
    assert all(line.startswith("  ") for line in others)
    assert sys.exc_info() == (None, None, None)
