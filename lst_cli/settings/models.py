"""Every number of a run: frozen models, checked all at once, before any weight is loaded.

The defaults are the paper's (section 4 of "Learning to Segment the Tail"); where the paper
is silent they are the reference code's. Presets change values only, see `lst_cli.settings.presets`.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from lst_cli.settings.presets import PRESETS

Replay = Literal["none", "balanced", "all"]
ExtendReplay = Literal["none", "balanced", "all", "few", "bank"]
NewRows = Literal["random", "mean-feature"]
ExtendRows = Literal["random", "mean-feature", "fitted"]
Sampling = Literal["uniform", "class-aware", "repeat-factor", "few"]
StepSampling = Literal["samples", "uniform", "class-aware", "repeat-factor"]
Head = Literal["cosine", "softmax"]
ClassLossName = Literal["softmax", "sigmoid", "gumbel", "seesaw"]
Mask = Literal["transfer", "fcn"]
OtherObjects = Literal["ignore", "count", "background"]
FutureClasses = Literal["background", "ignore"]
PasteClasses = Literal["seen", "new", "lacking"]
DistillRegions = Literal["new", "seen", "sampled"]

Role = Literal["weights", "detections", "display", "speed"]
"""What a setting decides: what is trained, what is detected, what is shown, or none of these."""
_NETWORK: tuple[Role, ...] = ("weights", "detections")

# No experiment needs more than these bounds. A larger value is a typing error, and would only be
# noticed later in the run.
Pixels = Annotated[int, Field(gt=0, le=30_000)]
Count = Annotated[int, Field(gt=0, le=1_000_000)]
Iterations = Annotated[int, Field(ge=0, lt=2**31)]
Rate = Annotated[float, Field(ge=0, le=1_000)]
Factor = Annotated[float, Field(gt=0, le=1_000_000)]
BelowOne = Annotated[float, Field(ge=0, lt=1)]
Share = Annotated[float, Field(gt=0, le=1)]


def _check_rising(pair: tuple[float, float]) -> tuple[float, float]:
    if pair[0] > pair[1]:
        raise ValueError(f"{list(pair)} must rise")
    return pair


_Scale = Annotated[float, Field(ge=0.05, le=20)]
Scales = Annotated[tuple[_Scale, _Scale], AfterValidator(_check_rising)]
LearningRate = Annotated[float, Field(gt=0, le=1_000, description="learning rate")]
Regions = Annotated[Count, Field(description="regions of an image that train the heads")]
Prefixes = Annotated[
    tuple[str, ...],
    Field(max_length=1_000, description="prefixes of parameter names to freeze"),
]
DecayEpochs = Annotated[
    tuple[float, ...],
    Field(max_length=1_000, description="epochs after which the learning rate is divided by 10"),
]


def _setting(default: Any, description: str, *decides: Role, **bounds: Any) -> Any:
    """A field; `decides` where it is not what its section decides."""
    extra: Any = {"decides": decides} if decides else None
    return Field(default, description=description, json_schema_extra=extra, **bounds)


class Section(BaseModel):
    """A table of settings that refuses unknown keys and cannot change once made."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    decides: ClassVar[tuple[Role, ...]] = ("weights",)
    reported: ClassVar[tuple[str, ...]] = ()  # in a report, in its order
    reported_if_changed: ClassVar[tuple[str, ...]] = ()  # options beyond the paper


