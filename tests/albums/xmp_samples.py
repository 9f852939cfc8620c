"""Sidecars in the style of several photo programs, in all forms that XMP allows, and damaged ones made of them."""

import re
from collections.abc import Iterator, Sequence

import numpy as np

RDF = "http://www.w3.org/1999/02/22-rdf-syntax-ns#"
DC = "http://purl.org/dc/elements/1.1/"
DIGIKAM = "http://www.digikam.org/ns/1.0/"
LIGHTROOM = "http://ns.adobe.com/lightroom/1.0/"
EXIF = "http://ns.adobe.com/exif/1.0/"
XMP = "http://ns.adobe.com/xap/1.0/"

_NAMES = f'xmlns:dc="{DC}" xmlns:digiKam="{DIGIKAM}" xmlns:lr="{LIGHTROOM}" xmlns:xmp="{XMP}"'


def wrap(properties: str, attributes: str = "", about: str = "") -> str:
    """A packet with one description, without xpacket."""
    return (
        f'<x:xmpmeta xmlns:x="adobe:ns:meta/"><rdf:RDF xmlns:rdf="{RDF}">'
        f'<rdf:Description rdf:about="{about}" {_NAMES} {attributes}>{properties}</rdf:Description>'
        "</rdf:RDF></x:xmpmeta>"
    )


_DIGIKAM = f"""<?xpacket begin="\N{ZERO WIDTH NO-BREAK SPACE}" id="W5M0MpCehiHzreSzNTczkc9d"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="XMP Core 4.4.0-Exiv2">
 <rdf:RDF xmlns:rdf="{RDF}">
  <rdf:Description rdf:about=""
    xmlns:digiKam="{DIGIKAM}"
    xmlns:MicrosoftPhoto="http://ns.microsoft.com/photo/1.0/"
    xmlns:lr="{LIGHTROOM}"
    xmlns:dc="{DC}"
    xmlns:xmp="{XMP}"
   digiKam:PickLabel="0"
   xmp:Rating="4"
   MicrosoftPhoto:Rating="75">
   <digiKam:TagsList>
    <rdf:Seq>
     <rdf:li>Travel/Italy/Como</rdf:li>
     <rdf:li>People/Zoë</rdf:li>
    </rdf:Seq>
   </digiKam:TagsList>
   <MicrosoftPhoto:LastKeywordXMP>
    <rdf:Bag>
     <rdf:li>Travel/Italy/Como</rdf:li>
     <rdf:li>People/Zoë</rdf:li>
    </rdf:Bag>
   </MicrosoftPhoto:LastKeywordXMP>
   <lr:hierarchicalSubject>
    <rdf:Bag>
     <rdf:li>Travel|Italy|Como</rdf:li>
     <rdf:li>People|Zoë</rdf:li>
    </rdf:Bag>
   </lr:hierarchicalSubject>
   <dc:subject>
    <rdf:Bag>
     <rdf:li>Como</rdf:li>
     <rdf:li>Zoë</rdf:li>
    </rdf:Bag>
   </dc:subject>
   <dc:description>
    <rdf:Alt>
     <rdf:li xml:lang="x-default">By the lake</rdf:li>
     <rdf:li xml:lang="it">Sulla riva &amp; oltre</rdf:li>
     <rdf:li xml:lang="de-AT">Am See &lt;3</rdf:li>
    </rdf:Alt>
   </dc:description>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
<?xpacket end="w"?>"""

