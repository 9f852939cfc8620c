"""Names of landmarks: in readable form, and as links to Wikimedia Commons."""

from urllib.parse import quote, unquote

_CATEGORY = "Category:"
# Special:Search redirects to the page with that title, and searches if there is none
_COMMONS = "https://commons.wikimedia.org/wiki/Special:Search/"


def read_name(name: str, landmark_id: int) -> str:
    """Convert a name to readable text; the data set has names as URLs of Wikimedia categories.

    >>> read_name("Sparkassen-Arena,_G%C3%B6ttingen", 1)
    'Sparkassen-Arena, Göttingen'
    >>> read_name("http://commons.wikimedia.org/wiki/Category:Colosseum", 2203)
    'Colosseum'
    >>> read_name("", 2203)
    'Landmark 2203'
    """
    readable = " ".join(unquote(name).rpartition(_CATEGORY)[2].replace("_", " ").split())
    return readable or f"Landmark {landmark_id}"


def link_commons(name: str) -> str | None:
    """Return the URL of the category on Wikimedia Commons; None if the landmark has no name.

    >>> link_commons("Sparkassen-Arena,_G%C3%B6ttingen")
    'https://commons.wikimedia.org/wiki/Special:Search/Category:Sparkassen-Arena%2C_G%C3%B6ttingen'
    >>> link_commons("") is None
    True
    """
    if not name.strip():
        return None
    return f"{_COMMONS}{_CATEGORY}{quote(read_name(name, 0).replace(' ', '_'))}"
