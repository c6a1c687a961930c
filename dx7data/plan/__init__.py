"""A data set before it is rendered: its spec, its patches and phrases in splits, and each sample."""
