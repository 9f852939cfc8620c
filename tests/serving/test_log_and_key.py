"""What the running service notes can be read by drift, and the page has the key that the service asks for."""

from contextlib import closing
from pathlib import Path

import httpx
import numpy as np
import pytest
from colours import RUN_ID, make_photo, serve

from app.client import Service, ServiceError
from landmarks.drift.served_photos import read_request_log

pytestmark = pytest.mark.slow

PHOTOS = [make_photo(colour) for colour in ((255, 0, 0), (0, 255, 0), (90, 90, 90))]


def test_drift_reads_what_the_service_notes(workspace: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "requests.jsonl"
    monkeypatch.setenv("LANDMARKS_REQUEST_LOG", str(log))
    with serve([], workspace) as address:
        answers = [httpx.post(f"{address}/classify", files={"image": photo}).json() for photo in PHOTOS]
    noted = read_request_log(log, "3", 10, 0)
    np.testing.assert_allclose(noted.scores, [answer["predictions"][0]["score"] for answer in answers], rtol=1e-5)
    np.testing.assert_allclose(noted.embeddings[0], [1, 0, 0], atol=1e-3)


def test_the_page_has_the_key(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LANDMARKS_API_KEY", "a key")
    with serve([], workspace) as address:
        with closing(Service(address, "a key")) as service:
            assert service.ask(PHOTOS[0]).predictions[0].name == "Red Tower"
            facts = service.describe_model()
            assert (facts["name"], facts["version"], facts["run_id"]) == ("colours", "3", RUN_ID)
        with closing(Service(address, "another")) as service:
            assert service.is_ready()
            assert service.describe_model() == {}
            with pytest.raises(ServiceError, match="Set LANDMARKS_API_KEY"):
                service.ask(PHOTOS[0])