class DataSettings(Section):
    """How images reach the network."""

    reported_if_changed = ("scale_jitter", "color_jitter")

    min_size: Annotated[tuple[Pixels, ...], Field(max_length=1_000)] = _setting(
        (800,), "shorter edge in training, pixels; one of these is drawn for each image"
    )
    max_size: Pixels = _setting(1333, "longer edge at most, pixels")
    # Boxes that rows of new classes are made from are seen at these sizes too.
    min_size_test: Pixels = _setting(800, "shorter edge in evaluation, pixels", *_NETWORK)
    max_size_test: Pixels = _setting(1333, "longer edge at most in evaluation, pixels", *_NETWORK)
    scale_jitter: Scales = _setting(
        (1.0, 1.0),
        "range of a random factor of the training size; of what becomes larger than the training "
        "size, a random part of that size is shown. 1, 1: none (paper)",
    )
    color_jitter: BelowOne = _setting(
        0.0,
        "random brightness, contrast and saturation in training: each a factor between 1 - this "
        "and 1 + this. 0: none (paper)",
    )
    flip: float = _setting(0.5, "probability of a horizontal flip", ge=0, le=1)
    workers: Annotated[int, Field(ge=-1, le=1_000)] = _setting(
        -1, "processes that read images; -1: up to 4 with a GPU, else none", "speed"
    )

    @model_validator(mode="after")
    def _check_sizes(self) -> DataSettings:
        if not self.min_size:
            raise ValueError("min_size needs one or more sizes")
        if max(self.min_size) > self.max_size or self.min_size_test > self.max_size_test:
            raise ValueError("max_size is smaller than min_size")
        return self


class ModelSettings(Section):
    """The network (section 3.2)."""

    decides = _NETWORK
    reported = ("config", "head", "mask")
    reported_if_changed = ("class_loss",)

    config: str = _setting(
        "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml",
        "config of detectron2's model zoo that the network starts from; or timm/NAME, a network of "
        "timm under a feature pyramid",
        max_length=4_096,
    )
    pretrained: bool = _setting(
        True,
        "whether a network of timm or EfficientNet-Lite starts from its ImageNet weights, without "
        "--weights; those of timm are fetched once",
        "weights",
    )
    head: Head = _setting(
        "cosine",
        "classifier: cosine, which phases after the base need, or the linear softmax of Mask "
        "R-CNN, for joint training",
    )
    mask: Mask = _setting(
        "transfer",
        "mask branch: weights transferred from classifier rows, which phases after the base need, "
        "or the class-specific one of Mask R-CNN, for joint training",
    )
    class_loss: ClassLossName = _setting(
        "softmax",
        "scores and loss of classes: one softmax (paper), a sigmoid or a Gumbel activation for "
        "each class (Alexandridis et al. 2022), or one softmax with the seesaw loss (Wang et al. "
        "2021)",
    )
    federated_classes: Annotated[int, Field(ge=0, le=1_000_000)] = _setting(
        50,
        "class_loss = sigmoid or gumbel, in files with neg_category_ids: classes of an iteration, "
        "some drawn by frequency, that also count as absent where images do not say so",
        "weights",
    )
    cosine_scale: Factor = _setting(10.0, "initial scale of the cosine classifier")
    learn_scale: bool = _setting(True, "whether the scale is trained")
    class_agnostic_boxes: bool = _setting(False, "one box regressor for all classes")
    mask_mlp: Literal["deconv", "conv", "none"] = _setting(
        "deconv",
        "input of the class-agnostic MLP mask: the upsampled features (reference code), the "
        "convolved ones (Mask^X R-CNN), or no MLP",
    )
    mask_mlp_hidden: int = _setting(0, "hidden width of that MLP; 0: linear", ge=0, le=65_536)
    canonical_box_size: Pixels = _setting(224, "box edge that FPN level p4 is for, pixels")

    @property
    def binary(self) -> bool:
        """Whether classes are learned one by one, and do not compete."""
        return self.class_loss in ("sigmoid", "gumbel")


