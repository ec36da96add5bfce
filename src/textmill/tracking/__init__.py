"""Where a run's numbers go besides its own files: TensorBoard, Weights & Biases, MLflow, a picture."""
