"""The six scenes: eight layers each, every layer one of four; see layer.Layer and attributes.LAYERS."""

from checkpoints.train.layer import Layer
from checkpoints.train.scenes.abstract import ABSTRACT
from checkpoints.train.scenes.city import CITY
from checkpoints.train.scenes.mountains import MOUNTAINS
from checkpoints.train.scenes.portrait import PORTRAIT
from checkpoints.train.scenes.sea import SEA
from checkpoints.train.scenes.still_life import STILL_LIFE

SCENERY: tuple[tuple[tuple[Layer, ...], ...], ...] = (MOUNTAINS, SEA, PORTRAIT, STILL_LIFE, CITY, ABSTRACT)
"""In the order of attributes.SCENES; from back to front; one for each value of the category that picks it."""
