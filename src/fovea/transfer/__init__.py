"""Foreign weights in: the names that other libraries give to the tensors of our networks."""
