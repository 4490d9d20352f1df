"""What a training run is told. Standard library only: the command line reads it without torch.

The options lie in groups, so that each reader receives those that concern it. Every name occurs once over all groups:
the command line shows them as one list, and `TrainingOptions.but(lr=0.1, ema=0.999)` finds the group by itself.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

from fovea.data.options import Augmentation, Interpolation
from fovea.errors import UsageError, require, suggestion

Optimiser = Literal["sgd", "rmsprop", "adam", "adamw", "muon"]
Schedule = Literal["cosine", "steps", "plateau", "polynomial", "exponential", "one_cycle", "constant"]
Warmup = Literal["linear", "constant"]
Loss = Literal["cross_entropy", "bce", "focal", "map"]
ClassWeights = Literal["equal", "balanced"]
Device = Literal["auto", "cpu", "cuda", "mps"]
Precision = Literal["auto", "float32", "float32-fused", "bf16", "bf16-depthwise", "bf16-fused"]

INFINITE = float("inf")


@dataclass(frozen=True, kw_only=True)
class Update:
    """How a gradient becomes an update of the weights."""

    optimiser: Optimiser = "sgd"
    """sgd; rmsprop, as TensorFlow has it; adam; adamw; or muon for filters, with sgd for the rest."""
    lr: float = 0.05
    """Learning rate at its peak, after the warm-up."""
    bias_lr: float = 0.0
    """The same of biases and other vectors; a step decays them as much as what learns at lr. 0 is lr."""
    head_lr: float = 0.0
    """The same of the head; a step decays it as much as what learns at lr. 0 is lr."""
    momentum: float = 0.9
    """Of sgd, rmsprop and muon; the decay of Adam's first moment."""
    nesterov: bool = True
    """Nesterov's form of the momentum of sgd and muon."""
    muon_norm: bool = False
    """Give each filter bank of muon a fixed norm before every update; for networks that normalise what filters give."""
    weight_decay: float = 5e-4
    """L2 penalty on weights; decoupled from the gradient in adamw and muon."""
    decay_all: bool = False
    """Decay biases and normalisation too, as papers before 2017 did."""
    second_moment: float = 0.999
    """Decay of the mean of squared gradients, of adam and adamw; EfficientNet's rmsprop has 0.9."""
    epsilon: float = 1e-8
    """Added for stability, within rmsprop's root and outside Adam's (EfficientNet 0.001, Inception v3 1.0)."""
    clip: float = 0.0
    """Largest norm of the whole gradient; what is longer is scaled down to it. 0 does not clip."""
    accumulate: int = 1
    """Parts in which a batch is computed, to save memory; 0, or --batch-size auto, finds the fewest that fit."""


@dataclass(frozen=True, kw_only=True)
class Rate:
    """How the learning rate changes; a function of the step alone, and of finished epochs for plateau."""

    schedule: Schedule = "cosine"
    """cosine, steps, plateau, polynomial, exponential, one_cycle or constant; all but one_cycle after the warm-up."""
    warmup_epochs: float = 1.0
    """The learning rate rises linearly for so long; of one_cycle, how long it rises by half a cosine."""
    warmup: Warmup = "linear"
    """linear; or constant, a tenth of the rate for so long, from which ResNet-110 begins."""
    cycles: int = 1
    """How often cosine falls, each time from the highest rate; snapshots at the ends make an ensemble."""
    lowest_lr: float = 0.0
    """Where cosine, polynomial and one_cycle end, and below which nothing falls."""
    milestones: tuple[float, ...] = ()
    """Epochs after which steps multiplies by the factor; half and three quarters of the run where none are given."""
    factor: float = 0.1
    """What steps, plateau and exponential multiply by (EfficientNet's exponential 0.97)."""
    decay_epochs: float = 2.4
    """Exponential multiplies after each so many epochs."""
    power: float = 1.0
    """Exponent of polynomial: 1 is linear; GoogLeNet 0.5."""
    plateau_epochs: int = 10
    """Plateau multiplies after so many epochs without a better validation accuracy."""


@dataclass(frozen=True, kw_only=True)
class Objective:
    """What is minimised."""

    loss: Loss = "cross_entropy"
    """cross_entropy; bce, each class by itself; focal; or map, LeNet-5's own criterion of 1998."""
    label_smoothing: float = 0.0
    """How much of each label is spread evenly over all classes, from 0 to below 1."""
    class_weights: ClassWeights = "equal"
    """equal, or balanced: images of rare classes count more, by the inverse of their number."""
    focal_gamma: float = 2.0
    """How much focal attends to what is hard; 0 is cross_entropy."""
    auxiliary: float = 0.3
    """What the auxiliary classifiers' losses count, where the network has them (GoogLeNet 0.3)."""
    teacher: str = ""
    """A run folder or bundle whose probabilities are learned too: distillation."""
    teacher_share: float = 0.9
    """How much the teacher counts against the labels, from 0 to 1."""
    temperature: float = 4.0
    """What logits are divided by where teacher and student are compared."""


