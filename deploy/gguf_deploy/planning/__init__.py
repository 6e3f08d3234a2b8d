"""From a model's metadata to the ``Placement``: what it needs, what there is, what gives."""
