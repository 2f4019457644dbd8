"""The arithmetic that every rule shares. Rules see arrays of at least float32."""

from .dtypes import (
    as_complex as as_complex,
    as_pairs as as_pairs,
    common_dtype as common_dtype,
    convert as convert,
    is_complex as is_complex,
    mixing as mixing,
    real_dtype as real_dtype,
    scalar_dtype as scalar_dtype,
    spacing as spacing,
    wide_dtype as wide_dtype,
)
from .fresh import (
    copied as copied,
    fresh as fresh,
    fresh_complex as fresh_complex,
    fresh_pairs as fresh_pairs,
    full as full,
    full_like as full_like,
    placed as placed,
    widened as widened,
    zero_count as zero_count,
    zeros_of_shape as zeros_of_shape,
)
from .moments import (
    abs_sq as abs_sq,
    bias_factor as bias_factor,
    debias as debias,
    decayed as decayed,
    ema as ema,
    inverse_bias as inverse_bias,
    nesterov_mean as nesterov_mean,
    saturated as saturated,
    scaled as scaled,
    square as square,
    variance as variance,
)
from .norms import (
    joint_norm as joint_norm,
    norm as norm,
    rms as rms,
    safe_norm as safe_norm,
    safe_root_mean_squares as safe_root_mean_squares,
)
from .ops import branch as branch, everywhere as everywhere, staged as staged
from .places import axes as axes, gathered as gathered, restored as restored, whole_zeros as whole_zeros
from .roots import (
    cube_root as cube_root,
    debiased_ratio as debiased_ratio,
    power as power,
    ratio as ratio,
    root as root,
    root_of_square as root_of_square,
    root_ratio as root_ratio,
    surely_positive as surely_positive,
)
from .scalars import (
    at as at,
    complement as complement,
    floating as floating,
    hyperparameter as hyperparameter,
    last as last,
    like as like,
    loss as loss,
    now as now,
    safe_increment as safe_increment,
    scheduled as scheduled,
)
