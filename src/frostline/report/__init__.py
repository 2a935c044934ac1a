"""What people read of a finished record: tables, sentences, the comparison of two runs. Computes nothing new."""
