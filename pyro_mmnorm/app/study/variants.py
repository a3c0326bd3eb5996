"""The models of a study: each is the configuration with a few settings changed."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from pyro_mmnorm.config import Config

__all__ = ["Variant", "variants"]


@dataclass(frozen=True, kw_only=True)
class Variant:
    """A model of the study.

    Args:
        name: Name of its run folders.
        label: Label on the page and in figures.
        description: Short description.
        changes: Settings that replace those of the configuration, nested as there.
        trained: Whether its result depends on a training seed.
    """

    name: str
    label: str
    description: str
    changes: Mapping[str, Any] = field(default_factory=dict)
    trained: bool = True

    def applied(self, config: Config, seed: int) -> Config:
        """The configuration of one run.

        Raises:
            pydantic.ValidationError: When the changes do not fit the configuration.

        Examples:
            >>> from pyro_mmnorm.config import shipped_config
            >>> joint = Variant(name="joint", label="", description="", changes={"model": {"experts": "joint"}})
            >>> run = joint.applied(shipped_config("ukb_adni.yaml"), seed=3)
            >>> run.model.experts, run.model.latent_dim, run.seed
            ('joint', 16, 3)
        """
        return Config.model_validate(_merged(config.model_dump(), {"seed": seed, **self.changes}))


def _merged(tree: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    new = dict(tree)
    for key, value in changes.items():
        inner = new.get(key)
        nested = isinstance(value, Mapping) and isinstance(inner, Mapping) and "name" not in value
        new[key] = _merged(inner, value) if nested else value  # type: ignore[arg-type]
    return new


def variants(config: Config) -> list[Variant]:
    """The models of the study, that of the configuration first.

    All are trained, calibrated and tested on the same people. The unimodal and the concatenated VAE have the same
    networks, training budget and number of latents per posterior.

    Args:
        config: Configuration of the first model, which the other models change.

    Examples:
        >>> from pyro_mmnorm.config import shipped_config
        >>> [one.name for one in variants(shipped_config("ukb_adni.yaml"))]
        ['mmnormvae', 'normative', 'unimodal', 'concatenated', 'factor_analysis', 'regression',
         'hippocampal_volume']
    """
    latents = config.model.latent_dim + config.model.private_dim
    alone = {"latent_dim": 0, "private_dim": latents}
    primary = {"kinds": [config.deviations.primary]}
    given: list[tuple[str, str, str, dict[str, Any]]] = [
        ("unimodal", "unimodal VAEs", f"a VAE for each modality, {latents} latents each", {"model": alone}),
        (
            "concatenated",
            "concatenated VAE",
            "one encoder of all features side by side",
            {"model": {"experts": "joint"}},
        ),
    ]
    linear = [
        (
            "factor_analysis",
            "factor analysis",
            f"{config.model.latent_dim or latents} factors of the residuals from the covariates",
        ),
        ("regression", "regression", "each region on the covariates: the w-score"),
        ("hippocampal_volume", "hippocampal volume", "one number: hippocampal volume over ICV; its score is −z"),
    ]
    first = f"product of experts, {config.model.latent_dim} latents"
    return [
        Variant(name="mmnormvae", label="mmNormVAE", description=f"as configured: {first}"),
        Variant(
            name="normative",
            label="mmNormVAE, normative",
            description="the same network; deviations given the covariates, not given the other regions",
            changes={"deviations": {"kinds": ["normative"], "primary": "normative"}},
        ),
        *(
            Variant(name=name, label=label, description=description, changes={**changes, "deviations": primary})
            for name, label, description, changes in given
        ),
        *(
            Variant(
                name=name,
                label=label,
                description=description,
                changes={
                    "baseline": name,
                    "deviations": primary,
                    "model": {"latent_dim": config.model.latent_dim or latents},
                },
                trained=False,
            )
            for name, label, description in linear
        ),
    ]
