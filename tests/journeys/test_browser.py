"""A person, a browser and the real process: a delivery fails, is understood, corrected and sent.

Needs Chromium: `apt-get install chromium`.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pytest

from tests.journeys.servers import Server, eventually, running

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.journey,
    pytest.mark.skipif(not CHROMIUM, reason="needs a browser: apt-get install chromium"),
]
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
BROKEN, RIGHT = "bounce-5.1.1@target.example", "marta@target.example"
FOLLOWERS = ("ana.maria@target.example", BROKEN, "ben@target.example")


@dataclass
class Reader:
    """Olga at her browser. `complaints` are the errors its console showed."""

    page: Any
    server: Server
    complaints: list[str]

    def log_in(self) -> None:
        address, password = (self.server.folder / "demo-login").read_text("utf-8").splitlines()[:2]
        self.page.goto(self.server.url)
        self.page.get_by_label("Email").fill(address)
        self.page.get_by_label("Password").fill(password)
        self.page.get_by_role("button", name="Log in").click()
        self.page.get_by_role("heading", name="Inbox").wait_for()

    def open(self, record: str) -> None:
        self.page.goto(record)

    def be_developer(self) -> None:
        self.page.goto(f"{self.server.url}/preferences")
        self.page.get_by_label("Developer mode").check()
        self.page.get_by_role("button", name="Save").click()
        self.page.get_by_role("link", name="Technical").wait_for()

    def add_follower(self, address: str) -> None:
        self.page.get_by_text("Add a follower").click()
        self.page.get_by_role("complementary").get_by_label("Email address").fill(address)
        self.page.get_by_role("button", name="Add", exact=True).click()

    def say(self, words: str) -> None:
        self.page.get_by_label("What do you want to say?").fill(words)
        self.page.get_by_role("button", name="Send", exact=True).click()
        self.page.get_by_text(words).first.wait_for()


@contextmanager
def browsing(server: Server, **options: Any) -> Iterator[Reader]:
    """A fresh browser; nothing but our own server can be reached."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = browser.new_context(locale="en-GB", **options).new_page()
        complaints: list[str] = []
        page.on("console", lambda said: complaints.append(said.text) if said.type == "error" else None)
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.set_default_timeout(15_000)
        try:
            yield Reader(page, server, complaints)
        finally:
            browser.close()


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """One demo for all journeys of this module."""
    with running(tmp_path_factory.mktemp("demo"), "demo") as server:
        yield server


def _record(server: Server, external_id: str) -> str:
    """A record of its own for each journey."""
    record = server.json("record", "put", f"journey/{external_id}", "--title", f"Journey {external_id}")
    return str(record["page"])


def _arrived(server: Server, address: str, words: str) -> int:
    """How many mails with these words the target took for an address."""
    mails = server.json("target", "list", "--address", address)["data"]
    shown = [server.command("target", "show", str(mail["id"])).stdout for mail in mails]
    return sum(words in text for text in shown)


def _fail_and_correct(reader: Reader, record: str, words: str) -> None:
    page = reader.page
    reader.log_in()
    reader.open(record)
    for address in FOLLOWERS:
        reader.add_follower(address)
    reader.say(words)
    eventually(lambda: _is_red(reader, record))
    page.get_by_role("link", name="1 of 3 failed").click()
    page.get_by_text("There is no such mailbox at the recipient's server.").wait_for()
    page.get_by_text("See Error Details").click()
    assert "550" in page.locator(".failure pre").inner_text()
    page.get_by_label("Address", exact=True).fill(RIGHT)
    page.get_by_role("button", name="Send & close").click()
    page.get_by_text("1 email is on its way again.").wait_for()


def _is_red(reader: Reader, record: str) -> bool:
    """With JavaScript the envelope turns red by itself; without, on the next look."""
    if reader.page.get_by_role("link", name="1 of 3 failed").count():
        return True
    if not reader.page.evaluate("typeof htmx !== 'undefined'"):
        reader.page.goto(record)
    return False


@pytest.mark.parametrize("has_javascript", [True, False], ids=["with JavaScript", "without JavaScript"])
def test_a_failed_delivery_is_understood_corrected_and_sent_to_that_one_alone(
    demo: Server, has_javascript: bool
) -> None:
    name = "with" if has_javascript else "without"
    words = f"The lamps leave on Monday, {name} the bulbs."
    record = _record(demo, name)
    with browsing(demo, java_script_enabled=has_javascript) as reader:
        _fail_and_correct(reader, record, words)
        eventually(lambda: _arrived(demo, RIGHT, words))
        reader.open(record)
        eventually(lambda: reader.page.reload() and reader.page.get_by_role("link", name="3 sent").count())
        assert reader.complaints == []
    told = [_arrived(demo, address, words) for address in (*FOLLOWERS, RIGHT)]
    assert told == [1, 0, 1, 1]


def test_the_preview_says_who_will_be_told_without_leaving_the_page(demo: Server) -> None:
    record = _record(demo, "preview")
    with browsing(demo) as reader:
        reader.log_in()
        reader.open(record)
        reader.add_follower("ben@target.example")
        reader.page.get_by_label("What do you want to say?").fill("Not sent yet")
        reader.page.get_by_role("button", name="Who will be told?").click()
        reader.page.get_by_text("by email to ben@target.example").wait_for()
        assert reader.page.get_by_label("What do you want to say?").input_value() == "Not sent yet"
        assert reader.complaints == []


def test_the_queue_is_worked_with_the_keyboard(demo: Server) -> None:
    with browsing(demo) as reader:
        page = reader.page
        reader.log_in()
        page.goto(f"{demo.url}/emails?state=failed")
        page.keyboard.press("j")
        page.keyboard.press("x")
        page.get_by_text("1 selected").wait_for()
        page.keyboard.press("?")
        assert page.get_by_role("dialog").is_visible()
        page.keyboard.press("Escape")
        page.keyboard.press("r")
        page.get_by_text("1 email will be tried again.").wait_for()
        assert reader.complaints == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_nothing_sticks_out_on_a_phone(demo: Server, scheme: str) -> None:
    with browsing(demo, viewport={"width": 390, "height": 800}, color_scheme=scheme) as reader:
        reader.log_in()
        reader.be_developer()
        paths = ("/", "/records", "/emails", "/incoming", "/why", "/settings/members", "/preferences")
        for path in (*paths, "/technical/actions", "/technical/actions/1"):
            reader.page.goto(demo.url + path)
            assert reader.page.locator("h1").inner_text() != "Not here"
            wide = reader.page.evaluate("document.documentElement.scrollWidth")
            assert wide <= 390, path


def test_the_theme_that_was_chosen_stays(demo: Server) -> None:
    with browsing(demo) as reader:
        reader.log_in()
        reader.page.locator("details.menu summary").click()
        reader.page.get_by_role("button", name="Dark").click()
        reader.page.goto(f"{demo.url}/records")
        assert reader.page.evaluate("document.documentElement.dataset.theme") == "dark"
