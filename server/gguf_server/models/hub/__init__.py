"""The hub, through huggingface_hub: what a repository holds, where its bytes are, what it refuses.

Importing ``hub.client`` takes a quarter of a second: who may do without the hub imports it late.
"""
