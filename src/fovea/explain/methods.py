"""The methods that say how much each pixel did, by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import NamedTuple

from fovea.errors import UsageError
from fovea.explain.activation_maps import cam, grad_cam, grad_cam_plus_plus, layer_cam
from fovea.explain.faithfulness import Explainer
from fovea.explain.gradients import input_x_gradient, integrated_gradients, saliency, smoothgrad
from fovea.explain.occlusion import occlusion
from fovea.explain.options import method_name
from fovea.explain.question import Answer, Question
from fovea.explain.rules import deconvnet, guided_backpropagation


class Method(NamedTuple):
    """One of the methods.

    Args:
        ask: What it does.
        signed: Whether what speaks against is below 0; else nothing is.
        coloured: Whether its detail is a picture in itself.
    """

    ask: Callable[[Question], Answer]
    signed: bool = False
    coloured: bool = False


METHODS = {
    "grad_cam": Method(grad_cam),
    "grad_cam_plus_plus": Method(grad_cam_plus_plus),
    "layer_cam": Method(layer_cam),
    "cam": Method(cam, signed=True),
    "occlusion": Method(occlusion, signed=True),
    "saliency": Method(saliency),
    "smoothgrad": Method(smoothgrad),
    "input_x_gradient": Method(input_x_gradient, signed=True),
    "integrated_gradients": Method(integrated_gradients, signed=True),
    "guided_backpropagation": Method(guided_backpropagation, coloured=True),
    "deconvnet": Method(deconvnet, coloured=True),
}


def attribution_name(name: str) -> str:
    """The name of a method that says how much each pixel did.

    Raises:
        UsageError: there is none; the message has close matches.
    """
    plain = method_name(name)
    if plain not in METHODS:
        raise UsageError(f"{name} says nothing of single pixels; those that do are {', '.join(METHODS)}")
    return plain


def explainer(name: str, like: Question) -> Explainer:
    """A method as a function of network, images and target classes, for what judges explanations.

    Args:
        name: Of the method.
        like: A question whose layer, black image and options hold.

    Raises:
        UsageError: no such method.
    """
    method = METHODS[attribution_name(name)]
    return lambda network, images, targets: method.ask(replace(like, network=network, images=images, aim=targets)).maps
