"""The pages of data, pipelines, models, endpoints, monitoring and events, in a real browser."""

import re
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest

pytest.importorskip("playwright", reason="declared gap: no Playwright here")

from playwright.sync_api import Browser, Page, expect

from tests.fixtures.write_home import PROJECT
from tests.pipelines.project import settled, start, write
from tests.platform.everything import make_home
from tests.platform.test_platforms import served
from tests.ui.browser import CHROMIUM, browser, page_of
from treadle.kernel.clock import ManualClock
from treadle.monitoring.slo.model import BudgetBurning
from treadle.platform.settings import settings_for
from treadle.platform.wiring import Embedded
from treadle.ports.tree import put_files

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="declared gap: no browser here")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as opened:
        yield opened


@pytest.fixture
def page(chromium: Browser, headers: dict[str, str]) -> Iterator[Page]:
    with page_of(chromium) as opened:
        opened.set_extra_http_headers(headers)
        yield opened


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedded]:
    folder = tmp_path_factory.mktemp("pages") / "home"
    make_home(folder)
    with Embedded(settings_for(folder, target="local:")) as opened:
        yield opened


@pytest.fixture(scope="module")
def headers(home: Embedded) -> dict[str, str]:
    secret = home.access.create_token(name="pages", role="admin").secret
    return {"Authorization": f"Bearer {secret}"}


@pytest.fixture(scope="module")
def url(home: Embedded) -> Iterator[str]:
    with served(home) as address:
        yield address


def test_a_version_is_approved_on_its_evidence(page: Page, url: str, home: Embedded) -> None:
    home.registry.register_source(model=PROJECT, source="s3://elsewhere/model")
    number = home.registry.find(model=PROJECT, limit=1)[0].number
    page.goto(f"{url}/models/{PROJECT}")
    page.get_by_role("link", name=str(number), exact=True).click()
    expect(page.get_by_text("not approved", exact=True)).to_be_visible()
    page.get_by_label("What the approval is given on").fill("compared by hand")
    page.get_by_role("button", name="Approve").click()
    expect(page.get_by_text("compared by hand")).to_be_visible()
    assert home.registry.verify_approval(model=PROJECT, number=number)


def test_rows_of_two_versions_are_compared_by_a_key(page: Page, url: str, home: Embedded) -> None:
    assert isinstance(home.clock, ManualClock)
    for place, rows in enumerate((b"id,fare\n1,10\n2,20\n", b"id,fare\n1,11\n3,30\n")):
        digest = put_files(home.blobs, {"fares.csv": rows})
        home.data.add(project=PROJECT, name="fares", digest=digest)
        home.clock.advance(timedelta(minutes=place + 1))
    page.goto(f"{url}/data/{PROJECT}?dataset=fares")
    page.get_by_role("link", name="Compare their rows").click()
    expect(page.locator(".card", has_text="added")).to_contain_text("2")
    page.get_by_label("Columns that name a row").fill("id")
    page.get_by_role("button", name="Compare").click()
    expect(page.locator(".card", has_text="changed")).to_contain_text("1")
    changed = page.locator("table[data-table=rows] tr", has_text="changed")
    expect(changed).to_contain_text("fare: 10 → 11")
    page.get_by_label("Columns that name a row").fill("no such")
    page.get_by_role("button", name="Compare").click()
    expect(page.locator(".notice")).to_contain_text("no such")
    page.goto(f"{url}/models/{PROJECT}")
    page.get_by_text("Describe this model").click()
    page.get_by_label("Description", exact=True).fill("Says how late a flight is.")
    page.get_by_role("button", name="Keep").click()
    expect(page.locator("p.lead")).to_have_text("Says how late a flight is.")


def test_lineage_leads_from_a_version_to_its_endpoint(page: Page, url: str, home: Embedded) -> None:
    champion = home.registry.resolve(ref=f"{PROJECT}@champion")
    page.goto(f"{url}/models/{PROJECT}/{champion.number}")
    picture = page.get_by_role("group", name="Lineage of this version")
    picture.locator(f"a[href='/endpoints/{PROJECT}']").click()
    expect(page.get_by_role("heading", name="What answers now")).to_be_visible()


