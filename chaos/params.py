"""Fuzzing of params.yaml, experiments/*.yaml and bentofile.yaml: damaged bytes, other structures, other values."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

from chaos.campaign import Tally, try_reader
from landmarks.params import read_params, write_experiment
from landmarks.serving.packaging import read_bentofile
from landmarks.tracking.provenance import compute_lock_digest

PROMISE = (
    "A params file, an experiment, bentofile.yaml and dvc.lock are read or refused with an error of ours, within 2 s."
)
TRIES = 10_000

_PROJECT = Path(__file__).parents[1]
# written where a value stands, as they are in a YAML file
_VALUES = (
    *(
        "",
        "null",
        "~",
        "true",
        "yes",
        "-1",
        "0",
        "1",
        "0.5",
        "1e-3",
        "1e999",
        "-.inf",
        ".nan",
        ".",
        "._",
        "+",
        "0x",
        "0x_",
    ),
    *(
        "0o99",
        "0b2",
        "1_",
        "1__0",
        "9" * 30,
        "9" * 5000,
        "0x" + "f" * 5000,
        "-0x8000000000000000",
        "1:30:59",
        "2001-01-01",
    ),
    *("2001-99-99", "2001-01-01 25:61:61", "2001-01-01T00:00:00+99:99", "[]", "{}", "[[]]", "{a: {}}", "[1, a, null]"),
    *("'a'", '"\\0"', '"\\ud800"', '"\\x7f"', '"\\U0010ffff"', '"\\uffff"', "|", ">", "|9", "&a b", "*a", "&a [*a]"),
    *(
        "!!int a",
        "!!binary x",
        "!!python/name:os.system",
        "!x y",
        "!!set {a}",
        "!!timestamp x",
        "!!omap [a: 1]",
        "<<: 1",
    ),
    *(
        "? [a]",
        "? ? ? a",
        "? " * 40,
        "@",
        "`",
        "%",
        "- - - a",
        "a: b: c",
        "# no",
        "${HOME}",
        "${NOT_SET}",
        "$",
        "\u2028",
        "é",
    ),
    *("../../etc/passwd", "a/b", "a" * 10_000, "[" * 3000 + "]" * 3000, "{a: " * 3000 + "}" * 3000, "- " * 3000),
)
_PIECES = (
    b"\0",
    b"\xff",
    b"\xed\xa0\x80",
    b"\t",
    b"\r",
    b"\n",
    b":",
    b"- ",
    b"? ",
    b"&a ",
    b"*a",
    b"!!",
    b"<<: *a\n",
    b"---\n",
)
_BOMBS = (
    "a0: &a0 [x, x, x, x, x, x, x, x, x]\n"
    + "".join(f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)),
    "a0: &a0 {k: x}\n" + "".join(f"a{n}: &a{n} {{l: *a{n - 1}, r: *a{n - 1}}}\n" for n in range(1, 40)),
    "a0: &a0 {k: x}\n" + "".join(f"a{n}: &a{n} {{<<: [*a{n - 1}, *a{n - 1}], k{n}: 1}}\n" for n in range(1, 60)),
)


# as DVC writes it, shortened
_LOCK = """schema: '2.0'
stages:
  acquire:
    cmd: landmarks acquire data/raw
    deps:
    - path: src/landmarks/demo
      hash: md5
      md5: 0a7f1f6a3c1b9c5f2f0f8f8d8a8e4b11.dir
      size: 61234
      nfiles: 14
    params:
      params.yaml:
        acquire:
          demo: {image_size: 96, landmarks: 24, seed: 0}
          photos: ''
          source: demo
    outs:
    - path: data/raw
      hash: md5
      md5: 9e107d9d372bb6826bd81d3542a419d6.dir
      size: 17301234
      nfiles: 14
  train@plain:
    cmd: landmarks train plain data/shards models
    outs:
    - path: models/plain/network
      hash: md5
      md5: e4d909c290d0fb1ca068ffaddf22cbd0.dir
"""


def attack(tries: int, seed: int, scratch: Path) -> Tally:
    """Damage valid files at random and read them; every fifth try is of bentofile.yaml or dvc.lock."""
    tally, generator = Tally(), random.Random(seed)
    experiments = sorted((_PROJECT / "experiments").glob("*.yaml"))
    default = (_PROJECT / "experiments" / "default.yaml").read_text(encoding="utf-8")
    folder = scratch / "experiments"
    folder.mkdir()
    (folder / "default.yaml").write_text(default, encoding="utf-8")
    bentofile = (_PROJECT / "bentofile.yaml").read_text(encoding="utf-8")
    others: tuple[tuple[str, str, Callable[[Path], Any]], ...] = (
        ("bentofile.yaml", bentofile, lambda path: read_bentofile(path.parent)),
        ("dvc.lock", _LOCK, compute_lock_digest),
    )
    for number in range(tries):
        if number % 5 == 4:
            name, original, read = others[number // 5 % 2]
            path = scratch / name
        elif number % 5 == 3:
            original = generator.choice(experiments).read_text(encoding="utf-8")
            path, read = folder / "mine.yaml", lambda _: write_experiment(["mine"], folder, scratch / "out.yaml")
        else:
            path, original, read = scratch / "params.yaml", default, read_params
        path.write_bytes(damage_yaml(original, generator))
        try_reader(tally, read, path, f"try {number} of seed {seed}: {path.name}")
    return tally


def damage_yaml(text: str, generator: random.Random) -> bytes:
    """Return a YAML text with one to three changes of its values, its structure or its bytes."""
    if generator.random() < 0.05:
        return (generator.choice(_BOMBS) + generator.choice(("", text))).encode()
    for _ in range(generator.choice((1, 1, 2, 3))):
        lines = text.split("\n")
        place = generator.randrange(len(lines))
        key, colon, _ = lines[place].partition(":")
        change = generator.randrange(6)
        if change <= 2 and colon:
            lines[place] = f"{key}: {generator.choice(_VALUES)}"
        elif change == 3:
            lines.insert(place, generator.choice(lines) if generator.random() < 0.5 else generator.choice(_VALUES))
        elif change == 4:
            lines[place] = " " * generator.randrange(9) + lines[place].lstrip()
        else:
            del lines[place : place + generator.choice((1, 1, 5, 100))]
        text = "\n".join(lines)
    data = bytearray(text.encode("utf-8", "surrogatepass"))
    if generator.random() < 0.3:
        for _ in range(generator.randrange(1, 9)):
            place = generator.randrange(len(data) + 1)
            data[place : place + generator.choice((0, 1, 1, 40))] = generator.choice(_PIECES)
    return bytes(data)
