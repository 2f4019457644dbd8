"""Optimizers that Optax keeps in its contrib package; all of them are names of `optim` too."""

import typing as _typing

from . import hints as _hints
from .optimizers.acprop import acprop as acprop, scale_by_acprop as scale_by_acprop
from .optimizers.ademamix import (
    ScaleByAdemamixState as ScaleByAdemamixState,
    ScaleBySimplifiedAdEMAMixState as ScaleBySimplifiedAdEMAMixState,
    ademamix as ademamix,
    scale_by_ademamix as scale_by_ademamix,
    scale_by_simplified_ademamix as scale_by_simplified_ademamix,
    simplified_ademamix as simplified_ademamix,
)
from .optimizers.adopt import adopt as adopt, scale_by_adopt as scale_by_adopt
from .optimizers.cocob import COCOBState as COCOBState, cocob as cocob, scale_by_cocob as scale_by_cocob
from .optimizers.dadapt import (
    DAdaptAdamWState as DAdaptAdamWState,
    ProdigyState as ProdigyState,
    dadapt_adamw as dadapt_adamw,
    prodigy as prodigy,
)
from .optimizers.dog import DoGState as DoGState, DoWGState as DoWGState, dog as dog, dowg as dowg
from .optimizers.dpsgd import dpsgd as dpsgd
from .optimizers.galore import (
    GaLoreDimensionNumbers as GaLoreDimensionNumbers,
    GaLoreState as GaLoreState,
    galore as galore,
    scale_by_galore as scale_by_galore,
)
from .optimizers.madgrad import MadgradState as MadgradState, madgrad as madgrad, scale_by_madgrad as scale_by_madgrad
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
from .optimizers.schedule_free import (
    ScheduleFreeState as ScheduleFreeState,
    schedule_free as schedule_free,
    schedule_free_adamw as schedule_free_adamw,
    schedule_free_eval_params as schedule_free_eval_params,
    schedule_free_sgd as schedule_free_sgd,
)
from .optimizers.sophia import (
    HutchinsonState as HutchinsonState,
    SophiaState as SophiaState,
    hutchinson_estimator_diag_hessian as hutchinson_estimator_diag_hessian,
    sophia as sophia,
)
from .transforms.norms import NormalizeState as NormalizeState, normalize as normalize
from .transforms.privacy import (
    DifferentiallyPrivateAggregateState as DifferentiallyPrivateAggregateState,
    differentially_private_aggregate as differentially_private_aggregate,
)
from .wrappers.halves import (
    SplitRealAndImaginaryState as SplitRealAndImaginaryState,
    split_real_and_imaginary as split_real_and_imaginary,
)
from .wrappers.mechanic import MechanicState as MechanicState, mechanize as mechanize
from .wrappers.plateau import ReduceLROnPlateauState as ReduceLROnPlateauState, reduce_on_plateau as reduce_on_plateau
from .wrappers.sam import SAMState as SAMState, sam as sam

__all__ = _hints.public_names(globals())

if not _typing.TYPE_CHECKING:  # To a type checker a module with `__getattr__` has every name.
    __getattr__, __dir__ = _hints.surface(__name__)
