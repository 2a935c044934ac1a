"""Transferability by depth: how much each stage of a network is worth on other classes (Yosinski et al. 2014)."""
