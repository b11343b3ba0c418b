"""The HTML report of a run: charts, tables and example images."""