@dataclass(frozen=True, kw_only=True)
class Averaging:
    """Averages of the weights over steps or epochs, which are judged and kept in the weights' stead."""

    ema: float = 0.0
    """Decay of an exponential moving average, step by step (0.999 to 0.9999); 0 keeps none."""
    swa_epochs: int = 0
    """Average the weights of so many last epochs evenly, at a constant learning rate; 0 does not."""


@dataclass(frozen=True, kw_only=True)
class Stages:
    """Which stages of the network learn, and how fast, where its weights come from elsewhere."""

    freeze: str = ""
    """The last stage from below that stays as it is, with all under it: its name, their number, or features."""
    thaw_epochs: int = 0
    """Gradual unfreezing: the head learns alone, and after every so many epochs the next stage below it does, too."""
    layer_decay: float = 1.0
    """Each stage learns at so much of the rate of the one above it; the head at the whole rate."""
    whiten: bool = False
    """Start the first convolution as whitening filters of training patches and keep them so; its bias learns for three
    epochs."""


@dataclass(frozen=True, kw_only=True)
class Input:
    """How images are brought to the network, varied ones and others."""

    resize: int = 0
    """Shorter side of an image in pixels before the centre is cut for the network; 0 is the network's size."""
    interpolation: Interpolation = "bilinear"
    """How images are resized."""
    cache: int = 0
    """Keep the images decoded on disk with this shorter side (256), so that later epochs decode nothing; 0 does not."""
    mean_image: bool = False
    """Subtract the mean of each pixel, as AlexNet did, not of each channel."""
    mean: tuple[float, ...] | None = None
    """Subtracted from pixels scaled to [0, 1], per channel; measured on the training images where none is given."""
    std: tuple[float, ...] | None = None
    """Divides after the mean is subtracted, per channel; measured where none is given."""
    smallest_size: int = 0
    """Progressive resizing: train on images of this side first, growing to the network's size; 0 does not."""


@dataclass(frozen=True, kw_only=True)
class Execution:
    """Where and how the arithmetic runs."""

    device: Device = "auto"
    """Where the network runs."""
    precision: Precision = "auto"
    """float32; bf16, where convolutions and products run in bfloat16; on a CPU bf16-depthwise, with a fast backward
    pass of depthwise convolutions, which bf16-fused has as well; float32-fused and bf16-fused, where batch
    normalisation, ReLU and max pooling are one operation, which numba compiles; auto tries them for a moment, and
    takes and records the fastest."""
    compile: bool = False
    """Compile the network first (torch.compile); on a GPU with CUDA graphs."""
    recompute: bool = False
    """Activation checkpointing: keep the input of each block alone, and compute the rest again going backward."""
    sync_batch_norm: bool = False
    """Normalise over the batches of all ranks together."""
    towers_apart: bool = False
    """Model parallelism: AlexNet's two towers on two devices, or on two ranks."""
    workers: int = 0
    """Threads that read and vary images ahead; 0 takes one a core where images are decoded or varied one by one, and
    none where whole batches lie in memory. The result does not depend on it (short: -j)."""


@dataclass(frozen=True, kw_only=True)
class Keeping:
    """What is kept while training runs. The result does not depend on it."""

    save_minutes: float = 10.0
    """Write a checkpoint when the last one is so old; one is always written after an epoch. 0 does not."""
    save_steps: int = 0
    """Write a checkpoint after every so many steps; 0 does not."""
    snapshot_epochs: int = 0
    """Keep a checkpoint for good after every so many epochs, below snapshots/; 0 does not."""
    watch: bool = False
    """Note each layer's gradient norm and the size of its updates against its weights, in layers.csv."""
    tensorboard: bool = False
    """Write TensorBoard's event files into the run folder."""
    pictures: bool = True
    """Draw curves, confusions, mistakes and filters when the run is done."""