def test_traffic_by_version_is_drawn_from_the_log(page: Page, url: str) -> None:
    page.goto(f"{url}/endpoints/{PROJECT}")
    chart = page.get_by_label("Throughput: rows a second, by version")
    expect(chart.locator(".u-legend")).to_contain_text(f"{PROJECT}:1 champion")
    page.get_by_label("distance").fill("12.5")
    expect(page.locator("[data-trial-line]")).to_contain_text('"distance":12.5')


def test_a_trial_takes_columns_of_any_name(page: Page, url: str) -> None:
    page.goto(f"{url}/endpoints/{PROJECT}")
    page.evaluate("""() => {
        const form = document.querySelector("form[data-trial]"), kind = form.elements[0];
        for (const name of ["elements", "dataset", "__proto__"]) {
            const field = kind.cloneNode();
            field.dataset.column = name; field.value = "1"; field.name = "";
            form.append(field);
        }
    }""")
    page.get_by_label("distance").fill("12.5")
    line = page.locator("[data-trial-line]")
    for name in ("distance", "elements", "dataset", "__proto__"):
        expect(line).to_contain_text(f'"{name}":1')
    expect(line).to_contain_text(re.compile("http://.*/invocations"))


def test_charts_of_traffic_are_fetched_again_and_forgotten(page: Page, url: str) -> None:
    asked = list[str]()
    page.on("request", lambda request: asked.append(request.url))

    def fetched() -> int:
        return sum("monitoring/traffic" in one for one in asked)

    page.goto(f"{url}/endpoints/{PROJECT}")
    drawn = page.locator("figure[data-source*=traffic] .uplot")
    expect(drawn).to_have_count(4)
    tell = "document.dispatchEvent(new CustomEvent('treadle:drawn'))"
    page.evaluate(tell)
    assert fetched() == 1
    figures = "document.querySelectorAll('figure[data-source*=traffic]')"
    page.wait_for_timeout(2500)
    with page.expect_response(re.compile("monitoring/traffic")):
        page.evaluate(f"for (const one of {figures}) one.askedAt = 0; {tell}")
    assert fetched() == 2
    page.evaluate(f"{{ window.gone = {figures}[0]; gone.remove(); }}")
    page.evaluate("document.dispatchEvent(new CustomEvent('treadle:theme'))")
    page.wait_for_function("!gone.querySelector('.uplot')")


def test_the_log_of_another_step_is_another_log(page: Page, url: str, home: Embedded) -> None:
    run = next(
        one for one in home.pipelines.find(limit=50) if sum(bool(s.job) for s in one.steps) > 1
    )
    first, second = [step for step in run.steps if step.job][:2]
    page.goto(f"{url}/pipelines/{run.id}?step={first.name}")
    expect(page.locator("pre[data-log]")).to_have_attribute("data-log", str(first.job))
    page.evaluate(f"history.replaceState(null, '', '?step={second.name}')")
    home.access.create_token(name="another event", role="viewer")
    expect(page.get_by_role("heading", name=f"Log of {second.name}")).to_be_visible()
    expect(page.locator("pre[data-log]")).to_have_attribute("data-log", str(second.job))


def test_the_calls_of_a_mapped_step_are_listed_and_the_failed_one_is_first(
    page: Page, url: str, home: Embedded, tmp_path: Path
) -> None:
    code = "@treadle.step(map={'n': 'numbers'})\ndef inverse(n: int) -> float:\n    return 1 / n\n"
    run = settled(home, start(home, write(tmp_path / "p", code), numbers=[1, 0, 2]))
    page.goto(f"{url}/pipelines/{run.id}")
    calls = page.locator("table[data-table=calls] tbody tr")
    expect(calls).to_have_count(3)
    expect(calls.first).to_contain_text("inverse[1]")
    expect(calls.first).to_contain_text("ZeroDivisionError")
    expect(page.locator("table[data-table=steps]")).to_contain_text("1 of 3 calls")
    page.get_by_role("link", name="inverse[2]").click()
    expect(page.get_by_role("heading", name="Log of inverse[2]")).to_be_visible()


