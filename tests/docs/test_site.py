"""The site: it builds without warnings, every link has a target, and pages have no errors in a browser."""

import functools
import html
import html.parser
import http.server
import importlib.util
import inspect
import os
import re
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

import pytest

import optim

from ..flags import FAST
from .browser import Browser, executable

ROOT = Path(__file__).parents[2]
NEEDED = ("mkdocs", "material", "mkdocstrings", "latex2mathml")
MISSING = [name for name in NEEDED if importlib.util.find_spec(name) is None]
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(bool(MISSING), reason=f"the site needs {', '.join(MISSING)}: pip install 'optim[docs]'"),
]


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    environment = {**os.environ, "XLA_FLAGS": FAST, "NO_MKDOCS_2_WARNING": "1"}
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder]
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0, done.stderr[-5000:]
    assert "WARNING" not in done.stderr
    return folder


class Page(html.parser.HTMLParser):
    """The links of a page, the files it loads, and its anchors."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.links, self.loads, self.sections = set(), [], [], {}
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        if "id" in given:
            self.ids.add(given["id"])
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])
        if tag in ("img", "script", "iframe", "source") and given.get("src"):
            self.loads.append(given["src"])
        if tag == "link" and given.get("rel") in ("stylesheet", "icon", "preload", "preconnect"):
            self.loads.append(given["href"])


@pytest.fixture(scope="module")
def pages(site):
    return {p.relative_to(site).as_posix(): Page(p.read_text()) for p in site.rglob("*.html")}


def test_links(site, pages):
    """Every link within the site leads to an existing file and anchor; nothing is loaded from other hosts."""
    dead = []
    for name, page in pages.items():
        if name == "404.html":  # its links are absolute
            continue
        for link in [*page.links, *page.loads]:
            whole, anchor = urldefrag(urljoin(f"http://site/{name}", link))
            if urlsplit(whole).netloc != "site" or urlsplit(whole).scheme not in ("http", ""):
                assert link in page.links, f"{name} loads {link}"
                continue
            target = site / unquote(urlsplit(whole).path).lstrip("/")
            target = target / "index.html" if target.is_dir() else target
            if not target.is_file():
                dead.append((name, link))
            elif anchor and target.suffix == ".html" and link in page.links:
                inside = pages[target.relative_to(site).as_posix()].ids
                if unquote(anchor) not in inside and not anchor.startswith("__"):
                    dead.append((name, link))
    assert dead == []


def own_entries():
    return [e for e in optim.entries() if e.factory.__module__.split(".")[0] == "optim"]


def test_every_name_has_an_entry(pages):
    anchors = {i for name, page in pages.items() if name.startswith("reference/") for i in page.ids}
    public = {n for n, x in vars(optim).items() if not n.startswith("_") and not inspect.ismodule(x)}
    aliases = {"inject_stateful_hyperparams", "multi_transform", "MultiTransformState", "safe_int32_increment"}
    expected = {f"optim.{n}" for n in public - aliases} | {f"optim.{e.name}" for e in own_entries()}
    assert len(expected) > 250
    assert expected - anchors == set()


def test_every_optimizer_has_its_pictures(site, pages):
    """Two paths and a learning curve for every optimizer, or a reason why not; a plot for every schedule."""
    loaded = {Path(urlsplit(s).path).name for n, p in pages.items() if n.startswith("reference/") for s in p.loads}
    text = "\n".join(p.read_text() for p in (site / "reference").rglob("*.html"))
    optimizers = [
        e.name
        for e in own_entries()
        if e.factory.__module__.split(".")[1] in ("optimizers", "linesearch", "keras")
        and not e.name.startswith("scale_by_")
        and {"learning_rate", "lr", "max_learning_rate"} & {*e.signature.parameters}
    ]
    assert len(optimizers) > 50
    for name in optimizers:
        pictures = {f"{name}-{what}-light.svg" for what in ("rosenbrock", "beale", "digits")}
        assert pictures <= loaded or f"No pictures of <code>{name}</code>: " in text, name
    for entry in own_entries():
        if entry.kind == "schedule":
            assert f"{entry.name}-dark.svg" in loaded


def test_pictures_are_small(site):
    pictures = list((site / "reference" / "pictures").glob("*.svg"))
    assert len(pictures) > 300
    assert max(p.stat().st_size for p in pictures) < 60_000


def test_reference_shows_no_internals(site):
    """No address of an object, and no private name as a default."""
    for page in (site / "reference").rglob("*.html"):
        text = re.sub(r"<details class=\"[^\"]*source.*?</details>", "", page.read_text(), flags=re.S)
        text = html.unescape(re.sub(r"<[^>]+>", "", text))
        assert not re.search(r" at 0x[0-9a-f]{4}", text), page
        assert not re.search(r"= _[a-zA-Z]\w*\s*[,)]", text), page


def test_formulas_are_mathml(site):
    text = (site / "concepts" / "index.html").read_text()
    assert "<math " in text
    assert "arithmatex" not in text


# In a browser


@pytest.fixture(scope="module")
def origin(site):
    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=site))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def browser(origin, tmp_path_factory):
    path = executable()
    if path is None:
        pytest.skip("Chromium is not installed")
    browser = Browser(path, tmp_path_factory.mktemp("profile"), origin)
    yield browser
    browser.close()


def test_no_page_has_console_errors(browser, pages):
    faults = {name: list(browser.open(name.removesuffix("index.html"))) for name in pages if name != "404.html"}
    assert {name: f for name, f in faults.items() if f} == {}


def test_faults_are_detected(browser, site):
    """A missing file, a console error and an exception are all reported."""
    broken = site / "broken.html"
    broken.write_text("<img src='missing.png'><script>console.error('one'); throw new Error('two')</script>")
    try:
        faults = "\n".join(browser.open("broken.html"))
    finally:
        broken.unlink()
    assert "one" in faults
    assert "two" in faults
    assert "404" in faults


def test_search(browser):
    """Search works without other hosts."""
    assert browser.open("") == []
    browser.ask("document.querySelector('[data-md-toggle=search]').click()")
    browser.ask("document.querySelector('[data-md-component=search-query]').focus()")
    browser.send("Input.insertText", text="scale_by_lion")
    links = "[...document.querySelectorAll('.md-search-result__link')].map(a => a.href)"
    browser.until(lambda: browser.ask(links))
    assert any("reference/optimizers/lion/" in link for link in browser.ask(links))
    assert browser.faults == []


def test_narrow_pages_do_not_scroll_sideways(browser, pages):
    """At the width of a phone."""
    browser.send("Emulation.setDeviceMetricsOverride", width=390, height=800, deviceScaleFactor=1, mobile=True)
    try:
        wide = []
        for name in pages:
            if name != "404.html" and not name.startswith("reference/optimizers/"):
                browser.open(name.removesuffix("index.html"))
                if browser.ask("document.documentElement.scrollWidth > document.documentElement.clientWidth + 1"):
                    wide.append(name)
        assert wide == []
    finally:
        browser.send("Emulation.clearDeviceMetricsOverride")


@pytest.mark.parametrize("colours", ["light", "dark"])
def test_pictures_follow_the_colours(browser, colours):
    browser.send("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": colours}])
    browser.open("assets/site.css")  # where no script remembers a choice
    browser.ask("localStorage.clear()")
    browser.open("reference/optimizers/adam/")
    visible = (
        "[...document.querySelectorAll('.runs img')].filter(i => getComputedStyle(i).display != 'none').map(i => i.src)"
    )

    def follow():
        shown = browser.ask(visible)
        return len(shown) > 10 and all(f"-{colours}.svg" in source for source in shown)

    browser.until(follow)
