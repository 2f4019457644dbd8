"""The pages of the reference, from the registry and the docstrings: path -> Markdown or SVG."""

import importlib
import inspect
from collections.abc import Iterator, Mapping
from pathlib import PurePosixPath
from typing import Any

import facts
import markup
import names
import pictures
import runs
from names import Name
from runs import Run

import optim
from optim.core.registry import Entry

FOLDER = "reference"
PICTURES = f"{FOLDER}/pictures"
LEADS = {"Losses": optim.losses, "Schedules": optim.schedules}
"""Groups that begin with the first paragraph of a module's docstring."""
BY_MODULE = "Optimizers"
"""The group with a page for each module."""


class Page:
    def __init__(self, path: str, title: str, lead: str, members: list[Name]) -> None:
        self.path, self.title, self.lead, self.names = path, title, lead, members

    def relative(self, path: str) -> str:
        up = len(PurePosixPath(self.path).parts) - 1
        return "../" * up + path


def registered(members: list[Name]) -> list[Entry]:
    return [n.entry for n in members if n.entry is not None]


def lead(module: Any) -> str:
    return (inspect.getdoc(module) or "").partition("\n\n")[0].replace("\n", " ")


def pages() -> dict[str, list[Page]]:
    """Section -> its pages. Only the optimizers have several."""
    sections: dict[str, list[Page]] = {}
    for title, members in sorted(names.groups().items(), key=lambda group: -len(registered(group[1]))):
        if title != BY_MODULE:
            about = lead(LEADS[title]) if title in LEADS else ""
            sections[title] = [Page(f"{FOLDER}/{names.slug(title)}.md", title, about, members)]
            continue
        modules: dict[str, list[Name]] = {}
        for name in members:
            modules.setdefault(name.module, []).append(name)
        sections[title] = []
        for module, inside in modules.items():
            last = module.rpartition(".")[2]
            about = lead(importlib.import_module(module))
            sections[title].append(Page(f"{FOLDER}/optimizers/{last}.md", headline(inside), about, inside))
        sections[title].sort(key=lambda page: page.title)
        keras = names.of_module(optim.keras)
        sections[title].append(Page(f"{FOLDER}/optimizers/keras.md", "keras", lead(optim.keras), keras))
    for module, members in names.namespaces().items():
        title = names.title_of(module.removeprefix("optim."))
        if module not in ("optim.tree", "optim.projections") and title in sections:
            sections[title][0].names += members
            continue
        path = f"{FOLDER}/{module.removeprefix('optim.').replace('.', '/')}.md"
        sections[module] = [Page(path, module, lead(importlib.import_module(module)), members)]
    return sections


def headline(inside: list[Name]) -> str:
    """The names of a module's optimizers; without any, of all its factories."""
    entries = registered(inside)
    return ", ".join([e.name for e in entries if runs.is_optimizer(e)] or [e.name for e in entries])


def navigation() -> list[Any]:
    out: list[Any] = [{"All names": f"{FOLDER}/index.md"}]
    for title, inside in pages().items():
        if title == BY_MODULE:
            out.append({title: [f"{FOLDER}/optimizers/index.md", *({p.title: p.path} for p in inside)]})
        else:
            out.append({title: inside[0].path})
    return out


def files(optimizer_runs: Mapping[str, Mapping[str, Run]]) -> Iterator[tuple[str, str]]:
    """Path and text of every generated file, given optimizer -> problem -> run."""
    for inside in pages().values():
        for page in inside:
            yield page.path, "\n\n".join(blocks(page, optimizer_runs)) + "\n"
    yield f"{FOLDER}/index.md", all_names()
    yield f"{FOLDER}/optimizers/index.md", gallery(optimizer_runs)
    axes = pictures.digits_axes([r["digits"].values for r in optimizer_runs.values()])
    for name, of_problem in optimizer_runs.items():
        for problem, run in of_problem.items():
            svg = pictures.curve_picture(axes, run) if problem == "digits" else pictures.path_picture(problem, run)
            yield from variants(f"{name}-{problem.lower()}", svg)
    for entry in optim.entries("schedule"):
        yield from variants(entry.name, pictures.schedule_picture(entry))


def variants(name: str, svg: str) -> Iterator[tuple[str, str]]:
    for colours, text in pictures.coloured(svg).items():
        yield f"{PICTURES}/{name}-{colours}.svg", text


def picture(page: Page, name: str, alt: str) -> str:
    """Both variants of a picture; the style sheet shows the one in the page's colours."""
    path = page.relative(f"{PICTURES}/{name}")
    return "".join(f"![{alt}]({path}-{c}.svg#only-{c}){{ loading=lazy }}" for c in ("light", "dark"))


