"""From logits to scores and to losses: classes that compete in one softmax, or that do not.

Shapes: R regions, K classes, and the background behind them, which is class K.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
from torch import Tensor
from torch.nn import functional as F

from lst_cli.engine import processes
from lst_cli.phases.partial_labels import ALWAYS, IF_DRAWN
from lst_cli.settings.models import ClassLossName


class ClassLoss(ABC):
    """How logits become scores, and a loss."""

    # The bias that all classes have at first, and train together; None: logits have none.
    first_bias: float | None = None
    # The logit from which a region is rather of a class than of none; None: the background has one.
    even_logit: float | None = None
    # Training instances of each class in the phase, shape (K,), on the CPU; set for training.
    instances: Tensor | None = None

    @abstractmethod
    def scores(self, logits: Tensor) -> Tensor:
        """Scores of regions, of the shape of the logits, (R, K + 1)."""

    @abstractmethod
    def log_scores(self, logits: Tensor, others: Tensor) -> Tensor:
        """Logarithm of the scores of C new classes, shape (R, C).

        `others` is the logarithm of the sum of exponentials of all other logits, shape (R,).
        """

    @abstractmethod
    def loss(self, logits: Tensor, classes: Tensor, negatives: Tensor | None = None) -> Tensor:
        """The loss `loss_cls` of regions whose classes have shape (R,), averaged over regions.

        `negatives`, shape (R, K), are for losses that look at classes one by one. None: `ALWAYS`.
        """


class SoftmaxLoss(ClassLoss):
    """Softmax cross-entropy: a region is of one class or background, and all share its score."""

    def scores(self, logits: Tensor) -> Tensor:
        """Scores of regions, of the shape of the logits, (R, K + 1)."""
        return logits.softmax(dim=-1)

    def log_scores(self, logits: Tensor, others: Tensor) -> Tensor:
        """Logarithm of the scores of C new classes, shape (R, C); see `ClassLoss`."""
        return logits - torch.logaddexp(logits.logsumexp(dim=1), others)[:, None]

    def loss(self, logits: Tensor, classes: Tensor, negatives: Tensor | None = None) -> Tensor:
        """Cross-entropy; see `ClassLoss`."""
        del negatives
        return F.cross_entropy(logits, classes) if len(classes) else logits.sum() * 0.0


class SeesawLoss(SoftmaxLoss):
    """Seesaw loss (Wang et al., CVPR 2021) over the classes, softmax over all.

    A region of class i pushes class j down less where j has fewer instances (mitigation), and more
    where it is taken for j (compensation). The background is no class: to it and from it nothing is
    changed.
    """

    mitigation, compensation = 0.8, 2.0  # p and q of the paper

    def loss(self, logits: Tensor, classes: Tensor, negatives: Tensor | None = None) -> Tensor:
        """See `ClassLoss.loss`; Eq. (3) to (6) of the paper."""
        assert self.instances is not None
        found = (classes < len(self.instances)).nonzero()[:, 0]
        own = classes[found]
        counts = self.instances.to(logits.device, torch.float32).clamp(min=1)  # (K,)
        rarer = (counts / counts[own][:, None]).clamp(max=1)  # (F, K)
        scores = logits.detach().float().softmax(dim=-1)[found, :-1]  # (F, K)
        of_own = scores.gather(1, own[:, None]).clamp(min=0.01)
        mistaken = (scores / of_own).clamp(min=1)
        factors = self.mitigation * rarer.log() + self.compensation * mistaken.log()
        factors = factors.scatter(1, own[:, None], 0.0)
        weighted = torch.zeros_like(logits)
        weighted[found, :-1] = factors.to(logits.dtype)
        return super().loss(logits + weighted, classes)


class BinaryLoss(ClassLoss):
    """Binary cross-entropy: each class alone says whether it has a region; scores may sum to 2.

    With partial labels (federated loss, Gupta et al. 2019): a region without a class counts against
    it where an image is known to be annotated for it, or where the class is drawn in the iteration.
    The row of the background is not used.
    """

    def __init__(self, drawn: int) -> None:
        self.drawn = drawn  # classes of an iteration, those of its regions included

    def log_probabilities(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Logarithms of p, that a region has a class, and of 1 - p."""
        raise NotImplementedError

    def scores(self, logits: Tensor) -> Tensor:
        """Scores of regions, shape (R, K + 1)."""
        return self.log_probabilities(logits.float())[0].exp()

    def log_scores(self, logits: Tensor, others: Tensor) -> Tensor:
        """Logarithm of the scores of C new classes, shape (R, C); others do not matter."""
        del others
        return self.log_probabilities(logits)[0]

    def loss(self, logits: Tensor, classes: Tensor, negatives: Tensor | None = None) -> Tensor:
        """See `ClassLoss.loss`; summed over classes."""
        logits = logits[:, :-1].float()  # (R, K)
        positive = classes[:, None] == torch.arange(logits.shape[1], device=logits.device)
        yes, no = self.log_probabilities(logits)
        loss = -torch.where(positive, yes, no)
        if negatives is not None:
            drawn = self._draw(classes).to(negatives.device)
            counted = (negatives == ALWAYS) | (drawn & (negatives == IF_DRAWN))
            loss = loss * (positive | counted)
        return loss.sum() / max(len(classes), 1)

    def distillation(self, student: Tensor, teacher: Tensor) -> Tensor:
        """Divergence of a student's probabilities from the teacher's; logits of shape (R, K).

        The sum over classes is averaged over regions; 0 without regions, with a gradient of 0.
        """
        yes, no = self.log_probabilities(student.float())
        was_yes, was_no = self.log_probabilities(teacher.detach().float())
        divergence = was_yes.exp() * (was_yes - yes) + was_no.exp() * (was_no - no)
        return divergence.sum() / max(len(student), 1)

    def _draw(self, classes: Tensor) -> Tensor:
        """Classes of the iteration, shape (K,), boolean: those of regions, and others by lot.

        As in detectron2, a class is drawn in proportion to the square root of its frequency.
        """
        assert self.instances is not None
        weights = self.instances.clamp(min=1).double().sqrt()
        there = torch.zeros(len(weights) + 1, dtype=torch.bool)
        there[classes.cpu()] = True
        there = torch.tensor(processes.largest(there[:-1].tolist())) > 0  # in the whole batch
        weights[there] = 0
        count = min(self.drawn - int(there.sum()), int(weights.count_nonzero()))
        if count > 0:
            # Drawn on the CPU, whose numbers are the same on every machine.
            there[torch.multinomial(weights, count)] = True
        return there


