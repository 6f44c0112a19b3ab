"""Published networks, one function each, which returns a description.

- decks A and B: `logistic_regression`, `mlp`
- LeNet-5: `lenet5`
- the decks' own examples: `deck_b_net`, `deck_c_net`, `deck_d_net`
- digits, with batch norm: `small_cnn`
- ImageNet: `alexnet`, `vgg11`, `vgg16`, `googlenet`, `resnet18`, `resnet50`, `mobilenet`
- ImageNet, vision transformers: `vit_tiny16`, `vit_small16`
- CIFAR: `resnet20`, `resnet9`
"""

from jaxcnn.models.alexnet import alexnet
from jaxcnn.models.decks import deck_b_net, deck_c_net, deck_d_net
from jaxcnn.models.dense import logistic_regression, mlp
from jaxcnn.models.googlenet import googlenet
from jaxcnn.models.lenet import lenet5
from jaxcnn.models.mobilenet import mobilenet
from jaxcnn.models.resnet import resnet9, resnet18, resnet20, resnet50
from jaxcnn.models.small import small_cnn
from jaxcnn.models.vgg import vgg11, vgg16
from jaxcnn.models.vit import vit_small16, vit_tiny16

__all__ = [
    "alexnet",
    "deck_b_net",
    "deck_c_net",
    "deck_d_net",
    "googlenet",
    "lenet5",
    "logistic_regression",
    "mlp",
    "mobilenet",
    "resnet9",
    "resnet18",
    "resnet20",
    "resnet50",
    "small_cnn",
    "vgg11",
    "vgg16",
    "vit_small16",
    "vit_tiny16",
]