# Pages


def blocks(page: Page, optimizer_runs: Mapping[str, Mapping[str, Run]]) -> Iterator[str]:
    yield f"# {page.title}"
    if page.lead:
        yield f"{markup.linked(markup.plain(page.lead), names.links())}"
    states = [n for n in page.names if n.is_state]
    ordered = sorted((n for n in page.names if not n.is_state), key=lambda n: rank(n.entry))
    for name in ordered:
        yield f"::: {name.path}"
        entry = name.entry
        if entry is not None:
            yield pictures_of(page, entry, optimizer_runs.get(entry.name))
    if states:
        yield "## States { data-search-exclude }"
        for name in states:
            fields = ", ".join(name.value._fields)
            yield f"### {name.path.rpartition('.')[2]} {{ #{name.path} .state }}"
            yield f"`{name.path.removeprefix('optim.')}({fields})`"
            if text := own_doc(name.value):
                yield markup.linked(markup.plain(text), names.links())


def own_doc(x: Any) -> str:
    """The first paragraph of a docstring, unless it is the one that Python generates for a named tuple."""
    text = (inspect.getdoc(x) or "").partition("\n\n")[0].replace("\n", " ")
    return "" if text.startswith(f"{x.__name__}(") else text


def rank(entry: Entry | None) -> int:
    """The order of a page: optimizers, then other factories, then the rest."""
    if entry is None:
        return 2
    return 0 if runs.is_optimizer(entry) else 1


def facts_of(entry: Entry) -> str:
    """Formulas and sources of an alias' members, and its chain, as definition lists."""
    tx = facts.sample(entry) if entry.kind != "function" else None
    if not isinstance(tx, optim.GradientTransformation):
        return ""
    out = []
    if formulas := facts.formulas(entry):
        parts = [f"{reference(name)}\n\n    {indented(markup.formula(text))}" for name, text in formulas]
        out.append("Formula\n\n:   " + "\n\n    ".join(parts))
    if sources := facts.sources(entry):
        rows = [f"- {reference(n)}: {markup.linked(markup.plain(text), names.links())}" for n, text in sources]
        out.append("Source\n\n:   " + "\n    ".join(rows))
    if tx.body is not None:
        out.append(f"Made of\n\n:   `{facts.composition(tx)}`")
    return "\n\n".join(out)


def pictures_of(page: Page, entry: Entry, of_problem: Mapping[str, Run] | None) -> str:
    if entry.kind == "schedule":
        return schedule(page, entry)
    if of_problem is not None:
        return drawn(page, entry, of_problem)
    return f"No pictures of `{entry.name}`: {runs.why_not(entry)}." if runs.is_optimizer(entry) else ""


def indented(text: str) -> str:
    return text.replace("\n", "\n    ")


def reference(name: str) -> str:
    return markup.linked(f"`{name}`", names.links())


def chips(entry: Entry) -> str:
    """Grain and memory, in one line."""
    if entry.kind == "function" or not isinstance(facts.sample(entry), optim.GradientTransformation):
        return ""
    words = [f'<span class="chip {facts.grain(entry)}">{facts.grain(entry) or "grain unknown"}</span>']
    single, half = (facts.bytes_per_parameter(entry.name, dtype) for dtype in ("float32", "bfloat16"))
    if single is not None and half is not None:
        text = f"{facts.amount(single)} bytes of state per float32 parameter, {facts.amount(half)} per bfloat16"
        words.append(f'<span class="chip memory">{text}</span>')
    return f'<p class="chips">{" ".join(words)}</p>'


def drawn(page: Page, entry: Entry, of_problem: Mapping[str, Run]) -> str:
    """The pictures of one optimizer with their captions."""
    figures = []
    for problem, run in of_problem.items():
        title = {"digits": "Digits"}.get(problem, problem)
        steps = runs.DIGITS_STEPS if problem == "digits" else runs.SURFACE_STEPS
        rate = "default arguments" if run.rate is None else f"rate {run.rate:g}"
        first, last = pictures.number(run.values[0]), pictures.number(run.values[-1])
        caption = f"**{title}**, {rate}, {steps} steps: {first} → {last}"
        if problem == "digits":
            caption += f"; {run.observations[-1]:.1%} test accuracy"
        alt = f"{entry.name}: {'training loss on the digits' if problem == 'digits' else f'path on {problem}'}"
        figures.append(
            f'<figure markdown="1" class="run">\n\n{picture(page, f"{entry.name}-{problem.lower()}", alt)}\n\n'
            f"<figcaption markdown>{caption}</figcaption>\n\n</figure>"
        )
    return '<div class="runs" markdown>\n\n' + "\n\n".join(figures) + "\n\n</div>"


