"""Chromium without a screen, by playwright. Tests that need it are skipped where it is not installed."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

CHROMIUM = shutil.which("chromium")
needed = pytest.mark.skipif(CHROMIUM is None, reason="needs Chromium (on Debian: apt install chromium)")
LIMIT = 300_000  # ms, for each step: ten times what playwright waits by itself, for a busy machine
ARGUMENTS = [
    "--no-sandbox",  # which it has not for root; it opens nothing but our own pages
    "--use-angle=swiftshader", "--enable-unsafe-swiftshader",  # WebGL without a GPU
    "--disable-background-networking", "--disable-component-update", "--disable-sync", "--no-first-run",
]  # fmt: skip


@contextmanager
def launched() -> Iterator[Browser]:
    """The browser, with an empty profile that is removed at the end."""
    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS, timeout=LIMIT)
        yield chromium
        chromium.close()


def new_page(chromium: Browser, **how: object) -> Page:
    """An empty page that waits up to LIMIT for what is asked of it."""
    page = chromium.new_page(**how)
    page.set_default_timeout(LIMIT)
    return page
