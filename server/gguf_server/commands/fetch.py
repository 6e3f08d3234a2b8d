"""``gguf-server fetch``: gets a model, and says how far it is while it does."""

import sys
from pathlib import Path

import msgspec

from gguf_server.commands.progress import shown
from gguf_server.commands.sizes import human_bytes
from gguf_server.models.fetch import Fetched
from gguf_server.models.fetch import fetch as fetch_model
from gguf_server.models.files import check_model_file
from gguf_server.parent import die_with_parent
from gguf_server.settings.models import FetchSettings
