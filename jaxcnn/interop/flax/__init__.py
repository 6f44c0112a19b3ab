"""Flax modules as layers, layers as Flax modules, and variables taken over by path.

- `from_linen`: a `flax.linen` module inside a jaxcnn network
- `to_linen`: a layer or network inside a Flax model
- `params_from_flax`, `params_to_flax`: variables taken over and given back, checked
- `jaxcnn.interop.flax.nnx`: the same for `flax.nnx`: `from_nnx`, `nnx_variables`,
  `set_nnx_variables`

Names and layouts of the parameters of `Conv`, `Dense` and `BatchNorm` are Flax's, so variables
pass through as they are. What differs:

- Running statistics: our `decay` is Flax's `momentum`; the default is 0.9 here, 0.99 there.
- Variance: Flax takes `mean(x^2) - mean^2` unless told `use_fast_variance=False`; ours takes two
  passes. Where the mean is large, only the latter is right.
- Padding of `Conv` is "VALID" here, "SAME" there; a stride that leaves a rest is an error here
  unless `rounding="floor"` says that it is meant, which it silently is there.
- Pooling steps by its window here, by 1 there. Padded cells count in the mean of both.
- GELU is exact here, approximated by tanh there.
- Mixed precision: here the input's dtype rules; there the module's `dtype` does, and None means
  the wider of input and parameters. A Flax module used as a layer keeps its own `dtype`, and only
  its output is cast to the dtype of its input.
- A layer in evaluation leaves its state alone; a Flax module is asked to by a flag, whose name
  differs from module to module and is therefore a setting here.
- linen names modules by their order (`Conv_0`), nnx by attributes, jaxcnn by keywords: `rename`.
- An epsilon of `LayerNorm` and `GroupNorm` is 1e-6 in both, of `BatchNorm` 1e-5 in both.
"""

from jaxcnn.interop.flax.linen import LinenLayer, LinenModule, from_linen, to_linen
from jaxcnn.interop.flax.variables import params_from_flax, params_to_flax

__all__ = [
    "LinenLayer",
    "LinenModule",
    "from_linen",
    "params_from_flax",
    "params_to_flax",
    "to_linen",
]
