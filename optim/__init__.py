"""Gradient transformations for JAX: pure (init, update) pairs, composed from small primitives, compiled as one."""

import typing as _typing

from . import (
    assignment as assignment,
    contrib as contrib,
    experimental as experimental,
    hints as _hints,
    interop as interop,
    keras as keras,
    losses as losses,
    microbatching as microbatching,
    perturbations as perturbations,
    projections as projections,
    schedules as schedules,
    second_order as second_order,
    transforms as transforms,
    tree as tree,
    tree_utils as tree_utils,
)
from .checks import Range as Range
from .combine.chain import chain as chain, named_chain as named_chain
from .combine.labels import label_by_path as label_by_path
from .combine.masked import MaskedNode as MaskedNode, MaskedState as MaskedState, masked as masked
from .combine.partition import PartitionState as PartitionState, partition as partition
from .combine.reset import reset as reset
from .core.apply import apply_updates as apply_updates
from .core.config import from_config as from_config, to_config as to_config
from .core.edit import replace as replace
from .core.inspection import eval_params as eval_params, inspect as inspect, summary as summary
from .core.record import ScheduleFn as ScheduleFn
from .core.registry import (
    Example as Example,
    entries as entries,
    example as example,
    get as get,
    lookup as lookup,
    register as register,
)
from .core.stateless import (
    EmptyState as EmptyState,
    identity as identity,
    init_empty_state as init_empty_state,
    stateless as stateless,
    stateless_with_tree_map as stateless_with_tree_map,
)
from .core.transformation import (
    GradientTransformation as GradientTransformation,
    GradientTransformationExtraArgs as GradientTransformationExtraArgs,
    with_extra_args_support as with_extra_args_support,
)
from .distributions import multi_normal as multi_normal
from .lift.grains import (
    Slot as Slot,
    StateScalar as StateScalar,
    elementwise as elementwise,
    leafwise as leafwise,
    treewise as treewise,
)
from .lift.wrap import wrap as wrap
from .linesearch.backtracking import (
    BacktrackingLinesearchInfo as BacktrackingLinesearchInfo,
    ScaleByBacktrackingLinesearchState as ScaleByBacktrackingLinesearchState,
    scale_by_backtracking_linesearch as scale_by_backtracking_linesearch,
)
from .linesearch.lbfgs import ScaleByLBFGSState as ScaleByLBFGSState, lbfgs as lbfgs, scale_by_lbfgs as scale_by_lbfgs
from .linesearch.reuse import value_and_grad_from_state as value_and_grad_from_state
from .linesearch.zoom import (
    ScaleByZoomLinesearchState as ScaleByZoomLinesearchState,
    ZoomLinesearchInfo as ZoomLinesearchInfo,
    scale_by_zoom_linesearch as scale_by_zoom_linesearch,
)
from .losses.cross_entropy import (
    safe_softmax_cross_entropy as safe_softmax_cross_entropy,
    softmax_cross_entropy as softmax_cross_entropy,
    softmax_cross_entropy_with_integer_labels as softmax_cross_entropy_with_integer_labels,
)
from .losses.ctc import ctc_loss as ctc_loss, ctc_loss_with_forward_probs as ctc_loss_with_forward_probs
from .losses.divergence import (
    convex_kl_divergence as convex_kl_divergence,
    generalized_kl_divergence as generalized_kl_divergence,
    kl_divergence as kl_divergence,
)
from .losses.margin import hinge_loss as hinge_loss
from .losses.regression import (
    huber_loss as huber_loss,
    l2_loss as l2_loss,
    log_cosh as log_cosh,
    squared_error as squared_error,
)
from .losses.sigmoid import (
    sigmoid_binary_cross_entropy as sigmoid_binary_cross_entropy,
    sigmoid_focal_loss as sigmoid_focal_loss,
)
from .losses.similarity import (
    cosine_distance as cosine_distance,
    cosine_similarity as cosine_similarity,
    ntxent as ntxent,
)
from .losses.smoothing import smooth_labels as smooth_labels
from .matrix.linalg import (
    matrix_inverse_pth_root as matrix_inverse_pth_root,
    nnls as nnls,
    power_iteration as power_iteration,
)
from .matrix.plan import MatrixPlan as MatrixPlan, matrix_plan as matrix_plan
from .microbatching.accumulators import AccumulationType as AccumulationType
from .microbatching.batches import microbatch as microbatch
from .numerics import (
    safe_increment as safe_increment,
    safe_norm as safe_norm,
    safe_root_mean_squares as safe_root_mean_squares,
)
from .optimizers.acprop import acprop as acprop, scale_by_acprop as scale_by_acprop
from .optimizers.adadelta import (
    ScaleByAdaDeltaState as ScaleByAdaDeltaState,
    adadelta as adadelta,
    scale_by_adadelta as scale_by_adadelta,
)
from .optimizers.adafactor import (
    FactoredState as FactoredState,
    adafactor as adafactor,
    scale_by_factored_rms as scale_by_factored_rms,
)
from .optimizers.adagrad import (
    ScaleByRssState as ScaleByRssState,
    adagrad as adagrad,
    scale_by_adagrad as scale_by_adagrad,
    scale_by_rss as scale_by_rss,
)
from .optimizers.adahessian import (
    ScaleByAdahessianState as ScaleByAdahessianState,
    adahessian as adahessian,
    scale_by_adahessian as scale_by_adahessian,
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
from .optimizers.adam_mini import (
    adam_mini as adam_mini,
    all_axes as all_axes,
    input_axis as input_axis,
    scale_by_adam_mini as scale_by_adam_mini,
)
from .optimizers.adamax import (
    adamax as adamax,
    adamaxw as adamaxw,
    scale_by_adamax as scale_by_adamax,
    scale_by_adamax_eps_hat as scale_by_adamax_eps_hat,
)
from .optimizers.adamc import adamc as adamc
from .optimizers.adamuon import (
    ScaleByAdamuonState as ScaleByAdamuonState,
    adamuon as adamuon,
    scale_by_adamuon as scale_by_adamuon,
)
from .optimizers.adan import ScaleByAdanState as ScaleByAdanState, adan as adan, scale_by_adan as scale_by_adan
from .optimizers.ademamix import (
    ScaleByAdemamixState as ScaleByAdemamixState,
    ScaleBySimplifiedAdEMAMixState as ScaleBySimplifiedAdEMAMixState,
    ademamix as ademamix,
    scale_by_ademamix as scale_by_ademamix,
    scale_by_simplified_ademamix as scale_by_simplified_ademamix,
    simplified_ademamix as simplified_ademamix,
)
from .optimizers.adopt import adopt as adopt, fourth_root as fourth_root, scale_by_adopt as scale_by_adopt
from .optimizers.asgd import AsgdState as AsgdState, asgd as asgd
from .optimizers.belief import (
    ScaleByBeliefState as ScaleByBeliefState,
    adabelief as adabelief,
    scale_by_belief as scale_by_belief,
)
from .optimizers.came import ScaleByCameState as ScaleByCameState, came as came, scale_by_came as scale_by_came
from .optimizers.cocob import COCOBState as COCOBState, cocob as cocob, scale_by_cocob as scale_by_cocob
from .optimizers.dadapt import (
    DAdaptAdamWState as DAdaptAdamWState,
    ProdigyState as ProdigyState,
    dadapt_adamw as dadapt_adamw,
    prodigy as prodigy,
)
from .optimizers.distance import (
    ScaleByDistanceOverGradientsState as ScaleByDistanceOverGradientsState,
    scale_by_distance_over_gradients as scale_by_distance_over_gradients,
)
from .optimizers.dog import DoGState as DoGState, DoWGState as DoWGState, dog as dog, dowg as dowg
from .optimizers.dpsgd import dpsgd as dpsgd
from .optimizers.ftrl import FtrlState as FtrlState, ftrl as ftrl
from .optimizers.galore import (
    GaLoreDimensionNumbers as GaLoreDimensionNumbers,
    GaLoreState as GaLoreState,
    galore as galore,
    scale_by_galore as scale_by_galore,
)
from .optimizers.hyperball import (
    HyperballState as HyperballState,
    adamh as adamh,
    hyperball as hyperball,
    muonh as muonh,
)
from .optimizers.laprop import laprop as laprop, scale_by_laprop as scale_by_laprop
from .optimizers.lion import ScaleByLionState as ScaleByLionState, lion as lion, scale_by_lion as scale_by_lion
from .optimizers.madgrad import MadgradState as MadgradState, madgrad as madgrad, scale_by_madgrad as scale_by_madgrad
from .optimizers.mars import ScaleByMarsState as ScaleByMarsState, mars as mars, scale_by_mars as scale_by_mars
from .optimizers.momo import (
    MomoAdamState as MomoAdamState,
    MomoState as MomoState,
    momo as momo,
    momo_adam as momo_adam,
)
from .optimizers.muon import (
    MuonDimensionNumbers as MuonDimensionNumbers,
    MuonState as MuonState,
    muon as muon,
    scale_by_muon as scale_by_muon,
)
from .optimizers.nadam import ScaleByNadamState as ScaleByNadamState, scale_by_nadam as scale_by_nadam
from .optimizers.normuon import (
    ScaleByNormuonState as ScaleByNormuonState,
    normuon as normuon,
    scale_by_normuon as scale_by_normuon,
)
from .optimizers.novograd import (
    ScaleByNovogradState as ScaleByNovogradState,
    novograd as novograd,
    scale_by_novograd as scale_by_novograd,
)
from .optimizers.optimistic import (
    ScaleByOptimisticGradientState as ScaleByOptimisticGradientState,
    optimistic_adam as optimistic_adam,
    optimistic_adam_v2 as optimistic_adam_v2,
    optimistic_gradient_descent as optimistic_gradient_descent,
    scale_by_optimistic_gradient as scale_by_optimistic_gradient,
)
from .optimizers.polyak import polyak_sgd as polyak_sgd, scale_by_polyak as scale_by_polyak
from .optimizers.qhadam import qhadam as qhadam, scale_by_qhadam as scale_by_qhadam
from .optimizers.radam import radam as radam, scale_by_radam as scale_by_radam
from .optimizers.rms import (
    ScaleByRmsState as ScaleByRmsState,
    ScaleByRmsWithCountState as ScaleByRmsWithCountState,
    ScaleByRStdDevState as ScaleByRStdDevState,
    ScaleByRStdDevWithCountState as ScaleByRStdDevWithCountState,
    rmsprop as rmsprop,
    scale_by_rms as scale_by_rms,
    scale_by_stddev as scale_by_stddev,
)
from .optimizers.rprop import ScaleByRpropState as ScaleByRpropState, rprop as rprop, scale_by_rprop as scale_by_rprop
from .optimizers.schedule_free import (
    ScheduleFreeState as ScheduleFreeState,
    schedule_free as schedule_free,
    schedule_free_adamw as schedule_free_adamw,
    schedule_free_eval_params as schedule_free_eval_params,
    schedule_free_sgd as schedule_free_sgd,
)
from .optimizers.scion import scale_by_scion as scale_by_scion, scion as scion
from .optimizers.sgd import noisy_sgd as noisy_sgd, sgd as sgd
from .optimizers.sign import scale_by_sign as scale_by_sign, sign_sgd as sign_sgd, signum as signum
from .optimizers.sm3 import ScaleBySM3State as ScaleBySM3State, scale_by_sm3 as scale_by_sm3, sm3 as sm3
from .optimizers.soap import ScaleBySoapState as ScaleBySoapState, scale_by_soap as scale_by_soap, soap as soap
from .optimizers.sophia import (
    HutchinsonState as HutchinsonState,
    SophiaState as SophiaState,
    hutchinson_estimator_diag_hessian as hutchinson_estimator_diag_hessian,
    sophia as sophia,
)
from .optimizers.stable_spam import (
    ScaleByStableSpamState as ScaleByStableSpamState,
    scale_by_stable_spam as scale_by_stable_spam,
    stable_spam as stable_spam,
)
from .optimizers.trust import fromage as fromage, lamb as lamb, lars as lars
from .optimizers.yogi import scale_by_yogi as scale_by_yogi, yogi as yogi
from .portable.state import load_state_dict as load_state_dict, state_dict as state_dict
from .schedules.arithmetic import (
    add_schedules as add_schedules,
    clip_schedule as clip_schedule,
    multiply_schedules as multiply_schedules,
    shift_schedule as shift_schedule,
)
from .schedules.constant import constant_schedule as constant_schedule
from .schedules.cosine import (
    cosine_decay_schedule as cosine_decay_schedule,
    sgdr_schedule as sgdr_schedule,
    warmup_cosine_decay_schedule as warmup_cosine_decay_schedule,
)
from .schedules.cyclic import cyclic_schedule as cyclic_schedule
from .schedules.exponential import exponential_decay as exponential_decay
from .schedules.falling import inverse_sqrt_schedule as inverse_sqrt_schedule, rex_schedule as rex_schedule
from .schedules.interpolate import (
    cosine_onecycle_schedule as cosine_onecycle_schedule,
    linear_onecycle_schedule as linear_onecycle_schedule,
    piecewise_interpolate_schedule as piecewise_interpolate_schedule,
)
from .schedules.inverse_time import inverse_time_decay as inverse_time_decay
from .schedules.join import join_schedules as join_schedules
from .schedules.piecewise import piecewise_constant_schedule as piecewise_constant_schedule
from .schedules.polynomial import linear_schedule as linear_schedule, polynomial_schedule as polynomial_schedule
from .schedules.stable import (
    WsdState as WsdState,
    branching_wsd_schedule as branching_wsd_schedule,
    power_schedule as power_schedule,
    wsd_schedule as wsd_schedule,
)
from .schedules.warmup import (
    warmup_constant_schedule as warmup_constant_schedule,
    warmup_exponential_decay_schedule as warmup_exponential_decay_schedule,
)
from .sharding.specs import state_specs as state_specs
from .sharding.zero import sharded as sharded
from .step.check import check_numerics as check_numerics
from .step.make import make_step as make_step, make_update as make_update
from .transforms.attention import qk_clip as qk_clip
from .transforms.average import AverageParamsState as AverageParamsState, average_params as average_params
from .transforms.averages import (
    BemaState as BemaState,
    LawaState as LawaState,
    PowerEmaState as PowerEmaState,
    SwaState as SwaState,
    bema as bema,
    lawa as lawa,
    power_ema as power_ema,
    power_ema_synthesis as power_ema_synthesis,
    swa as swa,
)
from .transforms.centralization import centralize as centralize
from .transforms.clipping import (
    AdaptiveGradClipState as AdaptiveGradClipState,
    ClipByGlobalNormState as ClipByGlobalNormState,
    ClipState as ClipState,
    adaptive_grad_clip as adaptive_grad_clip,
    clip as clip,
    clip_by_block_rms as clip_by_block_rms,
    clip_by_global_norm as clip_by_global_norm,
)
from .transforms.constrain import (
    NonNegativeParamsState as NonNegativeParamsState,
    keep_params_nonnegative as keep_params_nonnegative,
)
from .transforms.every import ApplyEvery as ApplyEvery, apply_every as apply_every
from .transforms.layers import (
    layer_of_path as layer_of_path,
    layers_of_axis as layers_of_axis,
    layerwise_decay as layerwise_decay,
)
from .transforms.momentum import EmaState as EmaState, TraceState as TraceState, ema as ema, trace as trace
from .transforms.monitoring import (
    MonitorState as MonitorState,
    SnapshotState as SnapshotState,
    measure_with_ema as measure_with_ema,
    monitor as monitor,
    snapshot as snapshot,
)
from .transforms.nans import ZeroNansState as ZeroNansState, zero_nans as zero_nans
from .transforms.noise import AddNoiseState as AddNoiseState, add_noise as add_noise
from .transforms.noise_scale import (
    GradientNoiseScaleState as GradientNoiseScaleState,
    gradient_noise_scale as gradient_noise_scale,
)
from .transforms.norms import (
    NormalizeState as NormalizeState,
    ScaleByTrustRatioState as ScaleByTrustRatioState,
    normalize as normalize,
    normalize_by_update_norm as normalize_by_update_norm,
    scale_by_param_block_norm as scale_by_param_block_norm,
    scale_by_param_block_rms as scale_by_param_block_rms,
    scale_by_trust_ratio as scale_by_trust_ratio,
)
from .transforms.privacy import (
    DifferentiallyPrivateAggregateState as DifferentiallyPrivateAggregateState,
    differentially_private_aggregate as differentially_private_aggregate,
    per_example_global_norm_clip as per_example_global_norm_clip,
    per_example_layer_norm_clip as per_example_layer_norm_clip,
)
from .transforms.rounding import (
    KeepMasterState as KeepMasterState,
    KeepResidualState as KeepResidualState,
    RoundStochasticallyState as RoundStochasticallyState,
    keep_master as keep_master,
    keep_residual as keep_residual,
    round_stochastically as round_stochastically,
)
from .transforms.scaling import (
    ScaleByScheduleState as ScaleByScheduleState,
    ScaleState as ScaleState,
    scale as scale,
    scale_by_learning_rate as scale_by_learning_rate,
    scale_by_schedule as scale_by_schedule,
    set_to_zero as set_to_zero,
)
from .transforms.weight_decay import (
    AddDecayedWeightsState as AddDecayedWeightsState,
    CorrectedWeightDecayState as CorrectedWeightDecayState,
    WeightDecaySchedule as WeightDecaySchedule,
    add_decayed_weights as add_decayed_weights,
)
from .tree import (
    bias_correction as bias_correction,
    global_norm as global_norm,
    update_infinity_moment as update_infinity_moment,
    update_moment as update_moment,
    update_moment_per_elem_norm as update_moment_per_elem_norm,
)
from .tree.follow import incremental_update as incremental_update, periodic_update as periodic_update
from .tree.gradients import scale_gradient as scale_gradient
from .tree.packing import Packed as Packed, pack as pack
from .tree_utils import tree_map_params as tree_map_params
from .types import (
    MaskOrFn as MaskOrFn,
    OptState as OptState,
    Params as Params,
    ScalarOrSchedule as ScalarOrSchedule,
    Schedule as Schedule,
    ShouldSkipUpdateFunction as ShouldSkipUpdateFunction,
    TransformInitFn as TransformInitFn,
    TransformUpdateExtraArgsFn as TransformUpdateExtraArgsFn,
    TransformUpdateFn as TransformUpdateFn,
    Updates as Updates,
)
from .wrappers.accumulate import MultiSteps as MultiSteps, MultiStepsState as MultiStepsState
from .wrappers.cautious import cautious as cautious, grams as grams
from .wrappers.conditional import (
    ConditionallyMaskState as ConditionallyMaskState,
    ConditionallyTransformState as ConditionallyTransformState,
    conditionally_mask as conditionally_mask,
    conditionally_transform as conditionally_transform,
)
from .wrappers.finite import ApplyIfFiniteState as ApplyIfFiniteState, apply_if_finite as apply_if_finite
from .wrappers.flat import flatten as flatten
from .wrappers.freeze import freeze as freeze, selective_transform as selective_transform
from .wrappers.halves import (
    SplitRealAndImaginaryState as SplitRealAndImaginaryState,
    split_real_and_imaginary as split_real_and_imaginary,
)
from .wrappers.inject import (
    InjectHyperparamsState as InjectHyperparamsState,
    InjectStatefulHyperparamsState as InjectStatefulHyperparamsState,
    WrappedSchedule as WrappedSchedule,
    WrappedScheduleState as WrappedScheduleState,
    inject_hyperparams as inject_hyperparams,
)
from .wrappers.lookahead import (
    LookaheadParams as LookaheadParams,
    LookaheadSlowState as LookaheadSlowState,
    LookaheadState as LookaheadState,
    lookahead as lookahead,
)
from .wrappers.loss_scale import (
    DynamicLossScaleState as DynamicLossScaleState,
    dynamic_loss_scale as dynamic_loss_scale,
    scale_loss as scale_loss,
)
from .wrappers.low_memory import low_memory as low_memory
from .wrappers.mechanic import MechanicState as MechanicState, mechanize as mechanize
from .wrappers.outer import OuterNesterovState as OuterNesterovState, outer_nesterov as outer_nesterov
from .wrappers.packed import packed as packed
from .wrappers.plateau import ReduceLROnPlateauState as ReduceLROnPlateauState, reduce_on_plateau as reduce_on_plateau
from .wrappers.sam import SAMState as SAMState, sam as sam
from .wrappers.skip import skip_large_updates as skip_large_updates, skip_not_finite as skip_not_finite
from .wrappers.spikes import SkipSpikesState as SkipSpikesState, skip_spikes as skip_spikes
from .wrappers.stored import stored as stored

inject_stateful_hyperparams = inject_hyperparams
multi_transform = partition
MultiTransformState = PartitionState
safe_int32_increment = safe_increment

_NAMESPACES = (
    *(
        "assignment",
        "contrib",
        "experimental",
        "interop",
        "keras",
        "losses",
        "microbatching",
        "perturbations",
        "projections",
    ),
    *("schedules", "second_order", "transforms", "tree", "tree_utils"),
)
__all__ = _hints.public_names(globals(), _NAMESPACES)

if _typing.TYPE_CHECKING:
    __version__: str
else:  # To a type checker a module with `__getattr__` has every name.
    __getattr__, __dir__ = _hints.surface(__name__, __version__=lambda: _hints.version(__name__))
