"""Weights: reading files safely, published names, sizes made to fit, and a report of what was loaded."""

from x2vlm.weights.load_report import LoadReport
from x2vlm.weights.load_weights import Loading, load_into
from x2vlm.weights.published_names import from_published, guess_kind, to_published
from x2vlm.weights.weight_files import CheckpointError, read_checkpoint, read_tensors
