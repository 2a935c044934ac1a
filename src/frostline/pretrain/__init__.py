"""Training before the transfer: a network learns from data without labels, and a RUN folder keeps what it learnt."""
