"""Names of landmarks as people read them; data sets have them as titles or URLs of Wikimedia categories."""

import re
from urllib.parse import quote, unquote

_CATEGORY_URL = re.compile(r"^https?://commons\.wikimedia\.org/wiki/Category:")
_ESCAPED = re.compile(r"_|%[0-9A-Fa-f]{2}")
# Special:Search redirects to the page with that title, and searches if there is none
_COMMONS = "https://commons.wikimedia.org/wiki/Special:Search/Category:"


def decode_name(text: str) -> str:
    """Return the readable form of a name: percent-decode Wikimedia categories and replace their underscores.

    >>> decode_name("Sparkassen-Arena,_G%C3%B6ttingen")
    'Sparkassen-Arena, Göttingen'
    >>> decode_name("50 % off_beat")
    '50 % off_beat'
    """
    name = _CATEGORY_URL.sub("", text.strip())
    # Category names never contain spaces, so a name with one is plain text already.
    if " " not in name and _ESCAPED.search(name):
        name = unquote(name).replace("_", " ")
    return " ".join(name.split())


def link_commons(name: str) -> str | None:
    """Return the URL of the category on Wikimedia Commons; None if there is no name.

    >>> link_commons("Sparkassen-Arena, Göttingen")
    'https://commons.wikimedia.org/wiki/Special:Search/Category:Sparkassen-Arena%2C_G%C3%B6ttingen'
    """
    return f"{_COMMONS}{quote(name.replace(' ', '_'))}" if name.strip() else None
