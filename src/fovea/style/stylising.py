"""One picture's content in the style of others, by optimisation: `fovea.stylise`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from fovea.runtime.model import Model, load
from fovea.style.inputs import Pictures
from fovea.style.options import StyliseOptions
from fovea.style.sizing import Picture
from fovea.style.stylist import Moment, Stylised, Stylist


def stylise(
    content: Picture | Path | str,
    styles: Picture | Path | str | Sequence[Picture | Path | str],
    network: Model | Path | str,
    *,
    options: StyliseOptions | None = None,
    masks: Sequence[Picture | Path | str] = (),
    start: Picture | Path | str | None = None,
    watch: Callable[[Moment], None] | None = None,
    stop: Callable[[], bool] | None = None,
) -> Stylised:
    """A picture with the content of one picture and the style of others.

    L-BFGS moves the pixels until the network gives, at its content layer, the maps that the content has and, at its
    style layers, the Gram matrices that the styles have. The network stays as it was. The same arguments give the same
    picture.

    Args:
        content: A file, or an array (h, w, 3) of uint8.
        styles: One or several, likewise.
        network: A model, a run folder or a bundle: VGG-19, as the paper has it, or any other with stages.
        options: How; all as it comes where None.
        masks: One for each style, of the content's size: where it is white the style is wanted, where black not.
        start: A picture to start from, in place of the content or noise.
        watch: Is told of every step.
        stop: Is asked at every pass through the network; True ends the search, and the best picture so far is given.

    Raises:
        UsageError: no style, another number of masks or weights than styles, a layer that there is not.
        ShapeError: a picture that is too small, or a mask of another size.
        UnreadableImage: a file that is no image.
        MachineError: not enough memory.
        NumbersError: the loss became NaN or infinite.

    Source: Gatys, Ecker and Bethge 2016, CVPR, "Image style transfer using convolutional neural networks".
    """
    options = options or StyliseOptions()
    pictures = Pictures.read(content, styles, masks, start, options)
    model = network if isinstance(network, Model) else load(network)
    return Stylist(model, options).stylise(pictures, watch=watch, stop=stop)
