"""Every validation of the library, and its sentence."""

from .arguments import (
    SYNONYMS as SYNONYMS,
    argument as argument,
    arguments as arguments,
    bind as bind,
    called as called,
    dtype as dtype,
    function as function,
    hyperparameters as hyperparameters,
    int_or_nan as int_or_nan,
    names_dtype as names_dtype,
    state as state,
    suggest as suggest,
)
from .errors import (
    Mistake as Mistake,
    Name as Name,
    TracedError as TracedError,
    caller as caller,
    entrance as entrance,
    fail as fail,
    mistake as mistake,
    naming as naming,
    need as need,
    speaking_of as speaking_of,
)
from .ranges import (
    CLOSED_UNIT as CLOSED_UNIT,
    DECAY as DECAY,
    MEANINGS as MEANINGS,
    NON_NEGATIVE as NON_NEGATIVE,
    POSITIVE as POSITIVE,
    RANGES as RANGES,
    RATE as RATE,
    REAL as REAL,
    STEPS as STEPS,
    Range as Range,
)
from .values import (
    broadcasts as broadcasts,
    function_name as function_name,
    is_array as is_array,
    is_key as is_key,
    is_number as is_number,
    is_traced as is_traced,
    near as near,
    shown as shown,
    without_address as without_address,
    written as written,
)
