"""Walks over the pages of a home in a real browser: what is wrong with each, and its main task."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.resources import files
from typing import NamedTuple

from playwright.sync_api import Browser, Page, expect

_AXE = files("axe_playwright_python").joinpath("axe.min.js")
_VARIABLE = re.compile(r"_01[0-9a-z]+|\d+|-frozen|(?<=[?&])(?!tab=|view=)[^&]*")
"""What differs in the addresses of pages of one kind."""


class Look(NamedTuple):
    """How a reader's screen is.

    Attributes:
        width: Pixels of the window.
        dark: Whether the dark theme is preferred.
    """

    width: int
    dark: bool


LOOKS = (Look(1440, dark=False), Look(360, dark=True))
"""Each width and each theme once."""


@contextmanager
def without_policy(browser: Browser, look: Look) -> Iterator[Page]:
    """A page into which a test may put a script; the pages' policy allows only their own."""
    context = browser.new_context(
        viewport={"width": look.width, "height": 1000},
        color_scheme="dark" if look.dark else "light",
        bypass_csp=True,
    )
    yield context.new_page()
    context.close()


def paths_of(page: Page, url: str) -> list[str]:
    """The pages that links lead to from the first on, one of each kind."""
    found, kinds, waiting = list[str](), set[str](), ["/"]
    while waiting:
        path = waiting.pop(0)
        kind = _VARIABLE.sub("", path).rstrip("?&")
        if kind in kinds:
            continue
        kinds.add(kind)
        found.append(path)
        page.goto(url + path, wait_until="domcontentloaded")
        links = page.locator("a[href^='/']:not([download])")
        here = links.evaluate_all(
            "links => links.map(one => one.getAttribute('href').split('#')[0])"
        )
        waiting += [one for one in here if one and not one.startswith(("/api/", "/assets/", "//"))]
    return found


def problems_of(page: Page, url: str, path: str) -> Iterator[str]:
    """What is wrong with a page: errors of its scripts, too wide, hard to read or to operate."""
    errors = list[str]()
    page.on("pageerror", lambda error: errors.append(str(error)))
    page.on("console", lambda line: errors.append(line.text) if line.type == "error" else None)
    answer = page.goto(url + path)
    if answer is None or answer.status != 200:
        yield f"answered with {answer.status if answer else 'nothing'}"
    page.wait_for_timeout(300)  # charts and tables are drawn
    yield from errors
    wide = page.evaluate("document.documentElement.scrollWidth - innerWidth")
    if wide > 0:
        yield f"{wide} pixels wider than its window"
    page.evaluate(_AXE.read_text(encoding="utf-8"))
    for one in page.evaluate("axe.run(document, {resultTypes: ['violations']})")["violations"]:
        if one["impact"] in ("serious", "critical"):
            yield f"{one['id']}: {one['help']}: {one['nodes'][0]['html'][:200]}"


def _home(page: Page, url: str) -> None:
    page.goto(url)
    expect(page.locator("table[data-table=requirements] tbody tr")).not_to_have_count(0)
    page.locator("ul.wheel").get_by_role("link", name="flight-delay", exact=False).first.click()
    expect(page).not_to_have_url(f"{url}/")
    page.keyboard.press("g")
    page.keyboard.press("m")
    expect(page.get_by_role("heading", level=1)).to_have_text("Models")


def _experiments(page: Page, url: str) -> None:
    page.goto(f"{url}/experiments")
    page.locator("table[data-table=experiments] tbody a").first.click()
    expect(page.locator(".tabulator-row").first).to_be_visible()
    page.get_by_role("combobox", name="Filter").fill("metrics.auc > 0.99999")
    expect(page.locator("#count")).to_have_text("0 runs")
    page.get_by_role("link", name="Charts").click()
    page.get_by_role("link", name="Parameters").click()
    expect(page.get_by_role("heading", level=1)).to_be_visible()


def _runs(page: Page, url: str) -> None:
    page.goto(f"{url}/models/flight-delay")
    page.locator("table[data-table=versions] tbody a").first.click()
    page.get_by_role("link", name=re.compile("run_")).first.click()
    expect(page.locator("table[data-table=metrics] tbody tr")).not_to_have_count(0)
    page.get_by_role("link", name="Code").click()
    expect(page.locator("table[data-table=packages] tbody tr")).not_to_have_count(0)


