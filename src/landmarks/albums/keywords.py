"""Keywords in the lists that photo programs read, and the forms that one keyword has in each of them."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

ListName = Literal["subject", "tags", "hierarchy"]

# in the order in which Immich looks for the first one that is there; IPTC keywords stand before the last
LISTS: tuple[ListName, ...] = ("tags", "hierarchy", "subject")
_PARENTS = ("Places", "Landmarks")
_SLASH, _BAR = "/", "|"
_TREES: dict[ListName, str] = {"tags": _SLASH, "hierarchy": _BAR}  # the lists with a hierarchy, and what parts it
# they look the same, and part nothing
_HARMLESS = str.maketrans({_SLASH: "\N{DIVISION SLASH}", _BAR: "\N{DIVIDES}"})

Keywords = Mapping[ListName, tuple[str, ...]]


@dataclass(frozen=True)
class Embedded:
    """What photo files say about themselves.

    Attributes:
        keywords: of their XMP, by list.
        flat: keywords of IPTC.
        has_place: whether Exif or XMP has a place.
    """

    keywords: Keywords = field(default_factory=dict)
    flat: tuple[str, ...] = ()
    has_place: bool = False


def join_embedded(photos: Sequence[Embedded]) -> Embedded:
    """Join what several photos say, each keyword once."""
    keywords: dict[ListName, tuple[str, ...]] = {
        name: tuple(dict.fromkeys(keyword for photo in photos for keyword in photo.keywords.get(name, ())))
        for name in LISTS
    }
    flat = tuple(dict.fromkeys(keyword for photo in photos for keyword in photo.flat))
    return Embedded(keywords, flat, any(photo.has_place for photo in photos))


def build_keywords(name: str) -> dict[ListName, str]:
    """Return the keyword of a landmark in each list.

    >>> build_keywords("Eiffel Tower")["tags"]
    'Places/Landmarks/Eiffel Tower'
    """
    whole = (*_PARENTS, name.translate(_HARMLESS))
    return {"subject": name, "tags": _SLASH.join(whole), "hierarchy": _BAR.join(whole)}


def begin_list(name: ListName, others: Keywords, flat: Iterable[str] = ()) -> list[str]:
    """Return what a list has to begin with, so that a program that reads it alone still finds every keyword.

    Programs read the first list that is there and ignore the others (Immich issue 28015), so a new list that held our
    keyword alone would hide the keywords of all others.

    Args:
        name: of the list that is begun.
        others: the keywords that stand in the lists now.
        flat: further keywords without a hierarchy, as IPTC has them.
    """
    found: dict[str, None] = {}
    for other in _TREES:
        for keyword in others.get(other, ()):
            found.setdefault(_CONVERSIONS[other, name](keyword))
    # a keyword without a hierarchy is usually a part of one that has it, and is then there already
    parts = {part for keyword in found for part in keyword.split(_TREES[name])} if name in _TREES else set[str]()
    for keyword in (*others.get("subject", ()), *flat):
        if keyword not in parts:
            found.setdefault(keyword)
    return [*found]


def _swap(keyword: str) -> str:
    # as Immich does; what parts names in one list is a plain character in the other
    return keyword.translate(str.maketrans(f"{_SLASH}{_BAR}", f"{_BAR}{_SLASH}"))


def _keep(keyword: str) -> str:
    return keyword


_CONVERSIONS: dict[tuple[ListName, ListName], Callable[[str], str]] = {
    **{(name, name): _keep for name in LISTS},
    ("tags", "hierarchy"): _swap,
    ("hierarchy", "tags"): _swap,
    ("tags", "subject"): lambda keyword: keyword.rpartition(_SLASH)[2] or keyword,
    ("hierarchy", "subject"): lambda keyword: keyword.rpartition(_BAR)[2] or keyword,
}
