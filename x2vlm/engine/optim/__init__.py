"""The optimizer wrapper, parameter groups and learning-rate schedules."""
