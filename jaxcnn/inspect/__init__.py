"""Looking inside a trained network: pure functions, arrays in and arrays out, no plotting.

- which pixels speak for a class: `saliency`, `grad_cam`, `occlusion`
- what a unit looks for: `maximize_activation`, `deconvolve`
- how to fool it: `fast_gradient_sign`, `accuracy_against_epsilon`
- which images it takes for similar: `last_hidden`, `nearest_neighbours`
- what moving the image changes: `translate`, `translation_response`
- its answer in order: `top_k`

What needs the network takes `model, params, state` first and runs it in evaluation. Images
are floating [N, H, W, C], as the network sees them. A layer is named by its path, as in
`jaxcnn.features`. Gradients are taken in reverse mode only, which every lowering of
`jaxcnn.functional` has.
"""

from jaxcnn.inspect.adversarial import (
    Robustness,
    accuracy_against_epsilon,
    fast_gradient_sign,
)
from jaxcnn.inspect.deconvolution import deconvolve
from jaxcnn.inspect.excitation import Excitation, maximize_activation
from jaxcnn.inspect.gradient import grad_cam, saliency
from jaxcnn.inspect.hidden import last_hidden
from jaxcnn.inspect.neighbours import nearest_neighbours
from jaxcnn.inspect.occlude import occlusion
from jaxcnn.inspect.ranking import top_k
from jaxcnn.inspect.translation import Response, translate, translation_response

__all__ = [
    "Excitation",
    "Response",
    "Robustness",
    "accuracy_against_epsilon",
    "deconvolve",
    "fast_gradient_sign",
    "grad_cam",
    "last_hidden",
    "maximize_activation",
    "nearest_neighbours",
    "occlusion",
    "saliency",
    "top_k",
    "translate",
    "translation_response",
]
