"""Damaged sidecars of photo programs: tagged, and cleaned again by what they say themselves."""

from pathlib import Path

from test_xmp import PHOTO, check_damaged, make_record, tag
from xmp_samples import mutate

from chaos.campaign import Tally
from landmarks.albums.state import State
from landmarks.albums.xmp import SidecarError

PROMISE = (
    "A sidecar, whatever was done to it, gets our keywords and loses nothing of others, and loses ours again; or it is "
    "left untouched with a sentence."
)
TRIES = 5_000


def attack(tries: int, seed: int, scratch: Path) -> Tally:
    """Damage a sample in up to three places per try, tag it, and take the tag back without the state."""
    tally, sidecar = Tally(), scratch / f"{PHOTO}.xmp"
    state = State(scratch / "state")  # knows nothing: the tests write no plans into it
    for number, data in enumerate(mutate(seed, tries)):
        sidecar.write_bytes(data)
        try:
            after = tag(sidecar, [make_record()], state)
            check_damaged(data, after, tag(sidecar, [], state))
            tally.count("merged")
        except SidecarError:
            if sidecar.read_bytes() == data:
                tally.count("refused")
            else:
                tally.fail(f"try {number}: refused, and changed")
        except Exception as error:  # noqa: BLE001 - any exception of another kind breaks the promise
            tally.fail(f"try {number}: {type(error).__name__}: {error!s:.100}")
    state.close()
    return tally
