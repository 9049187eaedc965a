"""A real browser for tests of pages: Debian's chromium, driven by Playwright."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from playwright.sync_api import Browser, ConsoleMessage, Page, expect, sync_playwright

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking"]


@contextmanager
def browser() -> Iterator[Browser]:
    """A browser, for the tests of a module."""
    with sync_playwright() as playwright:
        opened = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield opened
        opened.close()


@contextmanager
def page_of(browser: Browser, *, width: int = 1440, dark: bool = False) -> Iterator[Page]:
    """A page that fails the test where the browser's console tells of an error."""
    scheme: Literal["dark", "light"] = "dark" if dark else "light"
    context = browser.new_context(viewport={"width": width, "height": 1000}, color_scheme=scheme)
    page, wrong = context.new_page(), list[str]()

    def heard(line: ConsoleMessage) -> None:
        if line.type == "error" and "status of 400" not in line.text:  # a filter half typed
            wrong.append(line.text)

    page.on("console", heard)
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.set_default_timeout(30_000)
    expect.set_options(timeout=30_000)  # a page draws itself again some seconds after an event
    yield page
    context.close()
    assert not wrong, wrong
