"""Every number of a run: frozen models, checked all at once, before any weight is loaded.

The defaults are the paper's (section 4 of "Learning to Segment the Tail"); where the paper
is silent they are the reference code's. Presets change values only, see `lst_cli.settings.presets`.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from lst_cli.settings.presets import PRESETS

Replay = Literal["none", "balanced", "all"]
NewRows = Literal["random", "mean-feature"]
Sampling = Literal["uniform", "class-aware", "repeat-factor"]
Head = Literal["cosine", "softmax"]
Mask = Literal["transfer", "fcn"]
OtherObjects = Literal["ignore", "count", "background"]
FutureClasses = Literal["background", "ignore"]
DistillRegions = Literal["new", "seen", "sampled"]

Role = Literal["weights", "detections", "display", "speed"]
"""What a setting decides: what is trained, what is found, what is shown, or none of these."""

_SPEED: dict[str, Any] = {"decides": ("speed",)}
_DISPLAY: dict[str, Any] = {"decides": ("display",)}
_BOTH: tuple[Role, ...] = ("weights", "detections")
_NETWORK: dict[str, Any] = {"decides": _BOTH}

# Bounds that no experiment needs to pass; beyond them a value is a slip, and would end a run later.
Pixels = Annotated[int, Field(le=30_000)]
Count = Annotated[int, Field(le=1_000_000)]
Iterations = Annotated[int, Field(lt=2**31)]
Epochs = Annotated[float, Field(le=2**31)]
Rate = Annotated[float, Field(le=1_000)]
Factor = Annotated[float, Field(le=1_000_000)]


class Section(BaseModel):
    """A table of settings that refuses unknown keys and cannot change once made.

    Attributes:
        decides: What its settings decide, where their own field does not say; see
            `lst_cli.settings.diff`.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    decides: ClassVar[tuple[Role, ...]] = ("weights",)


class DataSettings(Section):
    """How images reach the network."""

    min_size: tuple[Pixels, ...] = Field(
        (800,),
        max_length=1_000,
        description="shorter edge in training, pixels; one of these is drawn per image",
    )
    max_size: Pixels = Field(1333, gt=0, description="longer edge at most, pixels")
    # Boxes that rows of new classes are made from are seen at these sizes too.
    min_size_test: Pixels = Field(
        800,
        gt=0,
        description="shorter edge in evaluation, pixels",
        json_schema_extra=_NETWORK,
    )
    max_size_test: Pixels = Field(
        1333,
        gt=0,
        description="longer edge at most in evaluation, pixels",
        json_schema_extra=_NETWORK,
    )
    flip: float = Field(0.5, ge=0, le=1, description="chance of a horizontal flip")
    workers: int = Field(
        -1,
        ge=-1,
        le=1_000,
        description="processes that read images; -1 chooses: 4 for a GPU, none for a CPU, whose "
        "cores the network needs",
        json_schema_extra=_SPEED,
    )

    @model_validator(mode="after")
    def _check_sizes(self) -> DataSettings:
        if not self.min_size or min(self.min_size) <= 0:
            raise ValueError("min_size needs one or more sizes above 0")
        if max(self.min_size) > self.max_size or self.min_size_test > self.max_size_test:
            raise ValueError("max_size is smaller than min_size")
        return self


class ModelSettings(Section):
    """The network (section 3.2)."""

    decides = _BOTH

    config: str = Field(
        "COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_1x.yaml",
        max_length=4_096,
        description="detectron2 model-zoo config the network starts from",
    )
    head: Head = Field(
        "cosine",
        description="classifier: cosine, on which phases after the base rest, or Mask R-CNN's "
        "linear softmax, for joint training",
    )
    mask: Mask = Field(
        "transfer",
        description="mask branch: weights transferred from classifier rows, on which phases after "
        "the base rest, or the class-specific one of Mask R-CNN, for joint training",
    )
    cosine_scale: Factor = Field(10.0, gt=0, description="initial scale of the cosine classifier")
    learn_scale: bool = Field(True, description="whether the scale is trained")
    class_agnostic_boxes: bool = Field(False, description="one box regressor for all classes")
    mask_mlp: Literal["deconv", "conv", "none"] = Field(
        "deconv",
        description="what the class-agnostic MLP mask reads: the upsampled features (reference "
        "code), the convolved ones (Mask^X R-CNN), or no MLP",
    )
    mask_mlp_hidden: int = Field(
        0,
        ge=0,
        le=65_536,
        description="width of a hidden layer in that MLP; 0 is the single linear layer",
    )
    canonical_box_size: Pixels = Field(
        224, gt=0, description="box edge in pixels that is pooled from FPN level p4"
    )


