"""Configuration of a run: frozen records, read from strict YAML and written as YAML."""

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
from pydantic_core import ErrorDetails

from pyro_mmnorm.core.errors import InputError, hint
from pyro_mmnorm.core.strict_yaml import load_tree

__all__ = [
    "DEVIATION_DEFAULTS",
    "MODEL_DEFAULTS",
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
    "checked",
    "parse_config",
    "read_config",
    "shipped_config",
]


class Record(BaseModel, frozen=True, extra="forbid"):
    """A frozen record that refuses unknown keys."""


class ModalityConfig(Record):
    """The tables of one modality."""

    tables: list[str] = Field(min_length=1, description="files of the tables, joined by id")
    id: str | None = Field(None, description="column of the ids in these tables, if it is not data.id")
    include: list[str] = Field(["*"], description="name patterns of the regions to keep")
    exclude: list[str] = Field([], description="name patterns of columns to exclude, in addition to the known totals")
    totals: Literal["set_aside", "keep"] = Field(
        "set_aside", description="set_aside: exclude sums, ratios, vessels and hypointensities of FreeSurfer tables"
    )
    zeros: Literal["missing", "keep"] = Field(
        "missing",
        description="missing: 0 in a column without negative values is a failed parcel, not observed",
    )


class CovariateConfig(Record):
    """One covariate: its column, and how it enters the model."""

    column: str
    kind: Literal["spline", "linear", "category", "one_hot"]


class ReferenceConfig(Record):
    """The healthy reference: a column and its values in healthy people."""

    column: str
    values: list[str | int | float | bool] = Field(min_length=1)


class GroupsConfig(Record):
    """The groups of the findings, in order."""

    column: str
    order: list[str | int | float | bool] = Field([], description="empty: healthy groups first, then alphabetical")


class SplitConfig(Record):
    """Subjects for training, calibration and test: by column, or by shares of the reference subjects."""

    column: str | None = Field(None, description="values train, calibrate, test, target")
    calibrate: float = Field(0.2, gt=0, lt=1)
    test: float = Field(0.2, gt=0, lt=1)
    stratify: str | None = Field(None, description="column of the strata; default: the covariate site, if any")

    @model_validator(mode="after")
    def _leaves_someone_to_train(self) -> "SplitConfig":
        if self.calibrate + self.test >= 1:
            raise ValueError(
                f"calibrate {self.calibrate} + test {self.test} leave no controls for training; a sum below 1"
            )
        return self


def _long_covariates(value: object) -> object:
    """`age: spline` is short for `age: {column: age, kind: spline}`."""
    if not isinstance(value, Mapping):
        return value
    return {name: {"column": name, "kind": v} if isinstance(v, str) else v for name, v in value.items()}


class DataConfig(Record):
    """The tables, and the roles of their columns."""

    root: str = Field(".", description="folder of the tables, relative to this file; may contain ${NAME:-default}")
    participants: str
    id: str
    modalities: dict[str, ModalityConfig] = Field(min_length=1)
    covariates: Annotated[dict[str, CovariateConfig], BeforeValidator(_long_covariates)] = {}
    reference: ReferenceConfig | Literal["everyone"] = Field(description="healthy people; everyone: no patients")
    groups: GroupsConfig | None = None
    scaling: Literal["standard", "mean", "minmax"] = Field(
        "standard", description="of regions, by training controls: to mean 0 and SD 1, divided by the mean, or to 0..1"
    )
    scores: dict[str, Literal["higher_is_worse", "higher_is_better"]] = {}
    adjust: list[str] = Field([], description="columns that findings are adjusted for, in addition to the covariates")
    exclude_subjects: dict[str, list[str | int | float | bool]] = Field(
        {}, description="column -> values for which a subject is excluded, such as quality flags"
    )
    missing_covariates: Literal["error", "set_aside"] = "error"
    split: SplitConfig = SplitConfig()


type Named = str | dict[str, Any]
type PerMember[T] = T | list[T]


class ModelConfig(Record):
    """The generative model and its guide; a part is a name, or {name: ..., option: ...}."""

    fusion: Named = Field("poe", description="poe, gpoe, moe or mopoe")
    likelihood: Named = Field("normal", description="one for all modalities, or modality -> likelihood")
    prior: Named = Field("normal", description="normal, mixture, vamp, flow or conditional")
    latent_dim: NonNegativeInt = Field(16, description="latents shared by all modalities")
    private_dim: NonNegativeInt = Field(
        0, description="private latents of each modality; with latent_dim 0 the models are unimodal"
    )
    experts: Literal["modalities", "joint"] = Field(
        "modalities", description="one encoder per modality, or one encoder of all concatenated features"
    )
    hidden: list[PositiveInt] = [64, 32]
    skip: bool = Field(True, description="a linear path in parallel to each perceptron")
    activation: Literal["silu", "relu"] = "silu"
    beta: PerMember[PositiveFloat] = Field(1.0, description="weight of the KL term (poutine.scale needs > 0)")
    members: PositiveInt = Field(1, description="ensemble members, trained in parallel")
    modality_weights: dict[str, PerMember[NonNegativeFloat]] = Field(
        {}, description="lambda per modality, 1 where not named"
    )

    @model_validator(mode="after")
    def _has_latents(self) -> "ModelConfig":
        if self.latent_dim + self.private_dim < 1:
            raise ValueError("latent_dim 0 and private_dim 0; at least one latent")
        return self


