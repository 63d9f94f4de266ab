"""The real app behind a real browser. Every page that a test opens must stay free of errors and foreign requests."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, Playwright

from tests.browser.tab import Tab, Watch
from webui.launch import RunningApp, browser_options, start_app

OpenTab = Callable[..., Tab]


@pytest.fixture(scope='session')
def base_url() -> None:
    """Stands in for the plugin's own, which pytest warns about; every app here has an address of its own."""


@pytest.fixture(scope='session')
def browser_type_launch_args(browser_type_launch_args: dict[str, Any], playwright: Playwright) -> dict[str, Any]:
    return {**browser_type_launch_args, **browser_options(playwright.chromium.executable_path)}


@pytest.fixture(scope='session')
def browser_context_args(browser_context_args: dict[str, Any]) -> dict[str, Any]:
    return {**browser_context_args, 'viewport': {'width': 1280, 'height': 800}}


@pytest.fixture(scope='session')
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningApp]:
    """An app that repeats each message, 100 words a second; modules that need another one define their own."""
    with start_app(tmp_path_factory.mktemp('echo'), '--model', 'echo@100') as running:
        yield running


@pytest.fixture(autouse=True)
def watch() -> Iterator[Watch]:
    """Fail the test for what went wrong in the browser, however quietly."""
    watch = Watch()
    yield watch
    assert watch.problems() == []


@pytest.fixture
def context(watch: Watch, context: BrowserContext) -> BrowserContext:
    watch.add(context)
    return context


@pytest.fixture
def tab(page: Page, app: RunningApp) -> Tab:
    """The start page, ready for a first message."""
    return Tab(page, app.url).open()


@pytest.fixture
def open_tab(browser: Browser, app: RunningApp, watch: Watch) -> Iterator[OpenTab]:
    """Open the start page in a browser context with other options, as if on another device."""
    contexts: list[BrowserContext] = []

    def open_in_context(path: str = '/', **options: Any) -> Tab:
        context = browser.new_context(**{'viewport': {'width': 1280, 'height': 800}, **options})
        contexts.append(context)
        watch.add(context)
        return Tab(context.new_page(), app.url).open(path)

    yield open_in_context
    for context in contexts:
        context.close()