_LIGHTROOM = f"""<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="Adobe XMP Core 7.0-c000">
 <rdf:RDF xmlns:rdf="{RDF}">
  <rdf:Description rdf:about=""
    xmlns:xmp="{XMP}"
    xmlns:xmpMM="http://ns.adobe.com/xap/1.0/mm/"
    xmlns:stEvt="http://ns.adobe.com/xap/1.0/sType/ResourceEvent#"
    xmlns:dc="{DC}"
    xmlns:lr="{LIGHTROOM}"
    xmlns:crs="http://ns.adobe.com/camera-raw-settings/1.0/"
   xmp:CreatorTool="Some Room 13.1"
   xmp:Rating="3"
   xmpMM:DocumentID="xmp.did:0b0a-77"
   crs:Exposure2012="+0.35"
   crs:HasSettings="True">
   <xmpMM:History>
    <rdf:Seq>
     <rdf:li
      stEvt:action="derived"
      stEvt:parameters="converted from raw"/>
     <rdf:li
      stEvt:action="saved"
      stEvt:changed="/metadata"/>
    </rdf:Seq>
   </xmpMM:History>
   <dc:subject>
    <rdf:Bag>
     <rdf:li>harbour</rdf:li>
     <rdf:li>Norway</rdf:li>
     <rdf:li>night</rdf:li>
    </rdf:Bag>
   </dc:subject>
   <lr:hierarchicalSubject>
    <rdf:Bag>
     <rdf:li>Places|Norway|harbour</rdf:li>
     <rdf:li>Music|AC/DC</rdf:li>
    </rdf:Bag>
   </lr:hierarchicalSubject>
   <crs:ToneCurvePV2012>
    <rdf:Seq>
     <rdf:li>0, 0</rdf:li>
     <rdf:li>255, 255</rdf:li>
    </rdf:Seq>
   </crs:ToneCurvePV2012>
   <crs:Look>
    <rdf:Description
     crs:Name="Quiet">
    <crs:Parameters>
     <rdf:Description crs:Version="15.0">
      <crs:Points><rdf:Seq><rdf:li>1</rdf:li></rdf:Seq></crs:Points>
     </rdf:Description>
    </crs:Parameters>
    </rdf:Description>
   </crs:Look>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
"""

_DARKTABLE = f"""<?xml version="1.0" encoding="UTF-8"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="XMP Core 4.4.0-Exiv2">
 <rdf:RDF xmlns:rdf="{RDF}">
  <rdf:Description rdf:about=""
    xmlns:xmpMM="http://ns.adobe.com/xap/1.0/mm/"
    xmlns:darktable="http://darktable.sf.net/"
    xmlns:dc="{DC}"
    xmlns:lr="{LIGHTROOM}"
   xmpMM:DerivedFrom="DSC_0042.NEF"
   darktable:import_timestamp="63810000000000001"
   darktable:xmp_version="5"
   darktable:raw_params="0"
   darktable:history_end="2">
   <darktable:masks_history>
    <rdf:Seq/>
   </darktable:masks_history>
   <darktable:history>
    <rdf:Seq>
     <rdf:li
      darktable:num="0"
      darktable:operation="rawprepare"
      darktable:enabled="1"
      darktable:params="00000000aBcD+/=="
      darktable:multi_name=""/>
     <rdf:li
      darktable:num="1"
      darktable:operation="exposure"
      darktable:enabled="0"
      darktable:params="gz09eJxjYGDwYwAC"
      darktable:multi_name="a second &quot;one&quot;"/>
    </rdf:Seq>
   </darktable:history>
   <dc:creator>
    <rdf:Seq>
     <rdf:li>M. Müller</rdf:li>
    </rdf:Seq>
   </dc:creator>
   <dc:subject>
    <rdf:Seq>
     <rdf:li>darktable|format|nef</rdf:li>
     <rdf:li>mountain</rdf:li>
    </rdf:Seq>
   </dc:subject>
   <lr:hierarchicalSubject>
    <rdf:Seq>
     <rdf:li>darktable|format|nef</rdf:li>
     <rdf:li>nature|mountain</rdf:li>
    </rdf:Seq>
   </lr:hierarchicalSubject>
  </rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
"""

_EXIFTOOL = f"""<?xpacket begin='\N{ZERO WIDTH NO-BREAK SPACE}' id='W5M0MpCehiHzreSzNTczkc9d'?>
<x:xmpmeta xmlns:x='adobe:ns:meta/' x:xmptk='Image::ExifTool 12.57'>
<rdf:RDF xmlns:rdf='{RDF}'>

 <rdf:Description rdf:about=''
  xmlns:dc='{DC}'>
  <dc:description>
   <rdf:Alt>
    <rdf:li xml:lang='x-default'>two
lines	and a tab</rdf:li>
   </rdf:Alt>
  </dc:description>
 </rdf:Description>

 <rdf:Description rdf:about=''
  xmlns:digiKam='{DIGIKAM}'>
  <digiKam:TagsList>
   <rdf:Seq>
    <rdf:li>family/grandma</rdf:li>
   </rdf:Seq>
  </digiKam:TagsList>
 </rdf:Description>

 <rdf:Description rdf:about=''
  xmlns:exif='{EXIF}'>
  <exif:DateTimeOriginal>2019-03-02T11:22:33.000+01:00</exif:DateTimeOriginal>
 </rdf:Description>

 <rdf:Description rdf:about=''
  xmlns:xmp='{XMP}'>
  <xmp:Rating>5</xmp:Rating>
 </rdf:Description>
</rdf:RDF>
</x:xmpmeta>
<?xpacket end='w'?>"""

