"""What is offered: models, deployments, prices."""
