"""dx7data: Yamaha DX7 patches in, training data out."""
