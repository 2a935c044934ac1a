"""What every depth of fine-tuning would reach, before anything is trained."""