def _data(page: Page, url: str) -> None:
    page.goto(f"{url}/data")
    page.locator("table[data-table=datasets] tbody a").first.click()
    expect(page.locator("table[data-table=versions] tbody tr")).not_to_have_count(0)
    page.get_by_role("link", name="profile").click()
    expect(page.locator("table[data-table=profile] tbody tr")).not_to_have_count(0)


def _pipelines(page: Page, url: str) -> None:
    page.goto(f"{url}/pipelines")
    page.locator("table[data-table=pipelines] tbody a").first.click()
    expect(page.get_by_role("group", name="Steps of this pipeline")).to_be_visible()
    expect(page.locator("table[data-table=steps] tbody tr")).not_to_have_count(0)


def _models(page: Page, url: str) -> None:
    page.goto(f"{url}/models")
    page.locator("table[data-table=models]").get_by_role("link", name="flight-delay").first.click()
    page.locator("table[data-table=versions] tbody a").first.click()
    picture = page.get_by_role("group", name="Lineage of this version")
    picture.locator("a[href^='/data']").first.click()
    expect(page.locator("table[data-table=versions]")).to_be_visible()


def _deployments(page: Page, url: str) -> None:
    page.goto(f"{url}/endpoints/flight-delay")
    expect(page.locator("table[data-table=variants] tbody tr")).not_to_have_count(0)
    expect(page.locator("figure.chart canvas").first).to_be_visible()
    page.locator("[data-trial] input").first.fill("12.5")
    expect(page.locator("[data-trial-line]")).to_contain_text("12.5")


def _monitoring(page: Page, url: str) -> None:
    page.goto(f"{url}/monitoring")
    page.get_by_role("link", name="flight-delay", exact=True).first.click()
    expect(page.locator("svg.picture.heat")).to_be_visible()
    expect(page.locator("figure.chart canvas").first).to_be_visible()
    page.locator("table[data-table=decisions] a").first.click()
    expect(page.get_by_role("heading", name=re.compile("Why: the causes"))).to_be_visible()


def _incidents(page: Page, url: str) -> None:
    page.goto(f"{url}/incidents")
    page.locator("table[data-table=incidents] tbody a").first.click()
    expect(page.get_by_role("heading", name="Timeline")).to_be_visible()
    page.get_by_role("link", name="review").first.click()
    expect(page.get_by_role("heading", level=1)).to_be_visible()


def _events(page: Page, url: str) -> None:
    page.goto(f"{url}/events")
    page.get_by_label("Type").fill("RolloutPromoted")
    page.get_by_role("button", name="Show").click()
    page.locator("table[data-table=events] tbody a").first.click()
    expect(page.locator(".walk [aria-current]")).to_contain_text("RolloutPromoted")
    page.locator(".walk > li").first.get_by_role("link").first.click()
    page.goto(f"{url}/events/chain")
    expect(page.get_by_text("Intact.")).to_be_visible()


def _governance(page: Page, url: str) -> None:
    page.goto(f"{url}/governance")
    page.locator("table[data-table=evidence]").get_by_role("link", name="card").first.click()
    expect(page.get_by_role("heading", level=1).first).to_be_visible()
    page.goto(f"{url}/governance")
    page.get_by_role("link", name="Verify the chain").click()
    expect(page.get_by_text("Intact.")).to_be_visible()


def _infrastructure(page: Page, url: str) -> None:
    page.goto(f"{url}/infrastructure")
    expect(page.get_by_role("heading", name=re.compile("Machine "))).to_be_visible()
    page.locator("table[data-table=jobs] tbody a").first.click()
    expect(page.locator("pre[data-log]")).to_be_visible()
    page.get_by_role("link", name="access").click()
    page.get_by_label("User").first.fill("ann")
    expect(page.get_by_text("whoever reaches this server is trusted")).to_be_visible()


def _operations(page: Page, url: str) -> None:
    page.goto(f"{url}/api")
    page.get_by_text("/api/v1/scope/projects:").click()
    page.get_by_role("button", name="Try it").locator("visible=true").click()
    expect(page.locator("pre", has_text="flight-delay").first).to_be_visible()


TASKS: tuple[Callable[[Page, str], None], ...] = (
    *(_home, _experiments, _runs, _data, _pipelines, _models, _deployments),
    *(_monitoring, _incidents, _events, _governance, _infrastructure, _operations),
)
"""What each page is there for, on the demo's home; they change nothing."""
