"""The pages of governance, in a real browser."""

from collections.abc import Iterator

import pytest

pytest.importorskip("playwright", reason="declared gap: no Playwright here")

from playwright.sync_api import Browser, Page, expect

from tests.platform.test_platforms import served
from tests.ui.browser import CHROMIUM, browser, page_of
from tests.ui.walk import LOOKS, Look, problems_of, without_policy
from treadle.data.erasing.subject import Subject
from treadle.kernel.event import acting
from treadle.platform.settings import settings_for
from treadle.platform.wiring import Embedded
from treadle.ports.tree import put_files
from treadle.registry.tables import approvals

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="declared gap: no browser here")
ADA = Subject(key="customer_id", value="123-ada")


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with browser() as opened:
        yield opened


@pytest.fixture
def page(chromium: Browser) -> Iterator[Page]:
    with page_of(chromium) as opened:
        yield opened


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Embedded]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("TREADLE_WEBHOOK_HOSTS", "127.0.0.1")
        with Embedded(settings_for(tmp_path_factory.mktemp("pages") / "home")) as opened:
            fill(opened)
            yield opened


@pytest.fixture(scope="module")
def url(home: Embedded) -> Iterator[str]:
    with served(home) as address:
        yield address


def fill(home: Embedded) -> None:
    """Two approvals, of which one does not fit any more, an erasure, and a webhook."""
    home.registry.create_model(name="churn", project="churn")
    for number in (1, 2):
        home.registry.register_source(model="churn", source="s3://elsewhere/model")
        with acting("ada"):
            home.registry.approve(model="churn", number=number, comment=f"read verdict {number}")
    with home.database.write() as transaction:
        here = approvals.c.number == 1
        transaction.execute(approvals.update().where(here).values(comment="never said"))
    rows = b"customer_id,churned\n123-ada,1\n124-bob,0\n"
    home.data.add(project="churn", name="people", digest=put_files(home.blobs, {"a.csv": rows}))
    erasure = home.erasure.begin([ADA], "churn")
    home.erasure.finish(erasure.id)
    home.webhooks.create(
        name="desk",
        address="http://127.0.0.1:9/services/hidden-token",
        events=["MODEL_VERSION CREATED"],
    )


def test_approvals_tell_whose_they_are_and_whether_they_fit(page: Page, url: str) -> None:
    page.goto(f"{url}/")
    page.keyboard.press("g")
    page.keyboard.press("n")
    expect(page.get_by_role("heading", level=1)).to_have_text("Governance")
    rows = page.locator("table[data-table=approvals] tbody tr")
    expect(rows).to_have_count(2)
    expect(rows.nth(0)).to_contain_text("read verdict 2")
    expect(rows.nth(0).locator(".chip")).to_have_text("fits")
    expect(rows.nth(1).locator(".chip")).to_have_text("does not fit")
    expect(rows.nth(0)).to_contain_text("ada")
    with page.expect_download() as download:
        rows.nth(0).get_by_role("link", name="bill of materials").click()
    assert download.value.suggested_filename == "bom.cdx.json"
    rows.nth(0).get_by_role("link", name="card").click()
    expect(page).to_have_url(f"{url}/models/churn/2/card")


def test_an_erasure_is_told_without_its_subject_and_checked_with_it(
    page: Page, url: str, home: Embedded
) -> None:
    [erasure] = home.erasure.erasures()
    page.goto(f"{url}/governance")
    page.get_by_role("link", name=erasure.id).click()
    expect(page.locator("table[data-table=places] tbody tr")).to_have_count(len(erasure.places))
    assert ADA.value not in page.content()
    expect(page.get_by_role("link", name="ErasureDone")).to_be_visible()
    with page.expect_download() as download:
        page.get_by_role("link", name="Record as JSON").click()
    assert download.value.suggested_filename == "erasure.json"
    for value, says in ((ADA.value, "Yes: it was"), ("124-bob", "No: this one")):
        page.get_by_label("Column").fill(ADA.key)
        page.get_by_label("Value").fill(value)
        page.get_by_role("button", name="Check").click()
        expect(page.locator("form[data-operation='erasure/check'] output")).to_contain_text(says)
    page.goto(f"{url}/events?type=ErasureDone")
    page.get_by_role("link", name=f"erasure:{erasure.id}").click()
    expect(page).to_have_url(f"{url}/governance/erasures/{erasure.id}")


def test_a_webhook_is_removed_and_its_address_keeps_its_secret(
    page: Page, url: str, home: Embedded
) -> None:
    page.goto(f"{url}/governance")
    row = page.locator("table[data-table=webhooks] tbody tr")
    expect(row).to_contain_text("http://127.0.0.1:9/…")
    assert "hidden-token" not in page.content()
    page.once("dialog", lambda dialog: dialog.accept())
    row.get_by_role("button", name="Remove").click()
    expect(row).to_have_count(0)
    assert home.webhooks.every() == []


@pytest.mark.parametrize("look", LOOKS[:2], ids=str)
def test_pages_of_governance_are_for_everybody(
    chromium: Browser, url: str, home: Embedded, look: Look
) -> None:
    [erasure] = home.erasure.erasures()
    paths = ("/governance", f"/governance/erasures/{erasure.id}")
    with without_policy(chromium, look) as opened:
        wrong = {path: list(problems_of(opened, url, path)) for path in paths}
    assert not any(wrong.values()), wrong