@dataclass(frozen=True, kw_only=True)
class TrainingOptions:
    """A recipe: everything that decides what a training run computes, and where it computes it."""

    epochs: int = 30
    """Passes over the training images."""
    batch_size: int = 64
    """Images of one step, over all ranks (short: -b); auto keeps the recipe's, in as many parts as memory wants."""
    max_steps: int = 0
    """End after so many steps, wherever the schedule is then; 0 trains all epochs."""
    time_budget: float = 0.0
    """Minutes: as many epochs as are expected to fit, with the schedule fitted to them; 0 trains all epochs."""
    patience: int = 0
    """Early stopping after so many epochs without a better one; 0 does not."""
    seed: int = 42
    """Weights, order, augmentation and dropout are functions of it."""
    update: Update = field(default_factory=Update)
    rate: Rate = field(default_factory=Rate)
    objective: Objective = field(default_factory=Objective)
    averaging: Averaging = field(default_factory=Averaging)
    stages: Stages = field(default_factory=Stages)
    augmentation: Augmentation = field(default_factory=Augmentation)
    input: Input = field(default_factory=Input)
    execution: Execution = field(default_factory=Execution)
    keeping: Keeping = field(default_factory=Keeping)

    def __post_init__(self) -> None:
        """Refuse values outside their range.

        Raises:
            UsageError: with the value and the range.
        """
        _check_ranges(self)
        _check_together(self)

    def but(self, **changes: Any) -> TrainingOptions:
        """The same options, but for some: `options.but(lr=0.1, epochs=3, flip=True)`.

        Raises:
            UsageError: a name that no option has, or a value outside its range.
        """
        homes = _homes()
        homes |= dict.fromkeys(homes.values(), "")  # a group may be given as a whole, too
        for name in changes:
            if name not in homes:
                raise UsageError(f"no option of training is called {name!r}.{suggestion(name, homes)}")
        own = {name: value for name, value in changes.items() if not homes[name]}
        for group in dict.fromkeys(homes[name] for name in changes if homes[name]):
            inside = {name: value for name, value in changes.items() if homes[name] == group}
            own[group] = dataclasses.replace(own.get(group, getattr(self, group)), **inside)
        return dataclasses.replace(self, **own)

    def flat(self) -> dict[str, Any]:
        """Every single option by its name, whatever group it lies in."""
        return {name: getattr(getattr(self, group) if group else self, name) for name, group in _homes().items()}

    def settled_as(self, chosen: Mapping[str, Any], told: Mapping[str, Any]) -> TrainingOptions:
        """The same options, with what a run has chosen in place of what they leave open.

        Args:
            chosen: What was asked of the run, where something else was chosen: `{"precision": "auto"}`.
            told: The run's options, as `dataclasses.asdict` gave them.
        """
        if not chosen:
            return self
        own, settled = self.flat(), from_json(dict(told)).flat()
        return self.but(**{name: settled[name] for name, asked in chosen.items() if _plain(own[name]) == asked})

    def meaning(self) -> dict[str, Any]:
        """The options that decide the result, as JSON: all but where it runs and what is kept on the way."""
        told = asdict(self)
        del told["keeping"], told["execution"]["workers"], told["execution"]["device"], told["objective"]["teacher"]
        return told


def options(**changes: Any) -> TrainingOptions:
    """`TrainingOptions` by the names of single options, whatever group they lie in.

    Raises:
        UsageError: a name that no option has, or a value outside its range.
    """
    return TrainingOptions().but(**changes)


def from_json(values: dict[str, Any]) -> TrainingOptions:
    """Options from what `dataclasses.asdict` made of them.

    Raises:
        UsageError: a name that is no option, or a value outside its range.
    """
    flat: dict[str, Any] = {}
    groups = {each.name for each in fields(TrainingOptions)} & set(_homes().values())
    for name, value in values.items():
        flat |= value if name in groups and isinstance(value, dict) else {name: value}
    return options(**{name: tuple(value) if isinstance(value, list) else value for name, value in flat.items()})


def _plain(value: Any) -> Any:
    return list(value) if isinstance(value, tuple) else value


def _homes() -> dict[str, str]:
    """The group that every option lies in, by name; "" for those of no group."""
    homes: dict[str, str] = {}
    for each in fields(TrainingOptions):
        group: Any = each.default_factory
        homes |= {inner.name: each.name for inner in fields(group)} if isinstance(group, type) else {each.name: ""}
    return homes