_PHOTOPRISM = f"""<?xml version="1.0" encoding="UTF-8"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="XMP Core 6.0.0">
   <rdf:RDF xmlns:rdf="{RDF}">
      <rdf:Description rdf:about=""
            xmlns:dc="{DC}"
            xmlns:photoshop="http://ns.adobe.com/photoshop/1.0/"
            xmlns:Iptc4xmpCore="http://iptc.org/std/Iptc4xmpCore/1.0/xmlns/">
         <dc:title><rdf:Alt><rdf:li xml:lang="x-default">Botanischer Garten</rdf:li></rdf:Alt></dc:title>
         <dc:subject>
            <rdf:Seq>
               <rdf:li>green</rdf:li>
               <rdf:li>botanical</rdf:li>
            </rdf:Seq>
         </dc:subject>
         <photoshop:City>Berlin</photoshop:City>
         <Iptc4xmpCore:CreatorContactInfo rdf:parseType="Resource">
            <Iptc4xmpCore:CiEmailWork>someone@example.org</Iptc4xmpCore:CiEmailWork>
            <Iptc4xmpCore:CiUrlWork>https://example.org/?a=1&amp;b=2</Iptc4xmpCore:CiUrlWork>
         </Iptc4xmpCore:CreatorContactInfo>
      </rdf:Description>
   </rdf:RDF>
</x:xmpmeta>
"""

_QUALIFIERS = f"""<!-- before the packet --><?editor keep="this"?>
<x:xmpmeta xmlns:x="adobe:ns:meta/" x:xmptk="by hand"><!-- in the packet -->
 <rdf:RDF xmlns:rdf="{RDF}"><!-- in the graph -->
  <rdf:Description rdf:about="uuid:1f4c" xmlns:dc="{DC}" xmlns:q="http://example.org/q/" xmlns:xmp="{XMP}">
   <!-- above the keywords -->
   <dc:subject>
    <rdf:Bag>
     <!-- the first -->
     <rdf:li xml:lang="fr">église</rdf:li>
     <rdf:li rdf:parseType="Resource"><rdf:value>tower</rdf:value><q:certainty>high</q:certainty></rdf:li>
     <rdf:li><rdf:Description><rdf:value>bridge</rdf:value><q:certainty>low</q:certainty></rdf:Description></rdf:li>
     <rdf:li><rdf:Description rdf:value="square" q:certainty="none"/></rdf:li>
     <?remark after the items?>
    </rdf:Bag>
   </dc:subject>
   <dc:source rdf:parseType="Resource"><rdf:value>a book</rdf:value><q:page>12</q:page></dc:source>
   <dc:relation rdf:resource="https://example.org/other"/>
   <xmp:Identifier><rdf:Bag><rdf:li>id-1</rdf:li><rdf:li>id-1</rdf:li></rdf:Bag></xmp:Identifier>
   <?remark between properties?>
  </rdf:Description>
  <!-- between the descriptions -->
  <rdf:Description rdf:about="uuid:1f4c" xmlns:q="http://example.org/q/" q:plain="  kept  spaces  "/>
 </rdf:RDF>
</x:xmpmeta>
<!-- after the packet -->"""

_PREFIXES = f"""<m xmlns="adobe:ns:meta/">
<r:RDF xmlns:r="{RDF}">
<r:Description xmlns:a="{DC}" xmlns:b="{DIGIKAM}" xmlns:c="{LIGHTROOM}" xmlns:landmarks="http://example.org/theirs/"
  r:about="" landmarks:note="not ours" xmlns:exif="http://example.org/no-exif/" exif:GPSLatitude="none">
<a:subject><r:Bag><r:li>quay</r:li></r:Bag></a:subject>
<b:TagsList><r:Seq><r:li>water/quay</r:li></r:Seq></b:TagsList>
</r:Description>
</r:RDF>
</m>
"""

_DEFAULT_RDF = f"""<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <RDF xmlns="{RDF}" xmlns:r="{RDF}">
  <Description r:about=""><subject xmlns="{DC}"><Bag xmlns="{RDF}"><li>canal</li></Bag></subject></Description>
 </RDF>
</x:xmpmeta>
"""

_DEFAULT_RDF_ALONE = f'<RDF xmlns="{RDF}"><Description xmlns:p="{XMP}"><p:Label>Red</p:Label></Description></RDF>'

_BARE_RDF = f"""<rdf:RDF xmlns:rdf="{RDF}" xmlns:dc="{DC}">
  <rdf:Description about="photo"><dc:format>image/x-raw</dc:format></rdf:Description>
</rdf:RDF>"""

