"""The toy world: images, regions, clips, questions and sentences drawn from a seed."""
