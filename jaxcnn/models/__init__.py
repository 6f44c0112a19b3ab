"""Published networks, one function each, which returns a description.

- decks A and B: `logistic_regression`, `mlp`
- LeNet-5: `lenet5`
- the decks' own examples: `deck_b_net`, `deck_c_net`, `deck_d_net`
- ImageNet: `alexnet`, `vgg11`, `vgg16`, `resnet18`, `resnet50`
- CIFAR: `resnet20`
"""

from jaxcnn.models.alexnet import alexnet
from jaxcnn.models.decks import deck_b_net, deck_c_net, deck_d_net
from jaxcnn.models.dense import logistic_regression, mlp
from jaxcnn.models.lenet import lenet5
from jaxcnn.models.resnet import resnet18, resnet20, resnet50
from jaxcnn.models.vgg import vgg11, vgg16

__all__ = [
    "alexnet",
    "deck_b_net",
    "deck_c_net",
    "deck_d_net",
    "lenet5",
    "logistic_regression",
    "mlp",
    "resnet18",
    "resnet20",
    "resnet50",
    "vgg11",
    "vgg16",
]
