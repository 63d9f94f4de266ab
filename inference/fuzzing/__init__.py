"""What nobody should send, made from a seed: damaged model files and random requests. Equal seeds give equal cases."""
