"""Optimizer wrapper, parameter groups, learning rate schedules, gradient clipping, autocast and loss scaling."""
