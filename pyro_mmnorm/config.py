"""Frozen records for a whole run; strict YAML in, YAML out."""

import difflib
import re
import reprlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    Field,
    NonNegativeFloat,
    NonNegativeInt,
    PositiveFloat,
    PositiveInt,
    ValidationError,
    model_validator,
)

from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.core.strict_yaml import load_tree

__all__ = [
    "Config",
    "CovariateConfig",
    "DataConfig",
    "DeviationConfig",
    "GroupsConfig",
    "ModalityConfig",
    "ModelConfig",
    "ReferenceConfig",
    "SplitConfig",
    "TrainConfig",
    "parse_config",
    "read_config",
    "shipped_config",
    "told",
]


class Record(BaseModel, frozen=True, extra="forbid"):
    """A frozen record that knows no key but its own."""


class ModalityConfig(Record):
    """The tables of one modality."""

    tables: list[str] = Field(min_length=1, description="joined by id, side by side")
    id: str | None = Field(None, description="column of the ids in these tables, where it is not data.id")
    include: list[str] = Field(["*"], description="name patterns of the regions to keep")
    exclude: list[str] = Field([], description="name patterns of columns to leave out, beside the known totals")
    totals: Literal["set_aside", "keep"] = Field(
        "set_aside", description="sums, ratios, vessels and hypointensities of FreeSurfer tables"
    )
    zeros: Literal["missing", "keep"] = Field(
        "missing", description="an exact 0 in a column of otherwise positive sizes is a failed parcel: not observed"
    )


class CovariateConfig(Record):
    """One covariate: where it lies and how it enters the model."""

    column: str
    kind: Literal["spline", "linear", "category", "one_hot"]


class ReferenceConfig(Record):
    """Who is healthy."""

    column: str
    values: list[str | int | float | bool] = Field(min_length=1)


class GroupsConfig(Record):
    """The groups that findings are told by, in order."""

    column: str
    order: list[str | int | float | bool] = Field([], description="empty: the order of the alphabet")


class SplitConfig(Record):
    """Who trains, who calibrates, who is only tested: by column, or by fractions of the reference subjects."""

    column: str | None = Field(None, description="values train, calibrate, test, target")
    calibrate: float = Field(0.2, gt=0, lt=1)
    test: float = Field(0.2, gt=0, lt=1)
    stratify: str | None = Field(None, description="participants column; None: the covariate named site, if any")

    @model_validator(mode="after")
    def _leaves_someone_to_train(self) -> "SplitConfig":
        if self.calibrate + self.test >= 1:
            raise ValueError(f"calibrate {self.calibrate} + test {self.test} leave no one to train; a sum below 1")
        return self


def _long_covariates(value: object) -> object:
    """`age: spline` is short for `age: {column: age, kind: spline}`."""
    if not isinstance(value, Mapping):
        return value
    return {name: {"column": name, "kind": v} if isinstance(v, str) else v for name, v in value.items()}


class DataConfig(Record):
    """What is read, and who is who."""

    root: str = Field(".", description="folder of the tables, from this file; ${NAME:-default} reads the environment")
    participants: str
    id: str
    modalities: dict[str, ModalityConfig] = Field(min_length=1)
    covariates: Annotated[dict[str, CovariateConfig], BeforeValidator(_long_covariates)] = {}
    reference: ReferenceConfig | Literal["everyone"] = Field(description="who is healthy; everyone: no patients")
    groups: GroupsConfig | None = None
    scaling: Literal["standard", "mean", "minmax"] = Field(
        "standard", description="of regions, on training controls: to mean 0 and SD 1, divided by the mean, or to 0..1"
    )
    scores: dict[str, Literal["higher_is_worse", "higher_is_better"]] = {}
    adjust: list[str] = Field([], description="columns that findings are also adjusted for, beside the covariates")
    exclude_subjects: dict[str, list[str | int | float | bool]] = Field(
        {}, description="column -> values that set a subject aside, such as quality flags"
    )
    missing_covariates: Literal["error", "set_aside"] = "error"
    split: SplitConfig = SplitConfig()


type Named = str | dict[str, Any]
type PerMember[T] = T | list[T]


