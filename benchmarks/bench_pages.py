"""How fast the pages are on a home with much in it: ``python bench_pages.py DEMO_HOME``.

Copies a home that ``treadle demo`` has made and adds 100,000 runs, 1,000 versions of a model, and
answered predictions up to 10,000,000. Then a real server answers, and a real browser looks. Prints
one JSON line per page: milliseconds of its first answer and of the median of five, the browser's
first paint, and kilobytes that came over the wire with and without scripts and styles. The last
line is what 100 viewers cost while something happens each second. Exits with 1 where a page's
first paint takes longer, or a page weighs more, than is asked.
"""

import argparse
import asyncio
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx
import msgspec
import numpy as np
import psutil
from bench_serving import say, wait
from bench_tracking import past
from playwright.sync_api import Browser, Request, sync_playwright

from treadle.platform.settings import settings_for
from treadle.platform.wiring import Embedded
from treadle.serving.inference_log import LogWriter
from treadle.serving.log_batch import LogBatch
from treadle.serving.log_files import InferenceLogs

RUNS, VERSIONS, PREDICTIONS = 100_000, 1_000, 10_000_000
VIEWERS, VIEW_SECONDS = 100, 60
PAUSE_SECONDS, PAUSE_SECONDS_PER_VIEWER = 3.0, 0.5
"""As ``static/live.js`` waits before it draws a page again."""

PAINT_MS, WEIGHT_KB, VIEWERS_SHARE = 300, 200, 0.10
PORT = 18_700


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("home", type=Path, help="a home that 'treadle demo' has made")
    parser.add_argument("--keep", type=Path, help="where the large home is made, and kept")
    options = parser.parse_args()
    with ExitStack() as stack:
        folder = options.keep or Path(stack.enter_context(tempfile.TemporaryDirectory())) / "home"
        if not folder.exists():
            shutil.copytree(options.home, folder, ignore=shutil.ignore_patterns("*.socket"))
            enlarge(folder)
        with Embedded(settings_for(folder)) as platform:
            paths = pages_of(platform)
        url, server = stack.enter_context(served(folder))
        browser = stack.enter_context(sync_playwright()).chromium.launch(
            executable_path=shutil.which("chromium") or shutil.which("google-chrome"),
            args=["--no-sandbox", "--disable-gpu"],
        )
        worst = [page_times(url, path, browser) for path in paths]
        browser.close()
        share = viewers_share(url, folder, server)
    if max(ms for ms, _ in worst) > PAINT_MS or max(kb for _, kb in worst) > WEIGHT_KB:
        sys.exit("A page is slower or heavier than is asked.")
    if share > VIEWERS_SHARE:
        sys.exit("Viewers cost more than is asked.")


def enlarge(folder: Path) -> None:
    """Add runs, versions and answered predictions, by what the product writes with."""
    generator = np.random.default_rng(0)
    with Embedded(settings_for(folder)) as platform:
        experiment = platform.tracking.create_experiment(name="many").id
        for start in range(0, RUNS, 1000):
            runs = [past(experiment, start + n, generator) for n in range(1000)]
            platform.tracking.add_history(source="benchmark", runs=runs)
        model = platform.delivery.endpoints()[0].name
        for number in range(VERSIONS):
            platform.registry.register_source(model=model, source=f"s3://elsewhere/{number}")
        answer_more(platform)


