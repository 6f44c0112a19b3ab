"""How convolution and max pooling are computed: one file for each way, and the choice.

All of them compute the same function of the same arrays, NHWC and HWIO, to rounding. They
differ in the program that XLA is given, and so in speed. `choice` picks by platform and
shape; `impl="..."` asks for one by name, `with F.lowering("xla"):` for XLA's own everywhere.

- `reference`: XLA's own convolution and window reduction. What GPUs and TPUs get.
- `canonical`: XLA's convolution with both gradients written as plain forward convolutions.
- `gemm`: patches in rows, then one matrix product.
- `winograd`: 3x3 kernels by tiles, with fewer multiplications.
- `pointwise`: kernels of one cell, as one matrix product over the channels.
- `depthwise`: each channel by itself, as a sum of shifted images.
- `mask`: max pooling whose gradient compares instead of scattering.
- `block`: convolution, ReLU and 2x2 max pooling as one operation.

Not taken: converting a whole network with residuals to [C, H, W, N] at its edges. Convolution with
both gradients of ResNet-20's layers (16, 32, 64 channels, batch 128, 2 cores) took 34, 30 and 22 ms
as matrix products in that layout against 25, 26 and 25 ms in `canonical`: the layout itself gains
nothing there, and what slowed the network down was sums computed again, which `solid` stops.

All but `reference` define their gradient by hand (`jax.custom_vjp`): reverse mode of any
order, but forward mode (`jax.jvp`) only where it is applied to a gradient. For forward mode
of the network itself use `with F.lowering("xla"):`.
"""
