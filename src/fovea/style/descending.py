"""L-BFGS on the pixels of a picture, watched step by step; the best picture so far is never lost."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from fovea.errors import NumbersError
from fovea.style.aim import Terms

HISTORY = 20  # steps that L-BFGS remembers, two pictures each
FIRST = 2e-4  # how far the first step moves pixels of 0 to 1 on average
VECTORS = 10  # further pictures that it and its line search hold
MOST = 3  # evaluations a step on average, at which it ends though steps are left

Evaluate = Callable[[Float[Tensor, "1 3 h w"]], tuple[Terms, Float[Tensor, "1 3 h w"]]]


class Step(NamedTuple):
    """What was reached after a step of L-BFGS.

    Args:
        size: The picture's longer side in pixels.
        step: Of this size, from 0, the start.
        evaluations: Passes through the network at this size up to now.
        content, style, variation: The terms of the loss.
    """

    size: int
    step: int
    evaluations: int
    content: float
    style: float
    variation: float

    @property
    def total(self) -> float:
        """The loss."""
        return self.content + self.style + self.variation


class Stopping(Exception):
    """No error: the way out of an optimiser that is asked to stop."""


@dataclass
class Descent:
    """One descent.

    Args:
        evaluate: The loss and its gradient.
        images: The best picture so far.
        watch: Is told every step and the best picture then.
        stop: Whether to stop now; the best picture stays.
        taken: Steps so far.
        evaluations: Passes through the network so far.
    """

    evaluate: Evaluate
    images: Float[Tensor, "1 3 h w"]
    watch: Callable[[Step, Float[Tensor, "1 3 h w"]], None]
    stop: Callable[[], bool]
    taken: int = 0
    evaluations: int = 0

    def run(self, steps: int) -> bool:
        """Descend until so many steps are taken in all, or nothing is gained any more; False where it was stopped.

        The line search is for the strong Wolfe conditions, so that no step increases the loss.

        Raises:
            NumbersError: the loss became NaN or infinite.
        """
        unit = FIRST * self.images.numel()  # torch's first step has an L1 norm of 1, in units of the numbers it moves
        numbers = torch.nn.Parameter((self.images.detach() / unit).contiguous())
        left, before = steps - self.taken, self.taken
        optimiser = torch.optim.LBFGS(
            [numbers],
            max_iter=left,
            max_eval=MOST * left + 25,  # the first step is so short that its search looks far
            history_size=HISTORY,
            tolerance_grad=0.0,
            tolerance_change=0.0,
            line_search_fn="strong_wolfe",
        )
        best: Step | None = None

        def reached(step: int) -> None:
            """Tell of a step that has ended, if it gained anything."""
            if best is not None and best.step > self.taken:
                self.taken = step
                self.watch(best._replace(step=step, evaluations=self.evaluations), self.images)

        def closure() -> Tensor:
            nonlocal best
            step = before + int(optimiser.state[numbers].get("n_iter", 0))
            if step > self.taken + 1:
                reached(step - 1)
            if best is not None and self.stop():
                raise Stopping
            terms, gradient = self.evaluate(numbers.detach() * unit)
            numbers.grad = (gradient * unit).contiguous()
            self.evaluations += 1
            found = Step(max(self.images.shape[2:]), step, self.evaluations, *map(float, terms))
            if not found.total < float("inf"):
                raise NumbersError(
                    f"the loss became {found.total} in step {step} at {found.size} pixels; lower the strength"
                )
            if best is None or found.total < best.total:
                best = found
                self.images = numbers.detach() * unit
                if self.evaluations == 1:
                    self.watch(found, self.images)
            return terms.total

        try:
            optimiser.step(closure)  # type: ignore[no-untyped-call]  # torch types it not
        except Stopping:
            return False
        reached(before + int(optimiser.state[numbers]["n_iter"]))
        return True
