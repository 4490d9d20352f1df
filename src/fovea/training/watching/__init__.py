"""What looks at a run while it trains: a page, TensorBoard, the layers; none of it changes what is computed."""
