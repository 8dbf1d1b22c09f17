"""A running average of the weights along a phase (Polyak averaging)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel


class WeightAverage:
    """A running average of the weights that are trained.

    Early on it follows the weights closely, and forgets them at the given rate only once there
    are so many: the decay of update n is min(decay, (1 + n) / (10 + n)).

    Args:
        model: What is trained; its weights are read at each update.
        decay: Share of the average that an update keeps.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        # A list, so that neither frozen weights nor buffers are held twice.
        self._weights = nn.ParameterList([p for p in model.parameters() if p.requires_grad])

        # All weights at once: the count is fetched from the device once an update.
        def mix(averages: Sequence[Tensor], weights: Sequence[Tensor], updates: Any) -> None:
            done = int(updates)
            share = 1 - min(decay, (1 + done) / (10 + done))
            for average, weight in zip(averages, weights, strict=True):
                average.lerp_(weight, share)

        self._averaged = AveragedModel(self._weights, multi_avg_fn=mix)

    def update(self) -> None:
        """Take in the weights as they are now."""
        self._averaged.update_parameters(self._weights)

    @torch.no_grad()
    def give(self) -> None:
        """Put the averages in place of the weights."""
        for weight, average in zip(self._weights, self._averaged.parameters(), strict=True):
            weight.copy_(average)

    def state(self) -> dict[str, Tensor]:
        """What a run that continues needs, by name."""
        return dict(self._averaged.state_dict())

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on from a saved state."""
        self._averaged.load_state_dict(state)