def answer_more(platform: Embedded) -> None:
    """Answer what was answered again and again; then make the days into files."""
    endpoint = platform.delivery.endpoints()[0]
    logs = InferenceLogs(platform.settings.folder / "endpoints")
    answered = logs.batches(endpoint.name, endpoint.created_at, platform.clock.now())
    batches = [batch for batch in answered if batch.facts.role == "champion"]
    writer = LogWriter(logs.folder(endpoint.name))
    for batch in batches:
        for copy in range(PREDICTIONS // sum(len(one) for one in batches)):
            writer.append(copy_of(batch, copy))
    writer.close()
    platform.monitoring.reconcile()


def copy_of(batch: LogBatch, copy: int) -> LogBatch:
    """The same rows under other ids, answered at the moment of one of them."""
    at = int(batch.row_moments[copy % len(batch)])
    ids = [f"copy{copy}-{id}" for id in batch.facts.ids]
    facts = msgspec.structs.replace(batch.facts, ids=ids, at=at)
    return LogBatch(facts, batch.numbers, batch.outputs)


def pages_of(platform: Embedded) -> list[str]:
    """A page of each kind."""
    endpoint = platform.delivery.endpoints()[0]
    many = next(one for one in platform.tracking.experiments() if one.name == "many").id
    run = platform.tracking.search(experiments=[many], limit=1).runs[0].id
    pipeline = platform.pipelines.find(limit=1)[0].id
    event = platform.events.last_number()
    return [
        "/",
        "/experiments",
        f"/experiments/{many}",
        f"/experiments/{many}?tab=charts",
        f"/experiments/{many}?tab=params",
        f"/runs/{run}",
        "/traces",
        "/data",
        f"/data/{endpoint.project}",
        "/pipelines",
        f"/pipelines/{pipeline}",
        "/models",
        f"/models/{endpoint.name}",
        f"/models/{endpoint.name}/{endpoint.champion}",
        "/endpoints",
        f"/endpoints/{endpoint.name}",
        "/monitoring",
        f"/monitoring/{endpoint.name}",
        "/events",
        f"/events/{event}",
        "/infrastructure",
        "/access",
    ]


@contextmanager
def served(folder: Path) -> Iterator[tuple[str, psutil.Process]]:
    """The server process alone, without the worker and the model servers."""
    url = f"http://127.0.0.1:{PORT}"
    settings = {"TREADLE_SETTINGS": json.dumps({"home": str(folder)})}
    command = [sys.executable, "-m", "treadle.cli.server", "127.0.0.1", str(PORT)]
    with subprocess.Popen(command, env=os.environ | settings) as process:
        try:
            wait(f"{url}/health")
            yield url, psutil.Process(process.pid)
        finally:
            process.terminate()


def page_times(url: str, path: str, browser: Browser) -> tuple[float, float]:
    """Print a page's times and weight; return the first paint in ms, and kilobytes with assets."""
    packed = {"Accept-Encoding": "gzip", "Accept": "text/html"}
    with httpx.Client(base_url=url, headers=packed, timeout=120) as client:
        taken = [answer_ms(client, path) for _ in range(6)]
    paints, weights = zip(*(look(url + path, browser) for _ in range(3)), strict=True)
    paint, weight = statistics.median(paints), weights[0]
    say(
        f"page {path}",
        first_answer_ms=round(taken[0], 1),
        answer_ms=round(statistics.median(taken[1:]), 1),
        first_paint_ms=round(paint, 1),
        kilobytes=round(weight / 1e3, 1),
        target_ms=PAINT_MS,
        target_kilobytes=WEIGHT_KB,
    )
    return paint, weight / 1e3


def answer_ms(client: httpx.Client, path: str) -> float:
    started = time.perf_counter()
    answer = client.get(path)
    assert answer.status_code == 200, (path, answer.status_code)
    return (time.perf_counter() - started) * 1e3


def look(url: str, browser: Browser) -> tuple[float, float]:
    """The first paint of a page that its reader has never seen, and what came before its data."""
    context = browser.new_context(viewport={"width": 1440, "height": 1000})
    page, weights = context.new_page(), list[float]()

    def arrived(request: Request) -> None:
        if "/api/" not in request.url:
            sizes = request.sizes()
            weights.append(sizes["responseBodySize"] + sizes["responseHeadersSize"])

    page.on("requestfinished", arrived)
    page.goto(url, wait_until="load")
    page.wait_for_function("performance.getEntriesByName('first-contentful-paint').length > 0")
    painted = page.evaluate("performance.getEntriesByName('first-contentful-paint')[0].startTime")
    context.close()
    return float(painted), sum(weights)


def viewers_share(url: str, folder: Path, server: psutil.Process) -> float:
    """Print and return what share of a core the first page's viewers cost.

    What the events cost without viewers is taken off.
    """
    with Embedded(settings_for(folder)) as platform:
        model = platform.delivery.endpoints()[0].name
        alone = share_of(server, platform, model)
        with ThreadPoolExecutor(1) as threads:
            over = threading.Event()
            drawn = threads.submit(lambda: asyncio.run(view(url, over)))
            time.sleep(2 * PAUSE_SECONDS)  # all have come
            watched = share_of(server, platform, model)
            over.set()
    say(
        f"{VIEWERS} viewers of the first page, an event each second",
        share_of_a_core=round(watched - alone, 3),
        without_viewers=round(alone, 3),
        pages_drawn=drawn.result(),
        target=VIEWERS_SHARE,
    )
    return watched - alone


def share_of(server: psutil.Process, platform: Embedded, model: str) -> float:
    """What share of a core a process takes while something happens each second."""
    started, before = time.perf_counter(), sum(server.cpu_times()[:2])
    for second in range(VIEW_SECONDS):
        platform.registry.register_source(model=model, source="s3://elsewhere/event")
        time.sleep(max(0.0, started + second + 1 - time.perf_counter()))
    taken: float = sum(server.cpu_times()[:2]) - before
    return taken / (time.perf_counter() - started)


async def view(url: str, over: threading.Event) -> int:
    """Look as browsers do; return how often a page was drawn again."""
    limits = httpx.Limits(max_connections=None, max_keepalive_connections=None)
    async with httpx.AsyncClient(base_url=url, timeout=120, limits=limits) as client:
        return sum(await asyncio.gather(*(one_viewer(client, over) for _ in range(VIEWERS))))


async def one_viewer(client: httpx.AsyncClient, over: threading.Event) -> int:
    drawn, known, waits = 0, "", asyncio.Event()

    async def draw() -> None:
        nonlocal drawn
        while not over.is_set():
            await waits.wait()
            pause = max(PAUSE_SECONDS, VIEWERS * PAUSE_SECONDS_PER_VIEWER)
            await asyncio.sleep(pause * (0.5 + random.random()))
            waits.clear()
            (await client.get("/", headers={"Accept": "text/html"})).raise_for_status()
            drawn += 1

    drawing = asyncio.create_task(draw())
    async with client.stream("GET", "/live") as news:
        async for line in news.aiter_lines():
            if over.is_set():
                break
            number = line.removeprefix("data: ").split(" ")[0]
            if line.startswith("data: ") and number != known:
                if known:
                    waits.set()
                known = number
    drawing.cancel()
    return drawn


if __name__ == "__main__":
    main()
