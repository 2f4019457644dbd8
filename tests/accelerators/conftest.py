"""Programs for both accelerators, where their compilers are installed."""

import pytest

from . import programs


@pytest.fixture(params=["gpu", "tpu"])
def platform(request):
    """Each accelerator that has a compiler here."""
    reason = programs.missing(request.param)
    if reason:
        pytest.skip(reason)
    return request.param
