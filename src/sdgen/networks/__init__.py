"""The networks of latent diffusion in Keras 3: UNet, CLIP text encoder, VAE.

Numerics, configuration fields and tensor names are those of diffusers and transformers.
"""
