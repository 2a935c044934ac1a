"""The saved model and the RUN folder: write, load, predict. No pickle anywhere."""
