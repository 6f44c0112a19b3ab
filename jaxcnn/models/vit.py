"""Vision transformers (Dosovitskiy et al. 2020): images as sentences of patches."""

from __future__ import annotations

from jaxcnn import nn
from jaxcnn.layer import Layer

_PATCH = 16  # pixels along each axis
_BLOCKS = 12


def vit_tiny16(*, classes: int = 1000) -> nn.Chain:
    """ViT-Ti/16: 192 channels, 3 heads; 5,717,416 parameters for 224x224 images.

    The image is cut into patches of 16x16. Each becomes a token; a class token is put in
    front, positions are added, and 12 blocks of attention and MLP follow. The classifier, one
    dense layer, reads what has become of the class token.

    Args:
      classes: number of outputs.

    Height and width of the images must be multiples of 16. The position embedding has one
    vector for each patch of the images that `init` is given, so a network takes the size
    that it was initialised with: 197 tokens for 224x224, 5 for 32x32.

    There is no dropout, as in Touvron et al.; the head has no hidden layer, as there and in
    fine-tuning by Dosovitskiy et al.

    >>> import jaxcnn
    >>> jaxcnn.ledger(vit_tiny16(), (224, 224, 3)).params
    5717416

    Source: deck B, "vision transformers"; Dosovitskiy et al. 2020, equations 1 to 4; the size is
    that of Touvron et al. 2021, table 1.
    """
    return _vit(192, heads=3, classes=classes)


def vit_small16(*, classes: int = 1000) -> nn.Chain:
    """ViT-S/16: 384 channels, 6 heads; 22,050,664 parameters for 224x224 images.

    Twice as wide as `vit_tiny16`, which tells what images it takes.

    Source: deck B, "vision transformers"; the size is that of Touvron et al. 2021, table 1.
    """
    return _vit(384, heads=6, classes=classes)


def _vit(features: int, *, heads: int, classes: int) -> nn.Chain:
    block = nn.encoder_block(features, heads=heads, hidden=4 * features)
    blocks: dict[str, Layer] = {f"block{number}": block for number in range(1, _BLOCKS + 1)}
    return nn.chain(
        embed=nn.PatchEmbedding(features, _PATCH),
        cls=nn.ClassToken(),
        position=nn.PositionEmbedding(),
        **blocks,
        norm=nn.LayerNorm(),
        take=nn.first_token,
        logits=nn.Dense(classes),
    )
