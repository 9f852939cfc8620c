"""Names of landmarks: as people read them, and where Wikimedia Commons keeps their photos."""

from urllib.parse import quote, unquote

_CATEGORY = "Category:"
# Special:Search goes straight to a page of that title and searches where there is none
_COMMONS = "https://commons.wikimedia.org/wiki/Special:Search/"


def read_name(name: str, landmark_id: int) -> str:
    """The name as people write it; the data set writes names as addresses of Wikimedia's categories.

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
    """The category of Wikimedia Commons; None where the landmark has no name.

    >>> link_commons("Sparkassen-Arena,_G%C3%B6ttingen")
    'https://commons.wikimedia.org/wiki/Special:Search/Category:Sparkassen-Arena%2C_G%C3%B6ttingen'
    >>> link_commons("") is None
    True
    """
    if not name.strip():
        return None
    return f"{_COMMONS}{_CATEGORY}{quote(read_name(name, 0).replace(' ', '_'))}"
