"""Tasks of a trained model, one file each: match, ground, answer and caption, classify, attributes, explain."""
