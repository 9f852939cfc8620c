"""The page that documents the service, in a real browser: it loads nothing from elsewhere, and "Try it out" works."""

import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from colours import make_photo

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="no browser is installed: apt-get install chromium chromium-driver"
)
FIELDS = {"classify": "image", "classify_batch": "images", "search": "image", "embed": "image"}


@pytest.fixture(scope="module")
def driver() -> Iterator[Any]:
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
        options.add_argument(argument)
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    driver.set_window_size(1300, 2500)
    yield driver
    driver.quit()


def wait_for(find: Callable[[], Any], what: str, seconds: float = 30) -> Any:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if found := find():
            return found
        time.sleep(0.05)
    pytest.fail(f"waited in vain for {what}")


def test_the_page_shows_all_endpoints_and_loads_nothing_from_elsewhere(driver: Any, address: str) -> None:
    driver.get(f"{address}/")
    wait_for(lambda: driver.find_elements("css selector", ".opblock"), "the endpoints")
    shown = {block.get_attribute("id") for block in driver.find_elements("css selector", ".opblock")}
    documented = httpx.get(f"{address}/docs.json").json()["paths"]
    assert shown == {f"operations-default-{path.split('/')[1]}" for path in documented}
    loaded = driver.execute_script("return performance.getEntriesByType('resource').map(entry => entry.name)")
    assert f"{address}/docs.json" in loaded
    assert [place for place in loaded if not place.startswith((address, "data:", "blob:"))] == []


@pytest.mark.parametrize("name", FIELDS)
def test_trying_it_out_is_answered(driver: Any, address: str, name: str, tmp_path: Path) -> None:
    photo = tmp_path / "photo.png"
    photo.write_bytes(make_photo((255, 0, 0)))
    driver.get("about:blank")
    driver.get(f"{address}/#/default/{name}")

    def find(selector: str) -> list[Any]:
        found: list[Any] = driver.find_elements("css selector", f"#operations-default-{name} {selector}")
        return found

    def click(selector: str) -> None:
        wait_for(lambda: find(selector), selector)
        driver.execute_script("arguments[0].click()", find(selector)[0])

    click(".try-out__btn")
    wait_for(lambda: find(".execute"), "the button")
    kinds = [option.get_attribute("value") for option in find(".body-param-content-type option")]
    assert len(kinds) == (2 if name == "classify_batch" else 4)
    for kind in kinds:
        for option in find(".body-param-content-type option"):
            if option.get_attribute("value") == kind:
                option.click()
        if kind != "application/json":
            if name == "classify_batch":
                click(".json-schema-form-item-add")
            wait_for(lambda: find("input[type=file]"), f"the place of the photo as {kind}")[0].send_keys(str(photo))
        click(".execute")
        status = wait_for(
            lambda: find(".live-responses-table .response .response-col_status"), f"the answer to {kind}"
        )[0]
        assert status.text.split()[0] == "200", (kind, find(".live-responses-table")[0].text)
        click(".btn-clear")
        wait_for(lambda: not find(".live-responses-table"), "the answer to go")
