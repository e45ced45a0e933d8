"""Files that an operator needs, shipped with the package: deployments, work pools, automations, image."""
