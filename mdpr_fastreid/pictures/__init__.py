"""Pictures of what a trained model sees, ranks and keeps apart."""
