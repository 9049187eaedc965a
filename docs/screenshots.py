"""Takes the pictures of the pages that the documentation shows, from a home that is up.

treadle up --home treadle-demo & python docs/screenshots.py http://127.0.0.1:5000
"""

import shutil
import sys
from pathlib import Path

from playwright.sync_api import sync_playwright

FOLDER = Path(__file__).parent / "screenshots"
PAGES = {
    "home": ("/", False),
    "model": ("/models/flight-delay/7", False),
    "monitoring": ("/monitoring/flight-delay", False),
    "endpoint": ("/endpoints/flight-delay", True),
}
"""Paths of the demo's home by picture, and whether it is taken in the dark."""


def main(server: str) -> None:
    """Take each picture.

    Args:
        server: The server's address.
    """
    chromium = shutil.which("chromium") or shutil.which("google-chrome")
    with sync_playwright() as play:
        browser = play.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        for name, (path, dark) in PAGES.items():
            page = browser.new_page(
                viewport={"width": 1280, "height": 1000}, color_scheme="dark" if dark else "light"
            )
            page.goto(server + path)
            page.wait_for_timeout(1_500)  # charts are drawn
            page.screenshot(path=FOLDER / f"{name}.png")
            page.close()
        browser.close()


if __name__ == "__main__":
    main(sys.argv[1] if len(sys.argv) > 1 else "http://127.0.0.1:5000")
