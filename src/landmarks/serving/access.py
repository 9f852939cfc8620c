"""Who may ask: the optional key of the service, and the web pages of other sites that may use it (CORS)."""

import hmac
import os
import re
from collections.abc import Mapping

from landmarks.errors import ArtifactError
from landmarks.serving.problems import RequestError

KEY_VARIABLE = "LANDMARKS_API_KEY"
ORIGINS_VARIABLE = "LANDMARKS_CORS_ORIGINS"
_ORIGIN = re.compile(r"https?://[^/\s?#@]+|\*")


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


def read_origins() -> tuple[str, ...]:
    """The origins whose pages may read the answers; none where the variable is unset.

    Raises:
        ArtifactError: an entry is no origin. A browser would compare it with every page, and never find it equal.
    """
    origins = tuple(origin.strip() for origin in os.environ.get(ORIGINS_VARIABLE, "").split(",") if origin.strip())
    for origin in origins:
        if not _ORIGIN.fullmatch(origin):
            raise ArtifactError(
                f"{ORIGINS_VARIABLE} names {origin!r}, which is no origin. Write SCHEME://HOST or SCHEME://HOST:PORT "
                "without a path, several with commas between them, or * for all."
            )
    return origins
