"""The optional key of the service."""

import hmac
import os
from collections.abc import Mapping

from landmarks.serving.problems import RequestError

KEY_VARIABLE = "LANDMARKS_API_KEY"


def read_key() -> str | None:
    """The key that requests must carry; None where none is asked for."""
    return os.environ.get(KEY_VARIABLE) or None


def check_key(headers: Mapping[str, str], key: str | None) -> None:
    """Refuse a request without the key, as `Authorization: Bearer KEY` or `X-API-Key: KEY`.

    Raises:
        RequestError: the key is missing or another one.
    """
    if key is None:
        return
    scheme, _, token = headers.get("authorization", "").partition(" ")
    offered = token.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
    # constant time: how long it takes says nothing about how much of a guess is right
    if not hmac.compare_digest(offered.encode("utf-8", "surrogateescape"), key.encode("utf-8", "surrogateescape")):
        raise RequestError("Send the key of this service, as `Authorization: Bearer KEY` or `X-API-Key: KEY`.", 401)
