"""Networks, sources and simulated studies that both tests and benchmarks try. They import neither."""
