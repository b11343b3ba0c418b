"""Planning of runs by formula: shapes, parameters, activations, memory, network traffic, reading rates."""