_SEVERAL = f"""<x:xmpmeta xmlns:x="adobe:ns:meta/">
 <rdf:RDF xmlns:rdf="{RDF}">
  <rdf:Description rdf:about="" xmlns:dc="{DC}" dc:format="image/jpeg"/>
  <rdf:Description rdf:about=""/>
  <rdf:Description rdf:about="" xmlns:lr="{LIGHTROOM}"><lr:hierarchicalSubject><rdf:Bag><rdf:li>a|b</rdf:li></rdf:Bag>
  </lr:hierarchicalSubject></rdf:Description>
 </rdf:RDF>
</x:xmpmeta>
"""


def _list(tag: str, items: str, box: str = "Bag") -> str:
    return f"<{tag}><rdf:{box}>{items}</rdf:{box}></{tag}>"


_PLAIN = "<xmp:Label>Green</xmp:Label>"
_QUALIFIER = 'xmlns:q="http://example.org/q/"'

SAMPLES: dict[str, bytes] = {
    "digikam": _DIGIKAM.encode(),
    "lightroom": _LIGHTROOM.encode(),
    "darktable": _DARKTABLE.encode(),
    "exiftool": _EXIFTOOL.encode(),
    "photoprism": _PHOTOPRISM.encode(),
    "qualifiers": _QUALIFIERS.encode(),
    "prefixes": _PREFIXES.encode(),
    "default-rdf": _DEFAULT_RDF.encode(),
    "default-rdf-alone": _DEFAULT_RDF_ALONE.encode(),
    "bare-rdf": _BARE_RDF.encode(),
    "several": _SEVERAL.encode(),
    "mark": b"\xef\xbb\xbf" + _DIGIKAM.encode(),
    "utf-16-le": b"\xff\xfe" + _LIGHTROOM.encode("utf-16-le"),
    "utf-16-be": b"\xfe\xff" + _QUALIFIERS.encode("utf-16-be"),
    "utf-16-declared": _DARKTABLE.replace("UTF-8", "UTF-16").encode("utf-16"),
    "utf-16-without-mark": _DARKTABLE.replace("UTF-8", "UTF-16").encode("utf-16-le"),
    "latin-1": _DARKTABLE.replace("UTF-8", "ISO-8859-1").encode("latin-1"),
    "crlf": _LIGHTROOM.replace("\n", "\r\n").encode(),
    "padding": _EXIFTOOL.encode() + b"\n" * 40 + b"\0" * 9,
    "padding-before": b"\r\n  " + _EXIFTOOL.encode(),
    "one-line": wrap(_PLAIN + _list("dc:subject", "<rdf:li>pier</rdf:li>")).encode(),
    "stray-text": wrap(_PLAIN + "in" + _list("dc:subject", "a<rdf:li>pier</rdf:li>b") + "out")
    .replace("</rdf:RDF>", "behind</rdf:RDF>")
    .encode(),
    "empty-graph": f'<rdf:RDF xmlns:rdf="{RDF}"/>'.encode(),
    "no-keywords": wrap(_PLAIN, about="uuid:7").encode(),
    "subject-as-text": wrap(f"<dc:subject>lone</dc:subject>{_PLAIN}").encode(),
    "subject-as-text-with-language": wrap(f'<dc:subject xml:lang="nl">gracht</dc:subject>{_PLAIN}').encode(),
    "subject-as-attribute": wrap(_PLAIN, 'dc:subject="lone" xmp:Rating="2"').encode(),
    "subject-as-empty-attribute": wrap(_PLAIN, 'dc:subject=""').encode(),
    "subject-with-qualifier": wrap(
        f"<dc:subject {_QUALIFIER} rdf:parseType='Resource'><rdf:value>lone</rdf:value><q:by>me</q:by></dc:subject>"
    ).encode(),
    "list-with-qualifier": wrap(
        f"<dc:subject {_QUALIFIER} rdf:parseType='Resource'><rdf:value><rdf:Bag><rdf:li>pond</rdf:li></rdf:Bag>"
        "</rdf:value><q:by>me</q:by></dc:subject>"
    ).encode(),
    "described-list": wrap(
        f"<dc:subject {_QUALIFIER}><rdf:Description q:by='me'><rdf:value><rdf:Seq><rdf:li>pond</rdf:li></rdf:Seq>"
        "</rdf:value></rdf:Description></dc:subject>"
    ).encode(),
    "subject-as-address": wrap('<dc:subject rdf:resource="https://example.org/tag"/>').encode(),
    "empty-lists": wrap(
        _list("dc:subject", "") + _list("digiKam:TagsList", "\n ", "Seq") + "<lr:hierarchicalSubject/>"
    ).encode(),
    "empty-items": wrap(_list("dc:subject", "<rdf:li/><rdf:li>real</rdf:li><rdf:li></rdf:li>")).encode(),
    "alternatives": wrap(
        _list("dc:subject", '<rdf:li xml:lang="x-default">sea</rdf:li><rdf:li xml:lang="de">Meer</rdf:li>', "Alt")
    ).encode(),
    "commented-item": wrap(_list("dc:subject", "<rdf:li>old<!-- no --> town</rdf:li>")).encode(),
    "characters": wrap(
        _list("dc:subject", "<rdf:li><![CDATA[a<b & c]]></rdf:li><rdf:li>&#128279; x</rdf:li><rdf:li>a\tb</rdf:li>")
        + "<xmp:Label>cr&#13;lf&#10;nb&#160;</xmp:Label>"
    ).encode(),
    "method-alone": wrap(
        "<exif:GPSProcessingMethod>CELLID</exif:GPSProcessingMethod>", f'xmlns:exif="{EXIF}"'
    ).encode(),
    "same-keyword": wrap(
        _list("dc:subject", "<rdf:li>Blue Dome</rdf:li>")
        + _list("digiKam:TagsList", "<rdf:li>Places/Landmarks/Blue Dome</rdf:li>", "Seq")
    ).encode(),
    "slashes": wrap(
        _list("lr:hierarchicalSubject", "<rdf:li>Music|AC/DC</rdf:li><rdf:li>both</rdf:li>")
        + _list("dc:subject", "<rdf:li>AC/DC</rdf:li><rdf:li>both</rdf:li>")
    ).encode(),
    "bars": wrap(_list("digiKam:TagsList", "<rdf:li>Maths/|x|</rdf:li><rdf:li>/</rdf:li>", "Seq")).encode(),
}