MODEL_DEFAULTS = ModelConfig()
"""Source of the default options of every model."""


class TrainConfig(Record):
    """One fit."""

    epochs: PositiveInt = Field(300, description="at most; early stopping usually ends sooner")
    batch_size: PositiveInt = 256
    learning_rate: PositiveFloat = 5e-3
    start: Literal["best", "linear", "nonlinear", "random"] = Field(
        "best",
        description="initial weights. linear: factor analysis; nonlinear: random, with frozen linear paths; random: as "
        "built; best: linear, then also nonlinear if training improved on the linear start, and the better is kept",
    )
    warmup_epochs: NonNegativeInt | None = Field(
        None, description="epochs of linear KL warm-up to beta; default 0 after a linear start, else 20"
    )
    weight_decay: NonNegativeFloat = 1e-4
    early_stopping: bool = True
    patience: PositiveInt = Field(30, description="epochs without a better validation loss before stopping")
    objective: Literal["joint", "subsampled"] = Field(
        "joint", description="subsampled: average over all modalities, each alone and `subsets` random subsets of them"
    )
    subsets: NonNegativeInt = Field(1, description="random subsets of modalities per step, for objective: subsampled")
    free_bits: NonNegativeFloat = Field(0.0, description="nats per latent below which the KL is not reduced further")
    hide_cells: float = Field(
        0.0, ge=0, lt=1, description="share of observed cells masked from the encoders in each step, yet scored"
    )
    resample: Literal["none", "bootstrap", "folds"] = Field(
        "none", description="sample of each member; folds: member e is trained without fold e and validated on it"
    )
    validation: float = Field(0.1, gt=0, lt=0.5, description="share of training controls used for early stopping")

    def warmup(self, start: str) -> int:
        """Epochs of KL warm-up; none after a linear start, whose posterior does not collapse."""
        if self.warmup_epochs is not None:
            return self.warmup_epochs
        return 0 if start == "linear" else 20


type Kind = Literal["reconstruction", "cross_modal", "normative", "local", "latent"]


class DeviationConfig(Record):
    """Kinds of deviation, and how they are computed."""

    kinds: list[Kind] = Field(["reconstruction"], min_length=1, description="see docs/deviations.md")
    primary: Literal["reconstruction", "cross_modal", "normative", "local"] = Field(
        "reconstruction", description="the kind of z.csv and of the findings"
    )
    draws: PositiveInt = Field(256, description="draws of the latents per subject; a power of two suits the Sobol set")
    normative_draws: PositiveInt = Field(4096, description="draws from the prior, for kind normative")
    refine: NonNegativeInt | None = Field(
        None, description="local steps on each subject's posterior; default 5 for products of experts, else 0"
    )
    calibrator: str = Field("empirical", description="empirical, gaussian, none, or a name added to CALIBRATORS")
    conformal_within: str | None = Field(
        None, description="conformal p within the levels of this category; pattern: within equal sets of modalities"
    )
    unseen_site: Literal["refuse", "population"] = Field(
        "refuse", description="people of a site absent from training: refused, or scored without a site effect"
    )
    outside_range: Literal["flag", "refuse"] = Field(
        "flag", description="people outside the training range of age or another number: flagged, or refused"
    )

    @model_validator(mode="after")
    def _primary_is_a_kind(self) -> "DeviationConfig":
        if self.primary not in self.kinds:
            raise ValueError(f"primary {self.primary!r} is not among kinds; one of {self.kinds}")
        return self


DEVIATION_DEFAULTS = DeviationConfig()
"""Source of the default options of every norm."""


class Config(Record):
    """A whole run."""

    seed: NonNegativeInt = 1
    out: str = Field("runs/run", description="run folder, relative to the working folder")
    data: DataConfig
    baseline: Literal["regression", "factor_analysis", "hippocampal_volume"] | None = None  # in place of the VAE
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()
    deviations: DeviationConfig = DeviationConfig()

    def to_yaml(self) -> str:
        """The resolved configuration as YAML."""
        return yaml.safe_dump(self.model_dump(mode="json"), sort_keys=False, allow_unicode=True)


