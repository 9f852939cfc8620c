"""XMP: parse it strictly, read keywords and our records from it, add them, and take them out again.

What others wrote keeps its value, order, qualifiers and comments. Only the lists of keywords that we add to, and what
stands in our own namespace, ever change.

References:
    ISO 16684-1:2019 (XMP): sections 6.3 (forms of values) and 7 (their serialization in RDF).
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from lxml import etree

from landmarks import __version__
from landmarks.albums.keywords import LISTS, Embedded, Keywords, ListName, begin_list
from landmarks.errors import DataError

MAX_SIDECAR_BYTES = 16 << 20  # edits of a photo can take a megabyte; far above any that programs write
OWN = "urn:landmarks:album:1.0/"
_X = "adobe:ns:meta/"
_RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
_XML = "http://www.w3.org/XML/1998/namespace"
_EXIF = "http://ns.adobe.com/exif/1.0/"
_PREFIXES = {
    "rdf": _RDF,
    "dc": "http://purl.org/dc/elements/1.1/",
    "digiKam": "http://www.digikam.org/ns/1.0/",
    "lr": "http://ns.adobe.com/lightroom/1.0/",
    "exif": _EXIF,
    "landmarks": OWN,
}
_PROPERTIES: dict[ListName, str] = {
    "subject": f"{{{_PREFIXES['dc']}}}subject",
    "tags": f"{{{_PREFIXES['digiKam']}}}TagsList",
    "hierarchy": f"{{{_PREFIXES['lr']}}}hierarchicalSubject",
}
_CONTAINERS: dict[ListName, str] = {"subject": "Bag", "tags": "Seq", "hierarchy": "Bag"}
_RECORDS, _BEGUN, _LISTS = f"{{{OWN}}}Recognitions", f"{{{OWN}}}Begun", f"{{{OWN}}}BegunLists"
_LATITUDE, _LONGITUDE = f"{{{_EXIF}}}GPSLatitude", f"{{{_EXIF}}}GPSLongitude"
_METHOD = f"{{{_EXIF}}}GPSProcessingMethod"
ESTIMATED = "estimated from the landmark that was recognized"
_ANGLE = re.compile(r"(?P<degrees>\d{1,3}),(?P<minutes>\d{1,2}(\.\d{1,20})?)(?P<side>[NSEW])", re.ASCII)
_MINUTES = 1e-4  # less than a difference that somebody makes
_ABOUT = {f"{{{_RDF}}}about": None, "about": None}.keys()  # in order; old programs leave the prefix out
_INDENT = " "

Element: TypeAlias = Any  # lxml comes without types


class SidecarError(DataError):
    """A sidecar is not XMP that can be read within the limits; it is left as it is."""


@dataclass(frozen=True)
class Place:
    """Where a landmark stands, in degrees; north and east are positive."""

    latitude: float
    longitude: float


@dataclass(frozen=True)
class Record:
    """What one photo was recognized as; a sidecar keeps one for each landmark of each of its photos.

    Attributes:
        file: name of the photo, without its folder, as `write_file_name` returns it.
        landmark_id: of the data set.
        name: of the landmark, as written into the keywords.
        confidence: estimated probability that the name is right.
        model: name of the model.
        version: its version, or the fingerprint of its directory.
        time: when it was recognized, ISO 8601.
        keywords: that this sidecar has because of this record, by list.
        place: written as the photo's own; None if not.
    """

    file: str
    landmark_id: int
    name: str
    confidence: float
    model: str
    version: str
    time: str
    keywords: Mapping[ListName, str] = field(default_factory=dict)
    place: Place | None = None


_BOXES = tuple(f"{{{_RDF}}}{kind}" for kind in ("Bag", "Seq", "Alt"))
_KEYWORD_FIELDS: dict[ListName, str] = {"subject": "Subject", "tags": "TagsList", "hierarchy": "HierarchicalSubject"}


class Sidecar:
    """An XMP packet."""

    def __init__(self, tree: Element, has_declaration: bool) -> None:
        self._tree = tree
        self._has_declaration = has_declaration
        root = tree.getroot()
        rdf = root if root.tag == f"{{{_RDF}}}RDF" else next(root.iterchildren(f"{{{_RDF}}}RDF"), None)
        if rdf is None:
            raise SidecarError("it is XML, but has no rdf:RDF")
        self._rdf: Element = rdf

    @classmethod
    def parse(cls, data: bytes) -> "Sidecar":
        """Parse a packet.

        Raises:
            SidecarError: it is too large, is not well-formed, has a document type, or is not XMP.
        """
        if len(data) > MAX_SIDECAR_BYTES:
            raise SidecarError(f"it has {len(data):,} bytes, more than the {MAX_SIDECAR_BYTES:,} allowed")
        # zero bytes and spaces around a packet are padding, but stop the parser
        parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, huge_tree=False)
        try:
            root = etree.fromstring(data if data[:2] in _UTF16 else data.strip(b"\0 \r\n\t"), parser)
        except (etree.XMLSyntaxError, ValueError) as error:
            reason = error.msg if isinstance(error, etree.XMLSyntaxError) else str(error)
            raise SidecarError(f"it is not well-formed XML ({reason[:120]})") from error
        tree = root.getroottree()
        if tree.docinfo.internalDTD is not None or tree.docinfo.doctype:
            raise SidecarError("it has a document type, which XMP does not have")
        return cls(tree, _DECLARATION in data[:64].replace(b"\0", b""))

    @classmethod
    def make(cls) -> "Sidecar":
        """Make an empty packet."""
        return cls.parse(
            f'<?xpacket begin="\N{ZERO WIDTH NO-BREAK SPACE}" id="W5M0MpCehiHzreSzNTczkc9d"?>\n'
            f'<x:xmpmeta xmlns:x="{_X}" x:xmptk="landmarks {__version__}">\n'
            f'{_INDENT}<rdf:RDF xmlns:rdf="{_RDF}">\n{_INDENT}</rdf:RDF>\n'
            '</x:xmpmeta>\n<?xpacket end="w"?>\n'.encode()
        )

    def serialize(self) -> bytes:
        """Return the packet as UTF-8."""
        text = etree.tostring(self._tree, encoding="UTF-8", xml_declaration=self._has_declaration)
        return bytes(text).rstrip(b"\n") + b"\n"

    def read_keywords(self) -> dict[ListName, tuple[str, ...]]:
        """Return the lists that are there, with their keywords."""
        found: dict[ListName, tuple[str, ...]] = {}
        for name in LISTS:
            values = [value for place in self._find(_PROPERTIES[name]) for value in place.read_values()]
            if values:
                found[name] = tuple(dict.fromkeys(values))
        return found

    def has_place(self) -> bool:
        """Return whether the photo's place is given, or how it was found."""
        return any(True for tag in (_LATITUDE, _LONGITUDE, _METHOD) for _ in self._find(tag))

    def read_records(self) -> list[Record]:
        """Return our records; those that somebody changed into something else are left out."""
        return [record for values in self._read_record_values() if (record := _parse_record(values)) is not None]

    def has_own(self) -> bool:
        """Return whether anything of ours is there."""
        return any(tag.startswith(f"{{{OWN}}}") for node in self._descriptions() for tag, _ in _list_properties(node))

    def is_ours(self) -> bool:
        """Return whether we began it."""
        return any(True for _ in self._find(_BEGUN))

    def is_empty(self) -> bool:
        """Return whether nobody says anything in it."""
        return all(_is_bare(node) for node in self._rdf)

    def add(self, records: Sequence[Record], embedded: Embedded, is_new: bool = False) -> None:
        """Add records, with their keywords and places.

        Args:
            records: in the order in which they are to stand; their `keywords` are those wanted, in every list.
            embedded: what the photos themselves say, which this sidecar may hide from programs.
            is_new: whether the sidecar is begun with them.
        """
        own = self.read_keywords()
        shown = _show(own, embedded)
        begun = _Begun(self._rdf)
        added: dict[ListName, set[str]] = {}
        for name in LISTS:
            wanted = [record.keywords[name] for record in records if name in record.keywords]
            before = own[name] if name in own else begin_list(name, shown, embedded.flat)
            missing = [keyword for keyword in dict.fromkeys(wanted) if keyword not in before]
            added[name] = {*missing}
            # an empty list is begun where it stands
            there, new = next(self._find(_PROPERTIES[name]), None), missing if name in own else [*before, *missing]
            if there is not None:
                there.append(name, new)
            elif wanted:
                begun.add_list(_PROPERTIES[name], _CONTAINERS[name], new)
        place = next((record.place for record in records if record.place), None)
        if embedded.has_place or self.has_place():
            place = None
        if place:
            for tag, value in _format_place(place).items():
                begun.add_text(tag, value)
        if is_new:
            begun.add_text(_BEGUN, "True")
        if lists := [_KEYWORD_FIELDS[name] for name in LISTS if name not in own]:
            begun.add_text(_LISTS, " ".join(lists))
        begun.add_structs(_RECORDS, [_format_record(record, added, place) for record in records])
        begun.attach(self._find_about())

    def remove(self, embedded: Embedded) -> None:
        """Take out our records, the keywords that stand there because of them, the lists that we began, and the places.

        Args:
            embedded: what the photos themselves say.
        """
        bare = [node for node in self._descriptions() if _is_bare(node)]
        values, lists = self._read_record_values(), _read_text(self._find(_LISTS)).split()
        for name, key in _KEYWORD_FIELDS.items():
            ours = {record[key] for record in values if record.get(key)}
            for place in [*self._find(_PROPERTIES[name])] if ours else ():
                place.discard(ours)
        self._remove_lists([name for name in LISTS if _KEYWORD_FIELDS[name] in lists], embedded)
        for record in values:
            if written := _parse_place(record):
                self._remove_place(_format_place(written))
        for node in [*self._descriptions()]:
            own = {tag for tag, _ in _list_properties(node) if tag.startswith(f"{{{OWN}}}")}
            for place in [place for tag in own for place in _find_property(node, tag)]:
                place.delete()
            if _is_bare(node) and node not in bare:
                _remove_node(node)
            elif OWN in node.nsmap.values():
                _forget_prefix(node)

    def _remove_lists(self, begun: Sequence[ListName], embedded: Embedded) -> None:
        """Remove lists that we began, unless somebody changed them into more than a copy."""
        found = self.read_keywords()
        own = {name: keywords for name, keywords in found.items() if name not in begun}
        shown = _show(own, embedded)
        for name in begun:
            keywords = found.get(name, ())
            is_copy = {*keywords} <= {*begin_list(name, own)} or [*keywords] == begin_list(name, shown, embedded.flat)
            for place in [*self._find(_PROPERTIES[name])] if keywords and is_copy else ():
                place.delete()

    def _remove_place(self, written: Mapping[str, str]) -> None:
        """Remove the place that we wrote, unless somebody changed it."""
        if all(_is_same(_read_text(self._find(tag)), text) for tag, text in written.items()):
            for place in [place for tag in written for place in self._find(tag)]:
                place.delete()

    def _descriptions(self) -> Iterator[Element]:
        yield from self._rdf.iterchildren(f"{{{_RDF}}}Description")

    def _find(self, tag: str) -> Iterator["_Property"]:
        for node in self._descriptions():
            yield from _find_property(node, tag)

    def _find_about(self) -> str:
        abouts = (node.get(key) for node in self._descriptions() for key in _ABOUT)
        return next((about for about in abouts if about is not None), "")

    def _read_record_values(self) -> list[dict[str, str]]:
        return [
            {tag.removeprefix(f"{{{OWN}}}"): text for tag, text in _read_struct(item).items()}
            for place in self._find(_RECORDS)
            for item in place.list_items()
        ]


