"""Lazy imports of optional libraries."""

import importlib
from typing import Any

from .. import checks


def need(module: str, extra: str) -> Any:
    """Import a module; an ImportError names the extra to install.

    Args:
      module: the module's full name.
      extra: the extra of this package that installs it.
    """
    try:
        return importlib.import_module(module)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] != module.partition(".")[0]:
            raise
        return checks.fail(f"needs {module}: pip install 'optim[{extra}]'", ImportError)