def parse_config(text: str, *, overrides: Sequence[str] = (), where: str = "configuration") -> Config:
    """The configuration of a run from YAML text.

    Args:
        text: The YAML.
        overrides: `key.path=value` pairs that replace values of the text.
        where: Name of the source for error messages.

    Raises:
        InputError: On invalid YAML, an unknown, missing or duplicate key, or a value out of range.

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
    return checked(Config, load_tree(text, overrides=overrides, where=where), where)


def checked[R: BaseModel](record: type[R], tree: object, where: str) -> R:
    """A record from a mapping of its values.

    Args:
        record: `Config`, or one of its sections.
        tree: The mapping.
        where: Name of the source for error messages.

    Raises:
        InputError: For an unknown or missing key, or a value out of range.

    Examples:
        >>> checked(ModelConfig, {"latent_dim": 4}, "model").latent_dim
        4
    """
    try:
        return record.model_validate(tree)
    except ValidationError as error:
        raise _input_error(error, tree, where) from error


def read_config(path: str | Path, *, overrides: Sequence[str] = ()) -> Config:
    """The configuration of a run from a YAML file, with `data.root` as an absolute path.

    A relative `data.root` is searched in the folder of the file, then in the working folder.

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
    """A configuration of the package, such as `demo.yaml`; in a checkout they are in configs/."""
    here = Path(__file__).parent
    folder = here / "configs" if (here / "configs").is_dir() else here.parent / "configs"
    return read_config(folder / name, overrides=overrides)


_EXPECTED = {
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "dict_type": "a mapping",
    "float_parsing": "a number",
    "float_type": "a number",
    "greater_than": "greater than {gt:g}",
    "greater_than_equal": "at least {ge:g}",
    "int_from_float": "an integer",
    "int_parsing": "an integer",
    "int_type": "an integer",
    "invalid_key": "a string as key",
    "less_than": "less than {lt:g}",
    "list_type": "a list",
    "literal_error": "{expected}",
    "model_type": "a mapping",
    "string_type": "a string",
    "too_short": "at least {min_length} item",
}
"""Type of a pydantic error -> what was expected; the fields in braces are of its context."""


def _input_error(error: ValidationError, tree: object, where: str) -> InputError:
    """One error of a pydantic report: an unknown key, if there is one, since it may leave another missing.

    Args:
        error: The report.
        tree: The input that was refused.
        where: Name of the source.
    """
    faults = [(_path(tree, fault), fault) for fault in error.errors()]
    unknown = [(path, fault) for path, fault in faults if fault["type"] == "extra_forbidden"]
    first, _ = (unknown or faults)[0]
    below = [path for path, _ in faults if path[: len(first)] == first]
    path = first if unknown else max(below, key=len)  # the most specific error, where the branches of a union differ
    here = [fault for place, fault in faults if place == path]
    key, fault = ": ".join(filter(None, (where, ".".join(path)))), here[0]
    if unknown:
        known = _known_keys(path[:-1])
        return InputError(key, "unknown key", f"one of {', '.join(known)}", hint(path[-1], known, "remove it"))
    if fault["type"] == "missing":
        return InputError(key, "missing", "a value: this key is required", "add it")
    if fault["type"] == "value_error":  # of a validator above, which writes `got; expected`
        got, _, expected = str(fault["ctx"]["error"]).partition("; ")
    else:
        got, expected = reprlib.repr(fault["input"]), " or ".join(dict.fromkeys(map(_expected, here)))
    return InputError(key, got, expected, "correct this value")


def _expected(fault: ErrorDetails) -> str:
    known = _EXPECTED.get(fault["type"])
    return known.format(**fault.get("ctx", {})) if known else fault["msg"]


def _path(tree: Any, fault: ErrorDetails) -> tuple[str, ...]:
    """The keys of an error that are in the input, and a missing one; other parts name a branch of a union."""
    path = []
    for part in fault["loc"]:
        keys = tree if isinstance(tree, Mapping) else range(len(tree)) if isinstance(tree, list) else ()
        if part in keys:
            tree = tree[part]
            path.append(str(part))
    return (*path, str(fault["loc"][-1])) if fault["type"] == "missing" else tuple(path)


def _known_keys(path: Sequence[str]) -> list[str]:
    """The keys of the record at `path`; free names in it, such as that of a modality, lead to no other record."""
    record: type[BaseModel] = Config
    for part in path:
        field = record.model_fields.get(part)
        record = (_record_of(field.annotation) if field else None) or record
    return list(record.model_fields)


def _record_of(annotation: object) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    found = (_record_of(part) for part in getattr(annotation, "__args__", ()))
    return next((record for record in found if record), None)
