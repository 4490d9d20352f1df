"""How training images are varied; every draw is a function of (seed, epoch, index)."""