class ScheduleSettings(Section):
    """What the base phase and the later phases both have."""

    epochs: float = _setting(10.0, "passes over the samples of the phase", gt=0, le=2**31)
    decay_epochs: DecayEpochs = (6.0, 8.0)
    image_passes: Annotated[int, Field(ge=0, le=1_000_000_000)] = _setting(
        0,
        "images that a phase is trained on, repeats counted; epochs and decay_epochs are scaled to "
        "this. 0: as many as epochs says (paper)",
    )
    lr: LearningRate = 0.01
    batch_size: int = _setting(8, "images in an iteration", gt=0, le=65_536)
    rois_per_image: Regions = 512
    optimizer: Literal["sgd", "adamw"] = _setting("sgd", "optimizer")
    momentum: BelowOne = _setting(0.9, "momentum of SGD")
    weight_decay: Rate = _setting(1e-4, "weight decay")
    bias_lr_factor: Factor = _setting(2.0, "learning rate of biases, times lr")
    bias_weight_decay: Rate = _setting(0.0, "weight decay of biases")
    backbone_lr_factor: Factor = _setting(1.0, "learning rate of the bottom-up network, times lr")
    warmup_iterations: Iterations = _setting(500, "iterations of linear warm-up")
    warmup_factor: Share = _setting(1 / 3, "learning rate at the first iteration, times lr")
    clip_gradients: float = _setting(
        0.0, "largest gradient norm, over all weights; 0: no clipping", ge=0, le=1e12
    )
    ema: BelowOne = _setting(
        0.0,
        "decay of a running average of the weights, which becomes the model of the phase; 0: the "
        "last weights (paper)",
    )
    future_classes: FutureClasses = _setting(
        "background",
        "objects whose classes come in later phases: treated as background (paper) or ignored, "
        "which uses their annotated boxes",
    )
    paste_objects: Annotated[int, Field(ge=0, le=1_000)] = _setting(
        0,
        "objects of training images that are pasted into an image at most: for each image a "
        "number from 0 to this is drawn (see [paste]). 0: none (paper)",
    )
    paste_classes: PasteClasses = _setting(
        "seen",
        "their classes: all seen ones equally often, the new ones, or lacking: those of which an "
        "epoch shows too few objects, so that the rarest classes become equally frequent",
    )
    freeze: Prefixes = ()
    amp: bool = _setting(False, "mixed precision (CUDA only)")
    save_every: Annotated[int, Field(gt=0, lt=2**31)] = _setting(
        1000, "iterations between saved states, from which training can continue", "speed"
    )

    @model_validator(mode="after")
    def _check_decay(self) -> ScheduleSettings:
        decays = self.decay_epochs
        if any(not 0 < epoch < self.epochs for epoch in decays) or list(decays) != sorted(decays):
            must = f"must rise and lie between 0 and epochs ({self.epochs:g})"
            raise ValueError(f"decay_epochs {list(decays)} {must}")
        return self


class BaseSettings(ScheduleSettings):
    """Phase 0: the b most frequent classes, or in joint training all."""

    reported = ("sampler", "repeat_threshold", "epochs", "lr")
    reported_if_changed = (
        "few_instances", "distill_weight",
        "image_passes", "ema", "future_classes", "paste_objects", "paste_classes", "freeze",
    )  # fmt: skip

    sampler: Sampling = _setting(
        "uniform",
        "images of an epoch: each once, class-aware (Shen et al. 2016), repeated by the rarest "
        "class in them (repeat-factor, Gupta et al. 2019), or few images that show some objects of "
        "each class",
    )
    repeat_threshold: Share = _setting(
        0.001, "repeat-factor: share of images below which a class is repeated"
    )
    few_instances: Count = _setting(30, "objects of each class in the images of few")
    distill_weight: Rate = _setting(
        0.0,
        "weight of a distillation loss from the initial weights, a model of the same classes, for "
        "classes with more than few_instances training instances; 0: no loss",
    )


