"""The scripts of the site: docstrings, registry, runs and pictures as pages."""

import importlib
import math
import sys
from pathlib import Path

import pytest

import optim

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "docs" / "scripts"


@pytest.fixture(scope="module")
def script():
    """Import a script by its name."""
    sys.path.insert(0, str(SCRIPTS))
    yield importlib.import_module
    sys.path.remove(str(SCRIPTS))


def test_docstring(script):
    markup = script("markup")
    doc = markup.read(
        """One sentence.

            mu <- b1 mu

            u   = mu * 2

        Prose with `adam` and a_b.

        Args:    b1 in [0, 1); eps >= 0, in units of g.
                 mask: as in `masked`. decay is a number.
        Source:  Somebody 2020,
                 Alg. 1.
        """
    )
    assert doc.sentence == "One sentence."
    assert [kind for kind, _ in doc.parts] == ["formula", "prose"]
    assert "mu <- b1 mu\n\n" in doc.formulas[0]
    assert markup.arguments(doc.sections["Args"], ["b1", "eps", "mask", "decay"]) == [
        ((), "b1 in [0, 1)"),
        ((), "eps >= 0, in units of g"),
        ((), "mask: as in `masked`. decay is a number"),
    ]
    text = markup.markdown(doc, ["b1", "eps", "mask"], {"adam": "optim.adam"}, "BELOW")
    assert text.startswith("One sentence.\n\nBELOW\n\n```{.text .formula}\nmu <- b1 mu\n")
    assert "[`adam`][optim.adam] and a\\_b." in text
    assert "- `b1` in \\[0, 1)\n    - `eps` &gt;= 0" in text
    assert "Source\n\n:   Somebody 2020, Alg. 1." in text


def test_arguments_one_a_line(script):
    """Entries have a line each; deeper lines continue them, even where they begin with another argument's name."""
    markup = script("markup")
    doc = markup.read(
        """One sentence.

        Args:
          b1, b2: decays of mu and nu, in [0, 1).
          eps: added to the root, in units of g, next to b1,
            b2: usually 1e-8.
          **slots: a `Slot` each.
        Source:  Somebody 2020.
        When:    a first choice;
                 usually with a learning rate of 1e-3.
        """
    )
    names = ["b1", "b2", "eps", "slots"]
    assert markup.arguments(doc.sections["Args"], names) == [
        (("b1", "b2"), "decays of mu and nu, in [0, 1)."),
        (("eps",), "added to the root, in units of g, next to b1, b2: usually 1e-8."),
        (("**slots",), "a `Slot` each."),
    ]
    text = markup.markdown(doc, names, {})
    assert "Args\n\n:   `b1`, `b2`\n    :   decays of mu and nu, in \\[0, 1).\n\n    `eps`\n    :   added" in text
    assert text.endswith("When\n\n:   a first choice; usually with a learning rate of 1e-3.")


def test_wrapped_clauses_stay_whole(script):
    markup = script("markup")
    doc = markup.read("One.\n\nArgs:    b1, b2,\n         eps: as in `adam`; decay in [0, 1).")
    assert markup.arguments(doc.sections["Args"], ["b1", "b2", "eps", "decay"]) == [
        ((), "b1, b2, eps: as in `adam`"),
        ((), "decay in [0, 1)"),
    ]


def test_every_docstring_is_read_whole(script):
    """No line is lost."""
    markup = script("markup")
    for entry in optim.entries():
        doc = markup.read(entry.factory.__doc__)
        parts = [doc.sentence, *(t for _, t in doc.parts), *(line for s in doc.sections.values() for line in s)]
        words = [*" ".join(parts).split(), *(f"{heading}:" for heading in doc.sections)]
        assert sorted(words) == sorted((entry.factory.__doc__ or "").split()), entry.name


def test_groups_are_those_of_the_library(script):
    """Every name is in one group, that of its module."""
    names = script("names")
    groups = names.groups()
    everything = [name.path for members in groups.values() for name in members]
    assert len(everything) == len(set(everything)) > 200
    assert groups["Combining"][0].module == "optim.combine.chain"
    assert names.title_of("wrappers.sam") == "Wrappers"
    assert names.title_of("tree.packing") == "Packing"
    assert "optim.pack" in {n.path for n in groups["Packing"]}
    assert "optim.adam" in {n.path for n in groups["Optimizers"]}


