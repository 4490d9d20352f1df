"""Files to batches: the pixel door, sets of images, splits, preprocessing, augmentation, the loader."""
