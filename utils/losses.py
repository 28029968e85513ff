"""What training minimises: cross-entropy, or one of its kin that wrong labels pull less."""

import math

import numpy as np
import torch
from torch.nn import functional as F

from utils.config import Config

_LOG_OF_ZERO = -4.0  # what symmetric cross-entropy takes for the logarithm of a target of 0 (Wang et al., section 3.3)


def training_loss(
    logits: torch.Tensor, targets: torch.Tensor, config: Config, class_weights: torch.Tensor | None
) -> torch.Tensor:
    """The loss that ``config.loss`` names, summed over the images.

    ``gce`` (Zhang and Sabuncu, NeurIPS 2018) is cross-entropy for q near 0 and the mean absolute error for 1;
    ``sce`` (Wang et al., ICCV 2019) adds the cross-entropy of the label under the prediction.

    Args:
        logits: float [B, C]; targets: float32 [B, C] that sum to one, before label smoothing.
        class_weights: float32 [C], see `class_weights`; None: all alike.

    Returns:
        float32 [].
    """
    logits, smoothing = logits.float(), config.label_smoothing
    if config.loss == "cross_entropy":
        return F.cross_entropy(logits, targets, class_weights, reduction="sum", label_smoothing=smoothing)
    targets = (1 - smoothing) * targets + smoothing / targets.shape[1]
    weighed = targets if class_weights is None else targets * class_weights
    if config.loss == "gce":
        powers = (config.gce_q * logits.log_softmax(1)).exp()  # p to the power of q
        return (weighed * (1 - powers)).sum() / config.gce_q
    straight = -(weighed * logits.log_softmax(1)).sum()
    logs = targets.clamp(min=math.exp(_LOG_OF_ZERO)).log()
    reverse = -(weighed.sum(1, keepdim=True) * logits.softmax(1) * logs).sum()
    return config.sce_alpha * straight + config.sce_beta * reverse


def class_weights(counts: np.ndarray) -> torch.Tensor:
    """float32 [C]: the inverse of each class's frequency, one on average over the images; 0 without any image.

    Label smoothing gives each class its share, which these weights multiply too, as in torch's own cross-entropy: what
    an absent class had for a weight would be learned as if it were there.
    """
    present = counts > 0
    weights = counts.sum() / (max(present.sum(), 1) * np.maximum(counts, 1))
    return torch.from_numpy(np.where(present, weights, 0)).float()
