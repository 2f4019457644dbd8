"""Hooks of the site's build: they generate the reference and convert formulas to MathML."""

import os
import re
import sys
from pathlib import Path
from typing import Any

os.environ.setdefault("JAX_PLATFORMS", "cpu")
ROOT = Path(__file__).parents[2]
for folder in (Path(__file__).parent, ROOT):
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))

import latex2mathml.converter  # noqa: E402  after the path
import reference  # noqa: E402
import runs  # noqa: E402
from mkdocs.plugins import get_plugin_logger  # noqa: E402
from mkdocs.structure.files import File  # noqa: E402

log = get_plugin_logger("optim")
RESULTS = ROOT / "benchmarks" / "RESULTS.md"
CHART = RESULTS.with_name("results.png")


def on_config(config: Any) -> Any:
    """Add the generated pages to the navigation."""
    for item in config.nav:
        if isinstance(item, dict) and "Reference" in item:
            item["Reference"] = reference.navigation()
    if RESULTS.exists():
        config.nav.append({"Benchmarks": "benchmarks.md"})
    return config


def on_files(files: Any, *, config: Any) -> Any:
    optimizer_runs = runs.all_runs(ROOT / "build" / "docs", log.info)
    for path, text in reference.files(optimizer_runs):
        files.append(File.generated(config, path, content=text))
    if RESULTS.exists():
        files.append(File.generated(config, "benchmarks.md", content=results()))
        if CHART.exists():
            files.append(File.generated(config, CHART.name, abs_src_path=str(CHART)))
    return files


def results() -> str:
    """The page of the benchmarks, with their chart. Links to files that are not on the site become text."""
    text = re.sub(r"(?<!!)\[([^\]]*)\]\((?!https?:|#)[^)]*\)", r"\1", RESULTS.read_text())
    if CHART.exists() and CHART.name not in text:
        text += f"\n![Chart of the measurements]({CHART.name})\n"
    return text


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Remove the marks that only the tests read from the first lines of code blocks."""
    return re.sub(r"^(```python)(?: needs=[\w.,]+)+$", r"\1", markdown, flags=re.M)


def on_page_content(html: str, **_: Any) -> str:
    def mathml(match: re.Match[str]) -> str:
        text = match[2].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
        display = "block" if text.startswith("\\[") else "inline"
        return latex2mathml.converter.convert(text[2:-2].strip(), display=display)

    return re.sub(r'<(span|div) class="arithmatex">(.*?)</\1>', mathml, html, flags=re.S)
