"""Gradient transformations for JAX: pure (init, update) pairs, composed from small primitives, compiled as one."""

from . import keras as keras, schedules as schedules, tree as tree

# The pair
from .base import (
    EmptyState as EmptyState,
    GradientTransformation as GradientTransformation,
    GradientTransformationExtraArgs as GradientTransformationExtraArgs,
    apply_updates as apply_updates,
    identity as identity,
    init_empty_state as init_empty_state,
    stateless as stateless,
    with_extra_args_support as with_extra_args_support,
)

# Combining
from .compose import (
    MaskedState as MaskedState,
    PartitionState as PartitionState,
    chain as chain,
    masked as masked,
    named_chain as named_chain,
    partition as partition,
)

# The record of a call
from .config import from_config as from_config, to_config as to_config

# Editing, looking inside
from .edit import replace as replace

# Groups of parameters
from .groups import label_by_path as label_by_path
from .inspection import eval_params as eval_params, inspect as inspect, summary as summary

# Making your own
from .lift import Scalar as Scalar, Slot as Slot, elementwise as elementwise, leafwise as leafwise, treewise as treewise

# Numbers, trees, words
from .numerics import safe_increment as safe_increment

# Optimizers
from .optimizers.adadelta import (
    ScaleByAdaDeltaState as ScaleByAdaDeltaState,
    adadelta as adadelta,
    scale_by_adadelta as scale_by_adadelta,
)
from .optimizers.adagrad import (
    ScaleByRssState as ScaleByRssState,
    adagrad as adagrad,
    scale_by_adagrad as scale_by_adagrad,
    scale_by_rss as scale_by_rss,
)
from .optimizers.adam import (
    ScaleByAdamState as ScaleByAdamState,
    ScaleByAmsgradState as ScaleByAmsgradState,
    adam as adam,
    adamw as adamw,
    amsgrad as amsgrad,
    nadam as nadam,
    nadamw as nadamw,
    scale_by_adam as scale_by_adam,
    scale_by_adam_eps_hat as scale_by_adam_eps_hat,
    scale_by_amsgrad as scale_by_amsgrad,
)
from .optimizers.adamax import (
    adamax as adamax,
    adamaxw as adamaxw,
    scale_by_adamax as scale_by_adamax,
    scale_by_adamax_eps_hat as scale_by_adamax_eps_hat,
)
from .optimizers.cocob import COCOBState as COCOBState, cocob as cocob, scale_by_cocob as scale_by_cocob
from .optimizers.dadapt import (
    DAdaptAdamWState as DAdaptAdamWState,
    ProdigyState as ProdigyState,
    dadapt_adamw as dadapt_adamw,
    prodigy as prodigy,
)
from .optimizers.dog import DoGState as DoGState, DoWGState as DoWGState, dog as dog, dowg as dowg
from .optimizers.momo import (
    MomoAdamState as MomoAdamState,
    MomoState as MomoState,
    momo as momo,
    momo_adam as momo_adam,
)
from .optimizers.nadam import ScaleByNadamState as ScaleByNadamState, scale_by_nadam as scale_by_nadam
from .optimizers.rms import (
    ScaleByRmsState as ScaleByRmsState,
    ScaleByRmsWithCountState as ScaleByRmsWithCountState,
    ScaleByRStdDevState as ScaleByRStdDevState,
    ScaleByRStdDevWithCountState as ScaleByRStdDevWithCountState,
    rmsprop as rmsprop,
    scale_by_rms as scale_by_rms,
    scale_by_stddev as scale_by_stddev,
)
from .optimizers.schedule_free import (
    ScheduleFreeState as ScheduleFreeState,
    schedule_free as schedule_free,
    schedule_free_adamw as schedule_free_adamw,
    schedule_free_eval_params as schedule_free_eval_params,
    schedule_free_sgd as schedule_free_sgd,
)
from .optimizers.sgd import noisy_sgd as noisy_sgd, sgd as sgd
from .optimizers.sign import scale_by_sign as scale_by_sign, sign_sgd as sign_sgd, signum as signum
from .record import ScheduleFn as ScheduleFn
from .registry import (
    Example as Example,
    entries as entries,
    example as example,
    get as get,
    lookup as lookup,
    register as register,
)

# Schedules
from .schedules.constant import constant_schedule as constant_schedule
from .schedules.cosine import (
    cosine_decay_schedule as cosine_decay_schedule,
    sgdr_schedule as sgdr_schedule,
    warmup_cosine_decay_schedule as warmup_cosine_decay_schedule,
)
from .schedules.exponential import exponential_decay as exponential_decay
from .schedules.interpolate import (
    cosine_onecycle_schedule as cosine_onecycle_schedule,
    linear_onecycle_schedule as linear_onecycle_schedule,
    piecewise_interpolate_schedule as piecewise_interpolate_schedule,
)
from .schedules.inverse_time import inverse_time_decay as inverse_time_decay
from .schedules.join import join_schedules as join_schedules
from .schedules.piecewise import piecewise_constant_schedule as piecewise_constant_schedule
from .schedules.polynomial import linear_schedule as linear_schedule, polynomial_schedule as polynomial_schedule
from .schedules.warmup import (
    warmup_constant_schedule as warmup_constant_schedule,
    warmup_exponential_decay_schedule as warmup_exponential_decay_schedule,
)

# Whole steps
from .step import make_step as make_step, make_update as make_update

# Transformations
from .transforms.average import AverageParamsState as AverageParamsState, average_params as average_params
from .transforms.centralize import centralize as centralize
from .transforms.clip import (
    adaptive_grad_clip as adaptive_grad_clip,
    clip as clip,
    clip_by_block_rms as clip_by_block_rms,
    clip_by_global_norm as clip_by_global_norm,
)
from .transforms.momentum import EmaState as EmaState, TraceState as TraceState, ema as ema, trace as trace
from .transforms.nans import ZeroNansState as ZeroNansState, zero_nans as zero_nans
from .transforms.noise import AddNoiseState as AddNoiseState, add_noise as add_noise
from .transforms.scale import (
    ScaleByScheduleState as ScaleByScheduleState,
    scale as scale,
    scale_by_learning_rate as scale_by_learning_rate,
    scale_by_schedule as scale_by_schedule,
    set_to_zero as set_to_zero,
)
from .transforms.weight_decay import (
    AddDecayedWeightsState as AddDecayedWeightsState,
    WeightDecaySchedule as WeightDecaySchedule,
    add_decayed_weights as add_decayed_weights,
)
from .tree import global_norm as global_norm
from .types import (
    MaskOrFn as MaskOrFn,
    OptState as OptState,
    Params as Params,
    ScalarOrSchedule as ScalarOrSchedule,
    Schedule as Schedule,
    TransformInitFn as TransformInitFn,
    TransformUpdateFn as TransformUpdateFn,
    Updates as Updates,
)

# Wrappers
from .wrappers.inject import (
    InjectStatefulHyperparamsState as InjectStatefulHyperparamsState,
    WrappedScheduleState as WrappedScheduleState,
    inject_hyperparams as inject_hyperparams,
)

multi_transform = partition
MultiTransformState = PartitionState
