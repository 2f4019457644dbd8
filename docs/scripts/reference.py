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
BY_MODULE = "Optimizers"
"""The group with a page for each module."""


class Page:
    def __init__(self, path: str, title: str, lead: str, found: list[Name]) -> None:
        self.path, self.title, self.lead, self.names = path, title, lead, found

    def relative(self, path: str) -> str:
        up = len(PurePosixPath(self.path).parts) - 1
        return "../" * up + path


def registered(found: list[Name]) -> list[Entry]:
    return [n.entry for n in found if n.entry is not None]


def lead(module: Any) -> str:
    return (inspect.getdoc(module) or "").partition("\n\n")[0].replace("\n", " ")


def pages() -> dict[str, list[Page]]:
    """Section -> its pages; a section of one page is that page."""
    found: dict[str, list[Page]] = {}
    for title, members in sorted(names.groups().items(), key=lambda group: -len(registered(group[1]))):
        if title != BY_MODULE:
            found[title] = [Page(f"{FOLDER}/{names.slug(title)}.md", title, "", members)]
            continue
        modules: dict[str, list[Name]] = {}
        for name in members:
            modules.setdefault(name.module, []).append(name)
        found[title] = []
        for module, inside in modules.items():
            last = module.rpartition(".")[2]
            about = lead(importlib.import_module(module))
            found[title].append(Page(f"{FOLDER}/optimizers/{last}.md", headline(inside), about, inside))
        found[title].sort(key=lambda page: page.title)
        keras = names.of_module(optim.keras)
        found[title].append(Page(f"{FOLDER}/optimizers/keras.md", "keras", lead(optim.keras), keras))
    for module in (optim.tree, optim.projections, *names.adapters()):
        short = module.__name__.removeprefix("optim.")
        path = f"{FOLDER}/{short.replace('.', '/')}.md"
        found[module.__name__] = [Page(path, module.__name__, lead(module), names.of_module(module))]
    return found


def headline(inside: list[Name]) -> str:
    """The optimizers of a module, or whatever factories there are."""
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


def files(found: Mapping[str, Mapping[str, Run]]) -> Iterator[tuple[str, str]]:
    """Every generated file: its path and its text."""
    for inside in pages().values():
        for page in inside:
            yield page.path, "\n\n".join(blocks(page, found)) + "\n"
    yield f"{FOLDER}/index.md", all_names()
    yield f"{FOLDER}/optimizers/index.md", gallery(found)
    axes = pictures.digits_axes([r["digits"].values for r in found.values()])
    for name, of_problem in found.items():
        for problem, run in of_problem.items():
            svg = pictures.curve_picture(axes, run) if problem == "digits" else pictures.path_picture(problem, run)
            yield from variants(f"{name}-{problem.lower()}", svg)
    for entry in optim.entries("schedule"):
        yield from variants(entry.name, pictures.schedule_picture(entry))


def variants(name: str, svg: str) -> Iterator[tuple[str, str]]:
    for colours, text in pictures.coloured(svg).items():
        yield f"{PICTURES}/{name}-{colours}.svg", text


def picture(page: Page, name: str, alt: str) -> str:
    """Both variants, of which the page's colours show one."""
    path = page.relative(f"{PICTURES}/{name}")
    return "".join(f"![{alt}]({path}-{c}.svg#only-{c}){{ loading=lazy }}" for c in ("light", "dark"))


# Pages


def blocks(page: Page, found: Mapping[str, Mapping[str, Run]]) -> Iterator[str]:
    yield f"# {page.title}"
    if page.lead:
        yield f"{markup.linked(markup.plain(page.lead), names.links())}"
    states = [n for n in page.names if n.is_state]
    ordered = sorted((n for n in page.names if not n.is_state), key=lambda n: rank(n.entry))
    for name in ordered:
        yield f"::: {name.path}"
        entry = name.entry
        if entry is not None:
            yield pictures_of(page, entry, found.get(entry.name))
    if states:
        yield "## States { data-search-exclude }"
        for name in states:
            fields = ", ".join(name.value._fields)
            yield f"### {name.path.rpartition('.')[2]} {{ #{name.path} .state }}"
            yield f"`{name.path.removeprefix('optim.')}({fields})`"
            if said := own_doc(name.value):
                yield markup.linked(markup.plain(said), names.links())


def own_doc(x: Any) -> str:
    said = (inspect.getdoc(x) or "").partition("\n\n")[0].replace("\n", " ")
    return "" if said.startswith(f"{x.__name__}(") else said


def rank(entry: Entry | None) -> int:
    """Optimizers come first, then what they are made of, then the rest."""
    if entry is None:
        return 2
    return 0 if runs.is_optimizer(entry) else 1


def facts_of(entry: Entry) -> str:
    """What is known of a transformation besides its docstring."""
    tx = facts.made(entry) if entry.kind != "function" else None
    if not isinstance(tx, optim.GradientTransformation):
        return ""
    out = []
    if told := facts.formulas(entry):
        parts = [f"{reference(name)}\n\n    {indented(markup.formula(text))}" for name, text in told]
        out.append("Formula\n\n:   " + "\n\n    ".join(parts))
    if said := facts.sources(entry):
        rows = [f"- {reference(n)}: {markup.linked(markup.plain(text), names.links())}" for n, text in said]
        out.append("Source\n\n:   " + "\n    ".join(rows))
    if tx.body is not None:
        out.append(f"Made of\n\n:   `{tx.body}`")
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
    """Grain and memory in a line."""
    if entry.kind == "function" or not isinstance(facts.made(entry), optim.GradientTransformation):
        return ""
    words = [f'<span class="chip {facts.grain(entry)}">{facts.grain(entry) or "grain unknown"}</span>']
    single, half = (facts.bytes_per_parameter(entry.name, dtype) for dtype in ("float32", "bfloat16"))
    if single is not None and half is not None:
        text = f"{facts.amount(single)} bytes of state per float32 parameter, {facts.amount(half)} per bfloat16"
        words.append(f'<span class="chip memory">{text}</span>')
    return f'<p class="chips">{" ".join(words)}</p>'