def schedule(page: Page, entry: Entry) -> str:
    first, *rest = [str(entry(*e.args, **e.kwargs)) for e in entry.examples[:2]]
    legend = f'<span class="line first"></span>`{first}`'
    legend += "".join(f'<br><span class="line second"></span>`{other}`' for other in rest)
    return (
        f'<figure markdown="1" class="schedule">\n\n{picture(page, entry.name, f"{entry.name} at every count")}\n\n'
        f"<figcaption markdown>{legend}</figcaption>\n\n</figure>"
    )


# Indices


def all_names() -> str:
    """Every public name with its sentence."""
    rows = [
        "# All names",
        "",
        "Generated from the registry and the docstrings when the site is built.",
        "",
    ]
    for title, inside in pages().items():
        rows += [f"## {title}", "", "| name | |", "|---|---|"]
        for page in inside:
            for name in sorted(page.names, key=lambda n: (n.is_state, rank(n.entry))):
                if not name.is_state:
                    text = markup.linked(markup.plain(names.sentence(name.value)), names.links())
                    short = name.path.removeprefix("optim.")
                    text = text.replace("|", "&#124;") if described(name.value) else ""
                    rows.append(f"| [`{short}`][{name.path}] | {text} |")
        rows.append("")
    rows += ["## Aliases", "", "| alias | name |", "|---|---|"]
    rows += [f"| `{a}` | [`{b}`][optim.{b}] |" for a, b in names.aliases()]
    rows.append("| `tree_utils.tree_add` and so on | [`tree.add`][optim.tree.add] and so on |")
    return "\n".join(rows) + "\n"


def described(x: Any) -> bool:
    """Whether it has a docstring of its own. A type alias has its type's."""
    return callable(x) and str(getattr(x, "__module__", "")).startswith("optim")


def gallery(optimizer_runs: Mapping[str, Mapping[str, Run]]) -> str:
    """All optimizers on one surface."""
    rates = f"{runs.RATES[0]:g} to {runs.RATES[-1]:g}"
    rows = [
        "# Optimizers",
        "",
        f"{len(optimizer_runs)} optimizers, {runs.SURFACE_STEPS} steps each on the Rosenbrock function, from the ring "
        f"towards the minimum at the cross. Each runs with the best of {len(runs.RATES)} learning rates from {rates} "
        "whose path stays in view; optimizers that choose their own step size run with their defaults. A surface of "
        "two parameters shows how an optimizer moves, not how well it trains. Below each name: its grain, and the "
        "bytes of state per float32 parameter.",
        "",
        '<div class="gallery" markdown>',
        "",
    ]
    index = Page(f"{FOLDER}/optimizers/index.md", "", "", [])
    for name in sorted(optimizer_runs, key=lambda n: ("." in n, n.lower())):
        entry = optim.lookup(name)
        size = facts.bytes_per_parameter(name)
        memory = "" if size is None else f"<br>{facts.amount(size)} bytes"
        note = f"{facts.grain(entry) or 'any grain'}{memory}"
        rows += [
            '<figure markdown="1">',
            "",
            picture(index, f"{name}-rosenbrock", f"{name}: path on Rosenbrock"),
            "",
            f"<figcaption markdown>[`{name}`][optim.{name}]<br>{note}</figcaption>",
            "",
            "</figure>",
            "",
        ]
    rows += ["</div>", "", HOW]
    return "\n".join(rows) + "\n"


HOW = f"""\
## How the pictures are made

`docs/scripts/runs.py` runs every optimizer under the same conditions when the site is built:

- **Rosenbrock** and **Beale**: {runs.SURFACE_STEPS} steps with the exact gradient from the standard starting points,
  (-1.2, 1) and (1, 1). Darker means a lower value.
- **Digits**: a network of {runs.DIGITS_HIDDEN} hidden units on scikit-learn's 8 x 8 digits, {runs.DIGITS_STEPS}
  steps with batches of {runs.DIGITS_ROWS}; the curve is the loss on the whole training set. The band spans the 10th
  to the 90th percentile of all optimizers on this site, the dashed line is their median.
- **Rates**: {", ".join(f"{r:g}" for r in runs.RATES)}; the run with the lowest final value is shown; on a surface,
  only runs that stay in view count. An optimizer whose default rate is 1 or None is shown with its defaults, unless
  one of the rates ends more than ten times lower.

All other arguments have their defaults. The pictures do not show how an optimizer performs after more tuning or on a
large problem.
"""
