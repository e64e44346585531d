"""Services with one built-in fault, of the kind that shows on ordinary days: lives have to find each.

`HEADRACE_MUTANT` names the fault. The modules here apply it, then run the service's own `main`; production code does
not know about it.
"""

from __future__ import annotations

import os

#: The variable that names the fault.
VARIABLE = "HEADRACE_MUTANT"


def chosen() -> str:
    """Return the fault of this process; empty if it has none."""
    return os.environ.get(VARIABLE, "")
