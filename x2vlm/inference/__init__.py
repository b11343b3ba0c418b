"""Predictions of a trained model for single images and clips, gallery search, and a report page of a run."""

from x2vlm.inference.inferencer import Inferencer
