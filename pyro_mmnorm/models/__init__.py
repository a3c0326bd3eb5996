"""Models: networks, fusion rules, likelihoods and priors, and what is built of them."""

__all__: list[str] = []
