"""Access control: the optional API key, and the origins whose web pages may use the service (CORS)."""

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
    """Return the key that requests must carry; None if none is set."""
    return os.environ.get(KEY_VARIABLE) or None


def check_key(headers: Mapping[str, str], key: str | None) -> None:
    """Check that a request carries the key, as `Authorization: Bearer KEY` or `X-API-Key: KEY`.

    Raises:
        RequestError: the key is missing or wrong.
    """
    if key is None:
        return
    scheme, _, token = headers.get("authorization", "").partition(" ")
    offered = token.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
    # in constant time, so that the response time does not reveal how much of a guess is correct; as bytes, because
    # compare_digest takes text in ASCII only
    if not hmac.compare_digest(offered.encode("utf-8", "surrogateescape"), key.encode("utf-8", "surrogateescape")):
        raise RequestError("Send the key of this service as `Authorization: Bearer KEY` or `X-API-Key: KEY`.", 401)


def read_origins() -> tuple[str, ...]:
    """Read the origins whose pages may read the answers; none if the variable is not set.

    Raises:
        ArtifactError: an entry is not an origin.
    """
    origins = tuple(origin.strip() for origin in os.environ.get(ORIGINS_VARIABLE, "").split(",") if origin.strip())
    for origin in origins:
        # refused at start: a browser compares whole origins, so any other entry would never match, without an error
        if not _ORIGIN.fullmatch(origin):
            raise ArtifactError(
                f"{ORIGINS_VARIABLE} names {origin!r}, which is not an origin. Write SCHEME://HOST or "
                "SCHEME://HOST:PORT, without a path. Separate several with commas, or write * for all."
            )
    return origins