class StepSettings(ScheduleSettings):
    """Phases 1 to T."""

    reported = ("epochs", "lr", "replay", "new_rows", "mwg", "distill_weight", "freeze")
    reported_if_changed = (
        "sampler",
        "image_passes", "other_objects", "future_classes", "distill_regions", "ema",
        "freeze_old_rows",
        "paste_objects", "paste_classes",
    )  # fmt: skip

    decay_epochs: DecayEpochs = (6.0,)
    lr: LearningRate = 0.002
    rois_per_image: Regions = 100
    sampler: StepSampling = _setting(
        "samples",
        "images of an epoch: samples of new classes and replay (paper), or as base.sampler all "
        "images of seen classes, in which all these classes count, without replay",
    )
    repeat_threshold: Share = _setting(
        0.001, "sampler = repeat-factor: share of images below which a class is repeated"
    )
    replay: ExtendReplay = _setting(
        "balanced",
        "replay of old classes: balanced by instances (paper), none, all data, or few images in "
        "which all seen classes count; bank is for [extend]",
    )
    replay_instances: Count = _setting(4, "objects of each old class in the images of few")
    distill_weight: Rate = _setting(1.0, "weight of the distillation loss (Eq. 2); 0: no loss")
    distill_regions: DistillRegions = _setting(
        "new",
        "regions that are distilled: annotated objects of new classes (paper), of all seen "
        "classes, or all regions that train the heads",
    )
    other_objects: OtherObjects = _setting(
        "ignore",
        "other annotated objects in the image of a sample, for the heads: ignored (reference "
        "code), counted like those of the sample's own class, or background",
    )
    new_rows: ExtendRows = _setting(
        "random",
        "initial classifier rows of new classes: random (paper) or mean box features; fitted is "
        "for [extend]",
    )
    new_row_samples: Count = _setting(64, "boxes of a class at most for new_rows = mean-feature")
    freeze: Prefixes = ("backbone.bottom_up",)
    freeze_old_rows: bool = _setting(
        False, "whether classifier rows of old classes and of the background are not trained"
    )
    mwg: bool = _setting(
        False, "whether the meta weight generator computes the rows of new classes (see [mwg])"
    )


class ExtendSettings(Section):
    """Phases of `lst extend --finetune`: what they do not take from [step]."""

    image_passes: Annotated[int, Field(ge=0, le=1_000_000_000)] = _setting(
        500,
        "images that lst extend --finetune trains on, repeats counted (--budget); 0: a whole "
        "phase, by [step] alone (--full)",
    )
    lr: LearningRate = 0.002
    replay: ExtendReplay = _setting(
        "few",
        "replay of old classes: few images that show some objects of every class, bank: objects "
        "from the bank pasted into the new images; or as step.replay",
    )
    replay_instances: Count = _setting(4, "objects of each old class in the images of few")
    freeze: tuple[str, ...] = _setting(
        ("backbone",),
        "prefixes of parameter names to freeze; features of a backbone that is frozen whole are "
        "computed once for each image",
        max_length=1_000,
    )
    new_rows: ExtendRows = _setting(
        "fitted",
        "initial classifier rows of new classes: fitted as lst extend does without training, or as "
        "step.new_rows",
    )
    paste_objects: Annotated[int, Field(gt=0, le=1_000)] = _setting(
        6, "replay = bank: objects that are pasted into an image"
    )
    paste_new: Annotated[int, Field(ge=0, le=1_000)] = _setting(
        0, "objects of new classes that are pasted into an image"
    )
    bank_objects: Annotated[int, Field(ge=0, le=10_000)] = _setting(
        5,
        "objects of each class that a finished phase leaves in its bank, for the time when its "
        "images are gone; 0: no bank",
        "speed",
    )
    feature_cache: int = _setting(
        1_000, "megabytes of memory for these features", "speed", ge=0, le=1_000_000
    )


# Settings of [step] that a phase of `lst extend --finetune` has from [extend].
EXTEND_REPLACES = ("image_passes", "lr", "replay", "replay_instances", "freeze", "new_rows")


class PasteSettings(Section):
    """How objects are cut out and pasted, with paste_objects or extend.replay = bank."""

    reported_if_changed = ("scale", "largest", "brightness", "visible", "objects")

    scale: Scales = _setting(
        (0.6, 1.5), "range of an object's size, times its size at min_size_test"
    )
    largest: Share = _setting(
        0.6, "largest share of the image's sides; what is larger is scaled down"
    )
    brightness: BelowOne = _setting(
        0.2, "an object's brightness: a factor between 1 - this and 1 + this"
    )
    visible: Share = _setting(
        0.15, "share of a covered or cropped object that must stay visible; others are removed"
    )
    objects: Count = _setting(100, "objects of a class at most that are cut out for a phase")
    megabytes: Count = _setting(
        1_000, "memory for these objects; where it is full, classes have fewer objects"
    )