class ScheduleSettings(Section):
    """What the base phase and the later phases both have."""

    epochs: Epochs = Field(10.0, gt=0, description="passes over the phase's entries")
    decay_epochs: tuple[float, ...] = Field(
        (6.0, 8.0),
        max_length=1_000,
        description="epochs after which the learning rate is divided by 10",
    )
    image_passes: int = Field(
        0,
        ge=0,
        le=1_000_000_000,
        description="images that a phase shows; epochs and decay_epochs are stretched or shrunk "
        "to that. 0: as many as epochs says (paper)",
    )
    lr: Rate = Field(0.01, gt=0, description="learning rate")
    batch_size: int = Field(8, gt=0, le=65_536, description="images in an iteration")
    rois_per_image: Count = Field(512, gt=0, description="regions an image that train the heads")
    optimizer: Literal["sgd", "adamw"] = Field("sgd", description="update rule")
    momentum: float = Field(0.9, ge=0, lt=1, description="momentum of SGD")
    weight_decay: Rate = Field(1e-4, ge=0, description="weight decay")
    bias_lr_factor: Factor = Field(2.0, gt=0, description="learning rate of biases, times lr")
    bias_weight_decay: Rate = Field(0.0, ge=0, description="weight decay of biases")
    backbone_lr_factor: Factor = Field(
        1.0, gt=0, description="learning rate of the bottom-up network, times lr"
    )
    warmup_iterations: Iterations = Field(500, ge=0, description="iterations of linear warm-up")
    warmup_factor: float = Field(
        1 / 3, gt=0, le=1, description="learning rate at the first iteration, times lr"
    )
    clip_gradients: float = Field(
        0.0, ge=0, le=1e12, description="largest gradient norm, over all weights; 0 does not clip"
    )
    ema: float = Field(
        0.0,
        ge=0,
        lt=1,
        description="decay of a running average of the weights, which then is the phase's model; "
        "0 takes the last weights (paper)",
    )
    future_classes: FutureClasses = Field(
        "background",
        description="objects whose classes come in later phases: treated as background (paper) "
        "or ignored, which takes their boxes from the annotations",
    )
    amp: bool = Field(False, description="mixed precision (CUDA only)")
    save_every: Iterations = Field(
        1000,
        gt=0,
        description="iterations between resumable states",
        json_schema_extra=_SPEED,
    )

    @model_validator(mode="after")
    def _check_decay(self) -> ScheduleSettings:
        decays = self.decay_epochs
        if any(not 0 < epoch < self.epochs for epoch in decays) or list(decays) != sorted(decays):
            raise ValueError(
                f"decay_epochs {list(decays)} must rise and lie between 0 and epochs "
                f"({self.epochs:g})"
            )
        return self


class BaseSettings(ScheduleSettings):
    """Phase 0: the b most frequent classes, or in joint training all."""

    sampler: Sampling = Field(
        "uniform",
        description="images of an epoch: each once, class-aware (Shen et al. 2016), or repeated by "
        "the rarest class in them (repeat-factor, Gupta et al. 2019)",
    )
    repeat_threshold: float = Field(
        0.001,
        gt=0,
        le=1,
        description="repeat-factor: share of images below which a class is repeated",
    )


class StepSettings(ScheduleSettings):
    """Phases 1 to T."""

    decay_epochs: tuple[float, ...] = Field(
        (6.0,),
        max_length=1_000,
        description="epochs after which the learning rate is divided by 10",
    )
    lr: Rate = Field(0.002, gt=0, description="learning rate")
    rois_per_image: Count = Field(100, gt=0, description="regions an image that train the heads")
    replay: Replay = Field(
        "balanced",
        description="replay of old classes: balanced by instances (section 3.3), none, or all data",
    )
    distill_weight: Rate = Field(
        1.0, ge=0, description="weight of the distillation loss (Eq. 2); 0 switches it off"
    )
    distill_regions: DistillRegions = Field(
        "new",
        description="regions that are distilled: annotated objects of new classes (paper), of all "
        "seen classes, or all regions that train the heads",
    )
    other_objects: OtherObjects = Field(
        "ignore",
        description="other annotated objects of an entry, for the heads: ignored (reference "
        "code), counted like the entry's own class, or background",
    )
    new_rows: NewRows = Field(
        "random",
        description="first classifier rows of new classes: random (paper) or the class's mean "
        "box feature",
    )
    new_row_samples: Count = Field(
        64, gt=0, description="boxes a class at most for new_rows = mean-feature"
    )
    freeze: tuple[str, ...] = Field(
        ("backbone.bottom_up",),
        max_length=1_000,
        description="prefixes of parameter names to freeze",
    )
    mwg: bool = Field(
        False,
        description="whether the meta weight generator writes the rows of new classes "
        "(section 3.4; see [mwg])",
    )


