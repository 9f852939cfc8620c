"""Requests that are broken, unusual or meant to do harm, as the bytes that go through a connection."""

import base64
import json
import random
import struct
import zlib
from collections.abc import Callable, Mapping

from hostile_photos import MAKERS as PHOTOS
from hostile_photos import chunk, make_png, plain, red_rows

Maker = Callable[[random.Random], bytes]

FORGED = "2001-01-01T00:00:00+0000"
PATHS = ("/classify", "/classify_batch", "/search", "/embed", "/model", "/landmarks", "/thumbnails/r0", "/livez", "/")
HEADERS = (
    *("user-agent", "x-request-id", "traceparent", "tracestate", "baggage", "accept", "authorization", "origin"),
    *("x-forwarded-for", "x-forwarded-proto", "x-forwarded-host", "forwarded", "referer", "cookie", "range", "expect"),
    *("if-none-match", "content-type", "content-encoding", "content-disposition", "accept-encoding", "x-api-key"),
    *("access-control-request-method", "transfer-encoding", "te", "upgrade", "connection", "host", "date"),
)
BAD_VALUES = (
    b"caf\xe9",
    b"\xff\xfe",
    b"\xf0\x9f\x98\x80",
    b"\\",
    b"a\\x",
    b"[",
    b"[::1",
    b"a:b:c",
    b"",
    b"%0a%0d",
    b"\t \t",
    b'"',
    b"';--",
    b"$(id)",
    b"../../etc/passwd",
    b"=?utf-8?q?=0a?=",
    b"\xc2\x9b31m",
    b"\xe2\x80\xae",
    b"1e400",
    b"00-" + b"0" * 32 + b"-" + b"f" * 16 + b"-01",
    b"a=" + b"b" * 3000,
    b",".join([b"a"] * 500),
    b"-1",
    b"9" * 400,
)
PHOTO = plain("PNG")
_PART = b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
_FORM = "multipart/form-data; boundary=x"
_MILLIONS = 19_000_000  # bytes of a body within the limit


def _build(method: str, target: bytes | str, headers: Mapping[str, bytes | str] = {}, body: bytes = b"") -> bytes:
    """Write a request; headers with the value `-` are left out."""
    all_headers = {"host": "x", "connection": "close", "content-length": str(len(body)), **headers}
    lines = [f"{method} ".encode() + _to_bytes(target) + b" HTTP/1.1"]
    lines += [f"{name}: ".encode() + _to_bytes(value) for name, value in all_headers.items() if value != "-"]
    return b"\r\n".join(lines) + b"\r\n\r\n" + body


def _to_bytes(text: bytes | str) -> bytes:
    return text.encode() if isinstance(text, str) else text


def _unknown_path(rng: random.Random) -> bytes:
    tail = rng.choice(
        [
            f"%0a{FORGED} [INFO] [forged] all is well",
            "%1b[2J%1b[31m",
            "%00",
            "%ff%fe",
            "%e2%80%ae",
            "a" * 3000,
            "%2e%2e/",
        ]
    )
    start = rng.choice(
        ["", "thumbnails/", "static_content/", "classify/", "%2f%2fexample.org/", "a/" * rng.randrange(99)]
    )
    return _build(
        rng.choice(["GET", "POST", "HEAD", "DELETE"]), f"/{start}{rng.getrandbits(64):x}{tail.replace(' ', '%20')}"
    )


def _trailing_slash(rng: random.Random) -> bytes:
    path = rng.choice(
        [*PATHS, "/metrics", "/docs.json", "/static_content", "/schema.json", "//example.org", "/%2fexample.org"]
    )
    headers = {"host": "evil.example", "x-forwarded-host": "evil.example", "x-forwarded-proto": "https"}
    return _build(rng.choice(["GET", "POST"]), f"{path}/", headers)


def _header_value(rng: random.Random) -> bytes:
    headers = {rng.choice(HEADERS): rng.choice(BAD_VALUES) for _ in range(rng.randrange(1, 4))}
    return _build("POST", rng.choice(PATHS), {"content-type": "image/png", **headers}, PHOTO)


