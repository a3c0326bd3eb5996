"""Multimodal normative modelling with product-of-experts variational autoencoders in Pyro.

Names are imported on first use, so that ``import pyro_mmnorm`` is cheap; ``__init__.pyi`` lists them for editors too.
"""

import lazy_loader

__version__ = "0.2.0.dev0"

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
