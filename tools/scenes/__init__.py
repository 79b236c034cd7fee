"""Synthetic product video with exact ground truth."""

from cutline.tools.scenes.registry import SCENES, make_scene
from cutline.tools.scenes.sampler import Sampler, sample
from cutline.tools.scenes.seeds import Split
from cutline.tools.scenes.shot import Scene, Shot

__all__ = ["SCENES", "Sampler", "Scene", "Shot", "Split", "make_scene", "sample"]
