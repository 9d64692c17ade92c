"""What is offered: models and the deployments that run them."""
