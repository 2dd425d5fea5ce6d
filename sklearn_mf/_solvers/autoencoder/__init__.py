"""An autoencoder of ratings."""
