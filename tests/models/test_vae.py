"""Laws of the model and the guide: exact evidence, weights on both sites, missing cells, permutations."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import SVI, Trace_ELBO, TraceMeanField_ELBO
from torch import Tensor, nn

from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.data.batch import Batch
from pyro_mmnorm.data.covariates import Term
from pyro_mmnorm.data.preprocess import Preprocess
from pyro_mmnorm.models.fusion import FUSIONS, poe
from pyro_mmnorm.models.likelihoods import LIKELIHOODS, Gaussian
from pyro_mmnorm.models.networks import HasMembers, Network
from pyro_mmnorm.models.priors import StandardNormal
from pyro_mmnorm.models.vae import MMVAE

SIZES = {"a": 5, "b": 3, "c": 2}


def make_batch(n: int = 7, seed: int = 0) -> Batch:
    g = torch.Generator().manual_seed(seed)
    return Batch(
        values={m: torch.randn(n, d, generator=g) for m, d in SIZES.items()},
        observed={m: torch.ones(n, d, dtype=torch.bool) for m, d in SIZES.items()},
        covariates=torch.randn(n, 1, generator=g),
        index=torch.arange(n),
    )


def make_model(sizes: dict[str, int] = SIZES, **parts: object) -> MMVAE:
    regions = {m: tuple(f"r{j}" for j in range(d)) for m, d in sizes.items()}
    term = Term(name="age", kind="linear", loc=(0.0,), scale=(1.0,))
    loc, scale = ({m: (unit,) * d for m, d in sizes.items()} for unit in (100.0, 10.0))
    preprocess = Preprocess(regions=regions, set_aside={}, loc=loc, scale=scale, terms=(term,))
    model = MMVAE.build(preprocess, **{"latent_dim": 3, "hidden": (8,), **parts})
    with torch.no_grad():  # the last layers start at zero: perturb every weight, so that every path is active
        for parameter in model.parameters():
            parameter.add_(
                0.1 * torch.randn(parameter.shape, generator=torch.Generator().manual_seed(parameter.numel()))
            )
    return model


class Oracle(nn.Module):
    """The exact expert of x | z ~ N(z 1, 1) with d regions: precision d, mean of x."""

    def __init__(self, d: int) -> None:
        super().__init__()
        self.d = d

    def forward(self, x: Tensor, c: Tensor) -> tuple[Tensor, Tensor]:
        return x.mean(-1, keepdim=True), torch.full_like(x[:, :1], self.d**-0.5)


def oracle_model(sizes: dict[str, int]) -> MMVAE:
    likelihoods = {m: Gaussian(nn.Linear(1, d), d) for m, d in sizes.items()}
    for likelihood in likelihoods.values():
        nn.init.ones_(likelihood.net.weight)
        nn.init.zeros_(likelihood.net.bias)
    return MMVAE({m: Oracle(d) for m, d in sizes.items()}, likelihoods, poe, StandardNormal(1), latent_dim=1)


def evidence(x: Tensor) -> float:
    d = x.shape[-1]
    return dist.MultivariateNormal(torch.zeros(d), torch.ones(d, d) + torch.eye(d)).log_prob(x).sum().item()


@pytest.mark.parametrize("sizes", [{"a": 4}, SIZES], ids=["one modality", "three modalities"])
def test_with_the_exact_posterior_every_draw_gives_the_evidence(sizes):
    x = {m: torch.randn(6, d) for m, d in sizes.items()}
    seen = {m: torch.ones(6, d, dtype=torch.bool) for m, d in sizes.items()}
    want = evidence(torch.cat(list(x.values()), -1))
    if len(sizes) > 1:  # person 0 lacks modality b altogether
        seen["b"][0] = False
        whole = torch.cat(list(x.values()), -1)
        want = evidence(whole[1:]) + evidence(torch.cat([x["a"][:1], x["c"][:1]], -1))
    batch = Batch(values=x, observed=seen, covariates=torch.zeros(6, 0), index=torch.arange(6))
    model = oracle_model(sizes)
    with pyro.get_param_store().scope():
        for _ in range(3):  # float32 sums of about 100: 1e-4
            assert -Trace_ELBO().loss(model.model, model.guide, batch) == pytest.approx(want, abs=1e-4)


def hand_written_loss(model: MMVAE, batch: Batch, z: Tensor, beta: float) -> Tensor:
    """-sum_m lambda_m log N(x_m; f_m, sigma_m) + beta KL, written out."""
    posterior = model.posterior(batch)
    loc, scale = posterior.loc, posterior.scale
    loss = beta * 0.5 * (loc**2 + scale**2 - 1 - 2 * scale.log()).sum()
    for m, weight in model.weights.items():
        mean = model.likelihoods[m].net(torch.cat([z, batch.covariates], -1))
        sigma = model.likelihoods[m].log_scale.exp()
        logs = -0.5 * ((batch.values[m] - mean) / sigma) ** 2 - sigma.log() - 0.5 * math.log(2 * math.pi)
        loss = loss - weight * (logs * batch.observed[m]).sum()
    return loss


@pytest.mark.parametrize("beta", [1.0, 4.0, 0.001])
@pytest.mark.parametrize("weights", [{}, {"a": 2.5, "b": 0.1}, {"b": 0.0}])
def test_beta_and_lambda_weight_the_loss_as_written_by_hand(beta, weights):
    batch, model = make_batch(), make_model(modality_weights=weights)
    batch.observed["a"][0, 1] = False
    batch.observed["c"][2] = False
    torch.manual_seed(3)
    z = model.posterior(batch).rsample()
    want = hand_written_loss(model, batch, z, beta).item()
    torch.manual_seed(3)
    with pyro.get_param_store().scope():
        got = TraceMeanField_ELBO().loss(model.model, model.guide, batch, beta=beta)
    assert got == pytest.approx(want, rel=1e-5)  # float32


def test_beta_scales_both_sites_so_every_elbo_weights_the_kl_equally():
    batch, model = make_batch(), make_model()
    losses = []
    for beta in (1.0, 4.0):
        torch.manual_seed(3)
        with pyro.get_param_store().scope():
            losses.append(Trace_ELBO().loss(model.model, model.guide, batch, beta=beta))
    torch.manual_seed(3)
    q, p = model.posterior(batch), model.prior(batch.covariates)
    z = q.rsample()
    assert losses[1] - losses[0] == pytest.approx(3 * (q.log_prob(z) - p.log_prob(z)).sum().item(), rel=1e-4)


def test_n_total_scales_the_loss_of_a_minibatch_up_to_the_cohort():
    batch, model = make_batch(), make_model()
    losses = []
    for n_total in (None, 70):
        torch.manual_seed(0)
        with pyro.get_param_store().scope():
            losses.append(TraceMeanField_ELBO().loss(model.model, model.guide, batch, n_total=n_total))
    assert losses[1] == pytest.approx(10 * losses[0], rel=1e-5)


@pytest.mark.parametrize("fill", [1e30, -1e30])
@pytest.mark.parametrize(
    "parts", [{"likelihood": name} for name in LIKELIHOODS] + [{"fusion": name} for name in FUSIONS]
)
def test_unobserved_cells_have_no_influence(fill, parts):
    """Values outside the support of a likelihood included: a log-normal volume 10 SDs below its mean is negative."""
    batch, model = make_batch(), make_model(**parts)
    batch.observed["a"][:, 2] = False
    batch.observed["b"][3] = False
    results = []
    for value in (0.0, fill):
        values = {m: torch.where(batch.observed[m], x, value) for m, x in batch.values.items()}
        filled = Batch(values=values, observed=batch.observed, covariates=batch.covariates, index=batch.index)
        model.zero_grad()
        torch.manual_seed(0)
        loss = TraceMeanField_ELBO().differentiable_loss(model.generate, model.infer, filled)
        loss.backward()
        results.append([loss.detach(), *(p.grad.clone() for p in model.parameters())])
    assert all(torch.equal(a, b) for a, b in zip(*results, strict=True))


@pytest.mark.parametrize("fusion", [name for name in FUSIONS if name != "gpoe"])
def test_an_absent_modality_equals_a_model_without_it(fusion):
    batch, whole = make_batch(), make_model(fusion=fusion)
    batch.observed["b"][:] = False
    part = make_model({m: d for m, d in SIZES.items() if m != "b"}, fusion=fusion)
    part.load_state_dict({name: x for name, x in whole.state_dict().items() if ".b." not in name})
    rest = {m: batch.values[m] for m in ("a", "c")}
    without = Batch(
        values=rest, observed={m: batch.observed[m] for m in rest}, covariates=batch.covariates, index=batch.index
    )
    points = torch.randn(7, 3)
    torch.testing.assert_close(whole.posterior(batch).log_prob(points), part.posterior(without).log_prob(points))
    if fusion == "mopoe":  # the same distribution, but one noise picks another of its components
        return
    losses = []
    for model, data in ((whole, batch), (part, without)):
        torch.manual_seed(0)
        losses.append(TraceMeanField_ELBO().differentiable_loss(model.generate, model.infer, data).item())
    assert losses[0] == pytest.approx(losses[1], rel=1e-6)  # sums of equal terms, and of terms that are 0


@pytest.mark.parametrize("weight", [0.0, [0.0, 0.0]])
def test_a_weight_of_zero_drops_the_likelihood_of_a_modality_and_nothing_else(weight):
    members = len(weight) if isinstance(weight, list) else 1
    model, batch = make_model(modality_weights={"b": weight}, members=members), make_batch()
    TraceMeanField_ELBO().differentiable_loss(model.generate, model.infer, batch).backward()
    decoder = [p.grad for p in model.likelihoods["b"].parameters()]
    assert all(g is None or not g.any() for g in decoder)
    assert all(p.grad.any() for p in model.encoders["b"].parameters())  # it still informs the posterior


@pytest.mark.parametrize("parts", [{"beta": [1.0]}, {"modality_weights": {"a": [1.0, 2.0]}}])
def test_weights_are_one_or_one_per_member(parts):
    with pytest.raises(InputError, match="a number of at least 0, or 3 of them"):
        make_model(members=3, **parts)


def test_private_latents_are_inferred_by_their_own_modality_alone():
    model, batch = make_model(latent_dim=2, private_dim=1), make_batch()
    before = model.posterior(batch).mean
    other = Batch(
        values={**batch.values, "b": batch.values["b"] + 1},
        observed=batch.observed,
        covariates=batch.covariates,
        index=batch.index,
    )
    changed = (model.posterior(other).mean - before).abs().amax(0) > 0
    assert changed.tolist() == [True, True, False, True, False]  # shared, shared, a's, b's, c's
    with pytest.raises(InputError, match=r"model\.private_dim: 1 with a joint expert"):
        make_model(private_dim=1, experts="joint")
    with pytest.raises(InputError, match=r"model\.private_dim: a fusion that returns Independent"):
        make_model(private_dim=1, fusion=lambda loc, scale, _: dist.Normal(loc[..., 0, :], 1.0).to_event(1)).posterior(
            batch
        )


def test_unimodal_models_are_private_latents_without_shared_ones():
    model, batch = make_model(latent_dim=0, private_dim=3), make_batch()
    z = model.posterior(batch).mean
    assert z.shape == (7, 9)
    moved = z.clone()
    moved[:, 3:] += 5  # those of b and c
    torch.testing.assert_close(model.likelihood("a", moved, batch).mean, model.likelihood("a", z, batch).mean)
    with pytest.raises(InputError, match="MMVAE: latent_dim 0 and private_dim 0; expected at least one latent"):
        make_model(latent_dim=0)


def test_values_without_a_density_are_refused():
    model, batch = make_model(likelihood="lognormal"), make_batch()
    model.check_support(batch)
    batch.values["a"][0, 0] = -11.0  # 10 below a mean of 100 in units of 10: a negative volume
    with pytest.raises(InputError, match="modality 'a': values outside the support of its likelihood, RatioLogNormal"):
        model.check_support(batch)
    batch.observed["a"][0, 0] = False
    model.check_support(batch)


def test_the_posterior_does_not_depend_on_the_order_of_modalities():
    batch, model = make_batch(), make_model()
    reordered = MMVAE(
        {m: model.encoders[m] for m in reversed(SIZES)},
        {m: model.likelihoods[m] for m in reversed(SIZES)},
        poe,
        model.prior,
        latent_dim=3,
    )
    for m in (model, reordered):
        m.double()
    doubled = Batch(
        values={m: x.double() for m, x in batch.values.items()},
        observed=batch.observed,
        covariates=batch.covariates.double(),
        index=batch.index,
    )
    a, b = model.posterior(doubled), reordered.posterior(doubled)
    torch.testing.assert_close(a.mean, b.mean, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(a.variance, b.variance, rtol=1e-12, atol=1e-12)


def test_it_trains_in_a_user_defined_loop():
    batch, model = make_batch(64), make_model()
    with pyro.get_param_store().scope():
        svi = SVI(model.model, model.guide, pyro.optim.Adam({"lr": 0.01}), TraceMeanField_ELBO())
        losses = [svi.step(batch) for _ in range(60)]
    assert sum(losses[-10:]) < 0.95 * sum(losses[:10])


def test_the_axis_of_members_precedes_that_of_subjects_and_each_is_a_separate_model():
    batch, crowd = make_batch(), make_model(members=2, seed=5)
    alone = make_model(members=1, seed=0)
    for e in range(2):
        alone.load_state_dict({name: x[e] for name, x in crowd.state_dict().items()})
        torch.testing.assert_close(crowd.posterior(batch).mean[e], alone.posterior(batch).mean, rtol=1e-5, atol=1e-6)
    trace = poutine.trace(crowd.generate).get_trace(batch)
    assert trace.nodes["x_a"]["fn"].batch_shape == (2, 7)
    assert trace.nodes["z"]["value"].shape == (2, 7, 3)


def test_a_member_is_initialised_as_the_single_model_of_its_seed():
    regions = {"a": ("r0", "r1")}
    preprocess = Preprocess(regions=regions, set_aside={}, loc={}, scale={}, terms=())
    crowd = MMVAE.build(preprocess, members=3, seed=10)
    alone = MMVAE.build(preprocess, seed=12)
    assert all(torch.equal(crowd.state_dict()[name][2], x) for name, x in alone.state_dict().items())


def test_unknown_names_are_refused():
    with pytest.raises(InputError, match=r"model.fusion: 'sum'; expected one of \['gpoe', 'moe', 'mopoe', 'poe'\]"):
        make_model(fusion="sum")
    with pytest.raises(InputError, match="modality_weights"):
        make_model(modality_weights={"z": 1.0})


def test_a_likelihood_may_be_a_plain_function():
    model = make_model(
        likelihood={"a": lambda z, c: dist.Laplace(z.sum(-1, keepdim=True).expand(*z.shape[:-1], 5), 1.0)}
    )
    batch = make_batch()
    assert not list(model.likelihoods["a"].parameters())
    z = torch.randn(7, 3)
    torch.testing.assert_close(model.likelihood("a", z, batch).mean, z.sum(-1, keepdim=True).expand(7, 5))


@pytest.mark.parametrize(
    "parts", [{"prior": "flow", "likelihood": "student_t"}, {"likelihood": "mvn_lowrank", "prior": "vamp"}]
)
def test_a_member_is_the_single_model_of_its_seed(parts):
    """Its parts know that they hold one member: densities have no member axis, and its networks have its seed."""
    crowd, alone, batch = make_model(members=3, seed=5, **parts), make_model(members=1, seed=6, **parts), make_batch()
    one = crowd.member(1)
    assert one.members == 1
    assert all(module.members == 1 for module in one.modules() if isinstance(module, HasMembers))
    seeds = [[module.seeds for module in model.modules() if isinstance(module, Network)] for model in (one, alone)]
    assert seeds[0] == seeds[1]
    assert one.prior_of(batch).expand((7,)).log_prob(torch.zeros(7, 3)).shape == (7,)
    effects = torch.zeros(2, 5)
    one.likelihoods["a"].start(torch.zeros(3, 5), effects, torch.ones(5))
    with pytest.raises(InputError, match="member: 3; expected 0 to 2"):
        crowd.member(3)


def test_a_private_block_is_the_product_of_its_expert_and_the_prior():
    model, batch = make_model(latent_dim=1, private_dim=2), make_batch()
    batch.observed["b"][0] = False
    q = model.posterior(batch)
    loc, scale, present = model.experts(batch)
    for i in range(3):
        private = slice(1 + 2 * i, 3 + 2 * i)
        want = poe(loc[:, i : i + 1, 1:], scale[:, i : i + 1, 1:], present[:, i : i + 1])
        torch.testing.assert_close(q.mean[:, private], want.mean)
        torch.testing.assert_close(q.variance[:, private], want.variance)
    assert q.mean[0, 3:5].tolist() == [0, 0]
    assert q.variance[0, 3:5].tolist() == [1, 1]


def test_a_table_common_to_all_members_is_kept_whole():
    """Three subsets of two modalities, and three members."""
    crowd = make_model({"a": 5, "b": 3}, fusion="mopoe", members=3)
    assert torch.equal(crowd.member(1).fuse.subsets, crowd.fuse.subsets)
