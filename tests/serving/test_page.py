"""The page as people use it: a real browser, before a real page, before a real service."""

import contextlib
import csv
import io
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from colours import PROJECT, make_photo, serve

from local_servers import answers, find_free_port, wait_for

webdriver = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
pytest.importorskip("streamlit", reason="streamlit (the extra `app`) is not installed")
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
DRIVER = shutil.which("chromedriver")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not (CHROMIUM and DRIVER), reason="no browser is installed: apt-get install chromium chromium-driver"
    ),
]

RED, GREEN, GREY = make_photo((255, 0, 0)), make_photo((0, 255, 0)), make_photo((90, 90, 90))
ORANGE = make_photo((255, 170, 60))
NO_PHOTO = b"this is a text"
WIDE, NARROW = (1100, 1400), (390, 844)


class Browser:
    """Chromium without a window."""

    def __init__(self, downloads: Path) -> None:
        options = webdriver.ChromeOptions()
        options.binary_location = CHROMIUM
        for argument in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage", "--disable-gpu"):
            options.add_argument(argument)
        self.driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
        self.tell("Browser.setDownloadBehavior", behavior="allow", downloadPath=str(downloads))
        self.downloads = downloads

    def tell(self, command: str, **values: object) -> None:
        self.driver.execute_cdp_cmd(command, values)

    def open(self, address: str, size: tuple[int, int] = WIDE, scheme: str = "light") -> None:
        width, height = size
        is_phone = size == NARROW
        self.tell(
            "Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=is_phone
        )
        self.tell("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.driver.get(address)
        self.wait_for("input[type=file]")

    def upload(self, folder: Path, **photos: bytes) -> None:
        """Each as a file with the ending .jpg."""
        paths = [folder / f"{name}.jpg" for name in photos]
        for path, content in zip(paths, photos.values(), strict=True):
            path.write_bytes(content)
        self.driver.find_element("css selector", "input[type=file]").send_keys("\n".join(map(str, paths)))

    def wait_for(self, selector: str, count: int = 1) -> list[Any]:
        """The elements, once there are so many."""
        self.wait_until(lambda: len(self.find(selector)) >= count, selector)
        return self.find(selector)

    def wait_for_text(self, text: str) -> None:
        self.wait_until(lambda: text in self.read("body"), f"{text!r}")

    def wait_until(self, look: Callable[[], bool], what: str, seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            if look():
                return
            time.sleep(0.05)
        pytest.fail(f"waited in vain for {what}; the page says:\n{self.read('body')}")

    def find(self, selector: str) -> list[Any]:
        found: list[Any] = self.driver.find_elements("css selector", selector)
        return found

    def read(self, selector: str) -> str:
        """The text that is seen; of the first such element."""
        return str(self.ask(f"return document.querySelector('{selector}')?.innerText ?? ''"))

    def ask(self, script: str) -> Any:
        return self.driver.execute_script(script)


@contextlib.contextmanager
def open_page(service: str, folder: Path) -> Iterator[str]:
    """The page on a free port, once it is ready; gives its address."""
    port = find_free_port()
    command = [sys.executable, "-m", "streamlit", "run", "app/page.py", "--server.port", str(port)]
    environment = os.environ | {"LANDMARKS_SERVICE_URL": service}
    with (
        (folder / "page.log").open("wb") as log,
        subprocess.Popen(command, cwd=PROJECT, env=environment, stdout=log, stderr=log) as process,
    ):
        try:
            wait_for(lambda: answers(f"http://127.0.0.1:{port}/_stcore/health"), process, folder / "page.log")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(30)


@pytest.fixture(scope="module")
def service(workspace: Path) -> Iterator[str]:
    with serve([], workspace) as address:
        yield address


@pytest.fixture(scope="module")
def page(service: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with open_page(service, tmp_path_factory.mktemp("page")) as address:
        yield address


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    browser = Browser(tmp_path_factory.mktemp("downloads"))
    yield browser
    browser.driver.quit()


def classify(service: str, photo: bytes) -> dict[str, Any]:
    answer: dict[str, Any] = httpx.post(f"{service}/classify", files={"image": photo}, data={"k": "5"}).json()
    return answer


def test_a_photo_gets_its_answer(browser: Browser, page: str, service: str, tmp_path: Path) -> None:
    browser.open(page)
    browser.upload(tmp_path, tower=ORANGE)
    browser.wait_for(".lm-card")
    browser.wait_for(".lm-foot")
    answer = classify(service, ORANGE)
    best, *others = answer["predictions"]
    assert browser.read(".lm-card h3") == best["name"] == "Red Tower"
    bars = [bar.text.split("\n") for bar in browser.find(".lm-bar")]
    assert bars == [["Chance that this name is right", f"{answer['confidence']:.0%}"]]
    assert [guess.text for guess in browser.find(".lm-guesses li")] == [each["name"] for each in others]
    widths = browser.ask(
        "return [...document.querySelectorAll('.lm-fill')].map(bar => bar.offsetWidth / bar.parentElement.offsetWidth)"
    )
    assert widths == pytest.approx([answer["confidence"]], abs=0.01)
    neighbours = httpx.post(f"{service}/search", files={"image": ORANGE}, data={"k": "6"}).json()["neighbours"]
    tiles = [tile.text.split("\n")[:2] for tile in browser.find(".lm-tile")]
    assert tiles == [[each["name"], f"similarity {each['similarity']:.2f}"] for each in neighbours]
    [link] = browser.find(".lm-more a")
    assert link.get_attribute("href").endswith("/Category:Red_Tower")
    assert browser.ask("return document.querySelector('.lm-photo').naturalWidth") == 40
    drawn = browser.ask(
        "return [...document.querySelectorAll('.lm-tile img')].map(picture => picture.naturalWidth > 0)"
    )
    assert drawn == [neighbour["thumbnail"] is not None for neighbour in neighbours]
    assert browser.read(".lm-foot").startswith("Model colours, version 3 (champion)")


def test_no_landmark_is_said_plainly(browser: Browser, page: str, service: str, tmp_path: Path) -> None:
    answer = classify(service, GREY)
    assert not answer["is_landmark"]
    browser.open(page)
    browser.upload(tmp_path, wall=GREY)
    browser.wait_for(".lm-none")
    assert browser.read(".lm-card h3") == "No landmark"
    assert f"{answer['threshold']:.2f} needed" in browser.read(".lm-none")
    assert browser.find(".lm-more a") == browser.find(".lm-best") == []


def test_many_photos_and_their_table(browser: Browser, page: str, service: str, tmp_path: Path) -> None:
    browser.open(page)
    browser.upload(tmp_path, tower=RED, bridge=GREEN, wall=GREY, letter=NO_PHOTO)
    browser.wait_for(".lm-card", 3)
    problem = httpx.post(f"{service}/classify", files={"image": NO_PHOTO}).json()["error"]
    [alert] = browser.wait_for("[data-testid=stAlert]")
    assert alert.text.split("\n")[-1] == f"letter.jpg {problem}"
    browser.wait_for("[data-testid=stDownloadButton] button")[0].click()
    path = browser.downloads / "landmarks.csv"
    browser.wait_until(path.is_file, "the table")
    rows = list(csv.DictReader(io.StringIO(path.read_text(encoding="utf-8-sig"))))
    expected = {name: classify(service, photo) for name, photo in {"tower": RED, "bridge": GREEN, "wall": GREY}.items()}
    assert [row["file"] for row in rows] == ["tower.jpg", "bridge.jpg", "wall.jpg", "letter.jpg"]
    for row, answer in zip(rows, expected.values(), strict=False):
        best = answer["predictions"][0]
        assert (row["landmark_id"], row["name"]) == (str(best["landmark_id"]), best["name"])
        assert float(row["confidence"]) == pytest.approx(answer["confidence"], abs=1e-4)
    assert [row["answer"] for row in rows] == ["Red Tower", "Grüne Brücke", "no landmark", ""]
    assert [row["error"] for row in rows] == ["", "", "", problem]


def test_photos_can_be_grouped_and_those_without_a_landmark_left_out(
    browser: Browser, page: str, tmp_path: Path
) -> None:
    browser.open(page)
    browser.upload(tmp_path, wall=GREY, tower=RED, bridge=GREEN, other=ORANGE, letter=NO_PHOTO)
    browser.wait_for(".lm-card", 4)
    browser.wait_for("[data-testid=stCheckbox] label")[0].click()
    browser.wait_for_text("Not readable · 1 photo")
    titles = [title.text for title in browser.find("[data-testid=stHeading]") if "·" in title.text]
    assert titles[:2] == ["Red Tower · 2 photos", "Grüne Brücke · 1 photo"]
    assert titles[2:] == ["No landmark · 1 photo", "Not readable · 1 photo"]
    buttons = [button for button in browser.find("[data-testid=stButtonGroup] button") if button.text == "Landmarks"]
    buttons[0].click()
    browser.wait_until(lambda: len(browser.find(".lm-card")) == 3, "three cards")
    assert [card.text for card in browser.find(".lm-card h3")] == ["Red Tower", "Red Tower", "Grüne Brücke"]
    assert browser.find("[data-testid=stAlert]") == []


def test_a_line_of_the_table_leads_to_its_photo(browser: Browser, page: str, tmp_path: Path) -> None:
    browser.open(page)
    browser.upload(tmp_path, wall=GREY, tower=RED, bridge=GREEN)
    browser.wait_for(".lm-card", 3)
    canvas = browser.wait_for("[data-testid=stDataFrame] canvas")[0]
    box = browser.ask("return document.querySelector('[data-testid=stDataFrame] canvas').getBoundingClientRect()")
    row = box["height"] / 4  # a head and three lines of the same height
    webdriver.ActionChains(browser.driver).move_to_element_with_offset(
        canvas, 200 - box["width"] / 2, 2.5 * row - box["height"] / 2
    ).click().perform()
    browser.wait_until(lambda: len(browser.find(".lm-card")) == 1, "one card")
    assert (browser.read(".lm-card h3"), browser.read(".lm-file")) == ("Red Tower", "tower.jpg")


def test_on_a_phone_nothing_leaves_the_screen(browser: Browser, page: str, tmp_path: Path) -> None:
    browser.open(page, NARROW)
    browser.upload(tmp_path, tower=RED, a_name_without_any_gap_in_it_that_is_longer_than_the_screen_is_wide=GREY)
    browser.wait_for(".lm-card", 2)
    assert browser.ask("return document.documentElement.scrollWidth") <= NARROW[0]
    boxes = browser.ask(
        "return [...document.querySelectorAll('.lm *')].map(part => part.getBoundingClientRect().right)"
    )
    assert max(boxes) <= NARROW[0]
    below = "return document.querySelector('h3').getBoundingClientRect().top"
    assert browser.ask(below) > browser.ask("return document.querySelector('.lm-photo').getBoundingClientRect().bottom")


@pytest.mark.parametrize(("scheme", "is_dark"), [("light", False), ("dark", True)])
def test_light_and_dark_can_be_read(browser: Browser, page: str, scheme: str, is_dark: bool, tmp_path: Path) -> None:
    browser.open(page, scheme=scheme)
    browser.upload(tmp_path, wall=GREY)
    browser.wait_for(".lm-card")
    back = measure_luminance(_see_colour(browser, ".stApp", "backgroundColor"))
    assert (back < 0.1) is is_dark
    for selector in (".lm h3", ".lm-more", ".lm-number", ".lm-label", ".lm-foot"):
        browser.wait_for(selector)
        front = measure_luminance(_see_colour(browser, selector, "color"))
        # WCAG 2.1, 1.4.3
        assert (max(front, back) + 0.05) / (min(front, back) + 0.05) >= 4.5, selector


def _see_colour(browser: Browser, selector: str, kind: str) -> list[int]:
    """Red, green and blue as they appear: over the colour of the page where they let it through."""
    return list(
        browser.ask(f"""
            const brush = document.createElement('canvas').getContext('2d', {{willReadFrequently: true}});
            for (const [found, kind] of [['.stApp', 'backgroundColor'], ['{selector}', '{kind}']]) {{
                brush.fillStyle = getComputedStyle(document.querySelector(found))[kind];
                brush.fillRect(0, 0, 1, 1);
            }}
            return [...brush.getImageData(0, 0, 1, 1).data].slice(0, 3);
        """)
    )


def measure_luminance(colour: list[int]) -> float:
    """Relative luminance as WCAG 2.1 defines it."""
    parts = [part / 255 for part in colour]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def test_the_page_loads_nothing_from_elsewhere(browser: Browser, page: str, tmp_path: Path) -> None:
    browser.open(page)
    browser.upload(tmp_path, tower=RED)
    browser.wait_for(".lm-card")
    loaded = browser.ask("return performance.getEntriesByType('resource').map(entry => entry.name)")
    assert len(loaded) > 3
    assert [address for address in loaded if not address.startswith((page, "data:", "blob:"))] == []


def test_the_service_goes_and_comes_back(browser: Browser, workspace: Path, tmp_path: Path) -> None:
    port = find_free_port()
    with open_page(f"http://127.0.0.1:{port}", tmp_path) as page:
        browser.open(page)
        browser.upload(tmp_path, tower=RED)
        browser.wait_for_text("The service is away at the moment. Try again in a little while.")
        assert browser.find(".lm-card") == []
        assert "make" not in browser.read("body")
        told = (tmp_path / "page.log").read_text()
        assert f"The service at http://127.0.0.1:{port} does not answer. `make serve` starts it." in told
        with serve([], workspace, port=port):
            browser.find("[data-testid=stButton] button")[0].click()
            browser.wait_for(".lm-card")
            assert browser.read(".lm-card h3") == "Red Tower"
