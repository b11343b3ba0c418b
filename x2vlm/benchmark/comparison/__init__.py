"""The comparison table: each workload measured with the library and with the reference path, in turns."""