def test_an_event_is_followed_to_its_cause(page: Page, url: str, home: Embedded) -> None:
    caused = next(one for one in home.events.history(limit=1000) if one.cause is not None)
    page.goto(f"{url}/events/{caused.number}")
    expect(page.locator(".walk [aria-current]")).to_contain_text(caused.type)
    page.locator(".walk > li").first.get_by_role("link").first.click()
    expect(page).not_to_have_url(re.compile(f"/events/{caused.number}$"))
    page.goto(f"{url}/events/chain")
    expect(page.get_by_text("Intact.")).to_be_visible()


def test_a_redraw_keeps_what_its_reader_has_filled_in(page: Page, url: str, home: Embedded) -> None:
    page.goto(f"{url}/access")
    form = page.locator("form[data-operation='access/grant']")
    form.get_by_label("User").fill("carol")
    form.get_by_label("Role").select_option("editor")
    form.get_by_label("Project").select_option(PROJECT)
    tokens = page.locator("table[data-table=tokens]")
    tokens.locator("th").first.get_by_role("button").dblclick()
    home.access.create_token(name="zulu", role="viewer")
    expect(tokens.locator("tbody tr").first).to_contain_text("zulu")
    expect(tokens.locator("th").first).to_have_attribute("aria-sort", "descending")
    page.locator("form[data-operation='access/create_token']").get_by_label("Name").focus()
    form.get_by_role("button").click()
    given = page.locator("table[data-table=users] tr", has_text="carol")
    expect(given).to_contain_text(f"editor in {PROJECT}")
    assert {one.name: one.roles for one in home.access.users()}["carol"] == {PROJECT: "editor"}
    expect(form.get_by_label("User")).to_have_value("")


def test_an_incident_is_attended_to_and_reviewed(page: Page, url: str, home: Embedded) -> None:
    burning = BudgetBurning(
        endpoint=PROJECT,
        project=PROJECT,
        slo="UP",
        condition="availability",
        windows=["1h/5m"],
        severity="page",
        burn_rate=20.0,
        budget_left=0.5,
        since=home.clock.now(),
    )
    with home.database.write() as transaction:
        home.events.append(transaction, burning)
    while home.incidents.react():
        pass
    opened = home.incidents.find(limit=1)[0]
    page.goto(f"{url}/incidents?state=open")
    page.get_by_role("link", name=str(opened.id), exact=True).click()
    page.get_by_role("button", name="I attend to it").click()
    expect(page.get_by_role("button", name="I attend to it")).to_have_count(0)
    page.get_by_label("text", exact=True).fill("the upstream sends metres")
    page.get_by_role("button", name="Add a note").click()
    expect(page.locator("table[data-table=timeline]")).to_contain_text("the upstream sends metres")
    page.get_by_label("Role").fill("lead")
    page.get_by_label("Person").fill("ada")
    page.get_by_role("button", name="Assign").click()
    expect(page.locator("table.facts tr", has_text="lead")).to_contain_text("ada")
    page.locator("table.facts tr", has_text="lead").get_by_role("button", name="Remove").click()
    expect(page.locator("table.facts tr", has_text="lead")).to_have_count(0)
    page.get_by_label("reason", exact=True).fill("fixed")
    page.get_by_role("button", name="Resolve").click()
    expect(page.get_by_text("resolved", exact=True).first).to_be_visible()
    page.get_by_role("link", name="review", exact=True).click()
    page.get_by_label("text", exact=True).fill("check units")
    page.get_by_role("button", name="Add").click()
    page.locator("li", has_text="check units").get_by_role("button", name="Done").click()
    expect(
        page.locator("li", has_text="check units").get_by_text("done", exact=True)
    ).to_be_visible()
    page.get_by_label("Was retraining aligned").select_option("no")
    page.get_by_role("button", name="Close", exact=True).click()
    expect(page.get_by_text("closed", exact=True)).to_be_visible()
    draft = home.reviews.draft(incident=opened.id)
    assert (draft.aligned, draft.incident.state, draft.incident.roles) == (False, "resolved", {})
    page.goto(f"{url}/events?subject=incident:{opened.id}")
    page.get_by_role("link", name=f"incident:{opened.id}").first.click()
    expect(page).to_have_url(re.compile(f"/incidents/{opened.id}$"))