def drawn(page: Page, entry: Entry, of_problem: Mapping[str, Run]) -> str:
    """The pictures of one optimizer, each with what it shows."""
    figures = []
    for problem, run in of_problem.items():
        title = {"digits": "Digits"}.get(problem, problem)
        steps = runs.DIGITS_STEPS if problem == "digits" else runs.SURFACE_STEPS
        rate = "as it is called" if run.rate is None else f"rate {run.rate:g}"
        first, last = pictures.number(run.values[0]), pictures.number(run.values[-1])
        caption = f"**{title}**, {rate}, {steps} steps: {first} → {last}"
        if problem == "digits":
            caption += f"; {run.watched[-1]:.1%} of the test rows right"
        alt = f"{entry.name}: {'training loss on the digits' if problem == 'digits' else f'path on {problem}'}"
        figures.append(
            f'<figure markdown="1" class="run">\n\n{picture(page, f"{entry.name}-{problem.lower()}", alt)}\n\n'
            f"<figcaption markdown>{caption}</figcaption>\n\n</figure>"
        )
    return '<div class="runs" markdown>\n\n' + "\n\n".join(figures) + "\n\n</div>"


def schedule(page: Page, entry: Entry) -> str:
    first, *others = [str(entry(*e.args, **e.kwargs)) for e in entry.examples[:2]]
    legend = f'<span class="line first"></span>`{first}`'
    legend += "".join(f'<br><span class="line second"></span>`{other}`' for other in others)
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
        "Made from the registry and the docstrings when this site is built.",
        "",
    ]
    for title, inside in pages().items():
        rows += [f"## {title}", "", "| name | |", "|---|---|"]
        for page in inside:
            for name in sorted(page.names, key=lambda n: (n.is_state, rank(n.entry))):
                if not name.is_state:
                    said = markup.linked(markup.plain(names.sentence(name.value)), names.links())
                    short = name.path.removeprefix("optim.")
                    said = said.replace("|", "&#124;") if described(name.value) else ""
                    rows.append(f"| [`{short}`][{name.path}] | {said} |")
        rows.append("")
    rows += ["## Other names for the same", "", "| name | is |", "|---|---|"]
    rows += [f"| `{a}` | [`{b}`][optim.{b}] |" for a, b in names.others()]
    rows.append("| `tree_utils.tree_add` and so on | [`tree.add`][optim.tree.add] and so on |")
    return "\n".join(rows) + "\n"


def described(x: Any) -> bool:
    """Whether it has a docstring of its own: a type alias has that of its type."""
    return callable(x) and str(getattr(x, "__module__", "")).startswith("optim")


def gallery(found: Mapping[str, Mapping[str, Run]]) -> str:
    """All optimizers on one surface."""
    rates = f"{runs.RATES[0]:g} to {runs.RATES[-1]:g}"
    rows = [
        "# Optimizers",
        "",
        f"{len(found)} optimizers, {runs.SURFACE_STEPS} steps on Rosenbrock's valley, from the ring towards the cross. "
        f"Each has the best of {len(runs.RATES)} learning rates from {rates} that keeps it in view, or, where it "
        "chooses the size of its steps itself, none. A surface of two parameters says how an optimizer moves, not how "
        "well it trains. Below each name: its grain, and the bytes of state per float32 parameter.",
        "",
        '<div class="gallery" markdown>',
        "",
    ]
    home = Page(f"{FOLDER}/optimizers/index.md", "", "", [])
    for name in sorted(found, key=lambda n: ("." in n, n.lower())):
        entry = optim.lookup(name)
        size = facts.bytes_per_parameter(name)
        memory = "" if size is None else f"<br>{facts.amount(size)} bytes"
        note = f"{facts.grain(entry) or 'any grain'}{memory}"
        rows += [
            '<figure markdown="1">',
            "",
            picture(home, f"{name}-rosenbrock", f"{name}: path on Rosenbrock"),
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

`docs/scripts/runs.py` runs every optimizer when the site is built, all in the same way:

- **Rosenbrock** and **Beale**: {runs.SURFACE_STEPS} steps with the exact gradient from the standard starting points,
  (-1.2, 1) and (1, 1). Darker is lower.
- **Digits**: a network of {runs.DIGITS_HIDDEN} hidden units on scikit-learn's 8 x 8 digits, {runs.DIGITS_STEPS}
  steps of {runs.DIGITS_ROWS} rows; the curve is the loss on all training rows. The band holds the middle eight tenths
  of all optimizers here, the dashed line is their median.
- **Rates**: {", ".join(f"{r:g}" for r in runs.RATES)}; the one that ends lowest is shown, on a surface of those that
  stay in view. An optimizer whose rate is 1 or None by default is shown as it is called, unless a rate brings it ten
  times lower.

Every other argument has its default. What an optimizer can do when it is tuned further, or on a large problem, these
pictures do not say.
"""
