"""Weights: reading files safely, published names, sizes made to fit, and a report of what was loaded."""

from x2vlm.weights.checkpoint_file import CheckpointError
from x2vlm.weights.kind_detection import guess_kind
from x2vlm.weights.load_report import LoadReport
from x2vlm.weights.load_weights import Loading, load_into
from x2vlm.weights.published_state import from_published, to_published
from x2vlm.weights.read_weights import read_checkpoint, read_tensors