class ModelConfig(Record):
    """The generative model and its guide; a part is a name, or {name: ..., option: ...}."""

    fusion: Named = Field("poe", description="poe, gpoe, moe or mopoe")
    likelihood: Named = Field("normal", description="one for all, or modality -> likelihood")
    prior: Named = Field("normal", description="normal, mixture, vamp, flow or conditional")
    latent_dim: NonNegativeInt = Field(16, description="latents that all modalities share")
    private_dim: NonNegativeInt = Field(
        0, description="latents of each modality alone; with latent_dim 0 the models are unimodal"
    )
    experts: Literal["modalities", "joint"] = Field(
        "modalities", description="an encoder for each modality, or one for all features side by side"
    )
    hidden: list[PositiveInt] = [64, 32]
    skip: bool = Field(True, description="a linear path beside each perceptron")
    activation: Literal["silu", "relu"] = "silu"
    beta: PerMember[PositiveFloat] = Field(1.0, description="weight of the KL term (poutine.scale needs > 0)")
    members: PositiveInt = Field(1, description="ensemble members, trained side by side")
    modality_weights: dict[str, PerMember[NonNegativeFloat]] = Field(
        {}, description="lambda per modality, 1 where not named"
    )

    @model_validator(mode="after")
    def _has_latents(self) -> "ModelConfig":
        if self.latent_dim + self.private_dim < 1:
            raise ValueError("latent_dim 0 and private_dim 0; at least one latent")
        return self


class TrainConfig(Record):
    """One fit."""

    epochs: PositiveInt = Field(300, description="at most; early stopping usually ends sooner")
    batch_size: PositiveInt = 256
    learning_rate: PositiveFloat = 5e-3
    start: Literal["best", "linear", "nonlinear", "random"] = Field(
        "best",
        description="linear: networks begin at factor analysis; nonlinear: at random weights, with their linear paths "
        "shut; random: as built; best: linear, and where training went beyond it nonlinear too, the better one kept",
    )
    warmup_epochs: NonNegativeInt | None = Field(
        None, description="epochs over which the KL weight rises linearly to beta; none after a linear start, else 20"
    )
    weight_decay: NonNegativeFloat = 1e-4
    early_stopping: bool = True
    patience: PositiveInt = Field(30, description="epochs without a better validation loss before stopping")
    objective: Literal["joint", "subsampled"] = Field(
        "joint", description="subsampled: also each modality alone and `subsets` random subsets of them, averaged"
    )
    subsets: NonNegativeInt = Field(1, description="random subsets of modalities a step, for objective: subsampled")
    free_bits: NonNegativeFloat = Field(0.0, description="nats per latent below which KL is not pushed further")
    hide_cells: float = Field(
        0.0, ge=0, lt=1, description="share of observed cells hidden from the encoders in each step, still scored"
    )
    resample: Literal["none", "bootstrap", "folds"] = Field(
        "none", description="each member's own sample; folds: member e never sees fold e, and stops early on it"
    )
    validation: float = Field(0.1, gt=0, lt=0.5, description="share of training controls that early stopping watches")

    def warmup(self, start: str) -> int:
        """Epochs of KL warm-up: a linear start has no posterior that could collapse."""
        if self.warmup_epochs is not None:
            return self.warmup_epochs
        return 0 if start == "linear" else 20


type Kind = Literal["reconstruction", "cross_modal", "normative", "local", "latent"]


class DeviationConfig(Record):
    """Which deviations, from how many draws."""

    kinds: list[Kind] = Field(["reconstruction"], min_length=1, description="see docs/deviations.md")
    primary: Literal["reconstruction", "cross_modal", "normative", "local"] = Field(
        "reconstruction", description="the kind of z.csv and of the findings"
    )
    draws: PositiveInt = Field(256, description="draws of the latents per subject; a power of two suits the Sobol set")
    normative_draws: PositiveInt = Field(4096, description="draws from the prior, for kind normative")
    refine: NonNegativeInt | None = Field(
        None, description="local steps on each subject's posterior; 5 for products of experts when empty, else 0"
    )
    calibrator: str = Field("empirical", description="empirical, gaussian, none, or a name that was put in CALIBRATORS")
    conformal_within: str | None = Field(
        None, description="conformal p among people of one level of this category, or with the same modalities: pattern"
    )
    unseen_site: Literal["refuse", "population"] = Field(
        "refuse", description="people of a site unseen in training: refused, or scored as if of no site in particular"
    )
    outside_range: Literal["flag", "refuse"] = Field(
        "flag", description="people beyond the range of age (or another number) in training: flagged, or refused"
    )

    @model_validator(mode="after")
    def _primary_is_a_kind(self) -> "DeviationConfig":
        if self.primary not in self.kinds:
            raise ValueError(f"primary {self.primary!r} is not among kinds; one of {self.kinds}")
        return self


