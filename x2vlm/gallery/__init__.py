"""Features of a whole gallery: encoding, storing, nearest-neighbour search and re-ranking."""