_DECLARATION = b"<?xml "
_UTF16 = (b"\xff\xfe", b"\xfe\xff", b"<\0", b"\0<")  # a byte-order mark, or the first character


@dataclass(frozen=True)
class _Property:
    """A property where it stands: an element below a description, or an attribute of it."""

    node: Element  # the description
    tag: str
    element: Element | None  # None for an attribute

    def _find_boxes(self) -> list[Element]:
        """Return its lists; with qualifiers, the list stands in an rdf:value."""
        if self.element is None:
            return []
        value = _find_value(self.element)
        return [*(self.element if value is None else value).iterchildren(*_BOXES)]

    def list_items(self) -> list[Element]:
        """Return the rdf:li elements of its list."""
        return [item for box in self._find_boxes() for item in box.iterchildren(f"{{{_RDF}}}li")]

    def read_values(self) -> list[str]:
        """Return the texts of its list, or its only text as a list of one; what is empty is left out."""
        if self.element is None:
            values = [str(self.node.get(self.tag, ""))]
        else:
            values = [_read_item(item) for item in (self.list_items() if self._find_boxes() else [self.element])]
        return [value for value in values if value]

    def append(self, name: ListName, keywords: Sequence[str]) -> None:
        """Add keywords at the end of its list; a single text becomes the first of a list."""
        if not keywords:
            return
        box = next(iter(self._find_boxes()), None)
        if box is None:
            box = self._begin_box(f"{{{_RDF}}}{_CONTAINERS[name]}")
        for keyword in keywords:
            _append_node(box, f"{{{_RDF}}}li").text = keyword

    def _begin_box(self, tag: str) -> Element:
        """Make it a list, with what it says now as the first item."""
        if self.element is None:
            value = self.node.attrib.pop(self.tag)
            box = _append_node(_append_node(self.node, self.tag), tag)
            if value:
                _append_node(box, f"{{{_RDF}}}li").text = value
            return box
        box = etree.Element(tag)
        if self.element.attrib or len(self.element) or self.read_values():
            # with its qualifiers
            item = etree.SubElement(box, f"{{{_RDF}}}li", dict(self.element.attrib))
            item.text = self.element.text
            item.extend([*self.element])
            self.element.attrib.clear()
        self.element.text = None
        self.element.append(box)
        return box

    def discard(self, keywords: set[str]) -> None:
        """Take keywords out; a list that is empty then goes too."""
        if not (boxes := self._find_boxes()):
            if set(self.read_values()) & keywords:
                self.delete()
            return
        found = [item for item in self.list_items() if _read_item(item) in keywords]
        for item in found:
            _remove_node(item)
        if found and not any(len(box) for box in boxes):
            self.delete()

    def delete(self) -> None:
        """Remove it."""
        if self.element is None:
            del self.node.attrib[self.tag]
        else:
            _remove_node(self.element)


