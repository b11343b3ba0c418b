"""Video readers: decord, PyAV, and one that runs another in a process of its own."""
