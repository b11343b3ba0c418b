"""How cost grows with the batch, the text, the image and the gallery."""
