"""The page over a small gallery, served for the tests of a module, and a real browser."""

import shutil
import threading
import time

import pytest
from support.small_gallery import SmallGallery, embed, look, write_people

from mdpr_fastreid.app.finder import Finder
from mdpr_fastreid.app.server import listening, make_app, server_of, upload_folder

BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@pytest.fixture(scope="session")
def people(tmp_path_factory):
    """A folder with pictures of six people, four each."""
    folder = tmp_path_factory.mktemp("people")
    return folder, write_people(folder)


@pytest.fixture(scope="session")
def served(people):
    """The address of the page, the gallery, and the folder of uploads."""
    pytest.importorskip("gradio", reason="the extra `app` is not installed")
    gallery = SmallGallery(*people)
    finder = Finder(gallery, embed, look, lambda store, vector, hits: list(reversed(hits)))
    with listening("127.0.0.1", 0) as found, upload_folder() as uploads:
        server = server_of(make_app(finder, "<b>people</b>", uploads, "127.0.0.1"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [found]}, daemon=True)
        thread.start()
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.05)
        yield f"http://127.0.0.1:{found.getsockname()[1]}", gallery, uploads
        server.should_exit = True
        thread.join(20)


@pytest.fixture(scope="session")
def browser():
    """Chromium, without a window."""
    playwright = pytest.importorskip("playwright.sync_api", reason="Playwright is not installed")
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if found is None:
        pytest.skip(f"there is no browser: none of {', '.join(BROWSERS)} is installed")
    with playwright.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=found, args=["--no-sandbox"])
        yield chromium
        chromium.close()


@pytest.fixture
def page(browser, served):
    """The page, loaded anew."""
    opened = browser.new_page(viewport={"width": 1280, "height": 1000}, accept_downloads=True)
    opened.set_default_timeout(60_000)
    opened.goto(served[0])
    opened.wait_for_selector("#hit-1 img")
    yield opened
    opened.close()