def mutate(seed: int, count: int, samples: Sequence[bytes] = (*SAMPLES.values(),)) -> Iterator[bytes]:
    """Damage samples in up to three places each: bits, bytes, spans and elements that change, go, or stand twice."""
    random = np.random.default_rng(seed)
    for _ in range(count):
        data = bytearray(samples[int(random.integers(len(samples)))])
        for _ in range(random.integers(1, 4)):
            _damage(data, random)
        yield bytes(data)


_MARKUP = (b"<", b"&", b'"', b"<!-- -->", b"<?a b?>", b"<rdf:li/>", b"</rdf:li>", b"x", b" ", b"\xc3\xa4", b"/", b"|")
_OPENING = re.compile(rb"<([A-Za-z][\w:]*)[^<>]*>")
_LENGTHS = (1, 2, 8, 40, 200)


def _damage(data: bytearray, random: np.random.Generator) -> None:
    start = int(random.integers(len(data) + 1))
    end = min(len(data), start + _LENGTHS[random.integers(len(_LENGTHS))])
    kind = random.integers(18)
    if kind < 12:
        # whole elements, and values: what is left is often well-formed
        start, end = _find_element(data, start) if kind < 8 else _find_value(data, start)
    if kind in (0, 1, 8, 9, 12):
        del data[start:end]
    elif kind in (2, 3, 10, 11, 13):
        data[end:end] = data[start:end]
    elif kind < 8:
        element = bytes(data[start:end])
        if kind < 6:
            del data[start:end]
        place, _ = _find_element(data, max(0, start + int(random.integers(-400, 400))))
        data[place:place] = element
    elif kind == 14:
        data[start:start] = _MARKUP[random.integers(len(_MARKUP))]
    elif kind == 15 and random.integers(5) == 0:
        del data[start:]
    elif start < len(data):
        data[start] = data[start] ^ 1 << int(random.integers(8)) if kind == 16 else int(random.integers(256))


def _find_element(data: bytearray, near: int) -> tuple[int, int]:
    """Where the next element begins and ends."""
    opening = _OPENING.search(data, near) or _OPENING.search(data)
    if not opening:
        return 0, 0
    closing = b"</" + opening[1] + b">"
    end = -1 if opening[0].endswith(b"/>") else data.find(closing, opening.end())
    return opening.start(), end + len(closing) if end >= 0 else opening.end()


def _find_value(data: bytearray, near: int) -> tuple[int, int]:
    """Where the text between two tags begins and ends."""
    start = data.find(b">", near) + 1
    return start, max(data.find(b"<", start), start)