def test_facts(script):
    facts = script("facts")
    assert facts.bytes_per_parameter("adam") == pytest.approx(8, abs=1e-4)
    assert facts.bytes_per_parameter("adam", "bfloat16") == pytest.approx(6, abs=1e-4)
    assert facts.amount(facts.bytes_per_parameter("clip_by_global_norm")) == "0"
    assert [name for name, _ in facts.formulas(optim.lookup("adamw"))] == ["scale_by_adam", "add_decayed_weights"]
    assert facts.formulas(optim.lookup("scale_by_adam")) == []
    assert facts.sources(optim.lookup("adam"))[0][1].startswith("Kingma & Ba")


def test_private_names_and_addresses_are_hidden(script):
    facts, griffe = script("facts"), pytest.importorskip("griffe")
    for entry in optim.entries("transformation"):
        text = facts.composition(facts.sample(entry))
        assert " at 0x" not in text, entry.name
        assert "the function" not in text, entry.name
    assert facts.default(optim.scale_by_adam()) == "scale_by_adam()"
    assert facts.default((1.0, 2.0)) == "(1.0, 2.0)"
    assert facts.default(lambda x: x) == "..."
    forms = griffe.load_extensions(SCRIPTS / "house_form.py")
    package = griffe.load("optim", extensions=forms, search_paths=[ROOT], resolve_aliases=False)
    for path in ("optimizers.muon", "optimizers.sophia", "optimizers.adafactor", "linesearch.lbfgs"):
        for function in package[path].functions.values():
            if not function.name.startswith("_"):
                defaults = [str(p.default) for p in function.parameters if p.default is not None]
                assert not [d for d in defaults if d.startswith("_") or " at 0x" in d], function.path


def test_every_optimizer_has_a_formula_and_a_source(script):
    facts, runs, markup = script("facts"), script("runs"), script("markup")
    for entry in runs.optimizers():
        doc = markup.read(entry.factory.__doc__)
        assert doc.formulas or facts.formulas(entry), entry.name
        assert "Source" in doc.sections or facts.sources(entry), entry.name


def test_runs(script):
    """The best rate is selected; optimizers that choose their step size run with defaults; runs are deterministic."""
    runs = script("runs")
    beale = runs.surface("Beale")
    adam = runs.run(optim.lookup("adam"), beale)
    assert adam.rate in runs.RATES
    assert len(adam.values) == len(adam.observations) == runs.SURFACE_STEPS + 1
    assert adam.observations[0] == [1.0, 1.0]
    assert math.isclose(adam.values[0], 14.203125)
    assert adam.values[-1] < 1e-6
    assert runs.run(optim.lookup("adam"), beale) == adam
    assert runs.run(optim.lookup("lbfgs"), beale).rate is None
    assert runs.why_not(optim.lookup("schedule_free")) == "it wraps another optimizer, its `base_optimizer`"


def test_pictures(script):
    pictures, runs = script("pictures"), script("runs")
    run = runs.Run(0.1, [1.0, 0.5], [[1.0, 1.0], [float("nan"), 1.0]])
    pages = pictures.coloured(pictures.path_picture("Beale", run))
    assert set(pages) == {"light", "dark"}
    for svg in pages.values():
        assert svg.startswith("<svg")
        assert "nan" not in svg
        assert not any(placeholder in svg for placeholder in pictures.PAGES["light"])
    assert pictures.number(2e-9) == "2.0 \u00d7 10<sup>\u22129</sup>"
    assert pictures.number(float("nan")) == "not finite"


def test_legends_are_not_escaped(script):
    """Code in Markdown is escaped when it is rendered, not before."""
    reference = script("reference")
    entry = optim.lookup("piecewise_interpolate_schedule")
    legend = reference.schedule(reference.Page("reference/schedules.md", "", "", []), entry)
    assert f"`{entry(*entry.examples[0].args, **entry.examples[0].kwargs)}`" in legend
    assert "'" in legend