def _check_ranges(told: TrainingOptions) -> None:
    update, rate, objective, keeping = told.update, told.rate, told.objective, told.keeping
    not_negative = (
        (told, ("max_steps", "time_budget", "patience")),
        (update, ("bias_lr", "head_lr", "weight_decay", "clip", "accumulate")),
        (rate, ("warmup_epochs", "lowest_lr")),
        (objective, ("focal_gamma", "auxiliary")),
        (told.averaging, ("swa_epochs",)),
        (told.stages, ("thaw_epochs",)),
        (told.input, ("resize", "cache", "smallest_size")),
        (told.execution, ("workers",)),
        (keeping, ("save_minutes", "save_steps", "snapshot_epochs")),
    )
    for group, names in not_negative:
        for name in names:
            require(name, getattr(group, name), 0 <= getattr(group, name) < INFINITE, "0 or more")
    for name in ("epochs", "batch_size"):
        require(name, getattr(told, name), getattr(told, name) >= 1, "1 or more")
    require("cycles", rate.cycles, rate.cycles >= 1, "1 or more")
    require("plateau_epochs", rate.plateau_epochs, rate.plateau_epochs >= 1, "1 or more")
    for name, value in (("lr", update.lr), ("epsilon", update.epsilon), ("temperature", objective.temperature)):
        require(name, value, 0 < value < INFINITE, "above 0 and finite")
    for name, value in (("decay_epochs", rate.decay_epochs), ("power", rate.power)):
        require(name, value, 0 < value < INFINITE, "above 0 and finite")
    for name, value in (("momentum", update.momentum), ("second_moment", update.second_moment)):
        require(name, value, 0 <= value < 1, "from 0 to below 1")
    for name, value in (("label_smoothing", objective.label_smoothing), ("ema", told.averaging.ema)):
        require(name, value, 0 <= value < 1, "from 0 to below 1")
    require("layer_decay", told.stages.layer_decay, 0 < told.stages.layer_decay <= 1, "above 0, up to 1")
    require("factor", rate.factor, 0 < rate.factor <= 1, "above 0, up to 1")
    require("teacher_share", objective.teacher_share, 0 <= objective.teacher_share <= 1, "from 0 to 1")
    rising = all(a < b for a, b in zip((0.0, *rate.milestones), rate.milestones, strict=False))
    require("milestones", rate.milestones, rising, "epochs above 0, each later than the one before")
    if told.input.std is not None:
        require("std", told.input.std, all(s > 0 for s in told.input.std), "above 0")


def _check_together(told: TrainingOptions) -> None:
    update, rate, source = told.update, told.rate, told.input
    free = update.momentum > 0 or not update.nesterov or update.optimiser not in ("sgd", "muon")
    require("nesterov", update.nesterov, free, "off where momentum is 0")
    normed = not update.muon_norm or update.optimiser == "muon"
    require("muon_norm", update.muon_norm, normed, f"off where optimiser is {update.optimiser}")
    stages = told.stages
    whole = not stages.whiten or not (stages.freeze or stages.thaw_epochs)
    require("whiten", stages.whiten, whole, "off where stages are frozen: it is how a network starts from nothing")
    again = rate.cycles == 1 or rate.schedule == "cosine"
    require("cycles", rate.cycles, again, f"1 where schedule is {rate.schedule}: cosine alone begins anew")
    still = rate.warmup == "linear"
    require("warmup", rate.warmup, still or rate.schedule != "one_cycle", "linear where schedule is one_cycle")
    require("warmup", rate.warmup, still or rate.warmup_epochs > 0, "linear where warmup_epochs is 0: there is none")
    require("lowest_lr", told.rate.lowest_lr, told.rate.lowest_lr <= update.lr, f"at most lr (={update.lr:g})")
    given = (source.mean is None) == (source.std is None)
    require("mean and std", (source.mean, source.std), given, "given together or not at all")
    require("mean_image", source.mean_image, source.mean is None or not source.mean_image, "off where mean is given")
    mixing = told.augmentation.mixup > 0 or told.augmentation.cutmix > 0
    loss = told.objective.loss
    require("loss", loss, not (mixing and loss in ("map", "focal")), "cross_entropy or bce where images are mixed")
    weighted = told.objective.class_weights == "balanced"
    require("class_weights", "balanced", not (weighted and loss == "map"), "equal where the loss is map")
    both = told.averaging.ema > 0 and told.averaging.swa_epochs > 0
    require("ema", told.averaging.ema, not both, "0 where swa_epochs is given: one average is judged")
    require(
        "swa_epochs",
        told.averaging.swa_epochs,
        told.averaging.swa_epochs < told.epochs,
        f"below epochs (={told.epochs})",
    )
    alike = told.stages == Stages() and update.bias_lr == update.head_lr == 0
    require("towers_apart", True, alike or not told.execution.towers_apart, "off where stages learn differently")
    whole = update.accumulate == 0 or told.batch_size % update.accumulate == 0
    require("accumulate", update.accumulate, whole, f"a divisor of batch_size (={told.batch_size})")
