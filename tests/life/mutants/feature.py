"""The feature service with the chosen fault."""

from __future__ import annotations

from headrace_feature.__main__ import main
from tests.life.mutants import accepting, assembling, chosen, joining
from tests.life.slow_feature import slow_down

FAULTS = joining.FAULTS | accepting.FAULTS | assembling.FAULTS

if __name__ == "__main__":
    FAULTS[chosen()]()
    slow_down()
    main()