class _Begun:
    """The description that we begin; it joins the packet if it has got something."""

    def __init__(self, rdf: Element) -> None:
        self._rdf = rdf
        self._content: list[Element] = []

    def add_text(self, tag: str, text: str) -> None:
        element = etree.Element(tag)
        element.text = text
        self._content.append(element)

    def add_list(self, tag: str, kind: str, texts: Sequence[str]) -> None:
        element = etree.Element(tag)
        box = etree.SubElement(element, f"{{{_RDF}}}{kind}")
        for text in texts:
            etree.SubElement(box, f"{{{_RDF}}}li").text = text
        self._content.append(element)

    def add_structs(self, tag: str, structs: Sequence[Mapping[str, str]]) -> None:
        if not structs:
            return
        element = etree.Element(tag)
        box = etree.SubElement(element, f"{{{_RDF}}}Seq")
        for struct in structs:
            item = etree.SubElement(box, f"{{{_RDF}}}li", {f"{{{_RDF}}}parseType": "Resource"})
            for key, text in struct.items():
                etree.SubElement(item, f"{{{OWN}}}{key}").text = text
        self._content.append(element)

    def attach(self, about: str) -> None:
        if not self._content:
            return
        used = {etree.QName(node).namespace for element in self._content for node in element.iter()}
        prefixes = {prefix: uri for prefix, uri in _PREFIXES.items() if uri in used and uri != _RDF}
        node = etree.Element(f"{{{_RDF}}}Description", nsmap=prefixes)
        # the attribute takes the prefix that the packet has for RDF
        node.set(f"{{{_RDF}}}about", about)
        node.extend(self._content)
        depth = len([*self._rdf.iterancestors()]) + 1
        etree.indent(node, _INDENT, level=depth)
        if not len(self._rdf):
            self._rdf.text = f"{(self._rdf.text or '').rstrip()}\n{_INDENT * depth}"
        else:
            self._rdf[-1].tail = f"{(self._rdf[-1].tail or '').rstrip()}\n{_INDENT * depth}"
        node.tail = f"\n{_INDENT * (depth - 1)}"
        self._rdf.append(node)
        etree.cleanup_namespaces(node)


