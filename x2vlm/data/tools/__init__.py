"""Work on whole data sets: reports, perceptual hashes, writing tar shards."""
