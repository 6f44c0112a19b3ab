"""Published networks, one function each, which returns a description.

`lenet5`
"""

from jaxcnn.models.lenet import lenet5

__all__ = ["lenet5"]