def _header_bytes(rng: random.Random) -> bytes:
    value = bytes(rng.choice([*range(0x20, 0x7F), *range(0x80, 0x100)]) for _ in range(rng.randrange(1, 40)))
    return _build("POST", rng.choice(PATHS), {"content-type": "image/png", rng.choice(HEADERS): value}, PHOTO)


def _forged_header(rng: random.Random) -> bytes:
    end = rng.choice([b"\n", b"\r", b"\r\n ", b"\x0b", b"\x1b[2J", b"\x85", b"\xe2\x80\xa8"])
    value = b"a" + end + f"{FORGED} [INFO] [forged] x".encode()
    return _build("POST", "/classify", {"content-type": "image/png", rng.choice(HEADERS): value}, PHOTO)


def _large_head(rng: random.Random) -> bytes:
    size = rng.choice([1000, 15_000, 70_000, 1_000_000])
    makers: list[Callable[[], bytes]] = [
        lambda: _build("GET", "/model", {f"x-{number}": "a" for number in range(size // 10)}),
        lambda: _build("GET", "/model", {"x-large": "a" * size}),
        lambda: _build("GET", f"/{'a' * size}"),
        lambda: _build("POST", f"/classify?{'k=1&' * (size // 4)}", {"content-type": "image/png"}, PHOTO),
        lambda: _build("GET", "/model", {"x" * size: "a"}),
    ]
    return rng.choice(makers)()


def _other_protocol(rng: random.Random) -> bytes:
    head = b"\r\nhost: x\r\n\r\n"
    return rng.choice(
        [
            b"GET /model HTTP/1.0\r\n\r\n",
            b"GET /model HTTP/1.1\r\n\r\n",
            b"GET /model\r\n\r\n",
            b"GET  HTTP/1.1" + head,
            b"GET /model HTTP/9.9" + head,
            b"\r\n\r\nGET /livez HTTP/1.1\r\nconnection: close" + head,
            b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
            b"\x16\x03\x01\x02\0\x01\0\x01\xfc\x03\x03" + bytes(40) + b"\r\n\r\n",
            b"GET http://evil.example/model HTTP/1.1\r\nconnection: close" + head,
            b"CONNECT evil:443 HTTP/1.1" + head,
            b"GET /a b HTTP/1.1" + head,
            b"GET /caf\xe9 HTTP/1.1" + head,
            b"GET /\0 HTTP/1.1" + head,
            rng.randbytes(200),
            b"OPTIONS * HTTP/1.1\r\nconnection: close" + head,
            b"HELP\n\n",
            b"get /model HTTP/1.1\r\nconnection: close" + head,
            b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\nconnection: close\r\n\r\n",
            b"GET /classify HTTP/1.1\r\nconnection: upgrade\r\nupgrade: websocket\r\nsec-websocket-version: 13\r\n"
            b"sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==" + head,
            b"GET /classify HTTP/1.1\r\nconnection: upgrade, close\r\nupgrade: h2c" + head,
        ]
    )


def _length(rng: random.Random) -> bytes:
    length = rng.choice(
        ["-1", "+5", "1e3", "0x10", "5, 5", "5, 6", "", " ", "9" * 30, "1" * 4000, "٣", "41000000", "1.0"]
    )
    headers = {"content-type": "image/png", "content-length": length}
    if rng.random() < 0.3:
        headers |= {"transfer-encoding": rng.choice(["chunked", "gzip, chunked", "identity", "chunked, chunked"])}
    request = _build("POST", "/classify", headers, PHOTO)
    return request.replace(b"\r\ncontent-length", b"\r\ncontent-length: 3\r\ncontent-length", rng.randrange(2))


def _chunks(rng: random.Random) -> bytes:
    head = {"content-type": "image/png", "content-length": "-", "transfer-encoding": "chunked"}
    whole = b"%x\r\n%b\r\n0\r\n" % (len(PHOTO), PHOTO)
    bodies = [
        whole + b"\r\n",
        whole + b"a: b\r\n" * 50 + b"\r\n",
        b"zz\r\n\r\n",
        b"-5\r\nabcde\r\n0\r\n\r\n",
        b"5;" + b"x" * 30_000 + b"\r\nabcde\r\n0\r\n\r\n",
        b"f" * 30 + b"\r\n",
        b"1\r\na\r\n" * 30_000 + b"0\r\n\r\n",
        b"5\r\nabcdefg\r\n0\r\n\r\n",
        b"ffffff\r\n" + bytes(0xFFFFFF) + b"\r\n" + b"4000000\r\n" + bytes(0x4000000),
    ]
    return _build("POST", rng.choice(["/classify", "/model"]), head, rng.choice(bodies))


def _expect(rng: random.Random) -> bytes:
    expect = rng.choice(["100-continue", "100-Continue", "200-ok", "", "100-continue, 100-continue"])
    return _build("POST", rng.choice(PATHS), {"content-type": "image/png", "expect": expect}, PHOTO)


def _pipelined(rng: random.Random) -> bytes:
    one = _build("GET", rng.choice(PATHS[4:]), {"connection": "keep-alive"})
    return one * rng.randrange(2, 30) + rng.choice([b"", rng.randbytes(30) + b"\r\n\r\n", _build("GET", "/model")])


def _method(rng: random.Random) -> bytes:
    methods = ["PUT", "PATCH", "DELETE", "TRACE", "OPTIONS", "PROPFIND", "BREW", "get", "A" * 3000, "!#$%&'*+-.^_`|~"]
    return _build(rng.choice(methods), rng.choice(PATHS), {"content-type": "image/png", "max-forwards": "0"}, PHOTO)


def _query(rng: random.Random) -> bytes:
    values = [
        "k=1e400",
        "k=-1",
        "k=%00",
        "k=%ff",
        f"k={'9' * 5000}",
        "k",
        "&" * 500,
        "=1",
        "k=1;k=2",
        "k[]=1",
        "%6b=2",
        "k=1%0a" + FORGED,
        "image=http://127.0.0.1:1/",
        "?" * 99,
        "k=\u0663".encode().hex(),
    ]
    return _build("POST", f"{rng.choice(PATHS)}?{rng.choice(values)}", {"content-type": "image/png"}, PHOTO)


def _form(rng: random.Random) -> bytes:
    forged = f"{FORGED} [INFO] [forged]".encode()
    bodies = [
        b"",
        b"--x--\r\n",
        b"--x\r\n\r\n--x--\r\n",
        _PART,
        _PART + b"\r\n--x--\r\n",
        _PART + PHOTO,
        b"\r\n" * 1000,
        b'--x\r\nContent-Disposition: form-data; name=""\r\n\r\n\r\n' * 5000 + b"--x--\r\n",
        b"--x\r\nContent-Disposition: form-data\r\n\r\na\r\n--x--\r\n",
        b"--x\r\n" + b"a: b\r\n" * 5000 + b"\r\n\r\n--x--\r\n",
        _PART.replace(b'"image"', b'"k\xff\xfe"') + b"1\r\n--x--\r\n",
        _PART.replace(b'"a"', b'"../../' + forged + b'"') + PHOTO,
        b'--x\r\nContent-Disposition: form-data; name="' + forged + b'"\r\n\r\na\r\n--x--\r\n',
        b"--x\r\nContent-Disposition: form-data; name*=utf-8''%0a" + forged + b"\r\n\r\na\r\n--x--\r\n",
        b'--x\r\nContent-Disposition: form-data; name="k"\r\n\r\n' + b"9" * 100_000 + b"\r\n--x--\r\n",
        b"--x\r\nContent-Disposition: " + b"a=b;" * 1000 + b' name="k"\r\n\r\n1\r\n--x--\r\n',
        _PART[:-2] + b"Content-Transfer-Encoding: base64\r\n\r\n!!!!\r\n--x--\r\n",
        _PART[:-2] + b"Content-Transfer-Encoding: base64\r\n\r\nAAAAA\r\n--x--\r\n",
        _PART[:-2] + b"Content-Type: multipart/mixed; boundary=y\r\n\r\n--y\r\n\r\n--y--\r\n--x--\r\n",
    ]
    types = [
        _FORM,
        _FORM,
        _FORM,
        "multipart/form-data",
        "multipart/form-data; boundary=",
        "multipart/form-data; boundary=" + "y" * 5000,
    ]
    return _build("POST", rng.choice(PATHS[:4]), {"content-type": rng.choice(types)}, rng.choice(bodies))


def _large_form(rng: random.Random) -> bytes:
    mark = rng.choice([b"\r\n--xy", b"\r\n--x\r", b"\r\n--x-", b"\r\n", b"\r", b"-", b"\r\n--x \t", b"\r\n--x\r\n\r\n"])
    start = rng.choice([_PART, b"", b"--x\r\nA:", b"--x\r\n", _PART + b"\r\n--x"])
    body = start + mark * (_MILLIONS // len(mark))
    if rng.random() < 0.2:
        body = _PART + b"\r\n--x" + b" " * _MILLIONS
    return _build("POST", rng.choice(PATHS[:4]), {"content-type": _FORM}, body)


def _json(rng: random.Random) -> bytes:
    photo = base64.b64encode(PHOTO).decode()
    values = [
        "[" * 100_000,
        '{"a":' * 30_000,
        '{"image": "AAAA", "k": 1e400}',
        f'{{"image": "{photo}", "k": {"9" * 5000}}}',
        f'{{"image": "{photo}", "k": -0}}',
        f'{{"image": "{photo}", "k": 1E+2}}',
        '{"image": null}',
        '{"image": [[[]]]}',
        '{"image": {"$ref": "#"}}',
        '{"image": 1e999}',
        '{"image": "' + "A" * 5,
        "\ufeff" * 3 + "{}",
        "nul",
        '"a"',
        "",
        f'{{"image": "{photo}", "\\n{FORGED} [INFO]": 1}}',
        '{"\\ud800": 1}',
        '{"image": "\\ud800"}',
        '{"image": "\\u0000"}',
        '{"images": ["AAAA"' + ', "AAAA"' * 500 + "]}",
        '{"image": "data:image/png;base64,AAAA"}',
        "NaN",
        "1" * 5000,
        f'{{"image": "{photo}", "image": "{photo}"}}',
        f'{{"image": "{photo}", "__proto__": {{}}}}',
        "\0" * 100,
    ]
    codec = rng.choice(["utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "utf-32", "utf-7"])
    return _build(
        "POST",
        rng.choice(PATHS[:4]),
        {"content-type": "application/json"},
        rng.choice(values).encode(codec, "surrogatepass"),
    )


def _large_json(rng: random.Random) -> bytes:
    fill = rng.choice([b" ", b"[", b"9", b"A", b"\\n", b"=", b"\xff", b"\\u0041"])
    start = rng.choice([b"", b'{"image": "', b'{"k": ', b'{"k": 0.', b'{"k": "'])
    body = start + fill * (_MILLIONS // len(fill)) + rng.choice([b"", b'"}', b"}"])
    return _build("POST", rng.choice(PATHS[:4]), {"content-type": "application/json"}, body)


def _encoded(rng: random.Random) -> bytes:
    packed = rng.choice(
        [zlib.compress(PHOTO), zlib.compress(bytes(50_000_000), 9), b"\x1f\x8b" + bytes(50), b"", PHOTO]
    )
    coding = rng.choice(
        ["gzip", "deflate", "br", "zstd", "gzip, gzip", "x-gzip", "identity", "IDENTITY", "aes128gcm", "\\"]
    )
    return _build("POST", rng.choice(PATHS[:4]), {"content-type": "image/png", "content-encoding": coding}, packed)


def _photo(rng: random.Random) -> bytes:
    return _wrap(rng, PHOTOS[rng.choice(list(PHOTOS))]())


def _damaged_photo(rng: random.Random) -> bytes:
    photo = bytearray(PHOTOS[rng.choice([name for name in PHOTOS if "bomb" not in name and "huge" not in name])]())
    for _ in range(rng.randrange(1, 20)):
        if photo:
            photo[rng.randrange(min(len(photo), rng.choice([40, 400, 10**9])))] = rng.randrange(256)
    return _wrap(rng, bytes(photo[: rng.choice([10**9, rng.randrange(len(photo) + 1)])]))


def _photo_of_many_pieces(rng: random.Random) -> bytes:
    jpeg, gif, riff = plain(), plain("GIF"), b"WEBP" + b"VP8X\x0a\0\0\0" + bytes(10)
    tiny = chunk(b"tEXt", b"")
    webp = riff + b"abcd\0\0\0\0" * (_MILLIONS // 8)
    makers: list[Callable[[], bytes]] = [
        lambda: jpeg[:2] + b"\xff\xfe\x00\x02" * (_MILLIONS // 4) + jpeg[2:],
        lambda: jpeg[:2] + b"\xff\xe1\x00\x08Exif\0\0" * (_MILLIONS // 10) + jpeg[2:],
        lambda: jpeg[:2] + b"\xff\xd0" * (_MILLIONS // 2) + jpeg[2:],
        lambda: jpeg[:2] + b"\xff" * _MILLIONS + jpeg[2:],
        lambda: jpeg[:2] + b"\xff\xc4\x00\x02" * (_MILLIONS // 4) + jpeg[2:],
        lambda: make_png(30, 30, red_rows(), more=tiny * (_MILLIONS // len(tiny))),
        lambda: make_png(30, 30, red_rows(), more=chunk(b"IDAT", b"") * (_MILLIONS // 12)),
        lambda: gif[:13] + b"\x21\xfe\x00" * (_MILLIONS // 3) + gif[13:],
        lambda: gif[:13] + b"\x21\xfe" + b"\x01a" * (_MILLIONS // 2) + b"\0" + gif[13:],
        lambda: b"RIFF" + struct.pack("<I", len(webp)) + webp,
    ]
    return _wrap(rng, rng.choice(makers)())


def _wrap(rng: random.Random, photo: bytes) -> bytes:
    path = rng.choice(PATHS[:4])
    way = rng.choice(["form", "json", "raw"]) if path != "/classify_batch" else rng.choice(["form", "json"])
    if way == "raw":
        return _build("POST", path, {"content-type": "image/png"}, photo)
    if way == "json":
        text = base64.encodebytes(photo) if rng.random() < 0.5 else base64.b64encode(photo).rstrip(b"=")
        value = {"images": [text.decode()]} if path == "/classify_batch" else {"image": text.decode()}
        return _build("POST", path, {"content-type": "application/json"}, json.dumps(value).encode())
    part = _PART.replace(b'"image"', b'"images"') if path == "/classify_batch" else _PART
    return _build("POST", path, {"content-type": _FORM}, part + photo + b"\r\n--x--\r\n")


def _left_half_way(rng: random.Random) -> bytes:
    request = _wrap(rng, PHOTO)
    return request[: rng.randrange(len(request))] + b"\r\n\r\n"


MAKERS: dict[str, Maker] = {
    "unknown path": _unknown_path,
    "trailing slash": _trailing_slash,
    "header": _header_value,
    "header of any bytes": _header_bytes,
    "header that forges a line": _forged_header,
    "large head": _large_head,
    "another protocol": _other_protocol,
    "content length": _length,
    "chunks": _chunks,
    "expect": _expect,
    "pipelined requests": _pipelined,
    "method": _method,
    "query": _query,
    "form": _form,
    "large form": _large_form,
    "JSON": _json,
    "large JSON": _large_json,
    "content encoding": _encoded,
    "photo": _photo,
    "damaged photo": _damaged_photo,
    "photo of many pieces": _photo_of_many_pieces,
    "request left half way": _left_half_way,
}
