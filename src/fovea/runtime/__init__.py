"""A bundle becomes something that predicts."""
