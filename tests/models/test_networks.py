"""Networks: linear initial state, separate members, leading draw axes."""

import pytest
import torch

from pyro_mmnorm.core.errors import InputError
from pyro_mmnorm.models.networks import Encoder, Linear, Network


def test_a_network_starts_linear():
    net = Network(3, 2, (8, 4), [0])
    x, y = torch.randn(2, 5, 3)
    middle = net((x + y) / 2)
    torch.testing.assert_close(middle, (net(x) + net(y)) / 2)


def test_without_hidden_layers_it_is_the_skip_path():
    net = Network(3, 2, (), [0])
    x = torch.randn(5, 3)
    torch.testing.assert_close(net(x), net.skip(x))


def test_every_shape_of_input_gives_equal_numbers():
    layer = Linear(3, 2, [0, 1])
    with torch.no_grad():
        layer.bias.normal_()
    x = torch.randn(5, 3)
    for e in range(2):
        want = x @ layer.weight[e] + layer.bias[e]
        torch.testing.assert_close(layer(x)[e], want)
        torch.testing.assert_close(layer(x.expand(2, 5, 3))[e], want)
        torch.testing.assert_close(layer(x.expand(4, 2, 5, 3))[3, e], want)


def test_the_scale_of_an_expert_is_positive_and_bounded():
    encoder = Encoder(Network(3, 4, (), [0]))
    _, scale = encoder(1e6 * torch.randn(5, 2), torch.zeros(5, 1))
    assert (scale > 0).all()
    assert torch.isfinite(scale).all()


def test_without_a_linear_path_the_last_layer_starts_at_random_and_a_linear_start_is_refused():
    net = Network(3, 2, (4,), [0], skip=False, activation="relu")
    assert net.last.weight.any()
    with pytest.raises(InputError, match="linear for networks without a skip path"):
        net.set_linear(torch.zeros(3, 2), torch.zeros(2))
    with pytest.raises(InputError, match="false without hidden layers"):
        Network(3, 2, (), [0], skip=False)


def test_only_a_perceptron_with_output_zero_is_removed():
    x = torch.randn(7, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    kept, dropped, shut = (Network(5, 3, (8, 4), seeds=[1], skip=skip).double() for skip in (True, True, False))
    with torch.no_grad():
        kept.last.weight[0, 0] = 1e-9
    for net, layers in ((kept, 2), (dropped, 0), (shut, 2)):
        before = net(x)
        net.trim()
        assert len(net.hidden) == layers
        assert torch.equal(net(x), before)


def test_initial_weights_are_uniform_within_the_inverse_root_of_the_number_of_inputs():
    layer = Linear(100, 50, [0])
    assert layer.weight.abs().max().item() == pytest.approx(0.1, rel=1e-2)
    assert layer.weight.std().item() == pytest.approx(0.1 / 3**0.5, rel=0.03)  # 5,000 weights: 3 standard errors
    assert not layer.bias.any()


def test_the_log_scale_of_an_expert_is_within_seven():
    encoder = Encoder(Network(2, 2, (), [0]))
    with torch.no_grad():
        encoder.net.skip.weight.copy_(torch.eye(2))
    x = torch.tensor([-1e3, -7.5, -6.5, 6.5, 7.5, 1e3])
    _, scale = encoder(torch.zeros(6, 1), x[:, None])
    torch.testing.assert_close(scale.log()[:, 0], torch.tensor([-7, -7, -6.5, 6.5, 7, 7]))


def test_a_frozen_skip_path_is_zero_and_the_last_layer_random():
    net = Network(3, 2, (8,), [4, 5])
    net.freeze_skip()
    assert not net.skip.weight.any()
    assert not any(p.requires_grad for p in net.skip.parameters())
    torch.testing.assert_close(net.last.weight, Linear(8, 2, [4, 5]).weight)
    net.unfreeze_skip()
    assert all(p.requires_grad for p in net.parameters())