def _list_properties(node: Element) -> Iterator[tuple[str, str | None]]:
    """Yield the properties of a description: their names, and the texts of those that are attributes."""
    for tag, text in node.attrib.items():
        name = str(tag)
        if name.startswith("{") and not name.startswith((f"{{{_RDF}}}", f"{{{_XML}}}")):
            yield name, str(text)
    for child in node.iterchildren(tag=etree.Element):
        yield str(child.tag), None


def _find_property(node: Element, tag: str) -> Iterator[_Property]:
    if tag in node.attrib:
        yield _Property(node, tag, None)
    for element in node.iterchildren(tag):
        yield _Property(node, tag, element)


def _is_bare(node: Element) -> bool:
    """Return whether a node is a description that says nothing."""
    is_description = node.tag == f"{{{_RDF}}}Description"
    return is_description and not len(node) and {*node.attrib} <= _ABOUT and not (node.text or "").strip()


def _forget_prefix(node: Element) -> None:
    """Take our namespace out of a description that has nothing of ours any more."""
    prefixes = {(prefix, uri) for part in node.iter(etree.Element) for prefix, uri in part.nsmap.items()}
    etree.cleanup_namespaces(node, keep_ns_prefixes=[prefix for prefix, uri in prefixes if prefix and uri != OWN])


