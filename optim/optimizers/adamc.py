"""AdamC: AdamW whose weight decay falls with the learning rate."""

from ..combine.chain import chain
from ..core.registry import example, register
from ..core.transformation import GradientTransformationExtraArgs
from ..schedules import inverse_time_decay
from ..transforms.scaling import scale_by_learning_rate
from ..transforms.weight_decay import RANGES, add_decayed_weights
from ..types import DType, MaskOrFn, Scalar, ScalarOrSchedule
from .adam import scale_by_adam


@register(
    example(0.1),
    example(inverse_time_decay(0.1, 1, 0.5), weight_decay=0.1, mask=True),
    ranges=RANGES,
    usual={"learning_rate": 0.001},
)
def adamc(
    learning_rate: ScalarOrSchedule,
    b1: Scalar = 0.9,
    b2: Scalar = 0.999,
    eps: Scalar = 1e-8,
    eps_root: Scalar = 0.0,
    mu_dtype: DType = None,
    weight_decay: ScalarOrSchedule = 1e-4,
    mask: MaskOrFn = None,
    *,
    max_learning_rate: Scalar | None = None,
    nesterov: bool = False,
) -> GradientTransformationExtraArgs:
    """AdamC: `scale_by_adam`, `add_decayed_weights` with mode "corrected", then `scale_by_learning_rate`.

    Args:
      max_learning_rate: largest learning rate of the schedule, > 0; None takes the largest so far, which in a warm-up
        is the current one.
    Source:  Defazio 2025, "Why Gradients Rapidly Increase Near the End of Training", 2506.02285.
    Differs: the paper corrects the decay of layers before a normalisation only: for a mask of these, chain two
             `add_decayed_weights`.
    When:    AdamW with a decaying learning rate, whose gradients grow at the end; a usual learning rate is 1e-3.
    """
    return chain(
        scale_by_adam(b1, b2, eps, eps_root, mu_dtype, nesterov=nesterov),
        add_decayed_weights(
            weight_decay, mask, mode="corrected", learning_rate=learning_rate, max_learning_rate=max_learning_rate
        ),
        scale_by_learning_rate(learning_rate),
    )