class Config(Record):
    """A whole run."""

    seed: NonNegativeInt = 1
    out: str = Field("runs/run", description="run folder, relative to where the command is called")
    data: DataConfig
    baseline: Literal["regression", "factor_analysis", "hippocampal_volume"] | None = None  # in place of the VAE
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()
    deviations: DeviationConfig = DeviationConfig()

    def to_yaml(self) -> str:
        """The resolved configuration as YAML."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def parse_config(text: str, *, overrides: Sequence[str] = (), where: str = "configuration") -> Config:
    """A run's configuration from YAML text.

    Args:
        text: The YAML.
        overrides: `key.path=value` pairs, applied on top.
        where: Name of the source for error messages.

    Raises:
        InputError: On YAML that cannot be read, an unknown or missing key, a key given twice, or a value out of range.

    Examples:
        >>> config = parse_config('''
        ... data:
        ...   participants: people.csv
        ...   id: id
        ...   modalities: {thickness: {tables: [thickness.csv]}}
        ...   reference: {column: diagnosis, values: [CN]}
        ... ''', overrides=["model.latent_dim=8"])
        >>> config.model.latent_dim
        8
    """
    tree = load_tree(text, overrides=overrides, where=where)
    try:
        return Config.model_validate(tree)
    except ValidationError as error:
        raise told(error, where, Config) from error


def read_config(path: str | Path, *, overrides: Sequence[str] = ()) -> Config:
    """A run's configuration from a YAML file; `data.root` comes back as an absolute path.

    A relative `data.root` is looked for beside the file, and then in the working folder.

    Raises:
        InputError: As `parse_config`, and when the file is missing.
    """
    path = Path(path)
    if not path.is_file():
        raise InputError(str(path), "no such file", "a YAML configuration", "check the path")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(str(path), f"no UTF-8: {error.reason}", "text in UTF-8", "save it as UTF-8") from error
    config = parse_config(text, overrides=overrides, where=str(path))
    root = Path(config.data.root).expanduser()
    beside = (path.parent / root).resolve()
    root = root.resolve() if root.is_dir() and not beside.is_dir() else beside
    return config.model_copy(update={"data": config.data.model_copy(update={"root": str(root)})})


def shipped_config(name: str, *, overrides: Sequence[str] = ()) -> Config:
    """A configuration that comes with the package, such as `demo.yaml`; in a checkout they lie in configs/."""
    here = Path(__file__).parent
    folder = here / "configs" if (here / "configs").is_dir() else here.parent / "configs"
    return read_config(folder / name, overrides=overrides)


def _known_keys(record: type[BaseModel], path: Sequence[str | int]) -> list[str]:
    """The keys of the record at `path`, in which free names, such as that of a modality, are passed over."""
    for part in path:
        field = record.model_fields.get(str(part))
        record = (_record_of(field.annotation) if field else None) or record
    return list(record.model_fields)


def _record_of(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = (_record_of(part) for part in getattr(annotation, "__args__", ()))
    return next((record for record in found if record), None)


_BRANCH = re.compile(r"[A-Z]\w+Config|str|int|float|bool|literal\[.*|(dict|list)\[.*")
"""What pydantic adds to a path to tell the parts of a union apart."""


def _key(fault: Mapping[str, Any]) -> str:
    return ".".join(str(part) for part in fault["loc"] if not _BRANCH.fullmatch(str(part)))


def _expected(fault: Mapping[str, Any]) -> str:
    text = re.sub(r"^(Input|List|Dictionary|Keys) should (be|have) | after validation, not \d+$", "", fault["msg"])
    return re.sub(r"a valid dictionary( or instance of \w+)?", "a mapping", text)


def told(error: ValidationError, where: str, record: type[BaseModel]) -> InputError:
    """The most telling fault of a pydantic report, in our words: a misspelt key before the one it leaves missing.

    Args:
        error: The report.
        where: Name of the source.
        record: That did not take it.

    Examples:
        >>> class Size(BaseModel, extra="forbid"):
        ...     width: int = 1
        >>> try:
        ...     Size.model_validate({"widht": 2})
        ... except ValidationError as error:
        ...     print(told(error, "size.yaml", Size))
        size.yaml: widht: unknown key; expected one of width. Did you mean 'width'?
    """
    faults = error.errors()
    fault = next((fault for fault in faults if fault["type"] == "extra_forbidden"), faults[0])
    key = _key(fault)
    if fault["type"] == "extra_forbidden":
        *parents, last = fault["loc"]
        known = _known_keys(record, parents)
        close = difflib.get_close_matches(str(last), known, n=1)
        hint = f"did you mean {close[0]!r}" if close else "remove it"
        return InputError(f"{where}: {key}", "unknown key", f"one of {', '.join(known)}", hint)
    if fault["type"] == "missing":
        return InputError(f"{where}: {key}", "nothing there", "a value: this key is compulsory", "add it")
    if fault["type"] == "value_error":  # of a validator above, which writes `got; expected`
        got, _, expected = fault["msg"].removeprefix("Value error, ").partition("; ")
        return InputError(f"{where}: {key}", got, expected, "mend this value")
    expected = " or ".join(dict.fromkeys(_expected(other) for other in faults if _key(other) == key))
    return InputError(f"{where}: {key}", reprlib.repr(fault["input"]), expected, "mend this value")
