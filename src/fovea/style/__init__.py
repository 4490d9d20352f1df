"""Neural style transfer: one picture's content in another's manner, by optimisation or by a network taught for it."""
