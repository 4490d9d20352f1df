"""What a convolutional network has learned: arrays first, pictures second."""
