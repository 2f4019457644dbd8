"""What happens when the site is built: the reference is generated, formulas become MathML."""

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


def on_config(config: Any) -> Any:
    """The pages that are generated, in the navigation."""
    for item in config.nav:
        if isinstance(item, dict) and "Reference" in item:
            item["Reference"] = reference.navigation()
    if RESULTS.exists():
        config.nav.append({"Benchmarks": "benchmarks.md"})
    return config


def on_files(files: Any, *, config: Any) -> Any:
    found = runs.all_runs(ROOT / "build" / "docs", log.info)
    for path, text in reference.files(found):
        files.append(File.generated(config, path, content=text))
    if RESULTS.exists():
        files.append(File.generated(config, "benchmarks.md", content=RESULTS.read_text()))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Marks for the tests in the first line of a code block are for them alone."""
    return re.sub(r"^(```python)(?: (?:needs=[\w.,]+|slow))+$", r"\1", markdown, flags=re.M)


def on_page_content(html: str, **_: Any) -> str:
    def mathml(match: re.Match[str]) -> str:
        text = match[2].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
        display = "block" if text.startswith("\\[") else "inline"
        return latex2mathml.converter.convert(text[2:-2].strip(), display=display)

    return re.sub(r'<(span|div) class="arithmatex">(.*?)</\1>', mathml, html, flags=re.S)
