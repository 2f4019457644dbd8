"""Plugin of pytest for the tests of Optax: this library in Optax's place, and the outcomes as lines of JSON.

$STAND_IN is empty for the real Optax; $OUTCOMES names the file.
"""

import itertools
import json
import os

import jax

if os.environ["STAND_IN"]:
    from . import stand_in

    stand_in.install()


done = itertools.count(1)


def write(test, outcome, report):
    message = getattr(getattr(report.longrepr, "reprcrash", None), "message", "") or report.longreprtext
    line = {"test": test, "outcome": outcome, "message": message, "text": report.longreprtext}
    with open(os.environ["OUTCOMES"], "a") as file:
        file.write(json.dumps(line) + "\n")


class Writer:
    """On the process that gathers the reports, so that each is written once."""

    def pytest_runtest_logreport(self, report):
        part = getattr(report, "context", None)  # of a subtest
        test = f"{report.nodeid} {part.kwargs}" if part else report.nodeid
        if report.when == "call" or report.outcome != "passed":
            write(test, report.outcome, report)

    def pytest_collectreport(self, report):
        if report.failed:
            write(report.nodeid, "uncollected", report)


def pytest_runtest_teardown():
    """Forget the compiled programs now and then: those of all tests would take gigabytes."""
    if next(done) % 100 == 0:
        jax.clear_caches()


def pytest_configure(config):
    if not hasattr(config, "workerinput"):
        config.pluginmanager.register(Writer())