class GeneratorSettings(Section):
    """The meta weight generator (section 3.4), with step.mwg = true."""

    form: Literal["vectors", "matrices"] = _setting(
        "vectors", "a and b of Eq. (3): vectors (paper) or full matrices (reference code)"
    )
    attention_scale: Factor = _setting(
        10.0, "initial scale of the attention over base classes; it is trained"
    )
    support: Literal["bank", "exact"] = _setting(
        "bank",
        "support features: a bank that is refreshed, or those of new images in every episode, "
        "whose memory grows with the phase (paper)",
    )
    shots: Count = _setting(1, "boxes (support = exact: images) of a class in each episode")
    bank_size: Count = _setting(4, "boxes of a class in the feature bank")
    boxes: Literal["ground-truth", "jittered", "proposals"] = _setting(
        "ground-truth", "support boxes: as annotated, jittered at random, or positive proposals"
    )
    background_share: Rate = _setting(
        0.0,
        "initial share of a support feature along the background's row that is subtracted; it is "
        "trained. 0: never subtracted (paper), as class_loss = sigmoid and gumbel need it",
    )
    learn_offsets: bool = _setting(
        False, "learn an offset of each new class on top of its generated row"
    )

    @model_validator(mode="after")
    def _check_shots(self) -> GeneratorSettings:
        if self.support == "bank" and self.shots > self.bank_size:
            shots = f"shots = {self.shots} boxes of a class"
            raise ValueError(f"{shots} cannot be drawn from bank_size = {self.bank_size}")
        return self


class EvalSettings(Section):
    """The test setting of section 4, and the table's bins."""

    decides = ("detections",)
    reported = ("detections", "score_threshold")

    detections: Count = _setting(300, "detections of an image at most")
    # With --fixed-ap it replaces `detections`; otherwise it changes nothing.
    fixed_detections: Count = _setting(
        1000, "detections of an image at most for AP_fixed (lst eval --fixed-ap)", "display"
    )
    score_threshold: BelowOne = _setting(0.0, "lowest score of a detection")
    nms_threshold: Share = _setting(0.5, "IoU threshold of non-maximum suppression in each class")
    bins: Annotated[str, Field(max_length=1_000)] = _setting(
        "=1, <5, <10, 10-99, 100-999, >=1000",
        "bins of the AP table, by training instances of a class",
        "display",
    )


class Settings(Section):
    """All settings of a workspace."""

    reported = ("preset", "seed")

    preset: str = _setting("paper-r50", "named values: " + ", ".join(PRESETS))
    seed: int = _setting(0, "seed of weights, replay, order and sampling", ge=0, lt=2**31)
    device: Literal["auto", "cpu", "cuda"] = _setting("auto", "where the network runs", "speed")
    data: DataSettings = DataSettings()
    model: ModelSettings = ModelSettings()
    base: BaseSettings = BaseSettings()
    step: StepSettings = StepSettings()
    extend: ExtendSettings = ExtendSettings()
    paste: PasteSettings = PasteSettings()
    mwg: GeneratorSettings = GeneratorSettings()
    eval: EvalSettings = EvalSettings()
    detectron2: dict[str, Any] = _setting(
        {}, 'further detectron2 keys, for instance "MODEL.RPN.NMS_THRESH" = 0.7', *_NETWORK
    )

    def schedule(self, phase: int) -> ScheduleSettings:
        """Return the settings that train a phase."""
        return self.base if phase == 0 else self.step

    def for_extension(self) -> Settings:
        """Settings of a phase of `lst extend --finetune`: [extend] laid over [step]."""
        if not self.extend.image_passes:
            return self
        own: dict[str, Any] = {name: getattr(self.extend, name) for name in EXTEND_REPLACES}
        own["sampler"] = "samples"
        return self.model_copy(update={"step": self.step.model_copy(update=own)})