def _show(own: Keywords, embedded: Embedded) -> dict[ListName, tuple[str, ...]]:
    """Return the lists that programs show: those of the sidecar, and those of the photos that it does not have."""
    return {name: own.get(name) or embedded.keywords.get(name, ()) for name in LISTS}


def _find_value(node: Element) -> Element | None:
    """Return the rdf:value of a node that has qualifiers."""
    described = next(node.iterchildren(f"{{{_RDF}}}Description"), node)
    return next(described.iterchildren(f"{{{_RDF}}}value"), None)


def _read_item(item: Element) -> str:
    """Return the text of an item of a list, or the address that stands for one; with qualifiers, of its rdf:value."""
    value = _find_value(item)
    if value is None:
        described = next(item.iterchildren(f"{{{_RDF}}}Description"), item)
        if text := described.get(f"{{{_RDF}}}value", item.get(f"{{{_RDF}}}resource")):
            return str(text).strip()
    # comments may stand between texts
    return "".join((item if value is None else value).xpath("text()")).strip()


def _read_struct(item: Element) -> dict[str, str]:
    """Return the fields of a structure that have a text, in any of the forms that RDF has for it."""
    node = next(item.iterchildren(f"{{{_RDF}}}Description"), item)
    fields = {tag: text for tag, text in _list_properties(node) if text is not None}
    return fields | {
        str(child.tag): (child.text or "").strip() for child in node.iterchildren(tag=etree.Element) if not len(child)
    }


def _read_text(places: Iterator[_Property]) -> str:
    return next((value for place in places for value in place.read_values()), "")


def _append_node(parent: Element, tag: str) -> Element:
    """Append a child, on a line of its own where its siblings stand so."""
    node = etree.SubElement(parent, tag)
    if len(parent) > 1:
        before = parent[-2]
        gap = parent.text if not (parent.text or "").strip() else None
        if not (before.tail or "").strip():
            node.tail, before.tail = before.tail, gap
    return node


def _remove_node(node: Element) -> None:
    """Remove a node with the white space before it; other text around it stays."""
    parent, before = node.getparent(), node.getprevious()
    assert parent is not None
    tail = node.tail or ""
    gap = (parent.text if before is None else before.tail) or ""
    kept = tail if not gap.strip() else gap + tail
    if before is None:
        parent.text = kept
    else:
        before.tail = kept
    node.tail = None
    parent.remove(node)


def _format_record(record: Record, added: Mapping[ListName, set[str]], place: Place | None) -> dict[str, str]:
    fields = {
        "File": record.file,
        "LandmarkId": str(record.landmark_id),
        "Name": record.name,
        "Confidence": f"{record.confidence:.4f}",
        "Model": record.model,
        "Version": record.version,
        "Time": record.time,
    }
    for name, keyword in record.keywords.items():
        if keyword in added[name]:
            fields[_KEYWORD_FIELDS[name]] = keyword
    if place and record.place == place:
        fields |= {"Latitude": repr(place.latitude), "Longitude": repr(place.longitude)}
    return fields


def _parse_record(values: Mapping[str, str]) -> Record | None:
    try:
        return Record(
            values["File"],
            int(values["LandmarkId"]),
            values["Name"],
            float(values["Confidence"]),
            values["Model"],
            values["Version"],
            values["Time"],
            {name: values[key] for name, key in _KEYWORD_FIELDS.items() if key in values},
            _parse_place(values),
        )
    except (KeyError, ValueError):
        return None


def _parse_place(values: Mapping[str, str]) -> Place | None:
    try:
        return Place(float(values["Latitude"]), float(values["Longitude"]))
    except (KeyError, ValueError):
        return None


def _format_place(place: Place) -> dict[str, str]:
    """Write a place as XMP does: degrees, and minutes with decimals."""

    def format_angle(angle: float, positive: str, negative: str) -> str:
        degrees, minutes = divmod(round(abs(angle) * 60, 4), 60)
        return f"{degrees:.0f},{minutes:.4f}{positive if angle >= 0 else negative}"

    return {
        _LATITUDE: format_angle(place.latitude, "N", "S"),
        _LONGITUDE: format_angle(place.longitude, "E", "W"),
        _METHOD: ESTIMATED,
    }


def _is_same(text: str, written: str) -> bool:
    """Return whether a text is the one that we wrote, or the same angle: other programs write it with more digits."""
    one, other = _ANGLE.fullmatch(text), _ANGLE.fullmatch(written)
    if not one or not other:
        return text == written
    minutes = [int(angle["degrees"]) * 60 + float(angle["minutes"]) for angle in (one, other)]
    return one["side"] == other["side"] and abs(minutes[0] - minutes[1]) < _MINUTES
