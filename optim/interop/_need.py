"""Libraries that are imported when they are needed."""

import importlib
from typing import Any

from .. import checks


def need(module: str, extra: str) -> Any:
    """The module, or an ImportError that names the extra to install."""
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != module.partition(".")[0]:
            raise
        return checks.fail(f"needs {module}: pip install 'optim[{extra}]'", ImportError)
