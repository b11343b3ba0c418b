"""Pack whole data sets into tar shards."""
