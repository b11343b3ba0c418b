"""Checkpoints: when to save and what to keep, atomic writes, integrity, loop state, and where a run resumes."""