class SigmoidLoss(BinaryLoss):
    """A sigmoid for each class, p = 1 / (1 + exp(-q)), as in detectron2's federated loss."""

    first_bias = -4.595  # p = 0.01, as in RetinaNet
    even_logit = 0.0

    def log_probabilities(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Logarithms of p and of 1 - p."""
        return F.logsigmoid(logits), F.logsigmoid(-logits)


class GumbelLoss(BinaryLoss):
    """The Gumbel activation (Alexandridis et al., ECCV 2022), p = exp(-exp(-q)).

    Where q < -4 the reference code cuts the gradient off. Here log p goes on as a straight line, so
    that no class is lost there.
    """

    first_bias = -2.0  # p = 0.0006
    even_logit = -math.log(math.log(2))
    least = -4.0

    def log_probabilities(self, logits: Tensor) -> tuple[Tensor, Tensor]:
        """Logarithms of p and of 1 - p."""
        inside = logits.clamp(min=self.least)
        hazard = (-inside).exp().clamp(min=1e-30)  # -log p
        below = (self.least - logits).clamp(min=0) * hazard.detach()
        return -(hazard + below), (-torch.expm1(-hazard)).log()


def build_class_loss(name: ClassLossName, drawn: int) -> ClassLoss:
    """The loss of a setting; `drawn` are the classes of an iteration of the federated loss."""
    if name == "sigmoid":
        return SigmoidLoss(drawn)
    if name == "gumbel":
        return GumbelLoss(drawn)
    return SeesawLoss() if name == "seesaw" else SoftmaxLoss()