class GeneratorSettings(Section):
    """The meta weight generator (section 3.4), where `step.mwg` asks for it."""

    form: Literal["vectors", "matrices"] = Field(
        "vectors", description="a and b of Eq. (3): vectors (paper) or full matrices (reference)"
    )
    attention_scale: Factor = Field(
        10.0, gt=0, description="initial scale of the attention over base classes; it is trained"
    )
    support: Literal["bank", "exact"] = Field(
        "bank",
        description="support features: a bank that is refreshed, or those of new images in every "
        "episode, whose memory grows with the phase (paper)",
    )
    shots: Count = Field(
        1, gt=0, description="boxes (exact support: images) of a class in each episode"
    )
    bank_size: Count = Field(4, gt=0, description="boxes a class in the bank of features")
    boxes: Literal["ground-truth", "jittered", "proposals"] = Field(
        "ground-truth", description="support boxes: as annotated, shaken, or positive proposals"
    )
    background_share: Rate = Field(
        0.0,
        ge=0,
        description="how much of a support feature along the background's row is taken out at "
        "first; it is trained. 0 takes out nothing, ever (paper)",
    )
    learn_offsets: bool = Field(
        False, description="learn an offset of each new class on top of its generated row"
    )

    @model_validator(mode="after")
    def _check_shots(self) -> GeneratorSettings:
        if self.support == "bank" and self.shots > self.bank_size:
            raise ValueError(
                f"shots = {self.shots} boxes a class cannot be drawn from bank_size = "
                f"{self.bank_size}"
            )
        return self


class EvalSettings(Section):
    """The test setting of section 4, and the table's bins."""

    decides = ("detections",)

    detections: Count = Field(300, gt=0, description="detections an image at most")
    # AP_fixed puts it in the place of `detections`; by itself it changes nothing.
    fixed_detections: Count = Field(
        1000,
        gt=0,
        description="detections an image at most for AP_fixed (lst eval --fixed-ap)",
        json_schema_extra=_DISPLAY,
    )
    score_threshold: float = Field(0.0, ge=0, lt=1, description="lowest score of a detection")
    nms_threshold: float = Field(0.5, gt=0, le=1, description="IoU of class-wise suppression")
    bins: str = Field(
        "=1, <5, <10, 10-99, 100-999, >=1000",
        max_length=1_000,
        description="bins of the AP table, by training instances of a class",
        json_schema_extra=_DISPLAY,
    )


class Settings(Section):
    """All settings of a workspace."""

    preset: str = Field("paper-r50", description="named values: " + ", ".join(PRESETS))
    seed: int = Field(0, ge=0, lt=2**31, description="seed of weights, replay, order and sampling")
    device: Literal["auto", "cpu", "cuda"] = Field(
        "auto", description="where the network runs", json_schema_extra=_SPEED
    )
    data: DataSettings = Field(default_factory=lambda: DataSettings())
    model: ModelSettings = Field(default_factory=lambda: ModelSettings())
    base: BaseSettings = Field(default_factory=lambda: BaseSettings())
    step: StepSettings = Field(default_factory=lambda: StepSettings())
    mwg: GeneratorSettings = Field(default_factory=lambda: GeneratorSettings())
    eval: EvalSettings = Field(default_factory=lambda: EvalSettings())
    detectron2: dict[str, Any] = Field(
        default_factory=dict,
        description='further detectron2 keys, for instance "MODEL.RPN.NMS_THRESH" = 0.7',
        json_schema_extra=_NETWORK,
    )

    def schedule(self, phase: int) -> ScheduleSettings:
        """Return the settings that train a phase."""
        return self.base if phase == 0 else self.step
